"""How a person is asked for a cursor's value: its columns in order, and an example to copy."""

from __future__ import annotations

import pyarrow as pa

_DATE = "2024-02-01"
_TIME = f"{_DATE}T00:00:00"


def example(kinds: tuple[pa.DataType, ...]) -> str:
    """Return a value of cursor columns as ``conduit state set --cursor`` takes it.

    Args:
        kinds: the columns' types, in the cursor's order.

    Examples:
        >>> example((pa.timestamp("us", "UTC"), pa.int64()))
        '2024-02-01T00:00:00Z,42'
    """
    return ",".join(_example(kind) for kind in kinds)


def such_as(columns: tuple[str, ...], kinds: tuple[pa.DataType, ...]) -> str:
    """Return what a value of the cursor is: its columns in order, and an example.

    Args:
        columns: the cursor's columns.
        kinds: their types.

    Examples:
        >>> such_as(("id",), (pa.int64(),))
        'a value of id, such as 42'
    """
    if len(columns) == 1:
        return f"a value of {columns[0]}, such as {example(kinds)}"
    return f"values of {', '.join(columns)}, in this order, such as {example(kinds)}"


def placeholder(columns: tuple[str, ...]) -> str:
    """Return what stands for the value in a command: never one that could be pasted by mistake."""
    return ",".join("VALUE" for _ in columns)


def _example(kind: pa.DataType) -> str:
    t = pa.types
    if t.is_timestamp(kind):
        return f"{_TIME}Z" if kind.tz else _TIME
    if t.is_date(kind):
        return _DATE
    if t.is_time(kind):
        return "00:00:00"
    if t.is_integer(kind) or t.is_decimal(kind) or t.is_floating(kind):
        return "42"
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        return "00ff"
    return "abc"
