"""What differs between two schemas: kinds of change, names, hints; often nothing."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.sqlite.types import SqliteDialect
from conduit_core.types.diff import Limits, diff, landed, name_problems, only, preflight
from conduit_core.types.schema import tagged
from tests.unit.types.test_fields import some_fields

POSTGRES, DUCKDB, SQLITE = PostgresDialect(), DuckDBDialect(), SqliteDialect()
PG_LIMITS = Limits("postgres", max_identifier_bytes=63, max_columns=1600)
DUCK_LIMITS = Limits("duckdb", case_sensitive_names=False)


def one(old: pa.DataType | None, new: pa.DataType | None) -> list[tuple[str, str]]:
    sides = [pa.schema([("x", kind)] if kind else []) for kind in (old, new)]
    return [(c.kind, c.column) for c in diff(*sides)]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (None, pa.int8(), "added"),
        (pa.int8(), None, "removed"),
        (pa.int32(), pa.int64(), "widened"),
        (pa.int64(), pa.decimal128(5, 2), "widened"),
        (pa.date32(), pa.timestamp("us"), "widened"),
        (pa.decimal128(10, 2), pa.decimal128(12, 2), "capacity"),
        (pa.int64(), pa.int32(), "narrowed"),
        (pa.timestamp("us"), pa.timestamp("ns"), "narrowed"),
        (pa.string(), pa.int64(), "narrowed"),
        (pa.int64(), pa.string(), "incompatible"),
        (pa.float64(), pa.decimal128(5, 2), "incompatible"),
        (pa.int64(), pa.float64(), "incompatible"),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), "incompatible"),
    ],
)
def test_each_kind(old: Any, new: Any, kind: str) -> None:
    assert one(old, new) == [(kind, "x")]


def test_a_change_names_the_column_both_types_and_a_remedy() -> None:
    old, new = pa.schema([("amount", pa.int32())]), pa.schema([("amount", pa.int64())])
    (change,) = diff(landed(old, POSTGRES), landed(new, POSTGRES))
    assert str(change) == (
        "column 'amount': the source has bigint, the target integer:"
        " `auto` makes the column bigint, which holds both"
    )
    assert change.as_json() == {
        "kind": "widened", "column": "amount", "target": "integer", "source": "bigint",
        "becomes": "bigint", "other": None,
        "remedy": "`auto` makes the column bigint, which holds both",
    }  # fmt: skip


def test_nulls_and_a_wider_type_are_two_changes() -> None:
    old = pa.schema([pa.field("x", pa.int8(), nullable=False)])
    found = diff(old, pa.schema([pa.field("x", pa.int16())]))
    assert [c.kind for c in found] == ["widened", "nullability"]
    widened, nulls = found
    assert widened.wider is not None
    assert not widened.wider.nullable
    assert nulls.wider is not None
    assert nulls.wider.nullable
    assert not diff(pa.schema([pa.field("x", pa.int8())]), old)


def test_a_longer_text_is_a_capacity() -> None:
    def varchar(ddl: str) -> pa.Schema:
        return pa.schema([POSTGRES.field_of("x", ddl)])

    twenty = varchar("character varying(20)")
    (change,) = diff(twenty, varchar("character varying(50)"))
    assert change.kind == "capacity"
    assert change.wider is not None
    assert POSTGRES.landing(change.wider).ddl == "character varying(50)"
    (change,) = diff(twenty, varchar("text"))
    assert (change.kind, POSTGRES.landing(change.wider).ddl) == ("capacity", "text")  # type: ignore[arg-type]
    (change,) = diff(varchar("text"), twenty)
    assert change.kind == "narrowed"


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (["id", "customer_name", "z"], ["id", "z", "customer"], ("customer_name", "customer")),
        (["id", "aaa", "z"], ["id", "qqq", "z"], ("aaa", "qqq")),
        (["id", "aaa", "z"], ["id", "z", "qqq"], None),
    ],
)  # fmt: skip
def test_a_new_name_is_a_hint(old: list[str], new: list[str], hint: Any) -> None:
    changes = diff(*(pa.schema([(name, pa.int64()) for name in side]) for side in (old, new)))
    hints = [(c.column, c.other) for c in only(changes, "renamed")]
    assert hints == ([hint] if hint else [])
    assert [c.kind for c in changes][:2] == ["added", "removed"]


def test_a_column_of_another_type_is_no_new_name() -> None:
    changes = diff(pa.schema([("name", pa.int64())]), pa.schema([("names", pa.string())]))
    assert not only(changes, "renamed")


@pytest.mark.parametrize("ours", ["_conduit_load_id", "_conduit_file"])
def test_a_column_of_our_own_is_no_new_name_and_no_old_one(ours: str) -> None:
    theirs = pa.schema([("id", pa.int64()), (ours.replace("conduit", "dlt"), pa.string())])
    own = pa.schema([("id", pa.int64()), (ours, pa.string())])
    assert [c.kind for c in diff(theirs, own)] == ["added", "removed"]
    assert [c.kind for c in diff(own, theirs)] == ["added", "removed"]


def test_names_that_a_system_can_not_have() -> None:
    schema = pa.schema([("Id", pa.int8()), ("id", pa.int8()), ("é" * 32, pa.int8())])
    assert [c.kind for c in name_problems(schema, DUCK_LIMITS)] == ["case"]
    assert [c.kind for c in name_problems(schema, PG_LIMITS)] == ["too_long"]
    (many,) = name_problems(schema, Limits("x", max_columns=2))
    assert "takes 2, not 3" in str(many)
    twice = pa.schema([("a", pa.int8()), ("a", pa.int8())])
    assert "occurs twice" in str(name_problems(twice, PG_LIMITS)[0])


def test_pre_flight_tells_everything_at_once() -> None:
    source = pa.schema(
        [
            ("id", pa.int64()), ("ID2", pa.int64()), ("amount", pa.decimal128(12, 2)),
            ("note", pa.string()), ("when", pa.string()),
        ]
    )  # fmt: skip
    target = pa.schema(
        [
            DUCKDB.field_of("id", "INTEGER", nullable=False),
            DUCKDB.field_of("id2", "BIGINT"),
            DUCKDB.field_of("amount", "DECIMAL(10,2)"),
            DUCKDB.field_of("when", "TIMESTAMP"),
            DUCKDB.field_of("gone", "BLOB"),
        ]
    )
    expected = pa.schema([("id", pa.int32()), ("amount", pa.decimal128(12, 2))])
    found = preflight(source, DUCKDB, DUCK_LIMITS, target, expected)
    assert [(c.between[0], c.between[1], c.kind, c.column) for c in found] == [
        ("expected file", "source", "widened", "id"),
        ("expected file", "source", "added", "ID2"),
        ("expected file", "source", "added", "note"),
        ("expected file", "source", "added", "when"),
        ("target", "source", "case", "ID2"),
        ("target", "source", "widened", "id"),
        ("target", "source", "nullability", "id"),
        ("target", "source", "added", "ID2"),
        ("target", "source", "capacity", "amount"),
        ("target", "source", "added", "note"),
        ("target", "source", "incompatible", "when"),
        ("target", "source", "removed", "id2"),
        ("target", "source", "removed", "gone"),
        ("target", "source", "renamed", "id2"),
        ("target", "expected file", "nullability", "id"),
        ("target", "expected file", "capacity", "amount"),
        ("target", "expected file", "removed", "id2"),
        ("target", "expected file", "removed", "when"),
        ("target", "expected file", "removed", "gone"),
    ]
    assert all(c.remedy for c in found)


def test_a_file_that_says_no_capacity_expects_none() -> None:
    source = pa.schema([tagged(pa.field("x", pa.string()), native="postgres:character varying(9)")])
    plain = pa.schema([pa.field("x", pa.string())])
    assert not preflight(source, POSTGRES, PG_LIMITS, None, plain)
    shorter = pa.schema([tagged(pa.field("x", pa.string()), max_length=5)])
    assert [c.kind for c in preflight(source, POSTGRES, PG_LIMITS, None, shorter)] == ["capacity"]


@settings(deadline=None)
@given(st.lists(some_fields(), max_size=5))
def test_a_schema_differs_from_itself_in_nothing(fields: list[Any]) -> None:
    schema = pa.schema([f.with_name(f"c{i}") for i, f in enumerate(fields)])
    assert diff(schema, schema) == ()


@settings(deadline=None, max_examples=300)
@given(some_fields(), some_fields())
def test_what_a_change_makes_of_a_column_differs_from_the_source_no_more(a: Any, b: Any) -> None:
    """After the widening the next plan finds nothing, or a narrower source."""
    (old, new) = pa.schema([a]), pa.schema([b])
    for change in diff(old, new):
        if change.wider is not None:
            nulls = change.kind == "nullability"
            a = a.with_nullable(nullable=True) if nulls else change.wider
    assert {c.kind for c in diff(pa.schema([a]), new)} <= {"narrowed", "incompatible"}
