"""PostgreSQL as a source: exact types, windows, what can't be read, and reads that end early."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from conduit_core.connectors.base import ReadRequest, StreamRef
from conduit_core.connectors.postgres.catalog import split_name
from conduit_core.connectors.postgres.source import PostgresSource
from conduit_core.errors import ConnectionFailedError, SchemaError, SourceDataError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table
from conduit_core.types.schema import logical_type, native_type
from tests.connectors.postgres.support import options, source_at
from tests.services import PostgresServer, sql

_UTC = pa.timestamp("us", tz="UTC")
# type, literal, Arrow type, logical type, value as Python
_TYPES: list[tuple[str, str, pa.DataType, str | None, object]] = [
    ("boolean", "true", pa.bool_(), None, True),
    ("smallint", "-1", pa.int16(), None, -1),
    ("integer", "2147483647", pa.int32(), None, 2147483647),
    ("bigint", "-9223372036854775808", pa.int64(), None, -(2**63)),
    ("oid", "4294967295", pa.int64(), None, 2**32 - 1),
    ("real", "1.5", pa.float32(), None, 1.5),
    ("double precision", "'-Infinity'", pa.float64(), None, float("-inf")),
    ("numeric(10,2)", "-1.50", pa.decimal128(10, 2), None, Decimal("-1.50")),
    ("numeric(38,38)", "0.1", pa.decimal128(38, 38), None, Decimal("0.1")),
    ("numeric(60,2)", "1e57", pa.decimal256(60, 2), None, Decimal(10**57)),
    ("numeric", "1.10", pa.string(), "numeric", "1.10"),
    ("numeric", "'NaN'", pa.string(), "numeric", "NaN"),
    ("numeric(100,2)", "1", pa.string(), "numeric", "1.00"),
    ("numeric(3,5)", "0.001", pa.string(), "numeric", "0.00100"),
    ("money", "12.5", pa.decimal128(19, 2), None, Decimal("12.50")),
    ("text", "''", pa.string(), None, ""),
    ("character varying(5)", "'é'", pa.string(), None, "é"),
    ("character(3)", "'a'", pa.string(), None, "a  "),
    ("bytea", r"'\x00ff'", pa.binary(), None, b"\0\xff"),
    ("date", "'1960-02-29'", pa.date32(), None, date(1960, 2, 29)),
    ("time without time zone", "'23:59:59.999999'", pa.time64("us"), None,
     time(23, 59, 59, 999999)),
    ("timestamp(3) without time zone", "'1900-01-01 00:00:00.123'", pa.timestamp("us"), None,
     datetime(1900, 1, 1, 0, 0, 0, 123000)),  # noqa: DTZ001 - the column is naive
    ("timestamp with time zone", "'2013-07-01 02:00+02'", _UTC, None,
     datetime(2013, 7, 1, tzinfo=UTC)),
    ("uuid", "'D546EB86-C18A-4B03-B086-D4C690B0A2EA'", pa.string(), "uuid",
     "d546eb86-c18a-4b03-b086-d4c690b0a2ea"),
    ("json", """'{"b":  1}'""", pa.string(), "json", '{"b":  1}'),
    ("jsonb", """'{"b":  1}'""", pa.string(), "json", '{"b": 1}'),
    ("inet", "'10.0.0.1/8'", pa.string(), None, "10.0.0.1/8"),
    ("int4range", "'[1,3)'", pa.string(), None, "[1,3)"),
    ("bit(3)", "B'101'", pa.string(), None, "101"),
    ("time with time zone", "'12:00+02'", pa.string(), None, "12:00:00+02"),
    ("mood", "'ok'", pa.string(), None, "ok"),
    ("integer[]", "'{1,NULL}'", pa.list_(pa.int32()), None, [1, None]),
    ("numeric(5,1)[]", "'{1.5,NULL}'", pa.list_(pa.decimal128(5, 1)), None, [Decimal("1.5"), None]),
    ("text[]", "'{}'", pa.list_(pa.string()), None, []),
    ("mood[]", "'{sad}'", pa.list_(pa.string()), None, ["sad"]),
    ("jsonb[]", "ARRAY['{}'::jsonb]", pa.list_(pa.string()), None, ["{}"]),
]  # fmt: skip


@pytest.fixture
def source(postgres_database: str) -> Iterator[PostgresSource]:
    made = source_at(postgres_database)
    yield made
    made.close()


def read(source: PostgresSource, ref: StreamRef, window: Window | None = None) -> pa.Table:
    schema = source.describe(ref).schema
    reading = source.read(ReadRequest(ref, schema, window or Window("full")))
    try:
        table = reading.reader.read_all()
    finally:
        reading.close()
    assert table.schema.equals(schema, check_metadata=True)
    return table


def test_every_type_is_read_exactly_from_a_table_and_a_query(
    postgres_database: str, source: PostgresSource
) -> None:
    sql(postgres_database, "CREATE TYPE mood AS ENUM ('sad', 'ok')")
    columns = ", ".join(f"c{i} {t[0]}" for i, t in enumerate(_TYPES))
    values = ", ".join(f"{t[1]}" for t in _TYPES)
    nulls = ", ".join("NULL" for _ in _TYPES)
    sql(
        postgres_database,
        f"CREATE TABLE t ({columns}); INSERT INTO t VALUES ({values}), ({nulls})",
    )
    by_table = read(source, StreamRef(table="t"))
    for i, (ddl, _, arrow, logical, value) in enumerate(_TYPES):
        field = by_table.schema.field(i)
        assert (field.type, logical_type(field)) == (arrow, logical), ddl
        assert native_type(field, "postgres") == ddl
        assert by_table.column(i).to_pylist() == [value, None], ddl
    by_query = read(source, StreamRef(query="SELECT * FROM t -- all of it\n;"))
    for i, (ddl, *_) in enumerate(_TYPES):
        if ddl.startswith("numeric(5,1)["):  # a query's arrays don't tell their modifiers
            continue
        assert by_query.schema.field(i).type == by_table.schema.field(i).type, ddl
        assert by_query.column(i).to_pylist() == by_table.column(i).to_pylist(), ddl


@pytest.mark.parametrize(
    ("ddl", "literal", "said"),
    [
        ("numeric(10,2)", "'NaN'", "NaN"),
        ("timestamptz", "'infinity'", "infinity"),
        ("timestamp", "'-infinity'", "infinity"),
        ("timestamp", "'294276-12-31'", "beyond"),
        ("date", "'infinity'", "infinity"),
        ("time", "'24:00'", "24:00"),
        ("int[]", "'{{1,2},{3,4}}'", "several dimensions"),
    ],
)
def test_a_value_arrow_cannot_say_names_its_column(
    postgres_database: str, source: PostgresSource, ddl: str, literal: str, said: str
) -> None:
    sql(postgres_database, f"""CREATE TABLE t (id int, "od'd" {ddl})""")
    sql(postgres_database, f"INSERT INTO t VALUES (1, NULL), (2, {literal})")
    with pytest.raises(SourceDataError, match=f"(?s)od'd.*{said}"):
        read(source, StreamRef(table="t"))


def test_views_partitions_and_domains_are_sources(
    postgres_database: str, source: PostgresSource
) -> None:
    sql(
        postgres_database,
        "CREATE DOMAIN cents AS numeric(7,2); CREATE DOMAIN price AS cents CHECK (VALUE > 0);"
        "CREATE TABLE parts (id int PRIMARY KEY, p price) PARTITION BY RANGE (id);"
        "CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);"
        "INSERT INTO parts VALUES (1, 2.5);"
        "CREATE VIEW v AS SELECT p FROM parts; CREATE MATERIALIZED VIEW m AS SELECT * FROM v;"
        'CREATE SCHEMA "odd.one"; CREATE TABLE "odd.one"."T t" ("A" int)',
    )
    assert [r.name for r in source.discover()] == [
        "odd.one.T t",
        "public.m",
        "public.parts",
        "public.v",
    ]
    for name in ("parts", "public.v", "m"):
        table = read(source, StreamRef(table=name, columns=("p",)))
        assert table.column("p").type == pa.decimal128(7, 2)
        assert table.column("p").to_pylist() == [Decimal("2.50")]
    assert source.describe(StreamRef(table="parts")).primary_key == ("id",)
    assert read(source, StreamRef(table='"odd.one"."T t"')).schema.names == ["A"]


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("t", Table("", "t")),
        ("s.t", Table("s", "t")),
        ('"a.b"."c""d"', Table("a.b", 'c"d')),
        ('s."T t"', Table("s", "T t")),
        ('"a.b"', Table("", "a.b")),
    ],
)
def test_names_are_split_as_they_are_written(text: str, table: Table) -> None:
    assert split_name(text) == table


def test_what_is_not_there_is_named_with_the_nearest(
    postgres_database: str, source: PostgresSource
) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int, updated_at timestamptz, doc json)")
    for ref, said in [
        (StreamRef(table="public.order"), r"'public\.order'.*did you mean public\.orders"),
        (StreamRef(table="orders", columns=("idd",)), "no column 'idd'; did you mean id"),
        (StreamRef(table="orders", cursor=("update_at",)), "did you mean updated_at"),
        (StreamRef(table="orders", cursor=("doc",)), "json.*no order.*id, updated_at"),
        (StreamRef(query="SELECT nope FROM orders"), 'column "nope" does not exist'),
        (StreamRef(query="SELECT 1 AS a, 2 AS a"), "several columns of one name: a"),
        (StreamRef(query="DELETE FROM orders"), "syntax error"),
    ]:
        with pytest.raises(SchemaError, match=said):
            source.describe(ref)


def test_a_right_that_is_missing_is_named_with_its_grant(
    postgres_database: str, postgres_server: PostgresServer
) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int)")
    role = postgres_server.role(postgres_database)
    theirs = source_at(role.url)
    with pytest.raises(ConnectionFailedError, match=r"GRANT SELECT ON public\.orders"):
        theirs.describe(StreamRef(table="public.orders"))
    (wrong,) = [i for i in theirs.check() if not i.ok]
    assert "GRANT SELECT ON ALL TABLES IN SCHEMA public" in wrong.remedy
    sql(postgres_database, "CREATE SCHEMA sales CREATE TABLE orders (id int)")
    with pytest.raises(ConnectionFailedError, match=r"GRANT USAGE ON SCHEMA sales, GRANT SELECT"):
        theirs.describe(StreamRef(table="sales.orders"))
    theirs.close()


_CURSORS: list[tuple[str, list[str]]] = [
    ("integer", ["1", "2", "3", "4"]),
    ("numeric", ["0.5", "9.25", "10.125", "1e20"]),
    ("numeric(10,2)", ["0.5", "9", "10", "11"]),
    ("date", ["'1960-01-01'", "'1970-01-01'", "'2013-07-01'", "'2013-07-02'"]),
    ("timestamptz",
     ["'1960-01-01Z'", "'2013-07-01Z'", "'2013-07-01 00:00:00.000001Z'", "'2014-01-01Z'"]),
    ("timestamp", ["'1960-01-01'", "'2013-07-01'", "'2013-07-01 00:00:00.000001'", "'2014-01-01'"]),
    ("text", ["''", "'B'", "'a'", "'é'"]),
    ("character(3)", ["'A'", "'B'", "'a'", "'b'"]),
    ("uuid", [f"'{c * 8}-0000-0000-0000-000000000000'" for c in "09af"]),
    ("bytea", [r"'\x'", r"'\x00'", r"'\x7f'", r"'\xff'"]),
    ("double precision", ["'-Infinity'", "0.1", "0.30000000000000004", "1e300"]),
]  # fmt: skip


@pytest.mark.parametrize(("ddl", "values"), _CURSORS, ids=[c[0] for c in _CURSORS])
def test_windows_neither_lose_nor_double_a_row(
    postgres_database: str, source: PostgresSource, ddl: str, values: list[str]
) -> None:
    rows = ", ".join(f"({v}, {i}), ({v}, {i + 10})" for i, v in enumerate(values))
    sql(postgres_database, f"CREATE TABLE t (c {ddl}, id int NOT NULL)")
    sql(postgres_database, f"INSERT INTO t VALUES {rows}, (NULL, 99)")
    ref = StreamRef(table="t", cursor=("c", "id"))
    points: list[Cursor] = []
    for value in values:
        query = f"SELECT {value}::{ddl} AS c, 5 AS id"
        point = source.bounds(StreamRef(query=query, cursor=("c", "id")), None, None).high
        assert point is not None
        points.append(Cursor(("c", "id"), point.values))
    found = source.bounds(ref, None, None)
    assert found.high is not None
    assert found.null_rows == 1
    assert found.high.values[1].as_py() == 13
    edges: list[Cursor | None] = [None, *points, found.high]
    seen: list[int] = []
    for low, high in itertools.pairwise(edges):
        stored = None if low is None else Cursor.from_json(low.to_json())
        part = read(source, ref, Window("watermark", stored, high))
        seen += part.column("id").to_pylist()
    assert sorted(seen) == [0, 1, 2, 3, 10, 11, 12, 13]
    capped = source.bounds(ref, None, Cursor(("c",), points[1].values[:1])).high
    assert capped is not None
    assert capped.values[1].as_py() == 11
    given = Window(
        "given", Cursor(("c",), points[1].values[:1]), Cursor(("c",), points[3].values[:1])
    )
    assert sorted(read(source, ref, given).column("id").to_pylist()) == [1, 2, 11, 12]


def test_a_window_is_a_range_of_the_index(postgres_database: str, source: PostgresSource) -> None:
    sql(
        postgres_database,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50000);"
        "ANALYZE t",
    )
    ref = StreamRef(table="t", cursor=("id",))
    low = Cursor(("id",), (pa.scalar(49_000, pa.int32()),))
    found = source.bounds(ref, low, None)
    assert found.rows_estimate is not None
    assert 500 < found.rows_estimate < 2000
    assert found.clock is not None


def test_a_read_stops_when_it_is_closed_while_another_thread_waits_for_rows(
    source: PostgresSource,
) -> None:
    ref = StreamRef(
        query="SELECT g, repeat('x', 1000) AS x FROM generate_series(1, 9999) g"
        " WHERE g < 9000 OR pg_sleep(60) IS NOT NULL"
    )
    schema = source.describe(ref).schema
    reading = source.read(ReadRequest(ref, schema, Window("full"), batch_bytes=100_000))
    first, ended = threading.Event(), threading.Event()

    def take() -> None:
        with contextlib.suppress(Exception):
            for _ in reading.reader:
                first.set()
        ended.set()

    threading.Thread(target=take, daemon=True).start()
    assert first.wait(30)
    reading.close()
    reading.close()
    assert ended.wait(30)


def test_a_table_that_changed_since_the_plan_is_a_new_plan(
    postgres_database: str, source: PostgresSource
) -> None:
    sql(postgres_database, "CREATE TABLE t (id int)")
    schema = source.describe(StreamRef(table="t")).schema
    sql(postgres_database, "ALTER TABLE t ALTER id TYPE bigint")
    with pytest.raises(SchemaError, match="int32 when the load was planned") as error:
        source.read(ReadRequest(StreamRef(table="t"), schema, Window("full")))
    assert error.value.retry == "plan"


def test_an_error_in_mid_stream_says_what_the_server_said(source: PostgresSource) -> None:
    ref = StreamRef(query="SELECT 1 / (200000 - g) AS x FROM generate_series(1, 300000) g")
    with pytest.raises(SourceDataError, match="division by zero"):
        read(source, ref)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "say where it is"),
        ({"url": "postgresql://h/d", "host": "h"}, "not both"),
        ({"url": "mysql://u:canary@h/d"}, "must look like"),
        ({"url": "postgresql://u:can@ary@h/d"}, "percent-encoded"),
        ({"url": "postgresql://u:can/ary@h/d"}, "percent-encoded"),
        ({"url": "postgresql://u:can[ary@h/d"}, "percent-encoded"),
        ({"url": "postgresql://u:pass@[::1/d"}, "percent-encoded"),
        ({"host": "h", "passwrd": "canary"}, "passwrd"),
    ],
)
def test_wrong_options_are_told_without_the_secret(given: dict[str, Any], said: str) -> None:
    from conduit_core.connectors.postgres import connector

    with pytest.raises(ValidationError, match=said) as error:
        connector.options.model_validate(given)
    assert "canary" not in str(error.value)


def test_options_name_the_database_and_hide_the_password() -> None:
    made = options("postgresql+psycopg://me:p%40ss@db.example/shop?sslmode=require")
    assert made.identity == "postgres://db.example:5432/shop"
    assert "40ss" not in repr(made)
    assert made.secrets() == ("p%40ss", "p@ss")
    assert made.conninfo().startswith("postgresql://me:p%40ss@db.example/shop?sslmode=require&")


def test_importing_the_connector_imports_no_driver_and_using_it_no_pandas(
    postgres_database: str,
) -> None:
    code = (
        "import sys; from conduit_core.connectors.postgres import connector;"
        "assert 'adbc_driver_postgresql' not in sys.modules;"
        "from conduit_core.connectors.base import Context, StreamRef; from pathlib import Path;"
        f"s = connector.source(connector.options(url={postgres_database!r}), Context(Path()));"
        "s.describe(StreamRef(query='SELECT 1 AS a'));"
        "assert 'pandas' not in sys.modules and 'pyarrow.dataset' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
