"""Passwords of a connection and of a pipeline file: in nothing that Airflow keeps or shows."""

from __future__ import annotations

import pytest

from tests.airflow.scene import Scene

pytestmark = pytest.mark.slow

TASKS = {
    "by_file": "success",
    "by_connection": "success",
    "refused_by_file": "failed",
    "refused_by_connection": "failed",
}


def test_no_password_is_logged_rendered_or_kept(scheduled: Scene) -> None:
    airflow = scheduled.airflow
    airflow.dag("secret")
    run_id = airflow.trigger("secret")
    airflow.finished("secret", run_id, state="failed")
    tasks = airflow.tasks("secret", run_id)
    assert {name: task["state"] for name, task in tasks.items()} == TASKS
    for name in ("refused_by_file", "refused_by_connection"):
        assert "it refuses the password" in airflow.log("secret", run_id, name)

    shown: dict[str, str] = {}
    for table in ("secret.by_file", "secret.by_connection"):
        store = airflow.ask("GET", f"assets/{airflow.asset_id(table)}/state-store")
        events = airflow.events(table)
        assert store["total_entries"] == len(events) == 1
        shown |= {f"the state of {table}": str(store), f"the events of {table}": str(events)}
    for name, task in tasks.items():
        shown[f"the templates of {name}"] = str(task["rendered_fields"])
        shown[f"the result of {name}"] = str(airflow.xcom("secret", run_id, name))
    assert "warehouse" in shown["the templates of by_connection"]
    # All that any test has left: logs, what the processes printed, and the database.
    kept = [
        file
        for file in airflow.home.rglob("*")
        if file.is_file() and airflow.dags not in file.parents
    ]
    tables = scheduled.metadata_text()
    assert "by_connection" in tables
    for canary in scheduled.canaries:
        assert canary not in "".join(shown.values())
        assert canary not in tables
        assert [file for file in kept if canary.encode() in file.read_bytes()] == []
