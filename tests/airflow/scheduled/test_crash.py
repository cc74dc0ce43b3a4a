"""Task processes that die, and Airflow's own retries of them: each row once all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.airflow.given import DUCK_POINTS, POINTS
from tests.airflow.scene import Scene
from tests.crash.harness import Loaded, loaded
from tests.crash.source import ROWS
from tests.crash.systems import INTERNAL_TABLES, DuckDB, Postgres

pytestmark = [pytest.mark.slow, pytest.mark.crash]


def comparable(found: Loaded, task: str) -> Loaded:
    """Take out what names the task: its table, its stream and its request key."""
    (record,) = found.chain
    assert record.pop("request_key").endswith(f"/{task}/-1")
    assert record.pop("stream") == task
    return replace(found, chain=[record])


def test_p12_a_task_killed_anywhere_and_retried_by_airflow_loads_each_row_once(
    scheduled: Scene,
) -> None:
    for dag in ("crash", "after_crash"):
        scheduled.airflow.dag(dag)
    run_id = scheduled.airflow.run("crash")
    tasks = scheduled.airflow.tasks("crash", run_id)
    unharmed = {name for name in tasks if name.endswith("unharmed")}
    assert {name: task["try_number"] for name, task in tasks.items()} == {
        name: 1 if name in unharmed else 2 for name in tasks
    }

    system = Postgres(scheduled.database)
    for name in POINTS:
        like = "split_unharmed" if name.startswith("split") else "unharmed"
        expected = comparable(loaded(system, like), like)
        assert len(expected.rows) == ROWS
        assert comparable(loaded(system, name), name) == expected, name
    for name in DUCK_POINTS:
        expected = comparable(duck(scheduled, "duck_unharmed"), "duck_unharmed")
        assert len(expected.rows) == ROWS
        assert comparable(duck(scheduled, name), name) == expected, name

    # Killed after the commit: the retry told.
    airflow = scheduled.airflow
    (told,) = airflow.events("raw.duck_commit")
    assert told["extra"]["load_id"] == airflow.xcom("crash", run_id, "duck_commit")["load_id"]
    airflow.wait_for(lambda: airflow.runs("after_crash"), "start after the load")
    assert len(airflow.runs("after_crash")) == 1


def duck(scheduled: Scene, name: str) -> Loaded:
    """Return what a task's DuckDB file has."""
    system = DuckDB(scheduled.folder / name)
    found = loaded(system, name)
    assert system.relations() <= {name, *INTERNAL_TABLES}
    system.close()
    return found
