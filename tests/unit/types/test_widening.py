"""Widening in each system: the ALTER works, costs what it says, and leaves a fresh table's type."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings

from conduit_core.connectors.duckdb.types import DuckDBDialect
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.sqlite.types import SqliteDialect
from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Dialect, Table
from conduit_core.types.fields import same_type, widen_field
from tests.unit.types.test_fields import some_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTGRES, DUCKDB, SQLITE = PostgresDialect(), DuckDBDialect(), SqliteDialect()
DIALECTS: list[Dialect] = [POSTGRES, DUCKDB, SQLITE]
T = Table("", "t")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@settings(deadline=None, max_examples=300)
@given(field=some_fields())
def test_what_a_landing_holds_lands_there_again(dialect: Dialect, field: Any) -> None:
    """So a source taken through both compares with a target made of it as equal."""
    try:
        ddl = dialect.landing(field).ddl
    except SchemaError:
        return
    held = dialect.field_of("x", ddl, nullable=field.nullable)
    assert dialect.landing(held).ddl == ddl
    assert held.nullable == field.nullable
    assert same_type(dialect.field_of("x", dialect.landing(held).ddl), held)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@settings(deadline=None, max_examples=300)
@given(one=some_fields(), other=some_fields())
def test_what_holds_two_landed_columns_has_a_place_or_is_refused(
    dialect: Dialect, one: Any, other: Any
) -> None:
    """A wider type that the system hasn't is text there or nothing: `decide` refuses that."""
    try:
        a, b = (dialect.field_of("x", dialect.landing(f).ddl) for f in (one, other))
    except SchemaError:
        return
    wide = widen_field(a, b)
    if wide is None:
        return
    held = dialect.field_of("x", dialect.landing(wide).ddl)
    beyond = pa.types.is_decimal(wide.type) or wide.metadata
    assert same_type(held, wide) or (beyond and dialect.name != "postgres") or _is_layout(wide)


def _is_layout(field: Any) -> bool:
    return field.type in (pa.large_string(), pa.large_binary(), pa.string_view())


# --- PostgreSQL -----------------------------------------------------------------------------------

WIDENINGS = [
    # old, new, a value, how it reads afterwards, what it costs
    ("smallint", "integer", "-7", "-7", "rewrite"),
    ("integer", "bigint", "7", "7", "rewrite"),
    ("integer", "numeric(12,2)", "7", "7.00", "rewrite"),
    ("bigint", "numeric(19,0)", "9223372036854775807", "9223372036854775807", "rewrite"),
    ("integer", "double precision", "7", "7", "rewrite"),
    ("real", "double precision", "0.5", "0.5", "rewrite"),
    ("numeric(10,2)", "numeric(12,2)", "1.50", "1.50", "catalogue"),
    ("numeric(10,2)", "numeric(12,4)", "1.50", "1.5000", "rewrite"),
    ("numeric(10,2)", "numeric", "1.50", "1.50", "catalogue"),
    ("character varying(5)", "character varying(9)", "ab", "ab", "catalogue"),
    ("character varying(5)", "text", "ab", "ab", "catalogue"),
    ("character(5)", "text", "ab", "ab", "rewrite"),
    ("date", "timestamp without time zone", "2024-02-29", "2024-02-29 00:00:00", "rewrite"),
    (
        "timestamp(3) without time zone", "timestamp without time zone",
        "2024-02-29 01:02:03.456", "2024-02-29 01:02:03.456", "catalogue",
    ),
    ("time(0) without time zone", "time without time zone", "01:02:03", "01:02:03", "catalogue"),
    ("uuid", "text", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
     "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "rewrite"),
    ("json", "text", '{"a":  1}', '{"a":  1}', "rewrite"),
    ("smallint[]", "integer[]", "{1,2}", "{1,2}", "rewrite"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, prepare_threshold=None) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(("old", "new", "value", "after", "cost"), WIDENINGS)
def test_postgres(
    server: psycopg.Connection[Any], old: str, new: str, value: str, after: str, cost: str
) -> None:
    run: Any = server.execute
    run("DROP TABLE IF EXISTS t; CREATE TEMPORARY TABLE t (x " + old + " NOT NULL)")
    run(f"INSERT INTO t VALUES ('{value}')")
    where = "SELECT pg_relation_filenode('t')"
    before = run(where).fetchone()
    run(POSTGRES.alter_type(T, "x", new))
    moved = run(where).fetchone() != before
    assert POSTGRES.effort(old, new) == cost == ("rewrite" if moved else "catalogue")
    run(POSTGRES.drop_not_null(T, "x"))
    assert run("SELECT x::text FROM t").fetchone() == (after,)
    catalogue = (
        "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = 't'::regclass AND attnum > 0"
    )
    assert run(catalogue).fetchone() == (new, False)


# --- DuckDB ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "value", "after"),
    [
        ("TINYINT", "BIGINT", "-7", "-7"),
        ("BIGINT", "DECIMAL(21,2)", "7", "7.00"),
        ("UBIGINT", "DECIMAL(20,0)", "18446744073709551615", "18446744073709551615"),
        ("DECIMAL(10,2)", "DECIMAL(12,4)", "1.50", "1.5000"),
        ("DECIMAL(10,2)", "VARCHAR", "1.50", "1.50"),
        ("FLOAT", "DOUBLE", "0.5", "0.5"),
        ("DATE", "TIMESTAMP", "2024-02-29", "2024-02-29 00:00:00"),
        ("TIMESTAMP_S", "TIMESTAMP", "2024-02-29 01:02:03", "2024-02-29 01:02:03"),
        ("TIME", "TIME_NS", "01:02:03.456789", "01:02:03.456789"),
        ("UUID", "VARCHAR", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("JSON", "VARCHAR", '{"a":  1}', '{"a":  1}'),
        ("TINYINT[]", "INTEGER[]", "[1, 2]", "[1, 2]"),
        ("STRUCT(a TINYINT)", "STRUCT(a INTEGER)", "{'a': 1}", "{'a': 1}"),
    ],
)  # fmt: skip
def test_duckdb(old: str, new: str, value: str, after: str) -> None:
    import duckdb

    with closing(duckdb.connect()) as con:
        con.execute(f"CREATE TABLE t (x {old} NOT NULL)")
        con.execute(f"INSERT INTO t SELECT CAST(? AS {old})", [value])
        con.execute(DUCKDB.alter_type(T, "x", new))
        con.execute(str(DUCKDB.drop_not_null(T, "x")))
        assert con.execute("SELECT x::VARCHAR FROM t").fetchall() == [(after,)]
        shape = "SELECT data_type, is_nullable FROM duckdb_columns() WHERE table_name = 't'"
        assert con.execute(shape).fetchall() == [(new, True)]
    assert DUCKDB.effort(old, new) == "rewrite"
    assert DUCKDB.effort(old, old) == "catalogue"


# --- SQLite ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "value", "stored"),
    [
        ("SMALLINT", "INTEGER", "-7", -7),
        ("INTEGER", "DECIMAL TEXT(21, 2)", "-7", "-7.00"),
        ("INTEGER", "DECIMAL TEXT(19, 0)", "9223372036854775807", "9223372036854775807"),
        ("SMALLINT", "REAL", "7", 7.0),
        ("FLOAT4", "REAL", "0.5", 0.5),
        ("INTEGER", "NUMERIC TEXT", "7", "7"),
        ("DECIMAL TEXT(10, 2)", "DECIMAL TEXT(12, 4)", "'-1.50'", "-1.5000"),
        ("DECIMAL TEXT(10, 0)", "DECIMAL TEXT(12, 2)", "'15'", "15.00"),
        ("DECIMAL TEXT(10, 2)", "DECIMAL TEXT(12, 2)", "'1.50'", "1.50"),
        ("DECIMAL TEXT(10, 2)", "DECIMAL TEXT(12, 4)", "'1e5'", "1e5"),
        ("DECIMAL TEXT(10, 2)", "NUMERIC TEXT", "'1.50'", "1.50"),
        ("DATE", "TIMESTAMP", "'2024-02-29'", "2024-02-29 00:00:00.000000"),
        ("DATE", "TIMESTAMP(0)", "'2024-02-29'", "2024-02-29 00:00:00"),
        ("TIMESTAMP(0)", "TIMESTAMP", "'2024-02-29 01:02:03'", "2024-02-29 01:02:03.000000"),
        ("TIMESTAMP(3)", "TIMESTAMP", "'2024-02-29 01:02:03.456'", "2024-02-29 01:02:03.456000"),
        ("TIMESTAMP(0)", "TIMESTAMP", "'2024-02-29T01:02:03'", "2024-02-29T01:02:03"),
        ("TIMESTAMPTZ(3)", "TIMESTAMPTZ", "'2024-02-29 01:02:03.456Z'",
         "2024-02-29 01:02:03.456000Z"),
        ("TIMESTAMPTZ(0)", "TIMESTAMPTZ(3)", "'2024-02-29 01:02:03Z'", "2024-02-29 01:02:03.000Z"),
        ("TIME(0)", "TIME(9)", "'01:02:03'", "01:02:03.000000000"),
        ("DURATION(0)", "DURATION", "7", 7_000_000),
        ("UUID TEXT", "TEXT", "'a0eebc99'", "a0eebc99"),
        ("VARCHAR(5)", "TEXT", "'ab'", "ab"),
        ("DATE", "TIMESTAMP", "NULL", None),
        ("DECIMAL TEXT(10, 2)", "DECIMAL TEXT(12, 4)", "NULL", None),
    ],
)  # fmt: skip
def test_sqlite(tmp_path: Path, old: str, new: str, value: str, stored: object) -> None:
    """A value in a rebuilt table is stored as a load would write it: merges find it equal."""
    from adbc_driver_sqlite import dbapi

    with closing(dbapi.connect(str(tmp_path / "x.db"))) as con, con.cursor() as cursor:
        cursor.execute(f'CREATE TABLE t (x "{old}")'.replace(f'"{old}"', old))
        cursor.execute(f"INSERT INTO t VALUES ({value})")
        cursor.execute(f"CREATE TABLE n (x {new})")
        cursor.execute(f"INSERT INTO n SELECT {SQLITE.converted('x', old, new)} FROM t")
        cursor.execute("SELECT x FROM n")
        assert cursor.fetchall() == [(stored,)]
    assert SQLITE.effort(old, new) == "rebuild"


def test_sqlite_has_no_alter_of_a_column() -> None:
    assert SQLITE.drop_not_null(T, "x") is None
    assert SQLITE.effort("TEXT", "TEXT") == "catalogue"
    with pytest.raises(NotImplementedError):
        SQLITE.alter_type(T, "x", "TEXT")
    with pytest.raises(SchemaError, match="names no type"):
        SQLITE.field_of("x", "THING")
