"""Assets in a real scheduler: who waits for a table starts once after each change of it."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.airflow.scene import Scene

pytestmark = pytest.mark.slow


def test_p22_an_asset_starts_its_dag_once_after_each_change_and_never_else(
    scheduled: Scene,
) -> None:
    airflow = scheduled.airflow
    for dag in ("news", "after_news"):
        airflow.dag(dag)

    def starts() -> list[str]:
        """Return the paths of the waiting DAG's runs, once they have begun."""
        runs = [run for run in airflow.runs("after_news") if run["start_date"]]
        assert {run["run_type"] for run in runs} <= {"asset_triggered"}
        return [f"dags/after_news/dagRuns/{quote(run['dag_run_id'])}" for run in runs]

    first = airflow.xcom("news", airflow.run("news"), "load")
    airflow.wait_for(lambda: len(starts()) == 1, "start after the first load")
    empty = airflow.xcom("news", airflow.run("news"), "load")
    assert (first["outcome"], empty["outcome"]) == ("published", "empty")

    scheduled.insert("orders", [(i, f"2024-02-01 00:00:{i - 50:02}") for i in range(50, 60)])
    killed = airflow.run("news", fault="after_commit")
    task = airflow.tasks("news", killed)["load"]
    again = airflow.xcom("news", killed, "load")
    assert (task["try_number"], again["outcome"]) == (2, "replayed")
    airflow.wait_for(lambda: len(starts()) == 2, "start after the load that was killed")

    airflow.clear("news", killed, "load")
    airflow.wait_for(
        lambda: airflow.tasks("news", killed)["load"]["try_number"] == 3, "the cleared task's try"
    )
    airflow.finished("news", killed)
    assert airflow.xcom("news", killed, "load")["load_id"] == again["load_id"]

    # One more change: what it starts comes after all that the clear could have started.
    scheduled.insert("orders", [(60, "2024-02-02 00:00:00")])
    last = airflow.xcom("news", airflow.run("news"), "load")
    airflow.wait_for(lambda: len(starts()) >= 3, "start after the last load")
    loads = [load["load_id"] for load in (first, again, last)]
    assert [event["extra"]["load_id"] for event in airflow.events("raw.orders")] == loads
    started = [airflow.ask("GET", f"{at}/upstreamAssetEvents")["asset_events"] for at in starts()]
    assert [[event["extra"]["load_id"] for event in by] for by in started] == [[i] for i in loads]
    assert airflow.events("raw.orders")[1]["extra"]["counts"]["inserted"] == 10
    rows = "SELECT count(*), count(DISTINCT id) FROM raw.orders"
    assert scheduled.duck("news.duckdb", rows) == [(61, 61)]
    _a_run_that_an_asset_started_has_no_interval(scheduled)


def _a_run_that_an_asset_started_has_no_interval(scheduled: Scene) -> None:
    airflow = scheduled.airflow
    run_id = airflow.runs("after_news")[0]["dag_run_id"]
    airflow.finished("after_news", run_id, state="failed")
    tasks = airflow.tasks("after_news", run_id)
    assert (tasks["sliced"]["state"], tasks["sliced"]["try_number"]) == ("failed", 1)
    assert tasks["seen"]["state"] == "success"
    log = airflow.log("after_news", run_id, "sliced")
    assert "CronDataIntervalTimetable" in log
    assert "CronPartitionTimetable" in log
    assert "triggered by hand, by an API or by an asset" in log
