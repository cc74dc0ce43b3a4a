"""Arrow batches into what SQLite stores, and back: exact, or an error that names the column."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.sqlite.types import SqliteColumn, decimal_type, is_temporal
from conduit_core.errors import SourceDataError
from conduit_core.types.schema import logical_type

Array: TypeAlias = "pa.Array[Any]"  # of any type; the stubs' kernels want it no narrower

_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"


# --- reading --------------------------------------------------------------------------------------


def decode(column: SqliteColumn, values: Array) -> Array:
    """Turn what the driver read into the column's type.

    Raises:
        SourceDataError: a value isn't of the declared type.
    """
    field = column.field
    kind = field.type
    try:
        if column.raw == "text":
            values.validate(full=True)
        if values.type == kind:
            if logical_type(field) == "numeric" and not _all(
                pc.match_substring_regex(values, _NUMBER)
            ):
                raise SourceDataError(_misfit(field, "a value is not a number"))
            return values
        if pa.types.is_time(kind):
            moment: Array = _joined("1970-01-01", values, " ")
            return moment.cast(pa.timestamp(kind.unit)).cast(kind)
        if kind in {pa.timestamp("ns"), pa.timestamp("ns", "UTC")}:
            return _nanoseconds(values, kind)
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceDataError(_misfit(field, reason), command="conduit discover") from error


def _nanoseconds(values: Array, kind: pa.DataType) -> Array:
    """Read text as nanoseconds: Arrow's own cast overflows in the type's first second (1677)."""
    try:
        return values.cast(kind)
    except pa.ArrowInvalid:
        form = r"^(?P<head>.{19})(?:\.(?P<digits>[0-9]{1,9}))?(?P<zone>.*)$"
        parts = pc.extract_regex(values, form)
        head, digits, zone = parts.flatten()
        seconds = _joined(head, zone, "").cast(pa.timestamp("s", _zone(kind))).cast(pa.int64())
        nanos = pc.utf8_rpad(digits, 9, "0").cast(pa.int64())
        early = pc.less(seconds, pa.scalar(0, pa.int64())).cast(pa.int64())
        billion = pa.scalar(10**9, pa.int64())
        ticks = pc.multiply_checked(pc.add(seconds, early), billion)
        rest = pc.subtract(nanos, pc.multiply(early, billion))
        return pc.add_checked(ticks, rest).cast(kind)


def _zone(kind: pa.DataType) -> str | None:
    return kind.tz if pa.types.is_timestamp(kind) else None


def _misfit(field: pa.Field[pa.DataType], reason: str) -> str:
    return f"column {field.name!r} does not hold {field.type} throughout: {reason}"


def _all(mask: Array) -> bool:
    return pc.all(mask).as_py() is not False


# --- writing --------------------------------------------------------------------------------------


def encode_batch(batch: pa.RecordBatch, numeric: tuple[bool, ...] = ()) -> pa.RecordBatch:
    """Return the batch in types that the driver binds exactly.

    Args:
        batch: what the destination asked for by ``landing`` or ``describe``.
        numeric: for each column, whether the target's affinity makes numbers of text.

    Raises:
        SourceDataError: a value that the column can't hold: NaN, a year outside 0 to 9999, digits
            that would become a float.
    """
    arrays = []
    for i, (field, column) in enumerate(zip(batch.schema, batch.columns, strict=True)):
        array = encode(field.name, column)
        if numeric and numeric[i] and pa.types.is_string(array.type):
            _refuse_digits(field, array)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{i}" for i in range(len(arrays))])


def encoded_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of :func:`encode_batch`'s batches."""
    empty = pa.RecordBatch.from_pylist([], schema=schema)
    return encode_batch(empty).schema


def encode(name: str, values: Array) -> Array:
    """Return a column as SQLite stores it; see :func:`encode_batch`."""
    kind = values.type
    t = pa.types
    if t.is_dictionary(kind):
        return encode(name, values.cast(kind.value_type))
    if t.is_floating(kind):
        if t.is_float16(kind):
            values = values.cast(pa.float32())
        if pc.any(pc.is_nan(values)).as_py():
            raise SourceDataError(
                f"column {name!r} holds NaN, which SQLite can't: it would become NULL."
                " Turn it into NULL (or another number) at the source",
                command="conduit plan",
            )
        return values
    if is_temporal(kind):
        return _iso(name, values)
    if t.is_decimal(kind):
        return _digits(values)
    if t.is_duration(kind):
        return values.cast(pa.int64())
    if t.is_null(kind):
        return values.cast(pa.string())
    if t.is_nested(kind):
        texts = [None if v is None else json.dumps(v, default=str) for v in values.to_pylist()]
        return pa.array(texts, pa.string())
    return values


def _refuse_digits(field: pa.Field[pa.DataType], texts: Array) -> None:
    """Refuse text that a column of numeric affinity would change (``007``, more than 15 digits)."""
    digits = pc.replace_substring_regex(texts, r"^[-+]?0*|\.", "")
    if pa.types.is_decimal(field.type):
        changed = pc.match_substring_regex(digits, r"^.{16}")
    else:
        changed = pc.match_substring_regex(texts, _NUMBER)
    if pc.any(changed).as_py():
        raise SourceDataError(
            f"column {field.name!r} of the target turns digits into numbers and would change a"
            " value: declare it with TEXT in its type, as in DECIMAL TEXT(20, 5)",
            command="conduit plan",
        )


def _iso(name: str, values: Array) -> Array:
    kind = values.type
    if pa.types.is_date64(kind):
        values = values.cast(pa.date32())
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        values = values.cast(pa.timestamp(kind.unit, "UTC"))
    texts = values.cast(pa.string())
    if pa.types.is_time(kind):
        if not _all(pc.match_substring_regex(texts, r"^\d")):
            raise SourceDataError(
                f"column {name!r} holds the time 24:00:00, which SQLite's time text can't say",
                command="conduit plan",
            )
        return texts
    if not _all(pc.match_substring_regex(texts, r"^\d{4}-")):
        raise SourceDataError(
            f"column {name!r} holds a date outside the years 0 to 9999, which SQLite's date text"
            " can't say (an infinity?)",
            command="conduit plan",
        )
    return texts


def _digits(values: Array) -> Array:
    """Return decimals as plain digits; Arrow writes small ones with an exponent."""
    kind = values.type
    if kind.scale < 0:
        precision = kind.precision - kind.scale
        values = values.cast(decimal_type(precision, 0))
        kind = values.type
    texts = values.cast(pa.string())
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    whole = _unscaled(values)
    negative = pc.starts_with(whole, "-")
    digits = pc.utf8_lpad(pc.utf8_ltrim(whole, "-"), kind.scale + 1, "0")
    plain = _joined(
        pc.utf8_slice_codeunits(digits, 0, -kind.scale),
        pc.utf8_slice_codeunits(digits, -kind.scale),
        ".",
    )
    return _joined(pc.if_else(negative, "-", ""), plain, "")


def _joined(left: Array | str, right: Array, between: str) -> Array:
    join = cast("Callable[..., Array]", pc.binary_join_element_wise)  # the stubs know no scalars
    return join(left, right, pa.scalar(between))


def _unscaled(values: Array) -> Array:
    """Return the digits of a decimal without their point: the same bytes, read at scale 0."""
    precision = values.type.precision
    values = values.cast(decimal_type(precision, values.type.scale))
    whole = decimal_type(precision, 0)
    same = pa.Array.from_buffers(whole, len(values), values.buffers(), offset=values.offset)
    return same.cast(pa.string())


def order_value(value: pa.Scalar[pa.DataType]) -> str | int | float | bytes | bool:
    """Return a cursor value in the form that :func:`order.order_expr` compares with."""
    kind = value.type
    if pa.types.is_decimal(kind):
        return float(value.as_py())
    if is_temporal(kind):
        text = str(_iso("the cursor", pa.array([value], kind))[0].as_py()).removesuffix("Z")
        if pa.types.is_date(kind):
            return text
        head, _, fraction = text.partition(".")
        return f"{head}.{fraction:0<9}"
    if pa.types.is_duration(kind):
        return int(value.cast(pa.int64()).as_py())
    plain = value.as_py()
    if not isinstance(plain, str | int | float | bytes | bool):
        raise TypeError(f"not a cursor value: {kind}")
    return plain
