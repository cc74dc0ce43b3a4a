"""Runs that die, and their retries: each row once. Steps that die: tests/conformance."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from dagster_conduit.state import current
from tests.crash.harness import Loaded, loaded
from tests.crash.source import ROWS, Source
from tests.crash.systems import SQLite
from tests.dagster.crashing import (
    Launched,
    at_home,
    job,
)
from tests.waiting import TIMEOUT_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.xdist_group("dagster-forks")]


KEY = dg.AssetKey(["main", "items"])


class Scene:
    """A source, a destination, and a Dagster that keeps its runs in a folder."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder = folder
        self.instance = instance
        self.system = SQLite(folder)

    def job(self, name: str) -> dg.JobDefinition:
        """Return a job of ``crashing``, as other processes make it again."""
        return job(name, str(self.folder), "")

    def launched(self, name: str, tags: dict[str, str] | None = None) -> Launched:
        """Start a run of a job in a process of its own."""
        return Launched(name, str(self.folder), "", self.instance, tags or {})

    def again(self, name: str, run_id: str) -> dg.JobExecutionResult:
        """Retry a run from its failure, as Dagster's run retries do."""
        of = dg.ReexecutionOptions.from_failure(run_id, self.instance)
        with dg.execute_job(self.job(name), self.instance, reexecution_options=of) as result:
            return result

    def loaded(self) -> Loaded:
        """Return what the table has."""
        return loaded(self.system)

    def is_told_once(self) -> None:
        """Check the asset's events: one for the load, whose entry is the ledger's newest."""
        assert len(self.instance.fetch_materializations(KEY, limit=10).records) == 1
        newest = self.system.query(
            f"SELECT version, load_id FROM {self.system.place('_conduit_ledger')}"
            " ORDER BY version DESC LIMIT 1"
        )
        entry = self.entry()
        assert [(int(entry["version"]), entry["load_id"])] == newest

    def entry(self) -> dict[str, str]:
        """Return the state's entry that counts."""
        found: dict[str, str] = json.loads(current(self.instance, KEY) or "{}")
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    Source(tmp_path / "items").fill()
    with at_home(str(tmp_path)) as instance:
        yield Scene(tmp_path, instance)


@pytest.mark.parametrize("point", ["mid_stage:2", "after_commit"])
def test_p12_a_run_whose_whole_process_is_killed_is_retried_and_loads_once(
    scene: Scene, point: str
) -> None:
    launched = scene.launched("in_process", {"fault": point})
    assert launched.end() == -signal.SIGKILL
    run = launched.run
    scene.instance.report_run_failed(run)  # as Dagster's monitoring of runs does
    assert scene.again("in_process", run.run_id).success
    found = scene.loaded()
    assert len(found.rows) == ROWS
    assert [r["request_key"] for r in found.chain] == [f"dagster/{run.run_id}/main/items"]
    scene.is_told_once()


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
        before = scene.loaded()
        step.send_signal(signal.SIGCONT)
        step.wait(TIMEOUT_SECONDS)
    finally:
        if step.is_running():
            step.kill()
    assert scene.loaded() == before
    assert len(before.rows) == ROWS
    assert len(before.chain) == 1
    assert scene.entry()["version"] == "1"
