"""What speaks to acme: a stand-in, to be replaced. A table is a file.

A file's first line names its columns, ``{"id": "integer", "name": "text"}``; each other line is a
row, ``{"id": 1, "name": "Ann"}``. Rows are handed out page by page, as most systems do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from conduit_core.errors import ConnectionFailedError

PAGE_ROWS = 1000


class Client:
    """The system, as far as the source needs it. Safe to use from several threads at once.

    Args:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tables(self) -> list[str]:
        """Name the tables.

        Raises:
            ConnectionFailedError: the system can't be reached; a retry may help.
        """
        if not self.folder.is_dir():
            raise ConnectionFailedError(f"there is no folder {self.folder}, which path: names")
        return sorted(file.stem for file in self.folder.glob("*.jsonl"))

    def columns(self, table: str) -> dict[str, str]:
        """Return a table's columns, and the type that acme calls each."""
        with self._file(table).open(encoding="utf-8") as lines:
            found: dict[str, str] = json.loads(next(lines))
        return found

    def pages(self, table: str) -> Iterator[list[dict[str, object]]]:
        """Return a table's rows, page by page."""
        with self._file(table).open(encoding="utf-8") as lines:
            next(lines)
            while page := [json.loads(line) for line in islice(lines, PAGE_ROWS)]:
                yield page

    def _file(self, table: str) -> Path:
        return self.folder / f"{table}.jsonl"
