"""Rows into data files: rolled over at a size, one folder a partition, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa

from conduit_core.connectors.lake.layout import data_name
from conduit_core.connectors.lake.manifest import DataFile
from conduit_core.connectors.lake.partitions import Partitioner, Spill
from conduit_core.connectors.lake.ranges import Ranges
from conduit_core.errors import PublishError
from conduit_core.types.casts import cast_column

if TYPE_CHECKING:
    from conduit_core.connectors.lake.formats import FileFormat
    from conduit_core.connectors.objects import ObjectStore

OPEN_FILES = 8
"""Partitions that are written as their rows come; the rows of further ones wait on disk."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How data files are cut.

    Args:
        partition_by: columns whose values name a file's folder.
        target_file_size: bytes at which a file is full.
        row_group_size: rows of a Parquet row group, at most.
        budget_bytes: memory for rows that wait to be written.
    """

    partition_by: tuple[str, ...] = ()
    target_file_size: int = 128 * 1024 * 1024
    row_group_size: int = 122_880
    budget_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Naming:
    """What a writer's files are called."""

    folder: str
    load_id: str
    split: str
    attempt: str


@dataclass(slots=True)
class WriteJob:
    """What a writer's files have in common, and which ones there are.

    Args:
        store: where to.
        form: as what.
        schema: names, order and types of the table.
        naming: the files' names.
        options: how they are cut.
        ranges: columns whose least and greatest value each file's entry keeps.
        paths: every path begun, finished or not.
        files: the finished ones.
    """

    store: ObjectStore
    form: FileFormat
    schema: pa.Schema
    naming: Naming
    options: WriteOptions
    ranges: Sequence[str] = ()
    paths: list[str] = field(default_factory=list)
    files: list[DataFile] = field(default_factory=list)

    def begin(self, folder: str) -> str:
        """Return the path of a new file in a partition's folder."""
        n = self.naming
        name = data_name(n.load_id, n.split, n.attempt, len(self.paths), self.form.suffix)
        self.paths.append("/".join(part for part in (n.folder, folder, name) if part))
        return self.paths[-1]


class DataWriter:
    """Writes batches of one schema; of no use after ``close`` or ``abort``.

    Raises:
        ConfigError: a column of ``partition_by`` isn't there, or makes no folder names.
    """

    def __init__(self, job: WriteJob) -> None:
        self._job = job
        self._partitioner = Partitioner(job.options.partition_by, job.schema)
        self._open: dict[str, _Rolling] = {}
        self._spill: Spill | None = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch, with columns in any order; what it lacks is NULL.

        Raises:
            SchemaError: a value doesn't fit its column's type.
            PublishError: a column that takes no NULL got one.
        """
        if not batch.num_rows:
            return
        options = self._job.options
        rows = conformed(batch, self._job.schema)
        self.rows += rows.num_rows
        for folder, part in self._partitioner.parts(rows):
            rolling = self._open.get(folder)
            if rolling is None and len(self._open) < OPEN_FILES:
                rolling = self._open[folder] = _Rolling(self._job, folder)
            if rolling is not None:
                rolling.add(part)
            else:
                if self._spill is None:
                    self._spill = Spill(self._job.schema, options.budget_bytes // 2)
                self._spill.add(folder, part)
        while sum(r.waiting for r in self._open.values()) > options.budget_bytes:
            max(self._open.values(), key=lambda r: r.waiting).flush()

    def close(self) -> tuple[DataFile, ...]:
        """Finish every file; return them, durable, in order."""
        for rolling in self._open.values():
            rolling.close()
        self._open.clear()
        if self._spill is not None:
            for folder, batches in self._spill.parts():
                rolling = self._open[folder] = _Rolling(self._job, folder)
                for batch in batches:
                    rolling.add(batch)
                rolling.close()
                del self._open[folder]
            self._spill.close()
        return tuple(sorted(self._job.files, key=lambda file: file.path))

    def abort(self) -> None:
        """Drop what isn't finished, and remove what is."""
        for rolling in self._open.values():
            rolling.abort()
        self._open.clear()
        if self._spill is not None:
            self._spill.close()
        self._job.store.delete(self._job.paths)


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch in a table's names, order and types, exactly; NULL for what it lacks.

    Raises:
        SchemaError: a value doesn't fit its column's type.
        PublishError: a column that takes no NULL got one.
    """
    arrays: list[pa.Array[pa.Scalar[pa.DataType]]] = []
    for wanted in schema:
        position = batch.schema.get_field_index(wanted.name)
        if position < 0:
            nulls = pa.nulls(batch.num_rows, wanted.type)
            column = cast("pa.Array[pa.Scalar[pa.DataType]]", nulls)
        else:
            column = cast_column(batch.column(position), wanted.type, wanted.name)
        if not wanted.nullable and column.null_count:
            raise PublishError(f"column {wanted.name!r} takes no NULL and was given one")
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Rolling:
    """The files of one partition, one after the other."""

    def __init__(self, job: WriteJob, folder: str) -> None:
        self._job, self._folder = job, folder
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0
        self.waiting = 0
        """Bytes that wait to be written."""
        self._file: _OpenFile | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self.waiting += batch.nbytes
        if self._rows >= self._job.options.row_group_size:
            self.flush(whole_groups=True)
        elif self.waiting >= self._job.form.group_bytes:
            self.flush()

    def flush(self, *, whole_groups: bool = False) -> None:
        """Write what waits; ``whole_groups``: a rest that fills none goes on waiting."""
        if not self._rows:
            return
        table = pa.Table.from_batches(self._batches)
        size = self._job.options.row_group_size
        start = 0
        while start < table.num_rows:
            part = table.slice(start, size)
            if whole_groups and part.num_rows < size:
                break
            self._write(part)
            start += part.num_rows
        rest = table.slice(start)
        self._batches = rest.to_batches()
        self._rows, self.waiting = rest.num_rows, rest.nbytes if rest.num_rows else 0

    def _write(self, table: pa.Table) -> None:
        if self._file is None:
            self._file = _OpenFile(self._job, self._job.begin(self._folder))
        self._file.write(table)
        if self._file.size >= self._job.options.target_file_size:
            self._job.files.append(self._file.close())
            self._file = None

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            self._job.files.append(self._file.close())
            self._file = None

    def abort(self) -> None:
        if self._file is not None:
            self._file.abort()
            self._file = None


class _AbortedError(Exception):
    """Ends a store's writer so that nothing remains."""


class _OpenFile:
    def __init__(self, job: WriteJob, path: str) -> None:
        self._path = path
        self._ranges = Ranges(job.schema, [n for n in job.ranges if n in job.schema.names])
        self._rows = 0
        self._stack = ExitStack()
        self._sink = _Sink(self._stack.enter_context(job.store.writer(path)))
        try:
            self._encoder = job.form.encoder(cast("BinaryIO", self._sink), job.schema)
        except BaseException:
            self.abort()
            raise

    @property
    def size(self) -> int:
        return self._sink.size

    def write(self, table: pa.Table) -> None:
        self._ranges.add(table)
        self._rows += table.num_rows
        self._encoder.write(table)

    def close(self) -> DataFile:
        self._encoder.close()
        self._stack.close()
        self._sink.end()
        return DataFile(
            path=self._path,
            rows=self._rows,
            bytes=self._sink.size,
            ranges=self._ranges.found(),
            widest=self._encoder.widest,
        )

    def abort(self) -> None:
        self._sink.end()
        error = _AbortedError()
        with suppress(_AbortedError):
            self._stack.__exit__(type(error), error, None)


class _Sink(io.RawIOBase):
    """Counts bytes on their way; encoders may close it, and be collected after it has ended."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out: BinaryIO | None = out
        self.size = 0

    def writable(self) -> bool:
        """Whether it takes data: yes."""
        return True

    def write(self, data: object, /) -> int:
        """Take all of ``data``."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        done = 0
        while self._out is not None and done < view.nbytes:
            done += self._out.write(view[done:])
        self.size += done
        return view.nbytes

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def flush(self) -> None:
        """Do nothing: what is small waits for more."""

    def close(self) -> None:
        """Do nothing: encoders close what they are given."""

    def end(self) -> None:
        """Take nothing more."""
        self._out = None
