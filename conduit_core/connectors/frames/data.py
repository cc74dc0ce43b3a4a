"""What a Python function made, as batches that can be gone over again: in memory, or on disk."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from conduit_core.connectors.base import BATCH_BYTES
from conduit_core.connectors.files.formats import sliced
from conduit_core.connectors.frames.taking import (
    Slices,
    batches_of,
    is_arrow,
    is_maker,
    not_data,
    refuse,
    refuse_twins,
    spelled,
    take,
)
from conduit_core.connectors.letters import ArrowSpool
from conduit_core.connectors.plain import plain, plain_field
from conduit_core.errors import ConduitError, SchemaError, SourceDataError

if TYPE_CHECKING:
    from conduit_core.connectors.frames.taking import Taken

_END = object()
_CONVERTED_ROWS = 16_384
"""How many rows are converted at once: their size is known only afterwards."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Data that can be gone over again: its columns as they are loaded, and where the rows are."""

    schema: pa.Schema
    rows: int | None
    place: Taken | ArrowSpool


class Data:
    """Whatever :mod:`conduit_core.connectors.frames.taking` knows. Safe between threads.

    Nothing is taken until rows or columns are asked for. What can be taken only once (a generator,
    a reader) then goes to disk first, into a file without a name, which is gone with this object.

    Args:
        given: the data, or a function that makes it, called once rows are needed. None: nothing is
            to be loaded.

    Raises:
        ConfigError: it is no data, as far as that can be told without taking any of it.
    """

    def __init__(self, given: object) -> None:
        refuse(given)
        self.made_at = datetime.now(UTC)
        self.kind = "nothing (None)" if given is None else f"a {spelled(given)}"
        self._given: object = given
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._taken = False
        self._kept: _Kept | None = None
        self._error: ConduitError | None = None

    def __repr__(self) -> str:
        return f"Data({self.kind})"

    @property
    def schema(self) -> pa.Schema | None:
        """The columns, in the types that they are loaded in; None: there is nothing at all.

        Raises:
            SchemaError: a column has no type, or another one in a later part.
            SourceDataError: the data's own code failed.
        """
        kept = self._all()
        return kept.schema if kept else None

    @property
    def rows(self) -> int | None:
        """How many rows there are; None where counting isn't cheap."""
        kept = self._all()
        return kept.rows if kept else 0

    def batches(self, columns: Iterable[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
        """Yield the columns in batches of about ``batch_bytes``; from the start each time."""
        kept = self._all()
        if kept is None:
            return
        schema = pa.schema([kept.schema.field(name) for name in columns])
        if isinstance(kept.place, ArrowSpool):
            for batch in kept.place.reader(schema.names):
                yield from sliced(batch.select(schema.names), batch_bytes)
            return
        with _Explained(self.kind):
            found = batches_of(kept.place, schema.names)
            plain_ones = (b for batch in found for b in _plain_batches(batch, schema, batch_bytes))
            yield from _gathered(plain_ones, batch_bytes)

    # --- taking -----------------------------------------------------------------------------------

    def _all(self) -> _Kept | None:
        """Take the data, once: what failed has used up a part of it, and fails again."""
        with self._lock:
            if not self._taken:
                self._taken = True
                self._error = SourceDataError("taking the data was interrupted: make it anew")
                try:
                    with _Explained(self.kind):
                        self._kept = self._take()
                    self._error = None
                except ConduitError as error:
                    self._error = error
                finally:
                    self._given = None
            if self._error is not None:
                raise self._error
            return self._kept

    def _take(self) -> _Kept | None:
        if is_maker(self._given):
            self._given = cast("Callable[[], object]", self._given)()
            refuse(self._given)
        if self._given is None:
            return None
        if not is_arrow(self._given):
            return self._spilled(self._parts(cast("Iterable[object]", self._given)))
        taken = take(self._given)
        if isinstance(taken, pa.RecordBatchReader) or _is_once(taken):
            return self._spilled(iter([taken]))
        schema = _plain_schema(taken.schema)
        if not schema.names:
            return None
        if isinstance(taken, pa.Table):
            return _Kept(schema, taken.num_rows, taken)
        return _Kept(schema, taken.frame.height if isinstance(taken, Slices) else None, taken)

    def _parts(self, given: Iterable[object]) -> Iterator[Taken]:
        """Yield what an iterable gives; its code runs in the context that the data was given in."""
        iterator = self._context.run(iter, given)
        while (item := self._context.run(next, iterator, _END)) is not _END:
            if item is None:
                continue
            if not is_arrow(item):
                raise not_data(given, item)
            yield take(item)
            del item

    def _spilled(self, parts: Iterator[Taken]) -> _Kept | None:
        columns = _Columns()
        spool: ArrowSpool | None = None
        for batch in _gathered(columns.of_parts(parts), BATCH_BYTES):
            try:
                spool = spool or ArrowSpool(batch.schema)
                spool.add(batch)
            except OSError as error:
                raise SourceDataError(
                    "the data can't be kept in a temporary file until it is loaded"
                    f" ({error.strerror or type(error).__name__}): set TMPDIR to a folder with room"
                ) from error
        if columns.schema is None:
            return None
        spool = spool or ArrowSpool(columns.schema)
        spool.reader()  # what is written is complete from here on, for every thread
        return _Kept(columns.schema, spool.rows, spool)


class _Columns:
    """The columns of data that comes in parts: those of the first part that has rows."""

    def __init__(self) -> None:
        self.schema: pa.Schema | None = None
        self._rows = 0

    def of_parts(self, parts: Iterator[Taken]) -> Iterator[pa.RecordBatch]:
        """Yield the parts' rows in the types that they are loaded in."""
        for number, part in enumerate(parts, start=1):
            mine = _plain_schema(part.schema)
            if not mine.names:
                continue
            if self.schema is None or not self._rows:
                self.schema = mine  # columns without rows say little of their types
            else:
                _refuse_other(self.schema, mine, number)
            for batch in batches_of(part, part.schema.names):
                for piece in _plain_batches(batch, self.schema, BATCH_BYTES):
                    self._rows += piece.num_rows
                    yield piece


def _gathered(batches: Iterator[pa.RecordBatch], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Join small batches into larger ones: each costs some time on its way, however small."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += batch.nbytes
        if held >= batch_bytes // 2:
            yield from _joined(waiting)
            waiting, held = [], 0
    if waiting:
        yield from _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    if len(batches) == 1:
        return batches
    return pa.Table.from_batches(batches).combine_chunks().to_batches()


class _Explained:
    """Turns what the data's own code raises into an error of ours; its text may hold anything."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ConduitError):
            raise SourceDataError(
                f"the data ({self._kind}) raised {type(error).__name__} while it was taken: what"
                " made it failed"
            ) from error


def _is_once(taken: Taken) -> bool:
    """Say whether a dataset may be over a reader, which can be taken once."""
    return type(taken).__name__ == "InMemoryDataset"


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    refuse_twins(schema.names)
    return pa.schema([plain_field(field) for field in schema])


def _refuse_other(first: pa.Schema, schema: pa.Schema, number: int) -> None:
    """Refuse a part whose columns aren't the first part's; a column of only NULLs fits any type."""
    for field in first:
        if field.name not in schema.names:
            raise SchemaError(f"part {number} of the data has no column {field.name!r}")
        kind = schema.field(field.name).type
        if not pa.types.is_null(kind) and kind != field.type:
            nothing = " (only NULLs)" if pa.types.is_null(field.type) else ""
            raise SchemaError(
                f"column {field.name!r} is {field.type}{nothing} in the first part of the data and"
                f" {kind} in part {number}: give all parts one schema"
            )
    more = [name for name in schema.names if name not in first.names]
    if more:
        raise SchemaError(
            f"part {number} of the data has a column {more[0]!r} that the first part doesn't have"
        )


def _plain_batches(
    batch: pa.RecordBatch, schema: pa.Schema, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Yield a batch's columns in the types that they are loaded in, cut to size."""
    found = [batch.column(batch.schema.get_field_index(name)) for name in schema.names]
    if all(c.type == f.type for c, f in zip(found, schema, strict=True)):
        yield from sliced(pa.RecordBatch.from_arrays(found, schema=schema), batch_bytes)
        return
    for start in range(0, batch.num_rows, _CONVERTED_ROWS):
        arrays = []
        for column, field in zip(found, schema, strict=True):
            try:
                arrays.append(plain(column.slice(start, _CONVERTED_ROWS), field.type))
            except pa.ArrowException as error:
                raise SchemaError(
                    f"column {field.name!r} is {column.type}, which can't be read as {field.type}"
                ) from error
        yield from sliced(pa.RecordBatch.from_arrays(arrays, schema=schema), batch_bytes)
