"""A source that fails on command: at a batch, once or always, silently short, or slowly.

::

    faults = Faults(fail_at=2, times=1)
    with registry.added(faulty_connector({"orders": table}, faults)):
        run(Pipeline.from_mapping({"source": {"type": "faulty"}, ...}))
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from conduit_core.connectors.base import (
    Bounds,
    CheckItem,
    Context,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    Source,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.cuts import First, range_cuts
from conduit_core.connectors.registry import Connector
from conduit_core.connectors.splits import Split, SplitBy, refuse_kind
from conduit_core.errors import ConnectionFailedError, SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import whole


@dataclass(slots=True)
class Faults:
    """What goes wrong; shared by every source made from it, so that ``times`` counts over runs.

    Args:
        fail_at: the batch (from 0) in whose place an error comes.
        times: how often it comes; None: always.
        error: the error that is raised; a ``ConnectionFailedError`` (which may be retried) if None.
        stop_at: the batch before which the data silently ends, as from a source that lost rows.
        seconds_per_batch: how long each batch takes.
        stray: whether each split's read ends with a row that belongs to another split.
    """

    fail_at: int | None = None
    times: int | None = 1
    error: Exception | None = None
    stop_at: int | None = None
    seconds_per_batch: float = 0.0
    stray: bool = False
    happened: int = 0
    """How often ``fail_at`` has struck."""
    reads: list[tuple[str, Window]] = field(default_factory=list)
    """Every read that was opened: stream and window."""
    split_reads: Counter[str] = field(default_factory=Counter)
    """How often a read of each split was opened, by the split's id."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, request: ReadRequest) -> None:
        """Note a read.

        Args:
            request: what is read.
        """
        with self._lock:
            self.reads.append((str(request.ref), request.window))
            if request.split is not None:
                self.split_reads[request.split.id] += 1

    def strike(self, batch: int) -> None:
        """Raise if this batch is to fail now.

        Args:
            batch: its number, from 0.

        Raises:
            ConduitError: it is.
        """
        with self._lock:
            spent = self.times is not None and self.happened >= self.times
            if batch != self.fail_at or spent:
                return
            self.happened += 1
        raise self.error or ConnectionFailedError(
            f"batch {batch} fails on command", connector="faulty", retry="step"
        )


class FaultySource(Source):
    """Tables in memory, handed out in small batches, with faults.

    Args:
        tables: by the name that a stream's ``table:`` writes.
        faults: what goes wrong.
        batch_rows: rows of a batch.
    """

    system = "faulty"
    capabilities = SourceCapabilities(
        kinds=frozenset({"table"}), splits=frozenset({"range", "values"})
    )

    def __init__(
        self, tables: Mapping[str, pa.Table], faults: Faults | None = None, batch_rows: int = 10
    ) -> None:
        self._tables = tables
        self._faults = faults or Faults()
        self._batch_rows = batch_rows

    @property
    def identity(self) -> str:
        """Always the same."""
        return "faulty"

    def check(self) -> list[CheckItem]:
        """Find nothing wrong."""
        return [CheckItem("read", ok=True, detail=f"{len(self._tables)} tables in memory")]

    def discover(self) -> list[Relation]:
        """List the tables."""
        return [Relation(name, t.schema, t.num_rows) for name, t in self._tables.items()]

    def describe(self, ref: StreamRef) -> Shape:
        """Return the table's schema."""
        table = self._table(ref)
        chosen = self._select(table, ref.columns, ref)
        kinds = self._select(table, ref.cursor, ref).schema.types
        return Shape(chosen.schema, tuple(kinds), table.num_rows)

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Return the greatest cursor, at most the cap."""
        found: Cursor | None = None
        nulls = 0
        for cursor in self._cursors(ref):
            if cursor is None:
                nulls += 1
            elif cap is not None and _first(cursor).compare(_first(cap)) > 0:
                continue
            elif found is None or cursor.compare(found) > 0:
                found = cursor
        return Bounds(found, nulls, clock=datetime.now(UTC))

    def read(self, request: ReadRequest) -> Reading:
        """Hand out the window's rows, until a fault strikes."""
        ref, window = request.ref, request.window
        refuse_kind(
            request.split.kind if request.split else "whole", self.capabilities.splits, self.system
        )
        self._faults.opened(request)
        table = self._rows(ref, window)
        if request.split is not None and request.split.column is not None:
            mine = _in_split(table, request.split)
            strays = table.filter(pc.invert(mine)).slice(0, 1)
            table = table.filter(mine)
            if self._faults.stray:
                table = pa.concat_tables([table, strays])
        table = self._select(table, tuple(request.schema.names), ref)
        return Reading(pa.RecordBatchReader.from_batches(request.schema, self._batches(table)))

    def cut(
        self,
        ref: StreamRef,
        window: Window,
        kind: Literal["range", "file"],
        column: str | None,
        count: int,
    ) -> SplitBy:
        """Cut by quantiles."""
        refuse_kind(kind, self.capabilities.splits, self.system)
        table = self._select(self._rows(ref, window), (column or "",), ref)
        field, total = table.schema.field(0), table.num_rows
        there = table.column(0).drop_null()
        try:
            order = pc.sort_indices(there)
        except pa.ArrowException:
            raise SchemaError(f"column {column} ({field.type}) of {ref} has no order") from None
        values = [*[None] * (total - len(there)), *there.take(order)]
        firsts = [
            First(values[row], values[row - 1] if row else None)
            for row in range(total)
            if row * count % total < count
        ]
        return range_cuts(field.name, field.type, firsts)

    def _rows(self, ref: StreamRef, window: Window) -> pa.Table:
        table = self._table(ref)
        if ref.cursor:
            inside = [_inside(c, window) for c in self._cursors(ref)]
            table = table.filter(pa.array(inside, pa.bool_()))
        return table

    def _batches(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        for number, start in enumerate(range(0, max(table.num_rows, 1), self._batch_rows)):
            if number == self._faults.stop_at:
                return
            if self._faults.seconds_per_batch:
                time.sleep(self._faults.seconds_per_batch)
            self._faults.strike(number)
            yield from table.slice(start, self._batch_rows).combine_chunks().to_batches()

    def _table(self, ref: StreamRef) -> pa.Table:
        table = self._tables.get(ref.table or "")
        if table is None:
            raise SchemaError(f"no table {ref}; there are {', '.join(self._tables)}")
        return table

    def _select(self, table: pa.Table, columns: tuple[str, ...] | None, ref: StreamRef) -> pa.Table:
        for name in columns or ():
            if name not in table.schema.names:
                raise SchemaError(f"{ref} has no column {name}")
        return table if columns is None else table.select(list(columns))

    def _cursors(self, ref: StreamRef) -> Iterator[Cursor | None]:
        table = self._select(self._table(ref), ref.cursor, ref)
        for row in range(table.num_rows):
            values = tuple(column[row] for column in table.columns)
            there = all(value.is_valid for value in values)
            yield Cursor(ref.cursor, values) if there else None


def _first(cursor: Cursor) -> Cursor:
    return Cursor(cursor.columns[:1], cursor.values[:1])


def _inside(cursor: Cursor | None, window: Window) -> bool:
    if cursor is None:
        return window.null_cursor or (window.low is None and window.high is None)
    given = window.kind == "given"
    low = high = None
    if window.low is not None:
        shared = len(window.low.columns)
        low = Cursor(cursor.columns[:shared], cursor.values[:shared]).compare(window.low)
    if window.high is not None:
        shared = len(window.high.columns)
        high = Cursor(cursor.columns[:shared], cursor.values[:shared]).compare(window.high)
    above = low is None or low > 0 or (low == 0 and (given or window.closed_low))
    below = high is None or high < 0 or (high == 0 and not given)
    return above and below


def _in_split(table: pa.Table, split: Split) -> pa.BooleanArray:
    """Return which rows are in a split by a column; a NaN is above every number."""
    column: Any = whole(table.column(split.column or ""))
    takes_null = split.low is None if split.kind == "range" else split.value is None
    mask = pc.is_valid(column)
    if split.value is not None:
        mask = pc.equal(column, split.value)
    for other in split.others:
        mask = pc.and_(mask, pc.not_equal(column, other))
    if split.low is not None:
        mask = pc.and_(mask, pc.invert(pc.less(column, split.low)))
    if split.high is not None:
        mask = pc.and_(mask, pc.less(column, split.high))
    null = pa.repeat(pa.scalar(takes_null), len(column))
    return cast("pa.BooleanArray", pc.if_else(pc.is_null(column), null, mask))


class _NoOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")


def faulty_connector(
    tables: Mapping[str, pa.Table], faults: Faults | None = None, batch_rows: int = 10
) -> Connector:
    """Return a connector of type ``faulty`` over these tables, for ``registry.added``.

    Args:
        tables: by the name that a stream's ``table:`` writes.
        faults: what goes wrong; nothing by default.
        batch_rows: rows of a batch.
    """

    def make(options: BaseModel, context: Context) -> Source:
        return FaultySource(tables, faults, batch_rows)

    return Connector(name="faulty", options=_NoOptions, source=make, title="fails on command")
