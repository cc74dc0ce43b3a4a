"""Rows that pass from PostgreSQL to PostgreSQL as COPY wrote them: when, and what arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest

from conduit_core import LoadResult, Pipeline, RunRequest, plan, run
from conduit_core.connectors.postgres.copying import PlainConnection
from conduit_core.connectors.postgres.errors import is_lost
from conduit_core.connectors.postgres.session import lock_key
from conduit_core.connectors.postgres.source import PostgresSource
from conduit_core.engine.flow import CancelledError
from conduit_core.engine.load import load_stream
from conduit_core.engine.runtime import Runtime
from conduit_core.errors import ConduitError, PublishError, SchemaError, SourceDataError
from conduit_core.events import BatchRead, BatchWritten, Event, PublishStarted
from tests.crash.proxy import Proxy, When
from tests.lab import only
from tests.services import PostgresServer, sql, with_database

SLEEP_SECONDS = 60


def pipeline(url: str, folder: Path, *, to: str | None = None, **keys: Any) -> Pipeline:
    lock_wait = keys.pop("lock_wait", "20s")
    place = {"type": "postgres", "url": to or url, "schema": "raw", "lock_wait": lock_wait}
    return Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "postgres", "url": url},
            "destination": place,
            "streams": [{"table": "t", "name": "t", **keys}],
        },
        folder,
    )


def load(made: Pipeline, *listeners: Callable[[Event], None]) -> LoadResult:
    return only(run(made, listeners=listeners, attempts=1))


def passes(made: Pipeline) -> bool:
    """Say whether the plan lets the rows pass undecoded."""
    return plan(made)[0].publish.wire is not None


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows of each COPY that came in undecoded, as they come."""
    found: list[int] = []
    inner = PlainConnection.copy_in

    def copy_in(self: PlainConnection, *given: Any) -> int:
        found.append(inner(self, *given))
        return found[-1]

    monkeypatch.setattr(PlainConnection, "copy_in", copy_in)
    return found


VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "real": ["'NaN'", "'-Infinity'", "1e-40", "-0.0"],
    "double precision": ["'NaN'", "'Infinity'", "5e-324"],
    "numeric": ["'NaN'", "1e-300", "1e300", "0.10"],
    "numeric(12,2)": ["9999999999.99", "-0.01"],
    "numeric(60,10)": ["12345678901234567890123456789012345678901234567890.0000000001"],
    "text": ["''", "E'a\\tb\\\\\\n'", "'ü€😀'", "repeat('x', 1048576)"],
    "character varying(5)": ["'äöüß€'"],
    "character(4)": ["'a '"],
    "bytea": ["'\\x00ff'", "''"],
    "date": ["'0044-03-15 BC'", "'infinity'", "'1969-12-31'"],
    "time without time zone": ["'24:00'", "'00:00:00.000001'"],
    "time with time zone": ["'12:00+05:30'"],
    "timestamp without time zone": ["'-infinity'", "'4713-01-01 00:00:00 BC'", "'1969-01-01'"],
    "timestamp(3) with time zone": ["'infinity'", "'2024-01-01 00:00:00.123+02'"],
    "interval": ["'1 mon -2 days 3.000004 s'"],
    "json": ["'{\"a\" :  1, \"a\": 2}'"],
    "jsonb": ["'{\"a\": [1, null]}'", "'\"ü\"'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "inet": ["'::1/64'", "'10.0.0.1'"],
    "bit varying(9)": ["B'10101'", "B''"],
    "int4range": ["'[1,5)'", "'empty'"],
    "point": ["'(1,2)'"],
    "tsvector": ["'a:1 b:2A'"],
    "integer[]": ["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'", "'[5:6]={1,2}'"],
    "text[]": ["'{\"a,b\",NULL,\"\"}'"],
    "jsonb[]": ["ARRAY['{\"a\": 1}'::jsonb]"],
}  # fmt: skip


@pytest.mark.parametrize("kind", VALUES)
def test_every_value_arrives_as_it_was(
    tmp_path: Path, postgres_database: str, copied: list[int], kind: str
) -> None:
    rows = ", ".join(f"({i}, ({v})::{kind})" for i, v in enumerate([*VALUES[kind], "NULL"]))
    sql(postgres_database, f"CREATE TABLE t (id int, v {kind})")
    sql(postgres_database, f"INSERT INTO t VALUES {rows}")
    made = pipeline(postgres_database, tmp_path)
    for _ in range(2):  # into a new table, then by a swap
        assert load(made).counts.inserted == len(VALUES[kind]) + 1
    assert copied == [len(VALUES[kind]) + 1] * 2
    assert differing(postgres_database, "id, v::text") == []


def differing(url: str, columns: str = "*") -> list[Any]:
    """Return the rows of source and target that the other one lacks."""
    one, other = f"SELECT {columns} FROM t", f"SELECT {columns} FROM raw.t"
    return sql(url, f"({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})")


TORTURE = (
    "CREATE TABLE t AS SELECT i AS id, (i / 7.0)::numeric(12,4) AS n, i::numeric AS free,"
    " 'ü ' || i AS v, '2024-01-01Z'::timestamptz + i * interval '1.000001 s' AS at,"
    " json_build_object('i', i)::jsonb AS j, md5(i::text)::uuid AS u, ARRAY[i, NULL] AS a,"
    " CASE WHEN i % 3 > 0 THEN i::float8 / 3 END AS f FROM generate_series(1, {rows}) AS i"
)


@pytest.mark.parametrize(
    "keys", [{}, {"mode": "append", "cursor": "id"}, {"metadata": []}], ids=str
)
def test_both_ways_end_the_same(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    sql(postgres_database, TORTURE.format(rows=1000))
    events: list[Event] = []
    raw = load(pipeline(postgres_database, tmp_path, into="a", **keys), events.append)
    monkeypatch.setattr(PostgresSource, "raw_format", lambda self, ref: None)
    arrow = load(pipeline(postgres_database, tmp_path, into="b", **keys))
    assert raw.counts == arrow.counts
    assert raw.watermark == arrow.watermark
    shape = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = 'raw.{}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert sql(postgres_database, shape.format("a")) == sql(postgres_database, shape.format("b"))
    names = "id, n, free, v, at, j, u, a, f"
    assert (
        sql(postgres_database, f"SELECT {names} FROM raw.a EXCEPT SELECT {names} FROM raw.b") == []
    )
    if keys.get("metadata") != []:
        found = sql(postgres_database, "SELECT DISTINCT _conduit_load_id FROM raw.a")
        assert found == [(raw.load_id,)]
    read = [e for e in events if isinstance(e, BatchRead)]
    written = [e for e in events if isinstance(e, BatchWritten)]
    assert sum(e.rows for e in read) == sum(e.rows for e in written) == 1000
    assert raw.bytes_read == sum(e.bytes for e in read) > 0


@pytest.mark.parametrize(
    ("source", "target", "stream"),
    [
        ("id int, v text", "id bigint, v text", {}),
        ("id int, v varchar(9)", "id int, v varchar(8)", {"on_schema_change": "ignore"}),
        ("id int, v timestamptz", "id int, v timestamptz(3)", {"on_schema_change": "ignore"}),
        ("id int, v mood", None, {}),
        ("id int, v mood[]", None, {}),
        ("id int, v pair", None, {}),
        ("id int, v money", None, {}),
        ("id int, v xml", None, {}),
        ("id int, v text", None, {"query": "SELECT * FROM t", "table": None}),
    ],
    ids=str,
)
def test_what_has_to_be_looked_at_goes_by_arrow(
    tmp_path: Path,
    postgres_database: str,
    copied: list[int],
    source: str,
    target: str | None,
    stream: dict[str, Any],
) -> None:
    sql(postgres_database, "CREATE TYPE mood AS ENUM ('glad', 'sad')")
    sql(postgres_database, "CREATE TYPE pair AS (a int, b int)")
    sql(postgres_database, f"CREATE TABLE t ({source})")
    sql(postgres_database, "INSERT INTO t VALUES (1, NULL), (2, NULL)")
    if target:
        sql(postgres_database, "CREATE SCHEMA raw")
        sql(postgres_database, f"CREATE TABLE raw.t ({target})")
    stream = {"metadata": [], **stream}
    given = {k: v for k, v in {"table": "t", **stream}.items() if v is not None}
    made = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "postgres", "url": postgres_database},
            "destination": {"type": "postgres", "url": postgres_database, "schema": "raw"},
            "streams": [{"name": "t", **given}],
        },
        tmp_path,
    )
    assert not passes(made)
    assert load(made).counts.inserted == 2
    assert copied == []


def test_a_target_with_its_columns_elsewhere_is_filled_by_name(
    tmp_path: Path, postgres_database: str, copied: list[int]
) -> None:
    sql(postgres_database, TORTURE.format(rows=50))
    sql(postgres_database, "CREATE SCHEMA raw")
    sql(
        postgres_database,
        "CREATE TABLE raw.t (_conduit_loaded_at timestamptz, own int, v text, u uuid, j jsonb,"
        " _conduit_load_id text NOT NULL, f float8, free numeric, n numeric(12,4), id int,"
        " at timestamptz, a int[])",
    )
    made = pipeline(postgres_database, tmp_path)
    for _ in range(2):
        result = load(made)
    assert copied == [50, 50]
    names = "id, n, free, v, at, j, u, a, f"
    assert differing(postgres_database, names) == []
    found = sql(
        postgres_database,
        "SELECT _conduit_load_id, count(_conduit_loaded_at), count(own) FROM raw.t GROUP BY 1",
    )
    assert found == [(result.load_id, 50, 0)]


def test_a_view_on_the_target_and_a_view_as_source(
    tmp_path: Path, postgres_database: str, copied: list[int]
) -> None:
    sql(postgres_database, TORTURE.format(rows=50))
    sql(postgres_database, "CREATE VIEW seen AS SELECT * FROM t WHERE id > 10")
    made = pipeline(postgres_database, tmp_path, table="seen")
    load(made)
    sql(postgres_database, "CREATE VIEW raw.v AS SELECT id, _conduit_load_id FROM raw.t")
    sql(postgres_database, "INSERT INTO t (id) VALUES (99)")
    result = load(made)
    assert copied == [40, 41]
    assert sql(postgres_database, "SELECT max(id), count(*) FROM raw.v") == [(99, 41)]
    found = sql(postgres_database, "SELECT DISTINCT _conduit_load_id FROM raw.v")
    assert found == [(result.load_id,)]


def test_windows_and_watermarks_choose_the_same_rows(
    tmp_path: Path, postgres_database: str, copied: list[int]
) -> None:
    sql(postgres_database, TORTURE.format(rows=100))
    made = pipeline(postgres_database, tmp_path, mode="append", cursor="id")
    only(run(made, request=RunRequest(window_to="60")))
    assert load(made).counts.read == 40
    only(run(made, request=RunRequest(window_from="20", window_to="30")))
    assert copied == [60, 40, 10]
    assert differing(postgres_database, "id, v, at") == []
    assert load(made).outcome == "empty"


def test_an_empty_table_passes_too(
    tmp_path: Path, postgres_database: str, copied: list[int]
) -> None:
    sql(postgres_database, "CREATE TABLE t (id int)")
    assert load(pipeline(postgres_database, tmp_path)).counts.read == 0
    assert copied == [0]
    assert sql(postgres_database, "SELECT * FROM raw.t") == []


def test_a_constant_is_not_stored_row_by_row(tmp_path: Path, postgres_database: str) -> None:
    sql(postgres_database, "CREATE TABLE t (id int)")
    load(pipeline(postgres_database, tmp_path))
    kept = (
        "SELECT attname, atthasmissing, atthasdef, attnotnull FROM pg_attribute"
        " WHERE attrelid = 'raw.t'::regclass AND attname LIKE '\\_conduit%' ORDER BY attnum"
    )
    assert sql(postgres_database, kept) == [
        ("_conduit_load_id", True, False, True),
        ("_conduit_loaded_at", True, False, True),
    ]
    with pytest.raises(psycopg.errors.NotNullViolation):
        sql(postgres_database, "INSERT INTO raw.t VALUES (1)")


def test_the_plan_prints_what_is_done(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(postgres_database, TORTURE.format(rows=5))
    made = pipeline(postgres_database, tmp_path)
    load(made)
    with made.open() as ends:
        planned = ends.destination.render(plan(made)[0].publish)
    ran: list[str] = []
    for name in ("execute", "copy_in"):
        inner = getattr(PlainConnection, name)

        def spy(self: PlainConnection, text: str, *given: Any, inner: Any = inner) -> Any:
            ran.append(text)
            return inner(self, text, *given)

        monkeypatch.setattr(PlainConnection, name, spy)
    load(made)
    # Reads aren't told of, nor names that only the new table's own constraints tell.
    unplanned = ("SELECT", "SET TRANSACTION", "ALTER TABLE raw.t RENAME CONSTRAINT")
    done = [s for s in ran if not s.startswith(unplanned)]
    assert [s for s in planned if not s.startswith(("--", "SELECT"))] == done


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ALTER TABLE raw.t ALTER v SET NOT NULL", "must not be NULL"),
        ("ALTER TABLE raw.t ADD CONSTRAINT small CHECK (id < 30000)", "small"),
        ("ALTER TABLE raw.t ADD UNIQUE (v)", "unique key"),
    ],
)
def test_a_rule_of_the_target_stops_the_load(
    tmp_path: Path, postgres_database: str, rule: str, words: str
) -> None:
    sql(postgres_database, "CREATE TABLE t AS SELECT 1 AS id, 'old' AS v")
    made = pipeline(postgres_database, tmp_path)
    load(made)
    sql(postgres_database, rule)
    sql(postgres_database, "CREATE VIEW raw.v AS SELECT id FROM raw.t")
    sql(
        postgres_database,
        "INSERT INTO t SELECT i, CASE WHEN i NOT IN (30, 40) THEN repeat('x', 200) || i END"
        " FROM generate_series(2, 40000) AS i UNION ALL SELECT 2, 'old'",
    )
    with pytest.raises(PublishError, match=words) as raised:
        load(made)
    assert raised.value.retry == "never"
    assert "raw.t" in raised.value.message
    assert sql(postgres_database, "SELECT id, v FROM raw.t") == [(1, "old")]


def test_p03_a_source_that_breaks_on_the_way_publishes_nothing(
    tmp_path: Path, postgres_database: str
) -> None:
    sql(postgres_database, "CREATE TABLE base AS SELECT i AS id FROM generate_series(1, 50000) i")
    broken = "CREATE OR REPLACE VIEW t AS SELECT id, repeat('x', 100) AS v, 1 / (id - {}) AS w"
    sql(postgres_database, broken.format(0) + " FROM base")
    made = pipeline(postgres_database, tmp_path)
    load(made)
    before = sql(postgres_database, "SELECT sum(id), max(w) FROM raw.t")
    sql(postgres_database, broken.format(40000) + " FROM base")
    with pytest.raises(SourceDataError, match="division by zero"):
        load(made)
    assert sql(postgres_database, "SELECT sum(id), max(w) FROM raw.t") == before
    sql(postgres_database, broken.format(0) + " FROM base")
    assert load(made).counts.read == 50000


def test_a_type_that_changed_since_the_plan(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(postgres_database, "CREATE TABLE t AS SELECT 1 AS id")
    made = pipeline(postgres_database, tmp_path)

    def alter(event: Event) -> None:
        if isinstance(event, PublishStarted):
            sql(postgres_database, "ALTER TABLE t ALTER id TYPE bigint")

    with pytest.raises(SchemaError, match=r"'id' of t was integer .* is bigint now") as raised:
        load(made, alter)
    assert raised.value.retry == "plan"


@pytest.mark.parametrize("rows", [1, 2], ids=["before the first row", "at each row"])
def test_a_slow_source_is_cancelled(tmp_path: Path, postgres_database: str, rows: int) -> None:
    sql(
        postgres_database,
        f"CREATE VIEW t AS SELECT i AS id, pg_sleep({SLEEP_SECONDS})::text AS v"
        f" FROM generate_series(1, {rows}) AS i",
    )
    made = pipeline(postgres_database, tmp_path)
    cancel = threading.Event()

    def interrupt(event: Event) -> None:
        if isinstance(event, PublishStarted):
            cancel.set()

    started = time.monotonic()
    runtime = Runtime(interrupt, None, 1 << 20, 1, cancel)
    with made.open() as ends, pytest.raises(CancelledError):
        load_stream(made, made.streams[0], ends, RunRequest(), runtime)
    assert time.monotonic() - started < SLEEP_SECONDS / 2
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY%'"
        " AND datname = current_database()"
    )
    assert sql(postgres_database, busy) == [(0,)]


def test_an_interrupted_run_stops_at_the_next_batch(tmp_path: Path, postgres_database: str) -> None:
    sql(
        postgres_database,
        "CREATE TABLE t AS SELECT i AS id, repeat('x', 500) AS v FROM generate_series(1, 30000) i",
    )
    made = pipeline(postgres_database, tmp_path)
    cancel = threading.Event()

    def interrupt(event: Event) -> None:
        if isinstance(event, BatchWritten):
            cancel.set()

    runtime = Runtime(interrupt, None, 1 << 20, 1, cancel)
    with made.open() as ends, pytest.raises(CancelledError):
        load_stream(made, made.streams[0], ends, RunRequest(), runtime)
    assert sql(postgres_database, "SELECT to_regclass('raw.t')::text") == [(None,)]
    assert load(made).counts.inserted == 30000


def test_a_lock_that_isnt_free_is_named(tmp_path: Path, postgres_database: str) -> None:
    sql(postgres_database, "CREATE TABLE t AS SELECT 1 AS id")
    made = pipeline(postgres_database, tmp_path, lock_wait="1s")
    load(made)
    with psycopg.connect(postgres_database) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("raw:raw.t"),))
        with pytest.raises(PublishError, match=r"holds the lock.*backend"):
            load(made)


@pytest.mark.parametrize("when", When)
def test_a_cut_connection_is_settled_by_the_same_run(
    tmp_path: Path, postgres_database: str, when: When
) -> None:
    sql(postgres_database, TORTURE.format(rows=5000))
    with Proxy(postgres_database, when) as proxy:
        made = pipeline(postgres_database, tmp_path, to=proxy.url)
        result = only(run(made))
        assert proxy.cuts == 1
    assert result.counts.inserted == 5000
    assert differing(postgres_database, "id, n, v, at, f") == []
    assert len(sql(postgres_database, "SELECT * FROM raw._conduit_ledger")) == 1


def test_a_source_whose_connection_is_cut_publishes_nothing(
    tmp_path: Path, postgres_database: str
) -> None:
    sql(postgres_database, TORTURE.format(rows=100_000))

    def cut(event: Event) -> None:
        if isinstance(event, BatchRead):
            sql(
                postgres_database,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'COPY%TO STDOUT%' AND pid <> pg_backend_pid()",
            )

    with pytest.raises(ConduitError, match="was lost while reading t") as raised:
        load(pipeline(postgres_database, tmp_path), cut)
    assert raised.value.retry == "step"
    assert sql(postgres_database, "SELECT to_regclass('raw.t')::text") == [(None,)]


def test_a_copy_that_ends_without_a_word_is_a_lost_connection() -> None:
    """Seen now and then above: the socket was closed before the server's reason came."""
    said = "error with status PGRES_COPY_OUT and no message from the libpq"
    assert is_lost(psycopg2.DatabaseError(said))


def test_texts_of_another_encoding_are_converted(
    tmp_path: Path, postgres_server: PostgresServer, postgres_database: str, copied: list[int]
) -> None:
    sql(
        postgres_server.url,
        "CREATE DATABASE conduit_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    latin = with_database(postgres_server.url, "conduit_latin")
    try:
        sql(latin, "CREATE TABLE t AS SELECT 1 AS id, U&'\\00fc' AS v")
        load(pipeline(latin, tmp_path, to=postgres_database))
    finally:
        postgres_server.drop_database(latin)
    assert copied == [1]
    assert sql(postgres_database, "SELECT v FROM raw.t") == [("ü",)]
