"""Windows on record batches: which rows are in, where the last row is. Vectorised, pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.arrow import Column, Value
from conduit_core.errors import StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

_Compare: TypeAlias = Callable[[Column, Value], pa.BooleanArray]


def orderable(kind: pa.DataType) -> bool:
    """Say whether a column of this type can be a cursor."""
    t = pa.types
    return bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_date(kind)
        or t.is_timestamp(kind) or t.is_time(kind) or t.is_string(kind) or t.is_large_string(kind)
        or t.is_binary(kind) or t.is_large_binary(kind)
    )  # fmt: skip


def present(columns: Sequence[Column]) -> pa.BooleanArray:
    """Return which rows have a value (not NULL, not NaN) in every column."""
    mask: pa.BooleanArray | None = None
    for column in columns:
        one = pc.invert(pc.is_null(column, nan_is_null=True))
        mask = one if mask is None else pc.and_(mask, one)
    assert mask is not None  # noqa: S101 - a cursor has a column
    return mask


def after(columns: Sequence[Column], low: Cursor, *, closed: bool = False) -> pa.BooleanArray:
    """Return which rows lie behind ``low`` (or at it), by as many columns as ``low`` has."""
    return _lexicographic(columns, low, pc.greater, pc.greater_equal if closed else pc.greater)


def up_to(columns: Sequence[Column], high: Cursor) -> pa.BooleanArray:
    """Return which rows lie at or before ``high``, lexicographically."""
    return _lexicographic(columns, high, pc.less, pc.less_equal)


def _lexicographic(
    columns: Sequence[Column], bound: Cursor, strict: _Compare, last: _Compare
) -> pa.BooleanArray:
    pairs = list(zip(columns, bound.values, strict=False))
    mask: pa.BooleanArray | None = None
    for column, value in reversed(pairs):
        if mask is None:
            mask = _compare(last, column, value)
        else:
            equal = pc.and_(_compare(pc.equal, column, value), mask)
            mask = pc.or_(_compare(strict, column, value), equal)
    assert mask is not None  # noqa: S101 - a cursor has a column
    return mask


def _compare(how: _Compare, column: Column, value: Value) -> pa.BooleanArray:
    try:
        return how(column, value)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        raise StateError(
            f"a cursor of type {value.type} can't be compared with a column of type {column.type}",
            command="conduit state show",
        ) from error


def needed(window: Window, cursor: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that selecting the window's rows needs; none: every row is in."""
    by_value = (window.only.column,) if window.only is not None else ()
    return tuple(dict.fromkeys((*_bounded(window, cursor), *by_value)))


def _bounded(window: Window, cursor: tuple[str, ...]) -> tuple[str, ...]:
    """Return the cursor columns that the window's bounds need."""
    if window.low is None and window.high is None:
        return ()
    return cursor[:1] if window.kind == "given" and not window.null_cursor else cursor


def inside(batch: pa.RecordBatch, window: Window, cursor: tuple[str, ...]) -> pa.RecordBatch:
    """Return the batch's rows that are in the window."""
    if window.only is not None:
        chosen = window.only.holds(batch.column(window.only.column))
        batch = batch if chosen.true_count == len(chosen) else batch.filter(chosen)
    names = _bounded(window, cursor)
    if not names:
        return batch
    columns = [batch.column(name) for name in names]
    valid = present(columns)
    mask = valid
    if window.kind == "given":
        if window.low is not None:
            mask = pc.and_(mask, _compare(pc.greater_equal, columns[0], window.low.values[0]))
        if window.high is not None:
            mask = pc.and_(mask, _compare(pc.less, columns[0], window.high.values[0]))
    else:
        if window.low is not None:
            mask = pc.and_(mask, after(columns, window.low, closed=window.closed_low))
        if window.high is not None:
            mask = pc.and_(mask, up_to(columns, window.high))
    mask = _no_nulls(mask)
    if window.null_cursor:
        mask = pc.or_(mask, pc.invert(valid))
    if mask.true_count == len(mask):
        return batch
    return batch.filter(mask)


def _no_nulls(mask: pa.BooleanArray) -> pa.BooleanArray:
    return cast("pa.BooleanArray", pc.fill_null(mask, pa.scalar(False)))  # noqa: FBT003


class Last:
    """The last row's cursor at or below a cap, NULLs and rows behind ``low`` counted on the way."""

    def __init__(self, cursor: tuple[str, ...], low: Cursor | None, cap: Cursor | None) -> None:
        self._cursor, self._low, self._cap = cursor, low, cap
        self.high: Cursor | None = None
        self.null_rows = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at one batch (it holds the cursor columns)."""
        columns = [batch.column(name) for name in self._cursor]
        valid = present(columns)
        self.null_rows += len(valid) - valid.true_count
        if self._cap is not None:
            fits = _compare(pc.less_equal, columns[0], self._cap.values[0])
            valid = pc.and_(valid, _no_nulls(fits))
        if valid.true_count < len(valid):
            columns = [column.filter(valid) for column in columns]
        if len(columns[0]) == 0:
            return
        self.rows += (
            after(columns, self._low).true_count if self._low is not None else len(columns[0])
        )
        values: list[Value] = []
        for position in range(len(columns)):
            value = pc.max(columns[position])
            values.append(value)
            if position < len(columns) - 1:
                equal = pc.equal(columns[position], value)
                columns = [column.filter(equal) for column in columns]
        found = Cursor(self._cursor, tuple(values))
        if self.high is None or found.compare(self.high) > 0:
            self.high = found
