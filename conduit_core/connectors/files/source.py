"""A source of files: one class for every format; listing, windows and the file cursor live here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from conduit_core.connectors.arrow import Field, Value
from conduit_core.connectors.base import (
    SAMPLE_BYTES,
    UNREADABLE,
    Bounds,
    CheckItem,
    Inferred,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    Source,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.changed import refuse_changed
from conduit_core.connectors.checking import failed
from conduit_core.connectors.cuts import path_cuts
from conduit_core.connectors.datasets import Dataset
from conduit_core.connectors.files.formats import Format, Sample, conform
from conduit_core.connectors.files.listing import FileEntry, Root
from conduit_core.connectors.files.opening import File, reading
from conduit_core.connectors.files.options import Contradictions
from conduit_core.connectors.publish import FILE
from conduit_core.connectors.splits import Split, SplitBy, refuse_kind
from conduit_core.connectors.windowing import Last, inside, needed, orderable
from conduit_core.errors import ConduitError, SchemaError, SourceDataError
from conduit_core.spec.names import did_you_mean
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

FILE_CURSOR = ("_file_modified", "_file_path")
FILE_CURSOR_TYPES: tuple[pa.DataType, ...] = (pa.timestamp("ns", tz="UTC"), pa.string())

_SAMPLED_FILES = 32
_DISCOVERED = 200
_SECOND = 1_000_000_000
_TICK = 20_000_000
_FUTURE = 60 * _SECOND


class FileSource(Source):
    """Files of one format under one root.

    The file cursor ``[_file_modified, _file_path]`` orders files by (modification time, path). What
    it can't see, by nature: a file that arrives with an older time than one already loaded (a copy
    that keeps times). Load such folders in mode ``replace``.

    Args:
        system: the connector's type.
        root: where the files are.
        file_format: how they are read.
        clock: the time, in nanoseconds since 1970.
        contradictions: what is done about a value that isn't of the type of the values sampled.
    """

    def __init__(
        self,
        system: str,
        root: Root,
        file_format: Format,
        clock: Callable[[], int] = time.time_ns,
        contradictions: Contradictions = "fail",
    ) -> None:
        self.system = system
        self.capabilities = SourceCapabilities(
            kinds=frozenset({"path"}),
            virtual_cursor=FILE_CURSOR,
            infers_types=system != "parquet",
            gives_unreadable=contradictions == "dlq",
            splits=frozenset({"file"}),
            slices=True,
        )
        self._root = root
        self._format = file_format
        self._clock = clock
        self._contradictions = contradictions
        self._lock = threading.Lock()
        self._samples: dict[str | None, tuple[tuple[FileEntry, ...], Sample]] = {}

    @property
    def identity(self) -> str:
        """The root's absolute path, or its URL without secrets."""
        return self._root.identity

    def datasets(self, ref: StreamRef) -> tuple[Dataset, ...]:
        """Return the file, folder or pattern that a stream reads."""
        return (self._root.dataset(ref.path or ""),)

    def check(self) -> list[CheckItem]:
        """Look whether the root is there and can be listed, and how much is in it."""
        try:
            files = self._root.select(None, self._format.suffixes, only_text=True)
            with ExitStack() as stack:
                for file in self._files(files[:1]):
                    stack.enter_context(file.raw())
        except ConduitError as error:
            remedy = "check the source's path: and the rights on it"
            return [failed("files", error, remedy)]
        size = sum(f.size for f in files)
        return [CheckItem("files", ok=True, detail=f"{len(files)} files, {size} bytes")]

    def discover(self) -> list[Relation]:
        """List files of this type beside the root, and folders below it that hold some."""
        files = self._root.select(None, self._format.suffixes, only_text=True)
        names = sorted({f.path.split("/")[0] for f in files})[:_DISCOVERED]
        out = []
        for name in names:
            shape = self.describe(StreamRef(path=name))
            out.append(Relation(name, shape.schema, shape.rows_estimate))
        return out

    def describe(self, ref: StreamRef) -> Shape:
        """Sample the stream's files (a bounded number of them, from their starts)."""
        files = self._select(ref)
        sample = self._sample(ref, files)
        schema = sample.schema
        if ref.columns is not None:
            schema = pa.schema([_field(schema, name, "column") for name in ref.columns])
        if ref.file_column:
            if FILE in schema.names:
                raise SchemaError(f"the files have a column {FILE!r} of their own")
            schema = schema.append(pa.field(FILE, pa.string()))
        types = FILE_CURSOR_TYPES if _by_file(ref) else self._cursor_types(ref, sample.schema)
        notes = list(sample.notes)
        late = [f.path for f in files if f.modified > self._clock() + _FUTURE]
        if late and _by_file(ref):
            notes.append(f"modified in the future, left for then: {', '.join(late[:3])}")
        if any("=" in part for part in files[0].path.split("/")[:-1]):
            notes.append("folder names such as 'year=2024' are not read as columns")
        return Shape(schema, types, sample.rows_estimate, notes=tuple(notes))

    def infer(self, ref: StreamRef, limit: int | None = SAMPLE_BYTES) -> Inferred:
        """Look at about ``limit`` bytes of the stream's files, or at all of them."""
        sample = self._look(self._select(ref), limit)
        schema = sample.schema
        if ref.columns is not None:
            schema = pa.schema([_field(schema, name, "column") for name in ref.columns])
        if sample.rows is not None:
            # A column that `types:` adds was in no row.
            seen = {name: sample.nulls.get(name, sample.rows) for name in schema.names}
            schema = pa.schema([f.with_nullable(seen[f.name] > 0) for f in schema])
        else:
            seen = {}
        return Inferred(schema, sample.rows, sample.whole, seen, sample.rows_estimate, sample.notes)

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Find the last file, or stream the cursor columns for the last row."""
        now = datetime.fromtimestamp(self._clock() / _SECOND, UTC)
        if _by_file(ref):
            last = None
            for entry in self._settled(ref):
                if cap is None or entry.modified <= _nanoseconds(cap.values[0]):
                    last = entry
            return Bounds(None if last is None else _cursor_of(last), clock=now)
        files = self._select(ref)
        sample = self._sample(ref, files)
        self._cursor_types(ref, sample.schema)
        wanted = pa.schema([sample.schema.field(name) for name in ref.cursor])
        found = Last(ref.cursor, low, cap)
        for file in self._files(files):
            with reading(file):
                for batch in self._format.batches(
                    file, wanted, strict=False, batch_bytes=4 * 1024 * 1024
                ):
                    found.add(conform(batch, wanted))
        return Bounds(found.high, found.null_rows, found.rows, now)

    def cut(
        self,
        ref: StreamRef,
        window: Window,
        kind: Literal["range", "file"],
        column: str | None,
        count: int,
    ) -> SplitBy:
        """Cut a window's files, in the order of their paths, into parts of about as many bytes."""
        refuse_kind(kind, self.capabilities.splits, self.system)
        files = sorted(self._of_window(ref, window), key=lambda f: f.path)
        return path_cuts([(f.path, f.size) for f in files], count)

    def files_of(self, ref: StreamRef, window: Window) -> list[str]:
        """List the files of a window; none is opened."""
        return [f.path for f in self._of_window(ref, window)]

    def _of_window(self, ref: StreamRef, window: Window) -> list[FileEntry]:
        if not _by_file(ref):
            return self._select(ref)
        return [f for f in self._settled(ref) if _in_window(f, window)]

    def read(self, request: ReadRequest) -> Reading:
        """Open the window: whole files for the file cursor, rows for any other.

        Raises:
            SourceDataError: a file of the window was loaded before and ``refuse_changed`` is set.
        """
        ref, split = request.ref, request.split
        refuse_kind(split.kind if split else "whole", self.capabilities.splits, self.system)
        files = [f for f in self._of_window(ref, request.window) if _in_split(f, split)]
        rows = Window("full") if _by_file(ref) else request.window
        if request.refuse_changed:
            refuse_changed([f.path for f in files], request.known_files)
        out = Reading(pa.RecordBatchReader.from_batches(request.schema, iter(())), threaded=True)
        batches = self._read(request, files, rows, out.files)
        out.reader = pa.RecordBatchReader.from_batches(request.schema, batches)
        out.close = batches.close
        return out

    # --- inside -----------------------------------------------------------------------------------

    def _read(
        self, request: ReadRequest, files: Sequence[FileEntry], window: Window, done: list[str]
    ) -> Generator[pa.RecordBatch]:
        ref, schema = request.ref, request.schema
        beside = {UNREADABLE, *([FILE] if ref.file_column else [])}
        wanted = pa.schema([f for f in schema if f.name not in beside])
        for name in needed(window, ref.cursor):
            if name not in wanted.names:
                sample = self._sample(ref, self._select(ref))
                wanted = wanted.append(_field(sample.schema, name, "column"))
        lenient: frozenset[str] = frozenset()
        whole = wanted
        if UNREADABLE in schema.names:
            lenient = frozenset(wanted.names).difference(ref.cursor, window.columns)
            whole = wanted.append(schema.field(UNREADABLE))
        for file in self._files(files):
            with reading(file):
                for batch in self._format.batches(
                    file,
                    wanted,
                    strict=ref.columns is None,
                    batch_bytes=request.batch_bytes,
                    lenient=lenient,
                ):
                    rows = inside(conform(batch, whole), window, ref.cursor)
                    if rows.num_rows:
                        yield _finish(rows, schema, file.entry.path if ref.file_column else None)
            self._unchanged(file.entry)
            done.append(file.entry.path)

    def _unchanged(self, entry: FileEntry) -> None:
        now = self._root.stat(entry)
        if now is None or (now.modified, now.size) != (entry.modified, entry.size):
            raise SourceDataError(
                f"{entry.path}: the file was {'changed' if now else 'removed'} while it was read",
                retry="plan",
            )

    def _select(self, ref: StreamRef) -> list[FileEntry]:
        if ref.path is None:
            raise SchemaError(f"a stream of {self.system} files needs path:, not a table or query")
        return self._root.select(ref.path, self._format.suffixes)

    def _settled(self, ref: StreamRef) -> list[FileEntry]:
        """Return the files by (time, path), those aside whose moment isn't over.

        Two files may get one time: on an object store within a second, on a local disk within a
        tick. Until that has passed, another file could still come between a watermark and its past.
        """
        now = self._clock()
        files = self._select(ref)
        if any(now - _TICK < f.modified <= now and f.modified % _SECOND for f in files):
            time.sleep(_TICK / _SECOND)
            files = self._select(ref)
        ready = [
            f
            for f in files
            if f.modified <= now + _TICK
            and (f.modified % _SECOND or f.modified // _SECOND < now // _SECOND)
        ]
        return sorted(ready, key=lambda f: (f.modified, f.path))

    def _files(self, entries: Sequence[FileEntry]) -> Iterator[File]:
        return (File(entry, self._root.filesystem) for entry in entries)

    def _sample(self, ref: StreamRef, files: Sequence[FileEntry]) -> Sample:
        """Look at the files as the stream's ``contradictions`` says, once for the same listing."""
        limit = None if self._contradictions == "widen" else SAMPLE_BYTES
        chosen = tuple(_sampled(files, limit))
        with self._lock:
            known = self._samples.get(ref.path)
        if known is not None and known[0] == chosen:
            return known[1]
        sample = self._look(files, limit)
        with self._lock:
            self._samples[ref.path] = (chosen, sample)
        return sample

    def _look(self, files: Sequence[FileEntry], limit: int | None) -> Sample:
        chosen = _sampled(files, limit)
        whole = len(chosen) == len(files)
        return self._format.sample(list(self._files(chosen)), whole=whole, limit=limit)

    @staticmethod
    def _cursor_types(ref: StreamRef, schema: pa.Schema) -> tuple[pa.DataType, ...]:
        virtual = [name for name in ref.cursor if name in FILE_CURSOR]
        if virtual:
            raise SchemaError(f"the file cursor is exactly [{', '.join(FILE_CURSOR)}]")
        types = []
        for name in ref.cursor:
            kind = _field(schema, name, "cursor column").type
            if not orderable(kind):
                raise SchemaError(f"cursor column {name!r} is {kind}, which has no order")
            types.append(kind)
        return tuple(types)


def _sampled(files: Sequence[FileEntry], limit: int | None) -> Sequence[FileEntry]:
    """Return the files to look at: the oldest and the newest by time, all without a limit."""
    if limit is None or len(files) <= _SAMPLED_FILES:
        return files
    order = sorted(files, key=lambda f: (f.modified, f.path))
    half = _SAMPLED_FILES // 2
    return sorted(order[:half] + order[-half:], key=lambda f: f.path)


def _by_file(ref: StreamRef) -> bool:
    return ref.cursor == FILE_CURSOR


def _field(schema: pa.Schema, name: str, what: str) -> Field:
    if name not in schema.names:
        raise SchemaError(
            f"{what} {name!r} doesn't exist{did_you_mean(name, schema.names)} there are"
            f" {', '.join(schema.names)}",
            command="conduit discover",
        )
    return schema.field(name)


def _cursor_of(entry: FileEntry) -> Cursor:
    values = (
        pa.scalar(entry.modified, pa.int64()).cast(FILE_CURSOR_TYPES[0]),
        pa.scalar(entry.path, pa.string()),
    )
    return Cursor(FILE_CURSOR, values)


def _nanoseconds(value: Value) -> int:
    return int(value.cast(FILE_CURSOR_TYPES[0]).cast(pa.int64()).as_py())


def _in_window(entry: FileEntry, window: Window) -> bool:
    def position(bound: Cursor) -> tuple[int, str]:
        path = str(bound.values[1].as_py()) if len(bound.values) > 1 else ""
        return _nanoseconds(bound.values[0]), path

    mine = (entry.modified, entry.path)
    if window.kind == "given":
        return (window.low is None or entry.modified >= position(window.low)[0]) and (
            window.high is None or entry.modified < position(window.high)[0]
        )
    return (window.low is None or mine > position(window.low)) and (
        window.high is None or mine <= position(window.high)
    )


def _in_split(entry: FileEntry, split: Split | None) -> bool:
    if split is None:
        return True
    low, high = (None if v is None else str(v.as_py()) for v in (split.low, split.high))
    return (low is None or low <= entry.path) and (high is None or entry.path < high)


def _finish(rows: pa.RecordBatch, schema: pa.Schema, path: str | None) -> pa.RecordBatch:
    """Drop what only the window needed, add the file's path."""
    if path is None:
        return conform(rows, schema)
    paths = pa.repeat(pa.scalar(path, pa.string()), rows.num_rows)
    arrays = [paths if f.name == FILE else rows.column(f.name) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
