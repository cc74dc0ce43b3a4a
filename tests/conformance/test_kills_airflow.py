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
from tests.conformance.hooked import INSTALLED
from tests.conformance.kills import Scenes, at_random, each_point

pytestmark = [pytest.mark.crash, pytest.mark.slow]
Record = Callable[[str, object], None]
DAGS = Path(__file__).with_name("dags")
HOUR = 3600


@contextmanager
def airflow(scenes: Scenes, metadata: str) -> Iterator[AirflowServer]:
    """Start an Airflow that has the scenes as a DAG."""
    told = scenes.folder / "scenes.json"
    told.write_text(json.dumps({name: str(each.file) for name, each in scenes.all.items()}))
    path = os.pathsep.join([*map(str, MEMBERS), INSTALLED])
    env = {**scenes.env, "SCENES": str(told), "PYTHONPATH": path}
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


def test_p11_p12_p22_tasks_killed_and_retried_by_airflow_load_each_row_once(
    tmp_path: Path, postgres_server: services.PostgresServer, record_property: Record
) -> None:
    database, metadata = (postgres_server.create_database() for _ in range(2))
    schedules = each_point() + at_random("Airflow", daily=1, whole=16, milliseconds=400)
    scenes = Scenes(tmp_path / "scenes", database, schedules)
    with airflow(scenes, metadata) as server:
        server.dag("kills")
        run_id = server.trigger("kills")
        server.finished("kills", run_id, seconds=HOUR)
        is_as_if_nothing_had_failed(scenes, server)
    scenes.report("Airflow", record_property)
    for each in (database, metadata):
        postgres_server.drop_database(each)
