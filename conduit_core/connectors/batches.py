"""A source of batches: who can only go over a table's rows becomes a whole source here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence

import pyarrow as pa

from conduit_core.connectors.arrow import Column, Field
from conduit_core.connectors.base import (
    BATCH_BYTES,
    Bounds,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    Source,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.splits import refuse_kind
from conduit_core.connectors.windowing import Last, inside, needed, orderable
from conduit_core.errors import SchemaError, SourceDataError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window


class BatchSource(Source):
    """A source of tables whose rows come in batches, and of which nothing else is asked.

    A subclass says what it is (``system``, ``identity``, ``check``) and gives ``tables``,
    ``columns`` and ``batches``. Chosen columns, cursors, bounds, windows and slices by value are
    kept here: a row outside the window is dropped, so that the subclass may give more than asked
    for, but never less.

    What it can't do by itself: tell the source's time (``Bounds.clock``, which ``settle`` needs),
    find the last row without reading all of them, and be read in splits. A subclass that can do one
    of these overrides ``bounds``, or ``cut`` and ``read``.
    """

    capabilities = SourceCapabilities(kinds=frozenset({"table"}), slices=True)

    @abstractmethod
    def tables(self) -> Sequence[str]:
        """Name the tables that there are.

        Raises:
            ConnectionFailedError: the system can't be reached.
        """

    @abstractmethod
    def columns(self, table: str) -> pa.Schema:
        """Return a table's columns, in the types that its batches have."""

    @abstractmethod
    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        """Go over the table from its start, each time.

        Args:
            table: one of ``tables``.
            columns: what each batch must have; it may have more.
            window: the rows that are wanted, for a system that can be asked for less. All of them
                must come: rows from ``low`` on (where it has one; those at ``low`` too) and, where
                ``null_cursor`` is set, rows without a cursor. Others are dropped.
            batch_bytes: about how large a batch should be, at most.

        Raises:
            ConnectionFailedError: the system can't be reached any more.
            SourceDataError: a value isn't of its column's type.
        """

    def discover(self) -> list[Relation]:
        """List the tables with their columns."""
        return [Relation(name, self.columns(name)) for name in self.tables()]

    def describe(self, ref: StreamRef) -> Shape:
        """Return the chosen columns, and the types of the cursor's."""
        table, names = ref.table or "", self.tables()
        if table not in names:
            there = ", ".join(names) or "none"
            raise SchemaError(
                f"there is no table {table!r}; there are {there}", command="conduit discover"
            )
        schema = self.columns(table)
        kinds = []
        for name in ref.cursor:
            kind = _field(schema, name, "cursor column").type
            if not orderable(kind):
                raise SchemaError(f"cursor column {name!r} is {kind}, which has no order")
            kinds.append(kind)
        if ref.columns is not None:
            schema = pa.schema([_field(schema, name, "column") for name in ref.columns])
        return Shape(schema, tuple(kinds))

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Go over the cursor columns for the last row."""
        table, found = ref.table or "", Last(ref.cursor, low, cap)
        since = None if low is None else Cursor(low.columns[:1], low.values[:1])
        # What is at the watermark counts too: else a source without news would have no last row.
        wanted = Window("watermark", since, cap, null_cursor=True, closed_low=True)
        schema = self.columns(table)
        part = pa.schema([schema.field(name) for name in ref.cursor])
        for batch in self.batches(table, ref.cursor, wanted, BATCH_BYTES):
            found.add(_in_columns(batch, part, self.system))
        return Bounds(found.high, found.null_rows, found.rows)

    def read(self, request: ReadRequest) -> Reading:
        """Open the window.

        Raises:
            SourceDataError: the columns aren't those that the plan saw, or a batch's aren't those
                that ``columns`` says.
        """
        refuse_kind(
            request.split.kind if request.split else "whole", self.capabilities.splits, self.system
        )
        schema = self.columns(request.ref.table or "")
        _compare(schema, request.schema)
        batches = self._read(request, schema)
        reader = pa.RecordBatchReader.from_batches(request.schema, batches)
        return Reading(reader, batches.close)

    def _read(self, request: ReadRequest, schema: pa.Schema) -> Generator[pa.RecordBatch]:
        wanted, cursor = request.schema, request.ref.cursor
        beside = [n for n in needed(request.window, cursor) if n not in wanted.names]
        whole = pa.schema([*wanted, *(schema.field(name) for name in beside)])
        given = self.batches(
            request.ref.table or "", whole.names, request.window, request.batch_bytes
        )
        for batch in given:
            rows = inside(_in_columns(batch, whole, self.system), request.window, cursor)
            if rows.num_rows:
                yield _in_columns(rows, wanted, self.system)


def _in_columns(batch: pa.RecordBatch, wanted: pa.Schema, system: str) -> pa.RecordBatch:
    """Return these columns of a batch, in this order.

    Raises:
        SourceDataError: it lacks one, or has it in another type.
    """
    arrays: list[Column] = []
    for field in wanted:
        position = batch.schema.get_field_index(field.name)
        if position < 0 or batch.schema.field(position).type != field.type:
            there = "is missing" if position < 0 else f"is {batch.schema.field(position).type}"
            raise SourceDataError(
                f"column {field.name!r} of a batch {there}, where the {system} source said that it"
                f" is {field.type}"
            )
        arrays.append(batch.column(position))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _compare(schema: pa.Schema, planned: pa.Schema) -> None:
    for field in planned:
        if field.name not in schema.names or schema.field(field.name).type != field.type:
            raise SourceDataError(
                f"column {field.name!r} was {field.type} when the load was planned, and isn't"
                " any more",
                retry="plan",
            )


def _field(schema: pa.Schema, name: str, what: str) -> Field:
    if name not in schema.names:
        raise SchemaError(f"{what} {name!r} doesn't exist; there are {', '.join(schema.names)}")
    return schema.field(name)
