"""Partitioned folders: which folder each row belongs to, and rows that wait for their turn."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.lake.layout import partition_segment
from conduit_core.errors import ConfigError
from conduit_core.types.texts import joined, plain_texts

_T = pa.types


def refuse_partition(field: pa.Field[pa.DataType]) -> None:
    """Refuse a column whose values make no folder names.

    Raises:
        ConfigError: naming column and type.
    """
    kind = field.type
    fits = (
        _T.is_integer(kind) or _T.is_boolean(kind) or _T.is_string(kind) or _T.is_large_string(kind)
        or _T.is_date(kind) or _T.is_timestamp(kind) or _T.is_decimal(kind)
    )  # fmt: skip
    if not fits:
        raise ConfigError(
            f"partition_by: column {field.name!r} is {kind}; folders are named by texts, whole"
            " numbers, decimals, booleans, dates and timestamps"
        )


class Partitioner:
    """Cuts batches of one schema by the values of columns.

    Raises:
        ConfigError: a column isn't there, or its values make no folder names.
    """

    def __init__(self, columns: tuple[str, ...], schema: pa.Schema) -> None:
        self._columns = columns
        for name in columns:
            if name not in schema.names:
                raise ConfigError(
                    f"partition_by: there is no column {name!r}; there are"
                    f" {', '.join(schema.names)}"
                )
            refuse_partition(schema.field(name))

    def parts(self, batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield (folder, its rows in order); without columns one folder, "", has all rows."""
        if not self._columns:
            yield "", batch
            return
        coded = self._folders(batch).dictionary_encode()
        folders = [str(folder) for folder in coded.dictionary.to_pylist()]
        if len(folders) == 1:
            yield folders[0], batch
            return
        ordered = batch.take(pc.sort_indices(coded.indices))  # stable: rows keep their order
        found: Any = pc.value_counts(coded.indices)
        codes, counts = (found.field(i).to_pylist() for i in (0, 1))
        start = 0
        for code, count in sorted(zip(codes, counts, strict=True)):
            yield folders[code], ordered.slice(start, count)
            start += count

    def _folders(self, batch: pa.RecordBatch) -> pa.Array[Any]:
        """Return each row's folder."""
        parts: list[pa.Array[Any]] = []
        for name in self._columns:
            texts = plain_texts(batch.column(name), name)
            coded = texts.dictionary_encode(null_encoding="encode")
            segments = [partition_segment(name, v) for v in coded.dictionary.to_pylist()]
            parts.append(pa.array(segments, pa.large_string()).take(coded.indices))
        return joined(*parts, pa.scalar("/", pa.large_string()))


class Spill:
    """Rows of many partitions, on this machine's disk until it is their turn.

    One file a partition, opened only to add to it, so that their number is bounded by the disk.

    Args:
        schema: of the rows.
        budget_bytes: rows that may wait in memory.
    """

    def __init__(self, schema: pa.Schema, budget_bytes: int) -> None:
        self._schema, self._budget = schema, budget_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="conduit-partitions-")
        self._numbers: dict[str, int] = {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0

    def add(self, folder: str, batch: pa.RecordBatch) -> None:
        """Take rows of a partition."""
        self._numbers.setdefault(folder, len(self._numbers))
        self._waiting.setdefault(folder, []).append(batch)
        self._sizes[folder] = self._sizes.get(folder, 0) + batch.nbytes
        self._bytes += batch.nbytes
        while self._bytes > self._budget:
            self._write(max(self._sizes, key=lambda name: self._sizes[name]))

    def parts(self) -> Iterator[tuple[str, Iterator[pa.RecordBatch]]]:
        """Yield each partition's folder and its rows, in the order they came."""
        for folder in sorted(self._numbers):
            yield folder, self._read(folder)

    def close(self) -> None:
        """Remove what lies on disk. Idempotent."""
        self._folder.cleanup()

    def _place(self, folder: str) -> Path:
        return Path(self._folder.name, f"{self._numbers[folder]}.arrows")

    def _write(self, folder: str) -> None:
        """Add what waits to the partition's file, as one more Arrow stream."""
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            self._place(folder).open("ab") as file,
            pa.ipc.new_stream(file, self._schema, options=options) as stream,
        ):
            for batch in self._waiting.pop(folder):
                stream.write_batch(batch)
        self._bytes -= self._sizes.pop(folder)

    def _read(self, folder: str) -> Iterator[pa.RecordBatch]:
        place = self._place(folder)
        if place.exists():
            size = place.stat().st_size
            with place.open("rb") as file:
                while file.tell() < size:
                    yield from pa.ipc.open_stream(file)
        yield from self._waiting.pop(folder, ())
