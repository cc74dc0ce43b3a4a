"""Rows as JSON objects and back, exactly, for every Arrow type: how dead letters keep them.

Numbers and booleans are bare; texts, decimals' and moments' spellings, bytes (hexadecimal) and
what JSON has no number for (NaN, infinities) are JSON texts. A moment outside the years 1 to 9999
is its number of ticks. Encoding is vectorised; decoding goes row by row, through JSON's parser.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.errors import SchemaError
from conduit_core.types.texts import (
    Column,
    Texts,
    escaped,
    from_texts,
    is_bytes,
    is_text,
    joined,
    json_objects,
    json_texts,
    plain_texts,
    quoted,
)

_T = pa.types
_A = cast("Any", pa)  # its stubs know fewer forms of these constructors than it takes
_K = cast("Any", pc)
_TEXT = pa.large_string()
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_MS = 86_400_000


# --- to JSON --------------------------------------------------------------------------------------


def to_payloads(names: Sequence[str], columns: Sequence[Column]) -> Texts:
    """Return one JSON object for each row of the columns.

    Raises:
        SchemaError: there is no text for a column's type.
    """
    return json_objects(names, [json_values(c, n) for n, c in zip(names, columns, strict=True)])


def json_lists(names: Sequence[str], columns: Sequence[Column]) -> Texts:
    """Return one JSON list for each row of the columns."""
    values = [json_values(c, n) for n, c in zip(names, columns, strict=True)]
    return _bracketed(joined(*values, _text(",")))


def json_values(column: Column, name: str) -> Texts:
    """Return JSON values, NULL as ``null``.

    Raises:
        SchemaError: there is no text for the type.
    """
    kind = column.type
    if _T.is_dictionary(kind):
        return json_values(cast("Any", column).dictionary_decode(), name)
    if _T.is_null(kind):
        return cast("Texts", pa.repeat(_text("null"), len(column)))
    texts = _nested(column, name) if _T.is_nested(kind) else _flat(column, name)
    return cast("Texts", _K.fill_null(texts, _text("null")))


def _flat(column: Column, name: str) -> Texts:
    kind = column.type
    if _T.is_boolean(kind) or _T.is_integer(kind):
        return column.cast(_TEXT)
    if _T.is_floating(kind):
        texts = json_texts(column.cast(pa.float32()) if _T.is_float16(kind) else column, name)
        return cast("Texts", _K.if_else(_K.equal(texts, "-0"), _text("-0.0"), texts))
    if is_text(kind):
        return quoted(escaped(column.cast(_TEXT)))
    if _T.is_duration(kind):
        return column.cast(pa.int64()).cast(_TEXT)
    if _T.is_timestamp(kind) or _T.is_date(kind):
        return _moments(column, name)
    if _T.is_interval(kind):
        items = column.to_pylist()
        return pa.array([None if i is None else json.dumps(list(i)) for i in items], _TEXT)
    if _T.is_decimal(kind) or _T.is_time(kind) or is_bytes(kind):
        return quoted(plain_texts(column, name))
    raise SchemaError(
        f"column {name!r}: there is no text for the type {kind}, so no dead letter can hold it;"
        " leave it out by `columns:`, or cast it at the source",
        command="conduit discover",
    )


def _moments(column: Column, name: str) -> Texts:
    """Spell moments in ISO 8601, but those outside its years as their ticks."""
    kind = column.type
    number = pa.int32() if _T.is_date32(kind) else pa.int64()
    ticks = column.cast(number)
    if _T.is_timestamp(kind):
        each = _TICKS[kind.unit]
        low, high = _FIRST_SECOND * each, (_LAST_SECOND + 1) * each
    else:
        each = 86_400 if _T.is_date32(kind) else 1
        factor = 1 if _T.is_date32(kind) else 1000
        low, high = _FIRST_SECOND * factor // each, (_LAST_SECOND + 1) * factor // each
    low, high = max(low, -(2**63)), min(high, 2**63 - 1)
    plain = cast("Column", _K.and_(_K.greater_equal(ticks, low), _K.less(ticks, high)))
    if _T.is_date64(kind):  # its texts are of whole days
        whole = _K.equal(_K.multiply(_K.divide(ticks, _DAY_MS), _DAY_MS), ticks)
        plain = cast("Column", _K.and_(plain, whole))
    if _K.all(plain).as_py() is not False:
        return quoted(plain_texts(column, name))
    known = _K.if_else(plain, column, pa.scalar(None, kind))
    texts = quoted(plain_texts(cast("Column", known), name))
    return cast("Texts", _K.coalesce(texts, ticks.cast(_TEXT)))


def _nested(column: Column, name: str) -> Texts:
    kind = column.type
    if _T.is_struct(kind):
        parts = [json_values(p, name) for p in cast("pa.StructArray", column).flatten()]
        names = _members(kind)
        texts: Texts
        if not parts:
            texts = pa.repeat(_text("{}"), len(column))
        elif len(set(names)) == len(names):
            texts = json_objects(names, parts)
        else:
            texts = _bracketed(joined(*parts, _text(",")))
    elif _T.is_map(kind):
        return _nested(column.cast(_as_list(kind)), name)
    elif _is_list(kind):
        lists = cast("pa.ListArray[Any]", column)
        items = json_values(lists.flatten(), name)
        rows = pa.LargeListArray.from_arrays(_offsets(lists), cast("pa.LargeStringArray", items))
        texts = _bracketed(cast("Texts", _K.binary_join(rows, _text(","))))
    else:
        raise SchemaError(f"column {name!r}: no dead letter can hold the type {kind}")
    return cast("Texts", _K.if_else(_K.is_valid(column), texts, _text(None)))


def _offsets(lists: Column) -> pa.Int64Array:
    kind = lists.type
    if _T.is_fixed_size_list(kind):
        lengths = _K.if_else(_K.is_valid(lists), kind.list_size, 0)
    else:
        lengths = _K.fill_null(_K.list_value_length(lists), 0)
    ends = _K.cumulative_sum(lengths.cast(pa.int64()))
    return cast("pa.Int64Array", pa.concat_arrays([pa.array([0], pa.int64()), ends]))


def _is_list(kind: pa.DataType) -> bool:
    return _T.is_list(kind) or _T.is_large_list(kind) or _T.is_fixed_size_list(kind)


def _as_list(kind: pa.DataType) -> pa.DataType:
    """Return the list of pairs that a map is."""
    pair = cast("pa.MapType[Any, Any, Any]", kind)
    key = pa.field("key", pair.key_type, nullable=False)
    return pa.list_(
        pa.field("entries", pa.struct([key, ("value", pair.item_type)]), nullable=False)
    )


def _members(kind: pa.DataType) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


def _text(text: str | None) -> Any:
    return pa.scalar(text, _TEXT)


def _bracketed(texts: Texts) -> Texts:
    return joined(_text("["), texts, _text("]"), _text(""))


# --- back from JSON -------------------------------------------------------------------------------


def from_payloads(payloads: Iterable[str], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows of ``schema``; a column that a payload hasn't is NULL, others are left aside.

    Raises:
        SchemaError: a value doesn't fit its column; which one.
    """
    rows = [json.loads(text) for text in payloads]
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        try:
            arrays.append(_typed(values, field.type))
        except (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
            why = str(error).partition("\n")[0]
            raise SchemaError(
                f"a dead letter's {field.name!r} isn't a {field.type} any more: {why}",
                command="conduit dlq list",
            ) from error
    if not arrays:
        return pa.RecordBatch.from_struct_array(_A.array([{}] * len(rows), pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _typed(values: Sequence[Any], kind: pa.DataType) -> Column:
    if _T.is_dictionary(kind):
        made = _typed(values, kind.value_type).dictionary_encode()
        return made.cast(kind)
    if _T.is_null(kind):
        if any(v is not None for v in values):
            raise ValueError("a value where there can be none")
        return pa.nulls(len(values))
    return _typed_nested(values, kind) if _T.is_nested(kind) else _typed_flat(values, kind)


def _typed_flat(values: Sequence[Any], kind: pa.DataType) -> Column:
    if _T.is_boolean(kind) or _T.is_duration(kind):
        return pa.array([_exactly(v, bool if _T.is_boolean(kind) else int) for v in values], kind)
    if _T.is_interval(kind):
        return pa.array([None if v is None else _A.MonthDayNano(v) for v in values], kind)
    if _T.is_timestamp(kind) or _T.is_date(kind):
        ticks = [v if isinstance(v, int) else None for v in values]
        made = _parsed([v if isinstance(v, str) else None for v in values], kind)
        if all(v is None for v in ticks):
            return made
        number = pa.int32() if _T.is_date32(kind) else pa.int64()
        odd = pa.array(ticks, number)
        whole = _K.coalesce(made.view(number), odd)
        return cast("Column", whole.view(kind))
    return _parsed([None if v is None else _text_of(v) for v in values], kind)


def _parsed(texts: list[str | None], kind: pa.DataType) -> Column:
    if _T.is_timestamp(kind):
        texts = [_no_finer(t, kind) for t in texts]
    return from_texts(pa.array(texts, _TEXT), kind)


def _no_finer(text: str | None, kind: pa.TimestampType[Any, Any]) -> str | None:
    """Leave out a fraction's noughts below the type's unit, and add those that it lacks."""
    if text is None:
        return None
    zone = "Z" if text.endswith("Z") else ""
    if bool(zone) != (kind.tz is not None):
        raise ValueError(f"{text!r} for a {kind}")
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[kind.unit]
    whole, _, fraction = text.removesuffix("Z").partition(".")
    fraction = fraction.rstrip("0").ljust(digits, "0")
    if "T" not in whole:
        whole = f"{whole}T00:00:00"
    return f"{whole}.{fraction}{zone}" if fraction else f"{whole}{zone}"


def _exactly(value: object, kind: type) -> object:
    if value is not None and type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _text_of(value: object) -> str:
    """Return the plain text of a JSON value, as ``from_texts`` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _typed_nested(values: Sequence[Any], kind: pa.DataType) -> Column:
    mask = pa.array([v is None for v in values], pa.bool_())
    if _T.is_struct(kind):
        return _struct(values, kind, mask)
    if _T.is_map(kind):
        pairs = [None if v is None else [(p["key"], p["value"]) for p in v] for v in values]
        keys = _typed([k for row in pairs for k, _ in row or ()], kind.key_type)
        items = _typed([i for row in pairs for _, i in row or ()], kind.item_type)
        return cast("Column", _A.MapArray.from_arrays(_starts(pairs), keys, items, type=kind))
    if _T.is_fixed_size_list(kind):
        blank = [None] * kind.list_size
        if any(v is not None and len(v) != kind.list_size for v in values):
            raise ValueError(f"not {kind.list_size} items")
        flat = _typed([i for v in values for i in (blank if v is None else v)], kind.value_type)
        return cast("Column", _A.FixedSizeListArray.from_arrays(flat, type=kind, mask=mask))
    if not _is_list(kind):
        raise ValueError("no payload holds this type")
    flat = _typed([i for v in values for i in v or ()], cast("Any", kind).value_type)
    make = _A.LargeListArray if _T.is_large_list(kind) else _A.ListArray
    number = pa.int64() if _T.is_large_list(kind) else pa.int32()
    return cast("Column", make.from_arrays(_starts(values).cast(number), flat, type=kind))


def _starts(values: Sequence[Sequence[Any] | None]) -> Column:
    """Return where each list begins, and the last one ends; NULL where there is none."""
    ends = list(itertools.accumulate((len(v or ()) for v in values), initial=0))
    starts: list[int | None] = [
        None if v is None else s for v, s in zip(values, ends[:-1], strict=True)
    ]
    return pa.array([*starts, ends[-1]], pa.int32())


def _struct(values: Sequence[Any], kind: pa.DataType, mask: Column) -> Column:
    fields = [kind.field(i) for i in range(kind.num_fields)]
    names = _members(kind)
    if len(set(names)) == len(names):
        columns = [[None if v is None else v.get(n) for v in values] for n in names]
    else:
        columns = [[None if v is None else v[i] for v in values] for i in range(len(names))]
    if not fields:
        return pa.array([None if v is None else {} for v in values], kind)
    arrays = [_typed(c, f.type) for c, f in zip(columns, fields, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=cast("pa.BooleanArray", mask))
