"""Which source column may go into which target column, and the cast that loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, time
from typing import Any, TypeGuard, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.errors import SchemaError

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)
_BINARIES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def _any(kind: pa.DataType, tests: tuple[object, ...]) -> bool:
    return any(test(kind) for test in tests if callable(test))


def can_hold(source: pa.DataType, target: pa.DataType) -> bool:
    """Say whether values of ``source`` may be cast to ``target``.

    True also where single values may not fit (int64 into int32, a finer timestamp into a coarser
    one): the cast checks each and fails on the first that would lose something.
    """
    if source == target or pa.types.is_null(source):
        return True
    if pa.types.is_dictionary(source):
        return can_hold(source.value_type, target)
    if isinstance(source, _LISTS) and isinstance(target, _LISTS):
        return can_hold(source.value_type, target.value_type)
    return any(takes(source, target) for takes in _ALLOWED)


def _numbers(source: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_integer(source):
        return (
            pa.types.is_integer(target)
            or pa.types.is_decimal(target)
            or pa.types.is_floating(target)
        )
    if pa.types.is_floating(source) and pa.types.is_floating(target):
        return target.bit_width >= source.bit_width
    return pa.types.is_decimal(source) and pa.types.is_decimal(target)


def _times(source: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_timestamp(source) and pa.types.is_timestamp(target):
        return (source.tz is None) == (target.tz is None)
    if pa.types.is_date(source):
        naive = pa.types.is_timestamp(target) and target.tz is None
        return pa.types.is_date(target) or naive
    return pa.types.is_time(source) and pa.types.is_time(target)


def _texts(source: pa.DataType, target: pa.DataType) -> bool:
    exact_as_text = (
        *_TEXTS,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_nested,
    )
    return _any(target, _TEXTS) and _any(source, exact_as_text)


def _bytes(source: pa.DataType, target: pa.DataType) -> bool:
    return _any(source, _BINARIES) and _any(target, _BINARIES)


_ALLOWED: tuple[Callable[[pa.DataType, pa.DataType], bool], ...] = (
    _numbers,
    _times,
    _texts,
    _bytes,
)


def cast_column(
    column: pa.Array[pa.Scalar[pa.DataType]], target: pa.DataType, name: str
) -> pa.Array[pa.Scalar[pa.DataType]]:
    """Cast a column, exactly. Lists, structs and maps become JSON where the target is text.

    Raises:
        SchemaError: a value doesn't fit; the message names the column and both types.
    """
    if column.type == target:
        return column
    source = column.type
    try:
        if pa.types.is_nested(column.type) and _any(target, _TEXTS):
            rows = cast("pa.Array[Any]", column).to_pylist(maps_as_pydicts="strict")
            return pa.array([_json(row) for row in rows], target)
        if pa.types.is_integer(column.type) and pa.types.is_decimal(target):
            # Arrow wants room for the widest integer; what counts is whether these values fit.
            column = pc.cast(column, pa.decimal256(20 + max(target.scale, 0), target.scale))
        if _is_small_decimal(target) and pa.types.is_decimal(column.type):
            # Arrow cuts the digits off unseen on the way into 32 or 64 bits: check in 128 first.
            wide = pa.decimal256 if pa.types.is_decimal256(column.type) else pa.decimal128
            column = pc.cast(column, wide(target.precision, target.scale), safe=True)
        return pc.cast(column, target, safe=True)
    except (ValueError, KeyError, pa.ArrowNotImplementedError) as error:
        raise SchemaError(
            f"column {name!r}: a value of type {source} does not fit the target's {target}:"
            f" {error}",
            command="conduit plan",
        ) from error


def _is_small_decimal(kind: pa.DataType) -> TypeGuard[pa.Decimal32Type | pa.Decimal64Type]:
    return isinstance(kind, pa.Decimal32Type | pa.Decimal64Type)


def _json(value: object) -> str | None:
    """Return nested data as JSON text; Arrow has no kernel for it, so this is row by row."""
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_json_scalar)


def _json_scalar(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | time) else str(value)
