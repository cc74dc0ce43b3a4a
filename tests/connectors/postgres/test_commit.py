"""Publishing to PostgreSQL where something goes wrong: unknown commits, locks, values, rights."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pytest

from conduit_core.connectors.postgres.destination import PostgresDestination
from conduit_core.connectors.postgres.session import lock_key
from conduit_core.errors import (
    ConnectionFailedError,
    PublishError,
    PublishUnknownError,
    SchemaError,
)
from conduit_core.testing.doubles import TableRows, create_and_append, landed, record
from conduit_core.testing.fixtures import commit, load
from conduit_core.types.dialect import Table
from tests.connectors.postgres.support import destination_at
from tests.crash.proxy import Proxy, When
from tests.services import PostgresServer, sql, with_user

ROWS = pa.table({"id": [1, 2], "v": ["a", "b"]})
TARGET = Table("public", "t")


@pytest.fixture
def destination(postgres_database: str) -> Iterator[PostgresDestination]:
    made = destination_at(postgres_database)
    yield made
    made.close()


def count(url: str, table: str = "t") -> int:
    return int(sql(url, f"SELECT count(*) FROM {table}")[0][0])


@pytest.mark.parametrize("when", [When.BEFORE_COMMIT, When.AFTER_COMMIT])
def test_a_cut_commit_is_settled_under_the_lock(
    postgres_database: str, destination: PostgresDestination, when: When
) -> None:
    plan = create_and_append(destination, record("t", "public"), ROWS.schema)
    with Proxy(postgres_database, when) as proxy:
        through = destination_at(proxy.url)
        try:
            if when is When.AFTER_COMMIT:
                done = commit(through, plan, landed(destination, ROWS))
                assert done.record is not None
                assert done.record.version == 1
                assert count(postgres_database) == 2
            else:
                with pytest.raises(PublishError, match="the commit failed") as error:
                    commit(through, plan, landed(destination, ROWS))
                assert error.value.retry == "step"
                assert destination.describe(TARGET) is None
                assert destination.records(TARGET) == []
        finally:
            through.close()
        assert proxy.cuts == 1


@pytest.mark.parametrize("when", [When.BEFORE_COMMIT, When.AFTER_COMMIT])
def test_a_commit_nobody_can_ask_about_is_unknown_and_the_next_run_settles_it(
    postgres_database: str, destination: PostgresDestination, when: When
) -> None:
    plan = create_and_append(destination, record("t", "public"), ROWS.schema)
    with Proxy(postgres_database, when, stays_down=True) as proxy:
        through = destination_at(proxy.url)
        with pytest.raises(PublishUnknownError):
            commit(through, plan, landed(destination, ROWS))
        through.close()
    again = commit(destination, plan, landed(destination, ROWS))
    assert again.replayed == (when is When.AFTER_COMMIT)
    assert count(postgres_database) == 2
    assert [r.version for r in destination.records(TARGET)] == [1]


def test_nothing_is_committed_before_the_ledger_record(
    postgres_database: str, destination: PostgresDestination
) -> None:
    """The driver, left in autocommit mode, commits after a statement with a timestamptz in it."""
    load(destination, "public", "other", ROWS)
    sql(
        postgres_database,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'not today'; END$$;"
        "CREATE TRIGGER no BEFORE INSERT ON _conduit_ledger EXECUTE FUNCTION no()",
    )
    plan = create_and_append(destination, record("t", "public"), ROWS.schema)
    with pytest.raises(PublishError, match="not today"):
        commit(destination, plan, landed(destination, ROWS))
    assert destination.describe(TARGET) is None


def test_two_sessions_make_the_internal_tables_once(postgres_database: str) -> None:
    places = [destination_at(postgres_database, "raw", "meta") for _ in range(4)]
    start = threading.Barrier(len(places))
    failures: list[Exception] = []

    def first_load(place: PostgresDestination, number: int) -> None:
        start.wait()
        try:
            load(place, "raw", f"t{number}", ROWS)
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [
        threading.Thread(target=first_load, args=(p, i), daemon=True) for i, p in enumerate(places)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for place in places:
        place.close()
    assert failures == []
    assert count(postgres_database, "meta._conduit_ledger") == 4


def test_a_held_lock_is_named_with_its_holder(postgres_database: str) -> None:
    impatient = destination_at(postgres_database, lock_wait=0.2)
    load(impatient, "public", "other", ROWS)
    with psycopg.connect(postgres_database, application_name="someone") as holder:
        key = lock_key(impatient.lock_name(TARGET))
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
        plan = create_and_append(impatient, record("t", "public"), ROWS.schema)
        with pytest.raises(PublishError, match=r"public\.t.*\(someone\)") as error:
            commit(impatient, plan, landed(impatient, ROWS))
        assert error.value.retry == "step"
    impatient.close()


def test_a_lost_connection_is_a_reason_to_retry(
    postgres_database: str, destination: PostgresDestination
) -> None:
    load(destination, "public", "other", ROWS)
    with Proxy(postgres_database, When.MID_COPY) as proxy:
        through = destination_at(proxy.url)
        rows = landed(destination, pa.table({"id": range(20_000), "v": ["x" * 50] * 20_000}))
        plan = create_and_append(destination, record("t", "public"), rows.schema)
        with pytest.raises(ConnectionFailedError, match="was lost") as error:
            through.commit(plan, TableRows(rows), lambda event: None)
        assert error.value.retry == "step"
        through.close()
    assert destination.describe(TARGET) is None


@pytest.mark.parametrize(
    ("ddl", "values", "named"),
    [
        ("text", pa.array(["fine", "a\0b"]), "'v'.*NUL"),
        ("varchar(3)", pa.array(["abc", "abcd"]), "'v'.*longer"),
        ("uuid", pa.array(["no-uuid"]), "'v'.*uuid"),
        ("jsonb", pa.array(["{"]), "'v'.*jsonb"),
        ("inet", pa.array(["300.1.1.1"]), "'v'.*inet"),
        ("int CHECK (v > 0)", pa.array([0], pa.int32()), "check constraint"),
        ("int NOT NULL", pa.array([None], pa.int32()), "must not be NULL"),
        ("int UNIQUE", pa.array([1, 1], pa.int32()), "unique key occurs twice"),
    ],
)
def test_a_value_that_does_not_fit_is_named_and_nothing_written(
    postgres_database: str,
    destination: PostgresDestination,
    ddl: str,
    values: pa.Array,
    named: str,
) -> None:
    sql(postgres_database, f"CREATE TABLE t (before text, v {ddl})")
    table = pa.table({"before": ["x"] * len(values), "v": values})
    plan = create_and_append(destination, record("t", "public"), table.schema)
    plan = plan.model_copy(update={"actions": plan.actions[1:]})
    with pytest.raises(PublishError, match=f"(?s){named}") as error:
        commit(destination, plan, table)
    assert error.value.retry == "never"
    assert count(postgres_database) == 0
    assert destination.records(TARGET) == []


def test_a_long_name_is_refused_not_cut(destination: PostgresDestination) -> None:
    with pytest.raises(SchemaError, match="63 bytes"):
        destination.landing(pa.field("é" * 32, pa.int64()))


def test_a_type_of_the_source_is_used_where_it_exists(
    postgres_database: str, destination: PostgresDestination
) -> None:
    field = pa.field("v", pa.string(), metadata={"conduit:native": "postgres:mood"})
    there = destination.landing(field)
    assert (there.ddl, "mood" in (there.loss or "")) == ("text", True)
    sql(postgres_database, "CREATE TYPE mood AS ENUM ('sad', 'ok')")
    other = destination_at(postgres_database)
    assert other.landing(field).ddl == "mood"
    load(other, "public", "t", pa.table([pa.array(["sad", None])], pa.schema([field])))
    other.close()
    assert sql(postgres_database, "SELECT v::text, pg_typeof(v)::text FROM t WHERE v = 'sad'") == [
        ("sad", "mood")
    ]


def test_a_role_that_may_only_read_can_plan(
    postgres_database: str, postgres_server: PostgresServer, destination: PostgresDestination
) -> None:
    load(destination, "public", "t", ROWS)
    role = postgres_server.role(
        postgres_database, "SELECT ON ALL TABLES IN SCHEMA public", "USAGE ON SCHEMA public"
    )
    reader = destination_at(role.url)
    assert reader.describe(TARGET) is not None
    assert [r.version for r in reader.records(TARGET)] == [1]
    plan = create_and_append(reader, record("new", "public"), ROWS.schema)
    assert reader.render(plan)
    with pytest.raises(PublishError, match="GRANT") as error:
        commit(reader, plan, landed(reader, ROWS))
    assert error.value.retry == "never"
    assert {i.name: i.remedy for i in reader.check(("public", "elsewhere")) if not i.ok} == {
        "schema public: CREATE": f'GRANT CREATE ON SCHEMA "public" TO {role.name}',
        "table public._conduit_audits": (
            f'GRANT INSERT, DELETE ON "public"."_conduit_audits" TO {role.name}'
        ),
        "table public._conduit_dead_letters": (
            f'GRANT INSERT, UPDATE ON "public"."_conduit_dead_letters" TO {role.name}'
        ),
        "table public._conduit_ledger": (
            f'GRANT INSERT, DELETE ON "public"."_conduit_ledger" TO {role.name}'
        ),
        "table public._conduit_schemas": (
            f'GRANT INSERT, DELETE ON "public"."_conduit_schemas" TO {role.name}'
        ),
        "table public.t": f'GRANT INSERT, UPDATE, DELETE ON "public"."t" TO {role.name}',
        "schema elsewhere": next(
            i.remedy for i in reader.check(("elsewhere",)) if i.name == "schema elsewhere"
        ),
    }
    reader.close()


def test_a_read_only_role_is_named(postgres_database: str, postgres_server: PostgresServer) -> None:
    role = postgres_server.role(postgres_database, "CREATE, USAGE ON SCHEMA public")
    sql(postgres_database, f"ALTER ROLE {role.name} SET default_transaction_read_only = on")
    reader = destination_at(role.url)
    wrong = {i.name: i for i in reader.check(("public",)) if not i.ok}
    assert "default_transaction_read_only" in wrong["writable"].remedy
    plan = create_and_append(reader, record("t", "public"), ROWS.schema)
    with pytest.raises(PublishError, match="read-only"):
        commit(reader, plan, landed(reader, ROWS))
    reader.close()


@pytest.mark.parametrize(
    ("change", "sentence", "retry"),
    [
        ("password", "refuses the password", "never"),
        ("database", "no database 'canary_db'", "never"),
        ("port", "connection refused", "step"),
        ("host", "host name is unknown", "step"),
    ],
)
def test_each_refused_connection_has_its_sentence_and_no_secret(
    postgres_url: str, change: str, sentence: str, retry: str
) -> None:
    secret = "canary-secret-Zx9"
    user, place = "postgres", postgres_url.rpartition("@")[2].partition("/")[0]
    url = {
        "password": with_user(postgres_url, user, secret),
        "database": postgres_url.rpartition("/")[0] + "/canary_db",
        "port": f"postgresql://{user}:{secret}@127.0.0.1:1/x",
        "host": f"postgresql://{user}:{secret}@no-such-host.invalid/x",
    }[change]
    made = destination_at(url)
    with pytest.raises(ConnectionFailedError, match=sentence) as error:
        made.describe(TARGET)
    assert error.value.retry == retry
    shown = f"{error.value} {error.value!r} {made.identity} {made.check(('public',))}"
    assert secret not in shown
    assert place in shown or change in ("port", "host")
