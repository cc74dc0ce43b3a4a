"""Steps and runs of Dagster that are killed, and its own retries of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from conduit_core.engine import hooks
from dagster_conduit.state import current
from tests.conformance.kill_jobs import SCENES, TRIES, runs_retried, steps_retried
from tests.conformance.kills import SPREAD, Scenes, at_random, each_point
from tests.conformance.tell import INSTALLED
from tests.dagster.crashing import at_home

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.postgres]
DEADLINE_SECONDS = 3600
Record = Callable[[str, object], None]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster that keeps its runs in a folder; what jobs make of this process is undone."""
    before, path = dict(os.environ), list(sys.path)
    _look_again()
    with at_home(str(tmp_path)) as made:
        yield made
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    sys.path[:] = path
    _look_again()


def _look_again() -> None:
    """Forget which hooks are installed: the path has changed, or will."""
    hooks._points.cache_clear()
    hooks._ours.cache_clear()


def written(scenes: Scenes) -> None:
    """Write what other processes make the jobs of."""
    told = {name: (str(scene.file), scene.kind) for name, scene in scenes.all.items()}
    (scenes.folder / SCENES).write_text(json.dumps({"env": scenes.env, "scenes": told}))


def is_as_if_nothing_had_failed(scenes: Scenes, instance: dg.DagsterInstance) -> None:
    """Compare each scene, what Dagster keeps of it, and what it was told of it."""
    for name, scene in scenes.all.items():
        scenes.check(name)
        for table in scene.streams:
            key = dg.AssetKey([name, table])
            entry = json.loads(current(instance, key) or "{}")
            assert (entry["version"], entry["load_id"], entry["cursor"]) == scene.newest(table)
            assert len(instance.fetch_materializations(key, limit=10).records) == 1, (name, table)


def test_p11_p12_p22_steps_killed_and_retried_by_dagster_load_each_row_once(
    tmp_path: Path, postgres_database: str, instance: dg.DagsterInstance, record_property: Record
) -> None:
    # Where a process dies that has told its step's success, Dagster's executor gives the run up.
    moments = at_random("Dagster", daily=2, whole=30, milliseconds=300, moments="within")
    schedules = each_point() + moments
    scenes = Scenes(tmp_path / "scenes", postgres_database, schedules)
    written(scenes)
    job: Any = dg.build_reconstructable_job(
        steps_retried.__module__, steps_retried.__name__, (str(scenes.folder),)
    )
    with dg.execute_job(job, instance) as result:
        failed = [e.step_key for e in result.get_step_failure_events()]
    assert result.success, failed
    is_as_if_nothing_had_failed(scenes, instance)
    scenes.report("Dagster", record_property)


@contextmanager
def daemon(scenes: Scenes, home: Path) -> Iterator[dg.DagsterInstance]:
    """Start Dagster's daemon, which starts runs, and those that have died once more."""
    home.mkdir()
    (home / "dagster.yaml").write_text(
        "run_retries: {enabled: true}\ntelemetry: {enabled: false}\n"
        "concurrency: {runs: {max_concurrent_runs: 2}}\n"
    )
    code = f"from {runs_retried.__module__} import runs_retried\n"
    (home / "definitions.py").write_text(f"{code}defs = runs_retried({str(scenes.folder)!r})\n")
    (home / "workspace.yaml").write_text("load_from: [{python_file: definitions.py}]\n")
    path = os.pathsep.join([*sys.path, INSTALLED])
    env = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": path}
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", "workspace.yaml"]
    with (home / "daemon.log").open("w") as log:
        instance = dg.DagsterInstance.from_config(str(home))  # makes its database
        process = subprocess.Popen(
            command, cwd=home, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        with instance:
            yield instance
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it leads a group, and the code's server is in it
        process.wait(10)


def waited_for(instance: dg.DagsterInstance, name: str) -> None:
    """Wait until a run of a job has come to its good end."""
    until = time.monotonic() + DEADLINE_SECONDS
    good = dg.RunsFilter(job_name=name, statuses=[dg.DagsterRunStatus.SUCCESS])
    while not instance.get_runs(good):
        told = [each.status.value for each in instance.get_runs(dg.RunsFilter(job_name=name))]
        assert time.monotonic() < until, (name, told)
        assert told.count("FAILURE") < TRIES, name
        time.sleep(0.5)


@pytest.mark.deep
def test_p12_runs_killed_and_retried_by_dagsters_daemon_load_each_row_once(
    tmp_path: Path, postgres_database: str, record_property: Record
) -> None:
    schedules = [each for each in each_point() if each.kind != SPREAD]
    scenes = Scenes(tmp_path / "scenes", postgres_database, schedules)
    written(scenes)
    with daemon(scenes, tmp_path / "home") as instance:
        for name in scenes.all:
            waited_for(instance, f"load_{name}")
        is_as_if_nothing_had_failed(scenes, instance)
    scenes.report("Dagster", record_property)
