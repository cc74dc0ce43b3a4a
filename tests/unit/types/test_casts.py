"""Casts: a value arrives as itself, or the load stops; nothing is rounded or cut in silence."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.errors import SchemaError
from conduit_core.types.casts import can_hold, cast_column

INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
        pa.uint64()]  # fmt: skip
FLOATS = [pa.float32(), pa.float64()]
DECIMALS = [pa.decimal128(5, 2), pa.decimal128(38, 0), pa.decimal128(38, 10), pa.decimal256(76, 20),
            pa.decimal64(9, 3)]  # fmt: skip
STAMPS = [pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "UTC", "Asia/Tokyo")]  # type: ignore[arg-type]
DATES = [pa.date32(), pa.date64()]
TIMES = [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary(4)]
KINDS = [*INTS, *FLOATS, *DECIMALS, *STAMPS, *DATES, *TIMES, *TEXTS, *BYTES, pa.bool_()]
PAIRS = [(a, b) for a in KINDS for b in KINDS if a != b and can_hold(a, b)]


def ticks(kind: pa.DataType, low: int, high: int) -> st.SearchStrategy[pa.Scalar[Any]]:
    width = pa.int32() if pa.types.is_time32(kind) else pa.int64()
    return st.integers(low, high).map(lambda n: pa.scalar(n, width).cast(kind))


def _decimal(kind: Any) -> st.SearchStrategy[pa.Scalar[Any]]:
    top = 10**kind.precision - 1
    whole = st.integers(-top, top) | st.integers(-99, 99).map(lambda n: n * 10**kind.scale)
    kept = whole.filter(lambda n: abs(n) <= top)
    return kept.map(lambda n: pa.scalar(Decimal(f"{n}e-{kind.scale}"), kind))


def values(kind: Any) -> st.SearchStrategy[pa.Scalar[Any]]:
    """Values of a type, the awkward ones often."""
    if pa.types.is_boolean(kind):
        return st.booleans().map(lambda b: pa.scalar(b, kind))
    if pa.types.is_integer(kind):
        low = 0 if "uint" in str(kind) else -(2 ** (kind.bit_width - 1))
        high = 2**kind.bit_width - 1 if low == 0 else -low - 1
        near = st.integers(max(low, -300), min(high, 300))
        return (st.integers(low, high) | near).map(lambda n: pa.scalar(n, kind))
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width).map(lambda x: pa.scalar(x, kind))
    if pa.types.is_decimal(kind):
        return _decimal(kind)
    if pa.types.is_timestamp(kind):
        wide = ticks(kind, -(2**62), 2**62)
        days = ticks(pa.timestamp("s", kind.tz), -(10**9), 10**9)
        return wide | days.map(lambda v: v.cast(kind))
    if pa.types.is_date(kind):
        return st.dates().map(lambda d: pa.scalar(d, kind))
    if pa.types.is_time(kind):
        top = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit] - 1
        return ticks(kind, 0, top) | ticks(pa.time32("s"), 0, 86_399).map(lambda v: v.cast(kind))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return st.text(st.characters(blacklist_categories=["Cs"])).map(lambda t: pa.scalar(t, kind))
    size = {"min_size": 4, "max_size": 4} if pa.types.is_fixed_size_binary(kind) else {}
    return st.binary(**size).map(lambda b: pa.scalar(b, kind))


def array(kind: pa.DataType, items: list[pa.Scalar[Any] | None]) -> pa.Array[Any]:
    parts = [pa.nulls(1, kind) if i is None else pa.repeat(i, 1) for i in items]
    return pa.concat_arrays([pa.array([], kind), *parts])


def meant(value: pa.Scalar[Any]) -> object:
    """What a value says, whatever type it is in; equal meanings are equal objects."""
    kind = value.type
    if not value.is_valid:
        return None
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        whole = value.cast(pa.timestamp("s")) if pa.types.is_date(kind) else value
        scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[whole.type.unit]
        return whole.cast(pa.int64()).as_py() * scale
    if pa.types.is_time(kind):
        width = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
        return value.cast(width).as_py() * scale
    if pa.types.is_floating(kind):
        number = value.as_py()
        return "nan" if number != number else number  # noqa: PLR0124 - NaN
    return value.as_py()


def as_text(value: pa.Scalar[Any]) -> object:
    """What the text of a value must be read as."""
    return value.as_py() if value.is_valid else None


def read_text(text: str | None, kind: pa.DataType) -> object:
    if text is None:
        return None
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[text]
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_decimal(kind):
        with localcontext(prec=100):
            return Decimal(text)
    return dt.date.fromisoformat(text) if pa.types.is_date(kind) else text


@given(st.data(), st.sampled_from(PAIRS))
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.filter_too_much])
def test_a_cast_keeps_every_value_or_stops(
    data: st.DataObject, pair: tuple[pa.DataType, pa.DataType]
) -> None:
    source, target = pair
    items = data.draw(st.lists(st.none() | values(source), max_size=4))
    column = array(source, items)
    try:
        got = cast_column(column, target, "c")
    except SchemaError:
        assert column.null_count < len(column), "there was nothing that could not fit"
        return
    assert got.type == target
    assert len(got) == len(column)
    if target in TEXTS and source not in TEXTS:
        assert [read_text(g.as_py(), source) for g in got] == [as_text(v) for v in column]
        return
    assert [meant(g) for g in got] == [meant(v) for v in column]


LISTED = [(a, b) for a in KINDS for b in KINDS if can_hold(pa.list_(a), pa.list_(b))]


@given(st.data(), st.sampled_from(LISTED))
@settings(deadline=None, max_examples=100)
def test_lists_are_cast_by_their_elements(
    data: st.DataObject, pair: tuple[pa.DataType, pa.DataType]
) -> None:
    source, target = pair
    assert can_hold(source, target)
    column = array(source, data.draw(st.lists(values(source), max_size=3)))
    listed = pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)
    try:
        got = cast_column(listed, pa.list_(target), "c")
    except SchemaError:
        return
    assert [meant(v) for v in got[0].values] == [meant(v) for v in cast_column(column, target, "c")]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pa.float64(), pa.float32()), (pa.float64(), pa.int64()), (pa.float64(), pa.string()),
        (pa.string(), pa.int64()), (pa.string(), pa.timestamp("us")), (pa.bool_(), pa.int8()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")), (pa.timestamp("us"), pa.date32()),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")), (pa.timestamp("us"), pa.string()),
        (pa.date32(), pa.timestamp("us", "UTC")), (pa.decimal128(5, 2), pa.float64()),
        (pa.decimal128(5, 2), pa.int64()), (pa.binary(), pa.string()), (pa.string(), pa.binary()),
        (pa.int64(), pa.timestamp("us")), (pa.time64("us"), pa.string()),
    ],
)  # fmt: skip
def test_what_would_change_a_value_s_meaning_is_not_held(
    source: pa.DataType, target: pa.DataType
) -> None:
    assert not can_hold(source, target)


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [
        (300, pa.int64(), pa.int8()), (-1, pa.int64(), pa.uint64()),
        (2**53 + 1, pa.int64(), pa.float64()),
        (2**24 + 1, pa.int32(), pa.float32()), (1000, pa.int64(), pa.decimal128(5, 2)),
        (Decimal("1.234"), pa.decimal128(9, 3), pa.decimal128(9, 2)),
        (Decimal("12345.1"), pa.decimal128(9, 1), pa.decimal128(5, 1)),
        (1, pa.timestamp("ns"), pa.timestamp("us")), (b"abc", pa.binary(), pa.binary(4)),
        (2**62, pa.timestamp("s"), pa.timestamp("ns")), (1, pa.time64("us"), pa.time32("s")),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_stops_the_cast_and_names_the_column(
    value: object, source: pa.DataType, target: pa.DataType
) -> None:
    assert can_hold(source, target)
    is_tick = pa.types.is_timestamp(source) or pa.types.is_time(source)
    column = pa.array([value], pa.int64()).cast(source) if is_tick else pa.array([value], source)
    with pytest.raises(SchemaError, match="amount"):
        cast_column(column, target, "amount")


def test_a_small_integer_fits_a_decimal_that_the_widest_one_would_not() -> None:
    got = cast_column(pa.array([1, -999, None]), pa.decimal128(5, 2), "c")
    assert got.to_pylist() == [Decimal("1.00"), Decimal("-999.00"), None]


def test_nulls_fit_everywhere_and_dictionaries_as_their_values() -> None:
    for kind in KINDS:
        assert can_hold(pa.null(), kind)
        assert cast_column(pa.nulls(2), kind, "c").null_count == 2
    column = pc.dictionary_encode(pa.array(["a", None, "a"]))
    assert cast_column(column, pa.string(), "c").to_pylist() == ["a", None, "a"]


def test_a_type_that_fits_is_handed_on_untouched() -> None:
    column = pa.array([1, 2])
    assert cast_column(column, pa.int64(), "c") is column


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        ("4294967297.5", pa.decimal128(30, 1), pa.decimal32(9, 1)),
        ("42949672.97", pa.decimal64(18, 2), pa.decimal32(9, 4)),
        ("18446744073709551617.5", pa.decimal128(30, 1), pa.decimal64(18, 1)),
        ("18446744073709551617.5", pa.decimal256(60, 1), pa.decimal64(18, 1)),
    ],
)
def test_a_decimal_too_large_for_few_bits_is_an_error(text: str, source: Any, target: Any) -> None:
    """Arrow's own safe cast makes 1.5 of the first."""
    with pytest.raises(SchemaError, match="does not fit"):
        cast_column(pa.array([Decimal(text)], source), target, "x")


@pytest.mark.parametrize(
    "source", [pa.decimal64(18, 15), pa.decimal128(30, 20), pa.decimal256(41, 38)]
)
def test_a_decimal_that_fits_few_bits_arrives(source: Any) -> None:
    """Arrow's own cast makes zero of some, and an error of others."""
    column = pa.array([Decimal("2.26"), None, Decimal("-0.5")], source)
    there = cast_column(column, pa.decimal32(5, 2), "x")
    assert there.to_pylist() == [Decimal("2.26"), None, Decimal("-0.50")]


def test_an_integer_into_a_decimal_of_few_bits_fits_or_fails() -> None:
    fits = cast_column(pa.array([429, -7], pa.int64()), pa.decimal32(5, 2), "x")
    assert fits.to_pylist() == [Decimal(429), Decimal(-7)]
    with pytest.raises(SchemaError, match="does not fit"):
        cast_column(pa.array([42949672970]), pa.decimal32(9, 2), "x")
