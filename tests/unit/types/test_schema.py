"""Schemas as JSON: every Arrow type comes back, tags too."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.types.schema import (
    fingerprint,
    logical_type,
    native_type,
    parse_type,
    schema_from_json,
    schema_to_json,
    tagged,
)

UNIT = st.sampled_from(["s", "ms", "us", "ns"])
NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
PLAIN = st.one_of(
    st.sampled_from(
        [
            pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(),
            pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
            pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
            pa.binary_view(), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"),
            pa.time64("us"), pa.time64("ns"), pa.month_day_nano_interval(),
        ]
    ),
    UNIT.map(pa.duration),
    st.builds(pa.timestamp, UNIT, st.sampled_from([None, "UTC", "Europe/Oslo", "+05:30"])),
    st.integers(1, 38).flatmap(lambda p: st.integers(-p, p).map(lambda s: pa.decimal128(p, s))),
    st.integers(1, 76).flatmap(lambda p: st.integers(-p, p).map(lambda s: pa.decimal256(p, s))),
    st.integers(1, 9).map(lambda p: pa.decimal32(p, 2)),
    st.integers(1, 18).map(lambda p: pa.decimal64(p, 2)),
    st.integers(0, 40).map(pa.binary),
)  # fmt: skip


def _field(name: str, kind: pa.DataType, nullable: bool) -> Any:
    return pa.field(name, kind, nullable or pa.types.is_null(kind))


def _nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    fields = st.builds(_field, NAMES, inner, st.booleans())
    return st.one_of(
        fields.map(pa.list_),
        fields.map(pa.large_list),
        st.builds(pa.list_, fields, st.integers(0, 5)),
        st.lists(fields, max_size=3).map(pa.struct),
        st.builds(pa.map_, st.sampled_from([pa.string(), pa.int32()]), inner),
        st.builds(pa.dictionary, st.sampled_from([pa.int8(), pa.int32()]), st.just(pa.string())),
    )


TYPES = st.recursive(PLAIN, _nested, max_leaves=5)
FIELDS = st.builds(
    lambda name, kind, nullable, logical, native: tagged(
        _field(name, kind, nullable), logical=logical, native=native
    ),
    NAMES, TYPES, st.booleans(), st.sampled_from([None, "json", "uuid", "numeric"]),
    st.sampled_from([None, "postgres:varchar(20)", "duckdb:STRUCT(a INTEGER)"]),
)  # fmt: skip
SCHEMAS = st.lists(FIELDS, max_size=5).map(pa.schema)


@given(SCHEMAS)
@settings(deadline=None)
def test_every_schema_comes_back_from_its_json(schema: Any) -> None:
    items = json.loads(json.dumps(schema_to_json(schema)))
    again = schema_from_json(items)
    assert again.equals(schema, check_metadata=False)
    for one, other in zip(schema, again, strict=True):
        assert logical_type(one) == logical_type(other)
        assert native_type(one, "postgres") == native_type(other, "postgres")
    assert fingerprint(again) == fingerprint(schema)
    assert schema_to_json(again) == schema_to_json(schema)


@given(PLAIN)
def test_a_plain_type_is_written_as_people_know_it(kind: pa.DataType) -> None:
    assert parse_type(str(kind)) == kind
    (item,) = schema_to_json(pa.schema([("a", kind)]))
    assert item == {"name": "a", "type": str(kind)}


@pytest.mark.parametrize("text", ["", "int65", "timestamp[h]", "decimal128(5)", "list<int64>", "x"])
def test_a_text_that_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an Arrow type"):
        parse_type(text)


def test_a_fingerprint_sees_names_types_order_nullability_and_tags() -> None:
    a, b = pa.field("a", pa.int64()), pa.field("b", pa.int32())
    made = [
        pa.schema([a, b]),
        pa.schema([b, a]),
        pa.schema([a]),
        pa.schema([a, b.with_nullable(False)]),
        pa.schema([a, b.with_type(pa.int64())]),
        pa.schema([a, b.with_name("c")]),
        pa.schema([a, tagged(b, logical="json")]),
        pa.schema([a, tagged(b, native="postgres:int4")]),
    ]
    assert len({fingerprint(s) for s in made}) == len(made)


def test_tags_add_up_and_a_native_type_is_of_its_own_system() -> None:
    field = tagged(tagged(pa.field("a", pa.string()), logical="json"), native="postgres:jsonb")
    assert logical_type(field) == "json"
    assert native_type(field, "postgres") == "jsonb"
    assert native_type(field, "duckdb") is None
    assert logical_type(pa.field("b", pa.string())) is None
