"""Steps and runs that die, and Dagster's own retries of them: each row once all the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from dagster_conduit.state import current
from tests import services
from tests.crash.harness import Loaded, loaded
from tests.crash.source import ROWS, Source
from tests.crash.systems import INTERNAL_TABLES, Postgres, SQLite, System
from tests.dagster.crashing import (
    IN_FILE,
    IN_POSTGRES,
    POSTGRES_SOURCE,
    RETRIED,
    TIMEOUT_SECONDS,
    Launched,
    at_home,
    job,
)

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.xdist_group("dagster-forks")]

STAGING = {"_conduit_open_loads", "_conduit_receipts"}
COMMITTED = {"after_commit", "after_mirror", "after_all", "pg_after_commit"}
"""Those whose load was published before their step died."""


class Scene:
    """Sources, destinations, and a Dagster that keeps its runs in a folder."""

    def __init__(self, folder: Path, database: str, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.database = database
        self.instance = instance
        self.systems: dict[str, System] = {"main": SQLite(folder), "raw": Postgres(database)}

    def job(self, name: str) -> dg.JobDefinition:
        """Return a job of ``crashing``, as other processes make it again."""
        return job(name, str(self.folder), self.database)

    def launched(self, name: str, tags: dict[str, str] | None = None) -> Launched:
        """Start a run of a job in a process of its own."""
        return Launched(name, str(self.folder), self.database, self.instance, tags or {})

    def again(self, name: str, run_id: str) -> dg.JobExecutionResult:
        """Retry a run from its failure, as Dagster's run retries do."""
        of = dg.ReexecutionOptions.from_failure(run_id, self.instance)
        with dg.execute_job(self.job(name), self.instance, reexecution_options=of) as result:
            return result

    def loaded(self, schema: str, table: str) -> Loaded:
        """Return what a table has."""
        return loaded(self.systems[schema], table)

    def is_told_once(self, schema: str, table: str) -> None:
        """Check the asset's events: one for the load, whose entry is the ledger's newest."""
        key = dg.AssetKey([schema, table])
        assert len(self.instance.fetch_materializations(key, limit=10).records) == 1, table
        system = self.systems[schema]
        newest = system.query(
            f"SELECT version, load_id FROM {system.place('_conduit_ledger')}"
            f" WHERE target_table = '{table}' ORDER BY version DESC LIMIT 1"
        )
        entry = self.entry(schema, table)
        assert [(int(entry["version"]), entry["load_id"])] == newest

    def entry(self, schema: str, table: str) -> dict[str, str]:
        """Return the state's entry that counts."""
        found: dict[str, str] = json.loads(
            current(self.instance, dg.AssetKey([schema, table])) or "{}"
        )
        return found


@pytest.fixture
def scene(tmp_path: Path, postgres_database: str) -> Iterator[Scene]:
    Source(tmp_path / "items").fill()
    services.sql(postgres_database, POSTGRES_SOURCE)
    with at_home(str(tmp_path)) as instance:
        yield Scene(tmp_path, postgres_database, instance)


def comparable(found: Loaded, schema: str, table: str, root: str) -> Loaded:
    """Take out what names the asset: the pipeline, the stream and the request key."""
    (record,) = found.chain
    assert record.pop("request_key") == f"dagster/{root}/{schema}/{table}"
    assert record.pop("stream") == table
    record.pop("pipeline")
    return replace(found, chain=[record])


def test_p11_p12_p22_steps_killed_anywhere_and_retried_load_each_row_once(scene: Scene) -> None:
    with dg.execute_job(scene.job("killed"), scene.instance) as first:
        died = {e.step_key.partition(".")[2] for e in first.get_step_failure_events()}
    unharmed = {name for name in (*IN_FILE, *IN_POSTGRES) if name.endswith("unharmed")}
    assert died == {*IN_FILE, *IN_POSTGRES} - unharmed
    again = {e.step_key.partition(".")[2] for e in first.all_events if e.is_step_restarted}
    assert again == set(RETRIED)
    of = [(table, "main") for table in (*IN_FILE, *RETRIED)]
    of += [(table, "raw") for table in IN_POSTGRES]
    for table, schema in of:
        there = table in COMMITTED or table not in died
        assert len(scene.loaded(schema, table).rows) == (ROWS if there else 0), table

    second = scene.again("killed", first.run_id)
    assert second.success
    assert {e.step_key.partition(".")[2] for e in second.get_step_success_events()} == died

    expected: dict[str, Loaded] = {}
    for like, schema in (("unharmed", "main"), ("pg_unharmed", "raw"), ("split_unharmed", "raw")):
        found = scene.loaded(schema, like)
        assert len(found.rows) == ROWS
        expected[like] = comparable(found, schema, like, first.run_id)
    for table, schema in of:
        like = "split_unharmed" if table.startswith("split") else "pg_unharmed"
        found = comparable(scene.loaded(schema, table), schema, table, first.run_id)
        assert found == expected["unharmed" if schema == "main" else like], table
        scene.is_told_once(schema, table)
    assert scene.systems["main"].relations() <= {*IN_FILE, *RETRIED, *INTERNAL_TABLES}
    assert scene.systems["raw"].relations() <= {*IN_POSTGRES, "items", *INTERNAL_TABLES, *STAGING}


@pytest.mark.parametrize("point", ["mid_stage:2", "after_commit"])
def test_p12_a_run_whose_whole_process_is_killed_is_retried_and_loads_once(
    scene: Scene, point: str
) -> None:
    launched = scene.launched("in_process", {"fault": point})
    assert launched.end() == -signal.SIGKILL
    run = launched.run
    scene.instance.report_run_failed(run)  # as Dagster's monitoring of runs does
    assert scene.again("in_process", run.run_id).success
    found = scene.loaded("main", "items")
    assert len(found.rows) == ROWS
    assert [r["request_key"] for r in found.chain] == [f"dagster/{run.run_id}/main/items"]
    scene.is_told_once("main", "items")


def test_p12_a_step_that_outlives_its_run_beside_the_runs_retry_loads_nothing_twice(
    scene: Scene,
) -> None:
    """The run's process is killed, its step's isn't: it wakes when the retry has loaded all."""
    launched = scene.launched("in_processes", {"fault": "after_plan", "signal": "STOP"})
    step = launched.frozen_step()
    try:
        launched.process.kill()
        launched.end()
        run = launched.run
        scene.instance.report_run_failed(run)
        assert scene.again("in_processes", run.run_id).success
        before = scene.loaded("main", "items")
        step.send_signal(signal.SIGCONT)
        step.wait(TIMEOUT_SECONDS)
    finally:
        if step.is_running():
            step.kill()
    assert scene.loaded("main", "items") == before
    assert len(before.rows) == ROWS
    assert len(before.chain) == 1
    assert scene.entry("main", "items")["version"] == "1"
