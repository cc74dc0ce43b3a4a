"""p13: a full load that fails leaves the old rows; readers never see an empty or half table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from conduit_core import Pipeline, RunRequest, RunResult, run
from conduit_core.connectors import registry
from conduit_core.errors import ConnectionFailedError, SourceDataError
from conduit_core.testing.faulty import Faults, faulty_connector
from tests import services
from tests.lab import Lab, only, stream

OLD, NEW = 300, 500


def table(rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64())})


def load(lab: Lab, rows: int, faults: Faults | None = None, *, full: bool = False) -> RunResult:
    keys: dict[str, object] = {} if full else {"mode": "replace", "cursor": None}
    mapping = {
        "name": "shop",
        "source": {"type": "faulty"},
        "destination": lab.destination,
        "streams": [stream(**keys)],
    }
    with registry.added(faulty_connector({"orders": table(rows)}, faults)):
        pipeline = Pipeline.from_mapping(mapping, lab.folder)
        return run(pipeline, request=RunRequest(full_refresh=full), attempts=1)


@pytest.mark.parametrize("full", [False, True], ids=["replace", "full refresh"])
@pytest.mark.parametrize(
    "error", [SourceDataError("broken"), ConnectionFailedError("gone"), KeyError("bug")], ids=repr
)
def test_p13_a_source_that_fails_midway_leaves_the_old_rows(
    each_lab: Lab, full: bool, error: Exception
) -> None:
    lab = each_lab
    only(load(lab, OLD, full=full))
    (failure,) = load(lab, NEW, Faults(fail_at=20, error=error), full=full).failures
    assert "nothing published" in failure.lines[1]
    assert lab.ids() == list(range(OLD))
    only(load(lab, NEW, full=full))
    assert lab.ids() == list(range(NEW))


def polled(counts: Callable[[], int], work: Callable[[], object]) -> set[int]:
    """Return the row counts a reader saw, over and over, while ``work`` went on."""
    seen: set[int] = set()
    done, started = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    def poll() -> None:
        try:
            while not done.is_set():
                seen.add(counts())
                started.set()
        except BaseException as error:  # noqa: BLE001 - told below
            problems.append(error)
            started.set()

    reader = threading.Thread(target=poll)
    reader.start()
    started.wait(30)
    try:
        work()
    finally:
        done.set()
        reader.join(30)
    assert problems == []
    return seen


@pytest.mark.parametrize("view", [False, True], ids=["swap", "in place"])
def test_p13_postgres_readers_see_the_old_rows_or_the_new(
    tmp_path: Path, postgres_database: str, view: bool
) -> None:
    lab = Lab(tmp_path, postgres_database)
    only(load(lab, OLD))
    if view:
        services.sql(postgres_database, "CREATE VIEW seen AS SELECT * FROM orders")
    with closing(psycopg.connect(postgres_database, autocommit=True)) as connection:

        def count() -> int:
            row = connection.execute("SELECT count(*) FROM orders").fetchone()
            assert row is not None
            return int(row[0])

        slow = Faults(seconds_per_batch=0.005)

        def replace() -> None:
            for rows in (NEW, OLD, NEW):
                only(load(lab, rows, slow))

        seen = polled(count, replace)
    assert seen <= {OLD, NEW}
    assert len(seen) == 2
    if view:
        assert services.sql(postgres_database, "SELECT count(*) FROM seen") == [(NEW,)]


def test_p13_a_postgres_reader_with_an_old_snapshot_keeps_it(
    tmp_path: Path, postgres_database: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    only(load(lab, OLD))
    services.sql(postgres_database, "CREATE VIEW seen AS SELECT * FROM orders")
    with closing(psycopg.connect(postgres_database)) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        services.sql(postgres_database, "SELECT 1")
        only(load(lab, NEW))
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert row == (OLD,)


def test_p13_duckdb_readers_of_the_process_see_the_old_rows_or_the_new(tmp_path: Path) -> None:
    """A DuckDB file belongs to one process, so its readers are in the same one."""
    lab = Lab(tmp_path)
    only(load(lab, OLD))
    slow = Faults(seconds_per_batch=0.005)
    seen = polled(
        lambda: len(lab.ids()), lambda: [only(load(lab, n, slow)) for n in (NEW, OLD, NEW)]
    )
    assert seen <= {OLD, NEW}
    assert len(seen) == 2


SLICE = [f"2024-01-{day:02}" for day in (1, 2, 3)]


def slices(lab: Lab, rows: int) -> Pipeline:
    """Fill three days of the source with ``rows`` rows each, and return what loads them."""
    lab.sql("DROP TABLE IF EXISTS days", "CREATE TABLE days (id INTEGER, day DATE)")
    for day in SLICE:
        lab.sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            f" WHERE i < {rows}) INSERT INTO days SELECT i, '{day}' FROM n"
        )
    keys = {"mode": "replace_window", "cursor": "day", "cursor_timezone": "UTC"}
    return lab.pipeline(stream("days", **keys))


def test_p13_readers_of_a_slice_see_the_old_rows_or_the_new(each_lab: Lab) -> None:
    """The slice in the middle is replaced again and again; its neighbours stay."""
    lab = each_lab
    window = {"window_from": SLICE[1], "window_to": SLICE[2]}
    lab.run(slices(lab, OLD))

    def seen_rows() -> int:
        found = [str(row["day"])[:10] for row in lab.rows("days", slices_pipeline)]
        assert found.count(SLICE[0]) == found.count(SLICE[2]) == OLD
        return found.count(SLICE[1])

    slices_pipeline = lab.pipeline(stream("days", mode="replace_window", cursor="day"))

    def replace() -> None:
        for rows in (NEW, OLD, NEW):
            lab.run(slices(lab, rows), **window)

    seen = polled(seen_rows, replace)
    assert seen <= {OLD, NEW}
    assert seen_rows() == NEW
