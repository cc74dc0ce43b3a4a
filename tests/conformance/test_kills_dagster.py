"""Steps and runs of Dagster that are killed, and its own retries of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_conduit.state import current
from tests.conformance.kill_jobs import SCENES, steps_retried
from tests.conformance.kills import Scenes, at_random, each_point
from tests.dagster.crashing import at_home

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.postgres]
Record = Callable[[str, object], None]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster that keeps its runs in a folder."""
    before = dict(os.environ)
    with at_home(str(tmp_path)) as made:
        yield made
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


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
    schedules = each_point() + at_random("Dagster", daily=3, whole=30, milliseconds=300)
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
