"""Bad input: a clear error with four lines and its exit code, and a destination left as it was."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from conduit_core import ConduitError, Pipeline, run
from conduit_core.engine import load as engine_load
from conduit_core.engine.plan import plan_stream
from conduit_core.events import Event
from conduit_core.state.store import InMemoryStateStore
from tests import services
from tests.lab import Lab, stream

CANARY = "kanarienvogel-7f3a"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_load, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(engine_load, "LONGEST_WAIT_SECONDS", 0.002)


def failure(action: Callable[[], object], code: int, *words: str) -> ConduitError:
    """Run what must fail and check what every failure has."""
    with pytest.raises(ConduitError) as caught:
        action()
    error = caught.value
    lines = error.lines()
    assert error.exit_code == code, error
    assert len(lines) == 4
    for word in words:
        assert word.lower() in lines[0].lower()
    assert lines[0].startswith("orders (shop): ")
    assert "nothing published" in lines[1]
    assert lines[2] in (
        "a retry may help",
        "a retry will not help",
        "run it again: a new plan is needed",
    )
    assert lines[3].startswith(("conduit ", "df "))
    assert CANARY not in str(error) + repr(error) + repr(error.__cause__)
    return error


def fails_at_plan(lab: Lab, pipeline: Pipeline, code: int, *words: str) -> None:
    """The plan alone says so, and neither it nor the run touches the destination."""
    before = lab.chain()
    failure(lambda: lab.plan(pipeline), code, *words)
    failure(lambda: lab.run(pipeline), code, *words)
    assert lab.chain() == before


# --- what isn't there -------------------------------------------------------------------------


def test_a_missing_table_is_named_with_what_there_is(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders([1], "orders_2024")
    fails_at_plan(lab, lab.pipeline(), 4, "orders", "orders_2024")


def test_a_missing_column_is_named_with_what_there_is(lab: Lab) -> None:
    lab.orders([1])
    fails_at_plan(lab, lab.pipeline(stream(columns=["id", "amuont"])), 4, "amuont", "at")


def test_a_cursor_that_does_not_exist_is_named_with_what_there_is(lab: Lab) -> None:
    lab.orders([1])
    fails_at_plan(lab, lab.pipeline(stream(cursor="updated_at")), 4, "updated_at", "id")


@pytest.mark.parametrize("kind", ["json", "xml", "point", "boolean", "int[]"])
def test_a_cursor_that_can_not_be_ordered_is_named(
    tmp_path: Path, postgres_database: str, kind: str
) -> None:
    services.sql(postgres_database, f"CREATE TABLE orders (id int, c {kind})")
    lab = Lab(tmp_path)
    pipeline = lab.pipeline(
        stream(cursor="c"), source={"type": "postgres", "url": postgres_database}
    )
    fails_at_plan(lab, pipeline, 4, "'c'", "id")


def test_a_missing_source_file_is_named_and_not_made(lab: Lab) -> None:
    with pytest.raises(ConduitError) as caught:
        lab.run()
    assert (caught.value.exit_code, len(caught.value.lines())) == (3, 4)
    assert "source.db" in caught.value.message
    assert not lab.source.exists()
    assert lab.file is not None
    assert not lab.file.exists()


def test_a_source_file_that_is_no_database_is_named(lab: Lab) -> None:
    lab.source.write_text("this is a poem\n" * 100)
    with pytest.raises(ConduitError) as caught:
        lab.run()
    assert caught.value.exit_code in (1, 3, 4)
    assert "source.db" in caught.value.message
    assert len(caught.value.lines()) == 4


# --- a destination that doesn't take it -------------------------------------------------------


def _mount(*arguments: str | Path) -> bool:
    tool = shutil.which("mount")
    if tool is None:
        return False
    return subprocess.run([tool, *arguments], check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB of its own, which can be made read-only for root too."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not _mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", folder):
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(params=["duckdb", "sqlite"])
def disk_lab(request: pytest.FixtureRequest, tmp_path: Path, small_disk: Path) -> Lab:
    """A lab whose destination lies on the small disk and holds 99 rows."""
    lab = Lab(tmp_path, request.param)
    lab.file = small_disk / "warehouse"
    lab.destination = {"type": request.param, "path": str(lab.file)}
    lab.orders(range(1, 100))
    lab.run()
    return lab


def test_a_read_only_disk_is_named_and_left_alone(disk_lab: Lab, small_disk: Path) -> None:
    lab = disk_lab
    lab.orders([100])
    assert lab.file is not None
    before = lab.file.read_bytes()
    assert _mount("-o", "remount,ro", small_disk)
    try:
        lab.plan()
        code = {"duckdb": 3, "sqlite": 7}  # the one can't be opened, the other refuses to publish
        failure(lab.run, code[str(lab.destination["type"])], "warehouse", "read-only")
    finally:
        assert _mount("-o", "remount,rw", small_disk)
    assert lab.file.read_bytes() == before
    assert lab.run().counts.read == 1


def test_a_full_disk_is_named_and_the_old_rows_stay(disk_lab: Lab) -> None:
    lab = disk_lab
    lab.sql(
        "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " INSERT INTO orders SELECT i, '2024-01-01', hex(randomblob(400)) FROM n"
    )
    failure(lab.run, 7, "full")
    assert lab.ids() == list(range(1, 100))
    assert len(lab.chain()) == 1
    lab.sql("DELETE FROM orders WHERE id > 200")
    assert lab.run().counts.read == 101


def test_a_role_that_may_not_write_is_named_with_the_right_it_lacks(
    tmp_path: Path, postgres_server: services.PostgresServer, postgres_database: str
) -> None:
    Lab(tmp_path, postgres_database).orders([1, 2])
    role = postgres_server.role(postgres_database, "USAGE ON SCHEMA public")
    lab = Lab(tmp_path, role.url)
    failure(lab.run, 7, "permission", "GRANT")
    assert services.sql(
        postgres_database, "SELECT count(*) FROM pg_tables WHERE schemaname='public'"
    ) == [(0,)]


def test_a_target_of_another_shape_lists_every_column(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders([1, 2])
    lab.run()
    lab.sql(
        "DROP TABLE orders",
        "CREATE TABLE orders (id INTEGER, at TEXT, extra TEXT, more REAL)",
        "INSERT INTO orders VALUES (3, 'soon', 'x', 1.5)",
    )
    fails_at_plan(lab, lab.pipeline(), 4, "'at'", "no type holds both")
    strict = lab.pipeline(stream(on_schema_change="fail"))
    fails_at_plan(lab, strict, 4, "'at'", "'extra'", "'more'")
    assert lab.ids() == [1, 2]


def test_a_value_that_does_not_fit_the_target_stops_the_load(
    tmp_path: Path, postgres_database: str
) -> None:
    services.sql(postgres_database, "CREATE TABLE orders (id smallint, v text)")
    lab = Lab(tmp_path, postgres_database)
    lab.sql("CREATE TABLE orders (id INTEGER, v TEXT)")
    lab.sql("INSERT INTO orders VALUES (1, 'a'), (70000, 'b')")
    kept = lab.pipeline(stream(metadata=[], on_schema_change="ignore"))
    failure(lambda: lab.run(kept), 4, "'id'", "70000")
    assert services.sql(postgres_database, "SELECT * FROM orders") == []


def test_a_null_for_a_column_that_takes_none_stops_the_load(
    tmp_path: Path, postgres_database: str
) -> None:
    services.sql(postgres_database, "CREATE TABLE orders (id bigint, v text NOT NULL)")
    lab = Lab(tmp_path, postgres_database)
    lab.sql("CREATE TABLE orders (id INTEGER, v TEXT)")
    lab.sql("INSERT INTO orders VALUES (1, 'a'), (2, NULL)")
    failure(lambda: lab.run(lab.pipeline(stream(metadata=[]))), 7, "v")
    assert services.sql(postgres_database, "SELECT * FROM orders") == []


def test_a_target_that_is_a_view_is_refused(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders([1], "base")
    base = lab.pipeline(stream("base"))
    lab.run(base)
    make_view(lab, "CREATE VIEW orders AS SELECT * FROM base")
    lab.orders([1, 2])
    with pytest.raises(ConduitError, match="is a view") as caught:
        lab.run()
    assert caught.value.exit_code == 2
    assert lab.ids("base", base) == [1]


def make_view(lab: Lab, text: str) -> None:
    import sqlite3

    import duckdb

    if lab.file is None:
        services.sql(str(lab.destination["url"]), text)
    elif lab.destination["type"] == "duckdb":
        with duckdb.connect(str(lab.file)) as connection:
            connection.execute(text)
    else:
        connection = sqlite3.connect(lab.file)
        connection.execute(text)
        connection.close()


# --- who can't be reached ---------------------------------------------------------------------


def wrong(url: str, how: str) -> str:
    place = url.rpartition("@")[2]
    host, _, database = place.partition("/")
    return (
        {
            "password": f"postgresql://postgres:{CANARY}@{place}",
            "user": f"postgresql://nobody:{CANARY}@{place}",
            "port": f"postgresql://postgres:{CANARY}@127.0.0.1:1/{database}",
            "host": f"postgresql://postgres:{CANARY}@no-such-host.invalid/{database}",
            "database": f"{url.rpartition('/')[0]}/{CANARY[:5]}_missing",
        }[how]
        if host
        else url
    )


@pytest.mark.parametrize("end", ["source", "destination"])
@pytest.mark.parametrize("how", ["password", "user", "port", "host", "database"])
def test_who_can_not_be_reached_is_named_without_the_password(
    tmp_path: Path, postgres_database: str, end: str, how: str
) -> None:
    lab = Lab(tmp_path)
    lab.orders([1])
    pipeline = lab.pipeline(**{end: {"type": "postgres", "url": wrong(postgres_database, how)}})
    for action in (lambda: lab.plan(pipeline), lambda: lab.run(pipeline)):
        error = failure(action, 3)
        password = postgres_database.partition("@")[0].rpartition(":")[2]
        assert password not in str(error) + repr(error.__cause__)
    assert lab.file is not None
    assert not lab.file.exists()


def test_a_server_that_goes_away_between_plan_and_run_is_named(
    tmp_path: Path, postgres_server: services.PostgresServer, postgres_database: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    lab.orders([1])
    with lab.pipeline().open() as ends:
        plan_stream(lab.pipeline(), lab.pipeline().streams[0], ends, engine_load.RunRequest())
        services.sql(
            postgres_server.url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()",
            (postgres_database.rpartition("/")[2],),
        )
    assert lab.run().outcome == "published"
    with psycopg.connect(postgres_database) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)


# --- a canary in every place that is written --------------------------------------------------


def test_a_password_is_in_no_plan_event_ledger_or_state(
    tmp_path: Path, postgres_server: services.PostgresServer, postgres_database: str
) -> None:
    rights = "USAGE, CREATE ON SCHEMA public"
    role = postgres_server.role(postgres_database, rights)
    password = role.url.partition("@")[0].rpartition(":")[2]
    lab = Lab(tmp_path, role.url)
    lab.orders([1, 2])
    events: list[Event] = []
    store = InMemoryStateStore()
    pipeline = lab.pipeline(stream(on_schema_change="fail"))
    texts = [lab.plan().model_dump_json(), repr(pipeline.loaded)]
    result = run(pipeline, store=store, listeners=(events.append,))
    assert result.exit_code == 0
    services.sql(postgres_database, "INSERT INTO orders SELECT * FROM orders")
    lab.sql("ALTER TABLE orders ADD COLUMN extra TEXT")
    failed = run(pipeline, store=store, listeners=(events.append,))
    assert failed.exit_code == 4
    with pipeline.open() as ends:
        texts += [repr(ends), ends.destination.identity]
    texts += [result.model_dump_json(), failed.model_dump_json(), repr(store._entries)]
    texts += [str(e.facts()) for e in events]
    texts += [str(services.sql(postgres_database, "SELECT * FROM _conduit_ledger"))]
    assert [t for t in texts if password in t] == []
    services.sql(postgres_database, f"DROP OWNED BY {role.name} CASCADE")
