"""The source that the tests load from: a folder of small Parquet files, each a batch of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FILES = 4
ROWS_PER_FILE = 500
ROWS = FILES * ROWS_PER_FILE

_SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "at": pa.timestamp("us", "UTC"),
        "amount": pa.decimal128(12, 2),
        "note": pa.string(),
    }
)
_START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Source:
    """A folder of files; ``id`` rises from file to file."""

    folder: Path

    def write(self, part: int, word: str = "first") -> None:
        """Write one file of rows; again for the same part, it replaces them."""
        ids = range(part * ROWS_PER_FILE, (part + 1) * ROWS_PER_FILE)
        columns = {
            "id": list(ids),
            "at": [_START + timedelta(seconds=i, microseconds=i) for i in ids],
            "amount": [Decimal(i) / 4 - 100 for i in ids],
            "note": [f"{word} {i} ü" if i % 7 else None for i in ids],
        }
        table = pa.table(columns, schema=_SCHEMA)
        hidden = self.folder / f".part-{part:03}"
        pq.write_table(table, hidden)
        hidden.rename(self.folder / f"part-{part:03}.parquet")

    def fill(self) -> None:
        """Write the first files."""
        self.folder.mkdir(exist_ok=True)
        for part in range(FILES):
            self.write(part)

    def grow(self) -> None:
        """Add as many rows again, and change the note of those that were there."""
        for part in range(2 * FILES):
            self.write(part, "second")
