"""The lattice: what holds two types holds every value of both, and the order of changes is moot."""

from __future__ import annotations

import doctest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.types import lattice
from conduit_core.types.casts import cast_column
from conduit_core.types.lattice import is_wider, widen
from tests.unit.types.fields import FLAT, flat_types, some_types, values
from tests.unit.types.test_casts import array

PAIRS = [(a, b, wide) for a in FLAT for b in FLAT if (wide := widen(a, b)) is not None]
CASTABLE = list(
    dict.fromkeys(
        (a, wide)
        for a, _, wide in PAIRS
        if a != wide and not pa.types.is_null(a) and not pa.types.is_dictionary(a)
    )
)


def test_its_examples_run() -> None:
    assert doctest.testmod(lattice).failed == 0


@pytest.mark.parametrize(
    ("a", "b", "wide"),
    [
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.int8(), pa.uint8(), pa.int16()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.int64(), pa.uint64(), pa.decimal128(20, 0)),
        (pa.int32(), pa.decimal128(5, 2), pa.decimal128(12, 2)),
        (pa.int64(), pa.decimal128(10, 2), pa.decimal128(21, 2)),
        (pa.decimal128(10, 2), pa.decimal128(8, 4), pa.decimal128(12, 4)),
        (pa.decimal128(38, 0), pa.decimal128(38, 10), pa.decimal256(48, 10)),
        (pa.decimal256(76, 0), pa.decimal256(76, 1), None),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int16(), pa.float32(), pa.float32()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.int64(), pa.float64(), None),
        (pa.decimal128(5, 2), pa.float64(), None),
        (pa.bool_(), pa.int8(), None),
        (pa.date32(), pa.timestamp("us"), pa.timestamp("us")),
        (pa.date32(), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("ns"), None),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("s", "UTC"), pa.timestamp("ms", "Asia/Tokyo"), pa.timestamp("ms", "UTC")),
        (pa.time32("ms"), pa.time64("ns"), pa.time64("ns")),
        (pa.int64(), pa.string(), None),
        (pa.date32(), pa.string(), None),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.binary(4), pa.binary(8), pa.binary()),
        (pa.null(), pa.int8(), pa.int8()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (pa.list_(pa.int8()), pa.large_list(pa.int32()), pa.large_list(pa.int32())),
        (pa.list_(pa.int8(), 3), pa.list_(pa.int8(), 4), pa.list_(pa.int8())),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int32())]),
         pa.struct([("a", pa.int32())])),
        (pa.struct([("a", pa.int8())]), pa.struct([("b", pa.int8())]), None),
        (pa.map_(pa.int8(), pa.int8()), pa.map_(pa.int16(), pa.float16()),
         pa.map_(pa.int16(), pa.float16())),
        (pa.int8(), pa.list_(pa.int8()), None),
    ],
)  # fmt: skip
def test_what_holds_two_types(a: Any, b: Any, wide: Any) -> None:
    assert widen(a, b) == wide
    assert widen(b, a) == wide


def same(one: pa.Array[Any], other: pa.Array[Any]) -> bool:
    if pa.types.is_float16(one.type):
        return same(one.cast(pa.float32()), other.cast(pa.float32()))
    if pa.types.is_floating(one.type):
        nan = pc.and_(pc.is_nan(one), pc.is_nan(other))
        return pc.all(pc.or_(nan, pc.equal(one, other))).as_py() is not False
    return one.equals(other)


@settings(max_examples=8, deadline=None)
@pytest.mark.parametrize(("a", "wide"), CASTABLE, ids=str)
@given(data=st.data())
def test_every_value_survives_there_and_back(a: Any, wide: Any, data: st.DataObject) -> None:
    rows = array(a, data.draw(st.lists(values(a) | st.none(), max_size=4)))
    there = cast_column(rows, wide, "x")
    assert same(back(there, a), rows)
    assert there.null_count == rows.null_count


def back(rows: pa.Array[Any], kind: Any) -> pa.Array[Any]:
    """Cast back, safely; where Arrow makes zeros, or errors, of wide decimals, by another way."""
    if pa.types.is_decimal(rows.type) and pa.types.is_integer(kind):
        whole = [v if v is None else int(v) for v in rows.to_pylist()]
        assert whole == rows.to_pylist()
        return pa.array(whole, kind)
    if pa.types.is_decimal(kind) and pa.types.is_decimal(rows.type):
        rows = pc.cast(rows, pa.decimal256(76, kind.scale))
    return pc.cast(rows, kind, safe=True)


@given(flat_types)
def test_a_type_holds_itself(a: Any) -> None:
    assert widen(a, a) == a
    assert is_wider(a, a)


@settings(max_examples=200)
@given(some_types, some_types)
def test_the_two_sides_are_alike_and_the_result_is_above_both(a: Any, b: Any) -> None:
    wide = widen(a, b)
    assert widen(b, a) == wide
    if wide is not None:
        assert is_wider(wide, a)
        assert is_wider(wide, b)


@settings(max_examples=1000, deadline=None)
@given(flat_types, flat_types, flat_types)
def test_the_order_of_three_changes_is_moot(a: Any, b: Any, c: Any) -> None:
    assert three(a, b, c) == three(b, c, a) == three(c, a, b)


@settings(max_examples=200, deadline=None)
@given(some_types, some_types, some_types)
def test_the_order_is_moot_for_nested_types_too(a: Any, b: Any, c: Any) -> None:
    assert three(a, b, c) == three(b, c, a) == three(c, a, b)


def three(a: Any, b: Any, c: Any) -> Any:
    first = widen(a, b)
    return None if first is None else widen(first, c)


def test_three_of_a_kind_exhaustively() -> None:
    """Also: what holds both is the least of all that do."""
    for a, b, wide in PAIRS:
        for c in FLAT:
            if is_wider(c, a) and is_wider(c, b):
                assert is_wider(c, wide), (a, b, wide, c)


def test_where_no_type_holds_two_none_is_above_both() -> None:
    for a in FLAT:
        for b in FLAT:
            if widen(a, b) is None:
                assert not [c for c in FLAT if is_wider(c, a) and is_wider(c, b)], (a, b)
