"""Payloads: what went in comes back, exactly, whatever the type."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.errors import SchemaError
from conduit_core.types.payloads import from_payloads, json_lists, to_payloads
from tests.unit.types.test_casts import KINDS, values

_PAIR = pa.struct([pa.field("a", pa.int64()), pa.field("b,: <x>", pa.timestamp("ns", "UTC"))])
_A: Any = pa
_TENS = pa.decimal128(5, -3)
FLAT = [*KINDS, pa.float16(), pa.binary_view(), pa.duration("ns"), pa.month_day_nano_interval(),
        _TENS, pa.null(), pa.dictionary(pa.int16(), pa.string())]  # fmt: skip
NESTED = [
    pa.list_(pa.float64()), pa.large_list(pa.binary()), pa.list_(pa.date32(), 2), _PAIR,
    pa.list_(_PAIR), pa.map_(pa.string(), pa.list_(pa.decimal128(38, 10))),
    pa.struct([pa.field("x", pa.bool_()), pa.field("x", pa.string())]), pa.struct([]),
]  # fmt: skip
_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\0\x1f\x7f"\\/\n'))


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """Python values or scalars of a type, NULL among them."""
    t = pa.types
    if t.is_null(kind):
        return st.none()
    if t.is_dictionary(kind) or t.is_string(kind):
        return st.none() | _TEXT
    if t.is_duration(kind):
        return st.none() | st.integers(-(2**63), 2**63 - 1)
    if t.is_interval(kind):
        n = st.integers(-(2**31), 2**31 - 1)
        return st.none() | st.tuples(n, n, st.integers(-(2**63), 2**63 - 1)).map(_A.MonthDayNano)
    if kind == _TENS:
        return st.none() | st.integers(-99999, 99999).map(lambda n: Decimal(f"{n}e3"))
    if t.is_binary_view(kind):
        return st.none() | st.binary()
    if t.is_float16(kind):
        return st.none() | st.floats(width=16)
    return st.none() | values(kind)


def _arrays(kind: Any, rows: int) -> st.SearchStrategy[Any]:
    t = pa.types
    if t.is_struct(kind):
        parts = st.tuples(*(_arrays(kind.field(i).type, rows) for i in range(kind.num_fields)))
        nulls = st.lists(st.booleans(), min_size=rows, max_size=rows)
        fields = [kind.field(i) for i in range(kind.num_fields)]
        if not fields:
            return nulls.map(lambda m: pa.array([None if n else {} for n in m], kind))
        return st.tuples(parts, nulls).map(
            lambda p: pa.StructArray.from_arrays(
                list(p[0]), fields=fields, mask=pa.array(p[1], pa.bool_())
            )
        )
    if t.is_map(kind):
        n = 3 * rows
        return st.tuples(_keys(n), _arrays(kind.item_type, n), _cuts(rows, n)).map(
            lambda p: _A.MapArray.from_arrays(pa.array(p[2], pa.int32()), p[0], p[1], type=kind)
        )
    if t.is_fixed_size_list(kind):
        nulls = st.lists(st.booleans(), min_size=rows, max_size=rows)
        return st.tuples(_arrays(kind.value_type, rows * kind.list_size), nulls).map(
            lambda p: _A.FixedSizeListArray.from_arrays(
                p[0], type=kind, mask=pa.array(p[1], pa.bool_())
            )
        )
    if t.is_list(kind) or t.is_large_list(kind):
        make: Any = pa.LargeListArray if t.is_large_list(kind) else pa.ListArray
        width = pa.int64() if t.is_large_list(kind) else pa.int32()
        n = 2 * rows
        return st.tuples(_arrays(kind.value_type, n), _cuts(rows, n)).map(
            lambda p: make.from_arrays(pa.array(p[1], width), p[0], type=kind)
        )
    return st.lists(_values(kind), min_size=rows, max_size=rows).map(lambda vs: _array(vs, kind))


def _array(found: list[Any], kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return pa.array(found, kind.value_type).dictionary_encode().cast(kind)
    if any(isinstance(v, pa.Scalar) for v in found):
        each: list[Any] = [pa.scalar(None, kind) if v is None else v for v in found]
        return pa.concat_arrays([pa.repeat(v, 1) for v in each])
    return pa.array(found, kind)


def _keys(rows: int) -> st.SearchStrategy[Any]:
    return st.lists(_TEXT, min_size=rows, max_size=rows).map(lambda k: pa.array(k, pa.string()))


def _cuts(rows: int, total: int) -> st.SearchStrategy[list[Any]]:
    """Offsets of a list array, some of whose rows are NULL."""
    inner = st.lists(st.integers(0, total), min_size=rows, max_size=rows).map(sorted)
    nulls = st.lists(st.booleans(), min_size=rows, max_size=rows)
    return st.tuples(inner, nulls).map(
        lambda p: [
            *(None if n else s for s, n in zip(p[0], p[1], strict=True)),
            total,
        ]
    )


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _same(one: Any, other: Any) -> bool:
    """Compare arrays by what is in them: NaN is NaN, and -0.0 isn't 0.0."""
    assert one.type == other.type
    other.validate(full=True)
    if "double" in str(one.type) or pa.types.is_floating(one.type):
        return repr(one.to_pylist()) == repr(other.to_pylist())
    return bool(_plain(one).equals(_plain(other)))


@pytest.mark.parametrize("kind", [*FLAT, *NESTED], ids=str)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_goes_in_comes_back(kind: pa.DataType, data: st.DataObject) -> None:
    array = data.draw(_arrays(kind, 4))
    array = array.slice(data.draw(st.integers(0, 2)))
    schema = pa.schema([pa.field('c"\n', kind)])
    texts = [str(text) for text in to_payloads(schema.names, [array]).to_pylist()]
    for text in texts:
        json.loads(text)
    back = from_payloads(texts, schema).column(0)
    assert _same(array, back)


def test_a_payload_of_fewer_or_more_columns() -> None:
    fields: list[pa.Field[pa.DataType]] = [pa.field("a", pa.int8()), pa.field("b", pa.string())]
    schema = pa.schema(fields)
    found = from_payloads(['{"a":1,"c":[{}]}', '{"b":null}'], schema)
    assert found.to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": None}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int8(), "300"), (pa.int8(), "1.5"), (pa.int64(), '"x"'), (pa.bool_(), "1"),
        (pa.date32(), '"soon"'), (pa.timestamp("us"), '"2024-01-01T00:00:00.000000Z"'),
        (pa.timestamp("ms"), '"2024-01-01T00:00:00.000001"'), (pa.list_(pa.int8()), "5"),
        (pa.binary(), '"0g"'), (pa.duration("s"), '"1"'), (pa.null(), "1"),
        (pa.list_(pa.int8(), 2), "[1]"), (pa.decimal128(3, 1), '"1.25"'),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(kind: pa.DataType, value: str) -> None:
    with pytest.raises(SchemaError, match="'c'"):
        from_payloads([f'{{"c":{value}}}'], pa.schema([("c", kind)]))


def test_a_type_without_a_text_is_named() -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(SchemaError, match="'u'"):
        to_payloads(["u"], [union])


def test_keys_are_json_lists() -> None:
    keys = json_lists(["a", "b"], [pa.array([1, None]), pa.array(['x"', "y"])])
    assert keys.to_pylist() == ['[1,"x\\""]', '[null,"y"]']
