"""Types and values for the tests of the lattice: each type in it, and what it may hold."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tests.unit.types.test_casts import values as any_values

ZONES = (None, "UTC", "Asia/Tokyo", "Europe/Paris")
UNITS = ("s", "ms", "us", "ns")
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
            pa.uint64()]  # fmt: skip
DECIMALS = [
    pa.decimal32(5, 2), pa.decimal64(12, 3), pa.decimal128(3, 0), pa.decimal128(10, 2),
    pa.decimal128(12, 2), pa.decimal128(38, 0), pa.decimal128(38, 38), pa.decimal128(5, 7),
    pa.decimal128(5, -2), pa.decimal256(60, 10), pa.decimal256(76, 76), pa.decimal256(5, 2),
]  # fmt: skip
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
STAMPS = [pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES]  # type: ignore[arg-type]
OTHER_TIMES = [
    pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
    *(pa.duration(unit) for unit in UNITS),  # type: ignore[arg-type]
]  # fmt: skip
TEXTS = [pa.string(), pa.large_string(), pa.string_view()]
BYTES = [pa.binary(), pa.large_binary(), pa.binary(4), pa.binary(8), pa.binary_view()]
FLAT = [pa.null(), pa.bool_(), *INTEGERS, *DECIMALS, *FLOATS, *STAMPS, *OTHER_TIMES, *TEXTS, *BYTES,
        pa.month_day_nano_interval(), pa.dictionary(pa.int32(), pa.string())]  # fmt: skip

flat_types = st.sampled_from(FLAT)
some_types = st.deferred(lambda: flat_types | flat_types | _nested)
_nested: st.SearchStrategy[Any] = st.one_of(
    some_types.map(pa.list_),
    some_types.map(pa.large_list),
    st.tuples(some_types, st.integers(1, 2)).map(lambda p: pa.list_(*p)),
    st.lists(some_types, min_size=1, max_size=2).map(
        lambda kinds: pa.struct([(f"m{i}", kind) for i, kind in enumerate(kinds)])
    ),
    st.tuples(st.sampled_from([pa.int8(), pa.int32(), pa.string()]), some_types).map(
        lambda p: pa.map_(*p)
    ),
)

_FIRST, _LAST = date(1, 1, 1), date(9999, 12, 31)
_SECONDS = (-62_135_596_800, 253_402_300_799)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def values(kind: Any) -> st.SearchStrategy[pa.Scalar[Any]]:
    """Values of a flat type; dates and times of the years 1 to 9999, or what nanoseconds have."""
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        low, high = (_SECONDS[0] * _PER_SECOND[kind.unit], _SECONDS[1] * _PER_SECOND[kind.unit])
        ticks = st.integers(max(low, -(2**63) + 1), min(high, 2**63 - 1))
        return ticks.map(lambda n: pa.scalar(n, pa.int64()).cast(kind))
    if pa.types.is_date(kind):
        return st.dates(_FIRST, _LAST).map(lambda d: pa.scalar(d, kind))
    if pa.types.is_decimal(kind):
        top = 10**kind.precision - 1
        wide = pa.decimal256(76, kind.scale)
        return st.integers(-top, top).map(
            lambda n: pa.scalar(Decimal(f"{n}e{-kind.scale}"), wide).cast(kind)
        )
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width).map(
            lambda b: pa.scalar(b, kind)
        )
    return any_values(kind)
