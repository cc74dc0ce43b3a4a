"""How SQLite orders what it keeps as text: windows and bounds as SQL that means time, not spelling.

Time text comes in several forms (``T`` or space, any number of digits, offsets), so its spelling
doesn't sort like time does. An exact expression is dear, and hides the column from an index; its
date alone does sort. So a comparison is decided by the date, and exactly only near the bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa

from conduit_core.connectors.splits import Split
from conduit_core.connectors.sql.predicate import Predicate, split_predicate, window_predicate
from conduit_core.connectors.sqlite.types import SqliteDialect
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.types.schema import logical_type

_quote = SqliteDialect().quote


def order_expr(kind: pa.DataType, expr: str) -> str:
    """Return SQL that orders like the type does and compares with ``encoding.order_value``.

    NULL for NULL.
    """
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        rest = f"substr({expr}, 20)"
        offset = f"ltrim({rest}, '.0123456789')"
        fraction = f"substr({rest}, 1, length({rest}) - length({offset}))"
        seconds = f"strftime('%Y-%m-%d %H:%M:%S', substr({expr}, 1, 19) || {offset})"
        zeros = f"substr('.000000000', length({fraction}) + 1)"
        shifted = f"{seconds} || substr({fraction} || {zeros}, 1, 10)"
        plain = _padded(f"rtrim({expr}, 'Z')")
        return f"CASE WHEN substr({expr}, -1) = 'Z' THEN {plain} ELSE {shifted} END"
    if pa.types.is_timestamp(kind):
        return _padded(expr)
    if pa.types.is_time(kind):
        return f"substr({expr} || substr('00:00:00.000000000', length({expr}) + 1), 1, 18)"
    if pa.types.is_decimal(kind):
        return f"CAST({expr} AS REAL)"
    if pa.types.is_string(kind):
        return f"{expr} COLLATE BINARY"
    return expr


def _padded(expr: str) -> str:
    rest = f"substr('0001-01-01 00:00:00.000000000', length({expr}) + 1)"
    return f"substr(replace({expr}, 'T', ' ') || {rest}, 1, 29)"


def can_order(field: pa.Field[pa.DataType]) -> bool:
    """Say whether SQLite can order the column as its type does: no decimal of over 15 digits."""
    kind = field.type
    if pa.types.is_decimal(kind):
        return bool(kind.precision <= 15)
    return logical_type(field) not in {"json", "numeric"}


def predicate(window: Window, kinds: Mapping[str, pa.DataType]) -> Predicate:
    """Return the rows of a window over cursor columns of these types, in the cursor's order.

    Of one by value, too, whose column has the values' type.
    """
    columns = tuple(kinds)
    parts: list[str] = []
    values: list[pa.Scalar[pa.DataType]] = []
    for bound, is_low in ((window.low, True), (window.high, False)):
        if bound is None:
            continue
        low, high = (bound, None) if is_low else (None, bound)
        half = replace(window, low=low, high=high, null_cursor=False, only=None)
        exact = window_predicate(half, columns, _expr(kinds), lambda _n, _value: "?")
        parts.append(_by_date(bound, kinds, exact.sql, is_low=is_low))
        values.extend(exact.values)
    if window.only is not None:
        listed = Split("", "among", window.only.column, others=window.only.values)
        among = part(listed, window.only.type)
        parts.append(among.sql)
        values.extend(among.values)
    sql = " AND ".join(f"({p})" for p in parts)
    if window.null_cursor and sql:
        nulls = " OR ".join(f"{_quote(c)} IS NULL" for c in columns)
        sql = f"({sql}) OR {nulls}"
    return Predicate(sql, tuple(values))


def part(split: Split, kind: pa.DataType) -> Predicate:
    """Return the rows of a split by a column of this type."""
    column = split.column or ""
    if split.kind != "range":
        return split_predicate(split, _expr({column: kind}), lambda _n, _value: "?")
    low, high = (None if v is None else Cursor((column,), (v,)) for v in (split.low, split.high))
    inside = predicate(Window("given", low, high), {column: kind})
    if split.low is not None or not inside.sql:
        return inside
    return Predicate(f"({inside.sql}) OR {_quote(column)} IS NULL", inside.values)


def _expr(kinds: Mapping[str, pa.DataType]) -> Callable[[str], str]:
    return lambda name: order_expr(kinds[name], _quote(name))


def at_most(cap: Cursor, kinds: Mapping[str, pa.DataType]) -> Predicate:
    """Return the rows whose first cursor column is at most the cap's."""
    first = next(iter(kinds))
    window = Window("watermark", None, Cursor((first,), cap.values[:1]))
    return predicate(window, {first: kinds[first]})


def newest_days(kind: pa.DataType, newest_text: object) -> str | None:
    """Return the date from which on the newest time can be, by the greatest text; None: any."""
    if not pa.types.is_timestamp(kind) or not isinstance(newest_text, str):
        return None
    try:
        return _shift(date.fromisoformat(newest_text[:10]), -2 if kind.tz else 0)
    except ValueError:  # not a date: reading it says so
        return None


def _by_date(bound: Cursor, kinds: Mapping[str, pa.DataType], exact: str, *, is_low: bool) -> str:
    """Decide by the first column's date where that is enough, else by ``exact``.

    An offset shifts the written date by a day at most.
    """
    name, value = bound.columns[0], bound.values[0]
    if not pa.types.is_timestamp(kinds[name]):
        return exact
    naive = value.cast(pa.timestamp(value.type.unit)) if value.type.tz else value  # type: ignore[attr-defined]
    day = date.fromisoformat(str(naive.cast(pa.string()).as_py())[:10])
    around = 1 if kinds[name].tz else 0  # type: ignore[attr-defined]
    before, after = _shift(day, -around), _shift(day, around + 1)
    column = _quote(name)
    if is_low:
        return f"{column} >= '{before}' AND ({column} >= '{after}' OR ({exact}))"
    return f"{column} < '{after}' AND ({column} < '{before}' OR ({exact}))"


def _shift(day: date, days: int) -> str:
    """Return a date's text, some days off; beyond the calendar, text before or after all dates."""
    try:
        return (day + timedelta(days=days)).isoformat()
    except OverflowError:
        return "" if days < 0 else ":"
