"""Tasks that are ended while their source's query runs: it is cancelled, nothing is published."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from tests.airflow.scene import GATE, Scene

pytestmark = pytest.mark.slow

WAITING = """
SELECT pid FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE %s AND pid <> pg_backend_pid()
"""
ROWS = [(100, 5050, 50500)]


def waiting(scheduled: Scene, table: str) -> set[int]:
    """Return the sessions that hang in a source's query."""
    return {pid for (pid,) in scheduled.sql(WAITING, f"%{table}%")}


def test_p12_a_task_that_is_ended_cancels_its_query_and_the_next_run_loads_all(
    scheduled: Scene,
) -> None:
    """Marked as failed, cleared, and over its ``execution_timeout``: three tasks of one run."""
    airflow = scheduled.airflow
    airflow.dag("held")
    tables = ("held_failed", "held_cleared", "held_late")
    with closing(psycopg.connect(scheduled.database, autocommit=True)) as gate:
        gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
        run_id = airflow.trigger("held")

        def hangs(table: str) -> set[int]:
            return airflow.wait_for(lambda: waiting(scheduled, table), f"query of {table}")

        hangs("held_failed")
        before = hangs("held_cleared")
        airflow.set_state("held", run_id, "held_failed", "failed")
        airflow.clear("held", run_id, "held_cleared")
        for table in ("held_failed", "held_late"):
            airflow.wait_for(lambda t=table: not waiting(scheduled, t), f"end of {table}'s query")
        airflow.wait_for(
            lambda: airflow.tasks("held", run_id)["held_late"]["state"] == "failed",
            "failure of the task that is over its time",
        )
        after = airflow.wait_for(
            lambda: waiting(scheduled, "held_cleared") - before, "query of the cleared task"
        )
        assert waiting(scheduled, "held_cleared") == after
        assert scheduled.relations("held_") == []

    airflow.finished("held", run_id, state="failed")
    tasks = airflow.tasks("held", run_id)
    assert {name: task["state"] for name, task in tasks.items()} == {
        "held_failed": "failed", "held_cleared": "success", "held_late": "failed"
    }  # fmt: skip
    assert scheduled.relations("held_") == ["held_cleared"]
    assert "Timeout" in airflow.log("held", run_id, "held_late")

    airflow.run("held")
    for table in tables:
        assert scheduled.sql(f"SELECT count(*), sum(id), sum(amount) FROM raw.{table}") == ROWS
        assert len(scheduled.ledger(table, "version")) == 1
