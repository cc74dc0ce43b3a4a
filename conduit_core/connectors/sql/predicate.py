"""Windows and splits as SQL: predicates with bound values, and where a window is to be cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conduit_core.connectors.splits import Split
from conduit_core.errors import ConfigError
from conduit_core.state.cursor import Cursor
from conduit_core.state.only import Only
from conduit_core.state.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

Quote = Callable[[str], str]
Exact = Callable[[str], tuple[str, ...]]
Param = Callable[[int, "pa.Scalar[pa.DataType]"], str]
Bucket = Callable[[str, int], str]


@dataclass(frozen=True, slots=True)
class Predicate:
    """A WHERE clause's text (no ``WHERE``; empty: all rows) and its values in order."""

    sql: str
    values: tuple[pa.Scalar[pa.DataType], ...]


def window_predicate(
    window: Window,
    columns: tuple[str, ...],
    quote: Quote,
    param: Param,
    exact: Exact | None = None,
) -> Predicate:
    """Return the rows of a window.

    Args:
        window: the window; a given one compares the first column, ``[low, high)``.
        columns: the stream's cursor columns.
        quote: quotes an identifier.
        param: the placeholder of the n-th value (from 1), which may cast it to the column's type.
        exact: how a column is written where equal means the same bytes, and before that, for an
            index, as it is; windows by value need it.
    """
    parts: list[str] = []
    values: list[pa.Scalar[pa.DataType]] = []

    def bind(value: pa.Scalar[pa.DataType]) -> str:
        values.append(value)
        return param(len(values), value)

    if window.kind == "given":
        if window.low is not None:
            parts.append(f"{quote(columns[0])} >= {bind(window.low.values[0])}")
        if window.high is not None:
            parts.append(f"{quote(columns[0])} < {bind(window.high.values[0])}")
        if window.only is not None:
            parts += _among(window.only, exact, bind)
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


def _among(
    only: Only, exact: Exact | None, bind: Callable[[pa.Scalar[pa.DataType]], str]
) -> Iterator[str]:
    """Yield what holds of the rows that have one of the values."""
    if exact is None:
        raise TypeError("a window by value needs a way to compare exactly")
    for column in exact(only.column):
        yield f"{column} IN ({', '.join(bind(value) for value in only.values)})"


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


def split_predicate(
    split: Split | None, quote: Quote, param: Param, bucket: Bucket | None = None
) -> Predicate:
    """Return the rows of a split, among all rows: NULLs are in the first range, and in the rest.

    Args:
        split: the split; None and ``whole``: all rows.
        quote: how the split column is written where it is compared (texts: byte by byte).
        param: as for :func:`window_predicate`; positions begin at 1 again.
        bucket: SQL of the number, from 0, of a column's bucket among so many, where there is one.

    Raises:
        ConfigError: the system splits by no such thing.
    """
    if split is None or split.kind == "whole":
        return Predicate("", ())
    column = quote(split.column or "")
    values: list[pa.Scalar[pa.DataType]] = []

    def bind(value: pa.Scalar[pa.DataType]) -> str:
        values.append(value)
        return param(len(values), value)

    if split.kind == "range":
        parts = []
        if split.low is not None:
            parts.append(f"{column} >= {bind(split.low)}")
        if split.high is not None:
            parts.append(f"{column} < {bind(split.high)}")
        sql = " AND ".join(parts)
        if split.low is None and sql:
            sql = f"({sql} OR {column} IS NULL)"
    elif split.kind == "values" and split.value is not None:
        sql = f"{column} = {bind(split.value)}"
    elif split.kind in ("values", "among"):
        listed = ", ".join(bind(other) for other in split.others)
        outside = f"({column} IS NULL OR {column} NOT IN ({listed}))"
        sql = outside if split.kind == "values" else f"{column} IN ({listed})"
    elif split.kind == "hash" and bucket is not None:
        sql = f"{bucket(column, split.buckets)} = {split.bucket}"
    else:
        raise ConfigError(f"the source can't be split by {split.kind}", command="conduit plan")
    return Predicate(sql, tuple(values))


def both(one: Predicate, other: Predicate) -> Predicate:
    """Return the rows of both; placeholders count on."""
    parts = [f"({p.sql})" for p in (one, other) if p.sql]
    return Predicate(" AND ".join(parts), (*one.values, *other.values))


def firsts_query(column: str, order: str, relation: str, where: str, count: int) -> str:
    """Return the query for the first row of each of ``count`` parts of about as many rows.

    Its columns are ``value``, ``before`` (the row before's), ``place`` (by which they come in
    order; NULLs first) and ``total``, the rows there are.

    Args:
        column: the column.
        order: how it is written where it is compared.
        relation: a FROM item.
        where: which rows; empty: all.
        count: the number of parts.
    """
    filtered = f" WHERE {where}" if where else ""
    return (
        f"SELECT value, before, place, total FROM (SELECT {column} AS value, lag({column}) OVER w"
        " AS before, row_number() OVER w - 1 AS place, count(*) OVER () AS total"
        f" FROM {relation}{filtered} WINDOW w AS (ORDER BY {order} NULLS FIRST)) AS parts"
        f" WHERE (place * {count:d}) % total < {count:d} ORDER BY place"
    )
