"""Tasks of a real Airflow that are killed, and its scheduler's retries of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import services
from tests.airflow.server import MEMBERS, AirflowServer
from tests.conformance.kills import COMMITTED, PLAIN, Scenes, Schedule, at_random, each_point
from tests.conformance.tell import INSTALLED

pytestmark = [pytest.mark.crash, pytest.mark.slow]
Record = Callable[[str, object], None]
DAGS = Path(__file__).with_name("dags")
HOUR = 3600
_OF = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"
MISSED = {_OF: "20", f"{_OF}_DETECTION_INTERVAL": "5"}
"""After how many seconds a task without a heartbeat is taken for dead."""


@contextmanager
def airflow(scenes: Scenes, metadata: str, **more: str) -> Iterator[AirflowServer]:
    """Start an Airflow that has the scenes as a DAG; ``more`` is of its environment."""
    told = scenes.folder / "scenes.json"
    told.write_text(json.dumps({name: str(each.file) for name, each in scenes.all.items()}))
    path = os.pathsep.join([*map(str, MEMBERS), INSTALLED])
    env = {**scenes.env, "SCENES": str(told), "PYTHONPATH": path, **more}
    home = scenes.folder / "airflow"
    home.mkdir()
    driver = metadata.replace("postgresql://", "postgresql+psycopg2://")
    with AirflowServer(home, DAGS, driver, env) as made:
        yield made


def is_as_if_nothing_had_failed(scenes: Scenes, server: AirflowServer) -> None:
    """Compare each scene, what Airflow keeps of it, and what it was told of it."""
    for name, scene in scenes.all.items():
        scenes.check(name)
        for table in scene.streams:
            asset = f"{name}.{table}"
            path = f"assets/{server.asset_id(asset)}/state-store"
            (entry,) = server.ask("GET", path)["asset_state_store"]
            found = entry["value"]
            assert (found["version"], found["load_id"], found["cursor"]) == scene.newest(table)
            assert len(server.events(asset)) == 1, asset


@pytest.fixture
def databases(postgres_server: services.PostgresServer) -> Iterator[tuple[str, str]]:
    """Two empty databases: of the scenes, and Airflow's own."""
    made = (postgres_server.create_database(), postgres_server.create_database())
    yield made
    for each in made:
        postgres_server.drop_database(each)


def run_on(scenes: Scenes, metadata: str, **more: str) -> None:
    """Run the DAG until it has come to its good end, and compare."""
    with airflow(scenes, metadata, **more) as server:
        server.dag("kills")
        server.finished("kills", server.trigger("kills"), seconds=HOUR)
        is_as_if_nothing_had_failed(scenes, server)


def test_p11_p12_p22_tasks_killed_and_retried_by_airflow_load_each_row_once(
    tmp_path: Path, databases: tuple[str, str], record_property: Record
) -> None:
    schedules = each_point() + at_random("Airflow", daily=1, whole=16, milliseconds=400)
    scenes = Scenes(tmp_path / "scenes", databases[0], schedules)
    run_on(scenes, databases[1])
    scenes.report("Airflow", record_property)


@pytest.mark.deep
def test_p12_workers_killed_with_their_tasks_whose_heartbeat_airflow_misses_load_each_row_once(
    tmp_path: Path, databases: tuple[str, str], record_property: Record
) -> None:
    """The supervisor dies with the task, so that nobody says that it has: as a lost machine."""
    schedules = [
        Schedule("mid-stage", PLAIN, ("mid_stage:2:items!",)),
        Schedule(COMMITTED, PLAIN, ("after_commit:1:orders!",)),
        Schedule("after mirror before hooks", PLAIN, ("before_hooks:1!",)),
    ]
    scenes = Scenes(tmp_path / "scenes", databases[0], schedules)
    run_on(scenes, databases[1], **MISSED)
    scenes.report("Airflow", record_property)
