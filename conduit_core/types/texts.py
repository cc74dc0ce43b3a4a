"""Columns as texts and back, vectorised and exact: what CSV, JSON and payloads are written with.

Numbers and booleans are spelled plainly, moments in ISO 8601 (``2024-02-29T12:00:00.000000Z``),
bytes in hexadecimal. Pure: knows no files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Landing
from conduit_core.types.schema import logical_type

Column: TypeAlias = "pa.Array[Any]"
Texts: TypeAlias = "pa.Array[Any]"
"""An array of ``large_string``."""

joined = cast("Callable[..., Texts]", pc.binary_join_element_wise)
"""Joins texts row by row; the last argument stands between them."""
_T = pa.types
_TEXT = pa.large_string()
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_ESCAPES = {
    "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r",
    **{chr(n): f"\\u{n:04x}" for n in range(32) if chr(n) not in "\b\t\n\f\r"},
}  # fmt: skip
_CONTROLS = "[\\x00-\\x1f]"


def text_landing(field: pa.Field[pa.DataType], *, json: bool) -> Landing:
    """Return where a column lands in a text format, with what a reader of the text loses.

    Raises:
        SchemaError: there is no text for its type.
    """
    if logical_type(field) == "numeric":
        return Landing("string", pa.string(), "numbers of any precision are kept as text")
    kind, loss = _land(field.type, field.name, json=json)
    return Landing(str(kind), kind, loss)


def _land(kind: pa.DataType, name: str, *, json: bool) -> tuple[pa.DataType, str | None]:
    if _T.is_dictionary(kind):
        return _land(kind.value_type, name, json=json)
    if _T.is_null(kind) or is_text(kind):
        return pa.string(), None
    if _T.is_boolean(kind) or _T.is_integer(kind) or _T.is_time(kind):
        return kind, None
    if _T.is_floating(kind) or _T.is_decimal(kind):
        return _land_number(kind, json=json)
    if is_bytes(kind):
        return pa.binary(), "bytes are written in hexadecimal"
    if _T.is_nested(kind) and not _T.is_union(kind):
        native = _native(kind) if json else None
        if native is None:
            return pa.string(), "lists and structs are kept as JSON text"
        return native, None if native == kind else f"{kind} is written as {native}"
    return _land_moment(kind, name)


def _land_number(kind: pa.DataType, *, json: bool) -> tuple[pa.DataType, str | None]:
    if _T.is_floating(kind):
        wide = pa.float32() if _T.is_float16(kind) else kind
        return wide, 'NaN and infinities are the texts "NaN", "Infinity"' if json else None
    loss = "a reader that takes JSON's numbers for doubles rounds it" if json else None
    return _land_decimal(cast("pa.Decimal128Type", kind)), loss


def _land_moment(kind: pa.DataType, name: str) -> tuple[pa.DataType, str | None]:
    if _T.is_date(kind):
        return pa.date32(), None
    if _T.is_timestamp(kind):
        return _land_timestamp(kind)
    if _T.is_duration(kind):
        return pa.int64(), f"a duration is kept as its number of {kind.unit}"
    raise SchemaError(
        f"column {name!r}: there is no text for the type {kind}; leave it out by `columns:`, or"
        " cast it at the source",
        command="conduit discover",
    )


def _land_decimal(kind: pa.Decimal128Type) -> pa.DataType:
    precision, scale = kind.precision, kind.scale
    if scale < 0:
        precision, scale = precision - scale, 0
    make = pa.decimal128 if precision <= 38 else pa.decimal256
    return make(precision, scale)


def _land_timestamp(kind: pa.TimestampType) -> tuple[pa.DataType, str | None]:
    zone: str | None = kind.tz
    if zone is None:
        return kind, None
    known = zone in ("UTC", "Etc/UTC", "+00:00")
    loss = None if known else f"the zone's name {zone}: instants are kept, in UTC"
    return pa.timestamp(kind.unit, tz="UTC"), loss


def _native(kind: pa.DataType) -> pa.DataType | None:
    """Return the type whose values JSON can hold as they are, None where it can't."""
    if _T.is_fixed_size_list(kind) or _T.is_list(kind) or _T.is_large_list(kind):
        item = _native(kind.value_type)
        return None if item is None else pa.list_(item)
    if _T.is_struct(kind):
        members = [
            (kind.field(i).name, _native(kind.field(i).type)) for i in range(kind.num_fields)
        ]
        if not members or any(t is None for _, t in members):
            return None
        if len({name for name, _ in members}) < len(members):
            return None
        return pa.struct([(name, t) for name, t in members if t is not None])
    if _T.is_boolean(kind) or _T.is_integer(kind) or is_text(kind):
        return pa.string() if is_text(kind) else kind
    if _T.is_floating(kind):
        return pa.float32() if _T.is_float16(kind) else kind
    return None


def is_text(kind: pa.DataType) -> bool:
    """Say whether the type is one of texts."""
    return _T.is_string(kind) or _T.is_large_string(kind) or _T.is_string_view(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Say whether the type is one of bytes."""
    return any(
        test(kind)
        for test in (
            _T.is_binary, _T.is_large_binary, _T.is_fixed_size_binary, _T.is_binary_view
        )
    )  # fmt: skip


# --- to text --------------------------------------------------------------------------------------


def csv_texts(column: Column, name: str) -> Texts:
    """Return CSV fields: texts and bytes in quotes, all else bare, NULL as NULL.

    Raises:
        SchemaError: a moment is before the year 1 or after 9999.
    """
    texts = plain_texts(column, name)
    if is_text(column.type):
        return quoted(pc.replace_substring(texts, '"', '""'))
    return quoted(texts) if is_bytes(column.type) else texts


def json_texts(column: Column, name: str) -> Texts:
    """Return JSON values, NULL as ``null``.

    Raises:
        SchemaError: a moment is before the year 1 or after 9999.
    """
    kind = column.type
    if _T.is_list(kind):
        texts = _json_list(column, name)
    elif _T.is_struct(kind):
        parts = cast("pa.StructArray", column).flatten()
        names = [kind.field(i).name for i in range(kind.num_fields)]
        texts = json_objects(names, [json_texts(p, name) for p in parts])
        texts = pc.if_else(pc.is_valid(column), texts, pa.scalar(None, _TEXT))
    elif is_text(kind):
        texts = quoted(escaped(plain_texts(column, name)))
    elif _T.is_temporal(kind) or is_bytes(kind):
        texts = quoted(plain_texts(column, name))
    else:
        texts = plain_texts(column, name)
        if _T.is_floating(kind):
            texts = _special_floats(column, texts)
    return cast("Texts", pc.fill_null(texts, pa.scalar("null", _TEXT)))


def json_objects(names: Sequence[str], columns: Sequence[Texts], end: str = "}") -> Texts:
    """Return one JSON object for each row of columns of JSON values."""
    import json

    parts: list[Any] = []
    for position, (name, texts) in enumerate(zip(names, columns, strict=True)):
        lead = "," if position else "{"
        parts += [pa.scalar(f"{lead}{json.dumps(name, ensure_ascii=False)}:", _TEXT), texts]
    return joined(*parts, pa.scalar(end, _TEXT), pa.scalar("", _TEXT))


def plain_texts(column: Column, name: str) -> Texts:
    """Return each value's text without any quotes; NULL stays NULL.

    Raises:
        SchemaError: a moment is before the year 1 or after 9999.
    """
    kind = column.type
    if is_bytes(kind):
        return _hex(column)
    if _T.is_timestamp(kind):
        ticks = _TICKS[kind.unit]
        _check_years(column, pa.int64(), _FIRST_SECOND * ticks, (_LAST_SECOND + 1) * ticks, name)
        texts = column.cast(pa.timestamp(kind.unit)).cast(pa.string())
        texts = pc.replace_substring(texts, " ", "T")
        if kind.tz is not None:
            texts = joined(texts, "Z", "")
        return texts.cast(_TEXT)
    if _T.is_date(kind):
        _check_years(column.cast(pa.date32()), pa.int32(), _FIRST_DAY, _LAST_DAY + 1, name)
    return column.cast(pa.string()).cast(_TEXT) if not is_text(kind) else column.cast(_TEXT)


def _check_years(column: Column, number: pa.DataType, low: int, high: int, name: str) -> None:
    found = pc.min_max(column.cast(number))
    least, most = found["min"].as_py(), found["max"].as_py()
    if least is not None and (least < low or most >= high):
        raise SchemaError(
            f"column {name!r}: a moment before the year 1 or after 9999, which has no ISO text;"
            " write Parquet, or leave it out at the source"
        )


def quoted(texts: Texts) -> Texts:
    """Put texts in quotes."""
    quote = pa.scalar('"', _TEXT)
    return joined(quote, texts, quote, pa.scalar("", _TEXT))


def escaped(texts: Texts) -> Texts:
    """Escape what a JSON text can't hold."""
    texts = pc.replace_substring(texts, "\\", "\\\\")
    texts = pc.replace_substring(texts, '"', '\\"')
    if pc.any(pc.match_substring_regex(texts, _CONTROLS)).as_py():
        for char, spelled in _ESCAPES.items():
            texts = pc.replace_substring(texts, char, spelled)
    return texts


def _special_floats(column: Column, texts: Texts) -> Texts:
    finite = pc.is_finite(column)
    if pc.all(finite).as_py() is not False:  # None: no value at all
        return texts
    texts = pc.if_else(pc.is_nan(column), pa.scalar('"NaN"', _TEXT), texts)
    endless = pc.if_else(
        pc.greater(column, pa.scalar(0, column.type)),
        pa.scalar('"Infinity"', _TEXT),
        pa.scalar('"-Infinity"', _TEXT),
    )
    return cast("Texts", pc.if_else(pc.is_inf(column), endless, texts))


def _json_list(column: Column, name: str) -> Texts:
    lists = cast("pa.ListArray[Any]", column)
    offsets = cast("pa.Int64Array", lists.offsets.cast(pa.int64()))
    rows = pa.LargeListArray.from_arrays(
        offsets, cast("pa.LargeStringArray", json_texts(lists.values, name))
    )
    items = cast("Texts", pc.binary_join(rows, pa.scalar(",", _TEXT)))
    texts = joined(pa.scalar("[", _TEXT), items, pa.scalar("]", _TEXT), pa.scalar("", _TEXT))
    return cast("Texts", pc.if_else(pc.is_valid(column), texts, pa.scalar(None, _TEXT)))


def _hex(column: Column) -> Texts:
    """Spell bytes in hexadecimal: one call for the whole buffer, and offsets twice as far."""
    flat = column.cast(pa.large_binary())
    offsets = _offsets(flat)
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    data = flat.buffers()[2]
    digits = b"" if data is None else data.slice(first, last - first).to_pybytes().hex().encode()
    places = pc.multiply(pc.subtract(offsets, first), 2)
    texts = pa.LargeStringArray.from_buffers(len(flat), places.buffers()[1], pa.py_buffer(digits))
    return cast("Texts", pc.if_else(pc.is_valid(flat), texts, pa.scalar(None, _TEXT)))


def _offsets(flat: Column) -> Column:
    return pa.Array.from_buffers(
        pa.int64(), len(flat) + 1, [None, flat.buffers()[1]], offset=flat.offset
    )


# --- back from text -------------------------------------------------------------------------------


def from_texts(texts: Column, kind: pa.DataType) -> Column:
    """Return the values of type ``kind`` whose plain texts these are; NULL stays NULL."""
    if is_text(kind):
        return texts.cast(kind)
    if is_bytes(kind):
        return _unhex(texts.cast(_TEXT)).cast(kind)
    if _T.is_time(kind):
        moments = joined("1970-01-01T", texts.cast(pa.string()), "")
        return moments.cast(pa.timestamp(kind.unit)).cast(kind)
    if _T.is_timestamp(kind) and kind.unit == "ns":
        return _nanoseconds(texts.cast(pa.string())).cast(kind)
    return texts.cast(pa.string()).cast(kind)


def _nanoseconds(texts: Column) -> Column:
    """Read moments by their microseconds and the rest: Arrow's own parser ends before 1678.

    The product wraps around there, and the sum wraps back.
    """
    moments = pc.utf8_slice_codeunits(texts, 0, 26).cast(pa.timestamp("us")).cast(pa.int64())
    rest = pc.utf8_slice_codeunits(texts, 26, 29).cast(pa.int64())
    return pc.add(pc.multiply(moments, 1000), rest)


def _unhex(texts: Texts) -> Column:
    offsets = _offsets(texts)
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    digits = texts.buffers()[2]
    data = b"" if digits is None else digits.slice(first, last - first).to_pybytes()
    places = pc.divide(pc.subtract(offsets, first), 2)
    made = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(),
        len(texts),
        [None, places.buffers()[1], pa.py_buffer(bytes.fromhex(data.decode()))],
    )
    return cast("Texts", pc.if_else(pc.is_valid(texts), made, pa.scalar(None, pa.large_binary())))
