"""Windows as SQL: predicates with bound values, lexicographic over the cursor columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

Quote = Callable[[str], str]
Param = Callable[[int, "pa.Scalar[pa.DataType]"], str]


@dataclass(frozen=True, slots=True)
class Predicate:
    """A WHERE clause's text (no ``WHERE``; empty: all rows) and its values in order."""

    sql: str
    values: tuple[pa.Scalar[pa.DataType], ...]


def window_predicate(
    window: Window, columns: tuple[str, ...], quote: Quote, param: Param
) -> Predicate:
    """Return the rows of a window.

    Args:
        window: the window; a given one compares the first column, ``[low, high)``.
        columns: the stream's cursor columns.
        quote: quotes an identifier.
        param: the placeholder of the n-th value (from 1), which may cast it to the column's type.
    """
    parts: list[str] = []
    values: list[pa.Scalar[pa.DataType]] = []

    def bind(value: pa.Scalar[pa.DataType]) -> str:
        values.append(value)
        return param(len(values), value)

    if window.kind == "given":
        first = quote(columns[0])
        if window.low is not None:
            parts.append(f"{first} >= {bind(window.low.values[0])}")
        if window.high is not None:
            parts.append(f"{first} < {bind(window.high.values[0])}")
    else:
        if window.low is not None:
            last = ">=" if window.closed_low else ">"
            parts.append(_lexicographic(window.low, ">", last, quote, bind))
        if window.high is not None:
            parts.append(_lexicographic(window.high, "<", "<=", quote, bind))
    sql = " AND ".join(parts)
    if window.null_cursor and sql:
        nulls = " OR ".join(f"{quote(c)} IS NULL" for c in columns)
        sql = f"({sql}) OR {nulls}"
    return Predicate(sql, tuple(values))


def _lexicographic(
    bound: Cursor,
    strict: str,
    last: str,
    quote: Quote,
    bind: Callable[[pa.Scalar[pa.DataType]], str],
) -> str:
    """Spell ``(a, b) > (x, y)`` as ``a >= x AND (a > x OR (a = x AND (b > y)))``.

    Row values don't compare the same everywhere and hide the first column from an index; this form
    doesn't. ``last`` is the operator of the last column.
    """
    columns, values = bound.columns, bound.values
    if len(columns) == 1:
        return f"{quote(columns[0])} {last} {bind(values[0])}"
    head = f"{quote(columns[0])} {strict}= {bind(values[0])}"

    def tail(i: int) -> str:
        column = quote(columns[i])
        if i == len(columns) - 1:
            return f"{column} {last} {bind(values[i])}"
        greater = f"{column} {strict} {bind(values[i])}"
        return f"({greater} OR ({column} = {bind(values[i])} AND {tail(i + 1)}))"

    return f"({head} AND {tail(0)})"
