"""Fields in the lattice: logical types, capacities, NULLs; and what stays of a native type."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.types.fields import same_type, shown, widen_field
from conduit_core.types.schema import (
    fingerprint,
    logical_type,
    max_length,
    native_type,
    schema_from_json,
    schema_to_json,
    tagged,
)
from tests.unit.types.fields import flat_types

INT = pa.field("x", pa.int32())
TEXT = pa.field("x", pa.string())
UUID = tagged(TEXT, logical="uuid")
JSON = tagged(TEXT, logical="json")
NUMERIC = tagged(TEXT, logical="numeric")
FIVE, TEN = tagged(TEXT, max_length=5), tagged(TEXT, max_length=10)


@st.composite
def some_fields(draw: st.DrawFn) -> pa.Field[Any]:
    logical: Any = draw(st.sampled_from([None, None, "json", "uuid", "numeric"]))
    if logical:
        field = tagged(pa.field("x", pa.string()), logical=logical)
    else:
        field = pa.field("x", draw(flat_types))
        if pa.types.is_string(field.type) and draw(st.booleans()):
            field = tagged(field, max_length=draw(st.sampled_from([5, 36, 50])))
    null = pa.types.is_null(field.type)
    return field.with_nullable(null or draw(st.booleans()))


@pytest.mark.parametrize(
    ("a", "b", "wide"),
    [
        (FIVE, TEN, TEN),
        (FIVE, TEXT, TEXT),
        (FIVE, UUID, tagged(TEXT, max_length=36)),
        (UUID, JSON, TEXT),
        (UUID, TEXT, TEXT),
        (NUMERIC, TEXT, None),
        (NUMERIC, INT, NUMERIC),
        (NUMERIC, pa.field("x", pa.decimal128(5, 2)), NUMERIC),
        (NUMERIC, pa.field("x", pa.float64()), None),
        (pa.field("x", pa.decimal256(76, 0)), pa.field("x", pa.decimal256(76, 76)), NUMERIC),
        (pa.field("x", pa.null()), UUID, UUID),
        (INT, TEXT, None),
    ],
)
def test_what_holds_two_fields(a: Any, b: Any, wide: Any) -> None:
    for found in (widen_field(a, b), widen_field(b, a)):
        assert (found is None) == (wide is None)
        assert found is None or same_type(found, wide)


def test_null_is_wider_than_not_null() -> None:
    wide = widen_field(INT.with_nullable(False), INT)
    assert wide is not None
    assert wide.nullable
    both = widen_field(INT.with_nullable(False), INT.with_nullable(False))
    assert both is not None
    assert not both.nullable


def test_the_native_type_of_the_wider_side_stays() -> None:
    old = tagged(pa.field("x", pa.string()), native="postgres:character varying(5)")
    new = tagged(pa.field("x", pa.string()), native="postgres:character varying(9)")
    wide = widen_field(old, new)
    assert wide is not None
    assert native_type(wide, "postgres") == "character varying(9)"
    assert max_length(wide) == 9


@settings(max_examples=1000, deadline=None)
@given(some_fields(), some_fields(), some_fields())
def test_the_order_of_three_changes_is_moot(a: Any, b: Any, c: Any) -> None:
    found = [three(a, b, c), three(b, c, a), three(c, a, b), three(c, b, a)]
    assert len({saying(f) for f in found}) == 1


@settings(deadline=None)
@given(some_fields(), some_fields())
def test_the_result_is_above_both_and_a_field_holds_itself(a: Any, b: Any) -> None:
    wide = widen_field(a, b)
    for field in (a, b):
        if wide is not None:
            again = widen_field(wide, field)
            assert saying(again) == saying(wide)
    assert saying(widen_field(a, a)) == saying(a)


def three(a: Any, b: Any, c: Any) -> Any:
    first = widen_field(a, b)
    return None if first is None else widen_field(first, c)


def saying(field: Any) -> object:
    if field is None:
        return None
    return str(field.type), logical_type(field), max_length(field), field.nullable


def test_a_capacity_is_in_the_json_and_in_the_fingerprint() -> None:
    schema = pa.schema([FIVE])
    assert schema_from_json(schema_to_json(schema)).equals(schema, check_metadata=True)
    assert fingerprint(schema) != fingerprint(pa.schema([TEN]))


@pytest.mark.parametrize(
    ("native", "limit"),
    [
        ("postgres:character varying(20)", 20),
        ("postgres:character(3)", 3),
        ("postgres:varchar(7)", 7),
        ("postgres:text", None),
        ("postgres:numeric(20)", None),
        ("sqlite:VARCHAR(20)", None),
        ("duckdb:VARCHAR", None),
    ],
)
def test_a_capacity_counts_where_the_system_holds_to_it(native: str, limit: int | None) -> None:
    assert max_length(tagged(TEXT, native=native)) == limit


def test_how_people_read_a_type() -> None:
    assert shown(FIVE) == "string of at most 5 characters"
    assert shown(UUID.with_nullable(False)) == "uuid NOT NULL"
    assert shown(tagged(TEXT, native="postgres:jsonb")) == "jsonb"
