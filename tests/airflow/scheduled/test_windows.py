"""``window="data_interval"`` by each kind of schedule, in a real scheduler."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.airflow.scene import DAYS, SLICES, Scene
from tests.airflow.server import DONE

pytestmark = pytest.mark.slow


def refused(scheduled: Scene, dag: str, run_id: str) -> str:
    """Return the log of a run that failed at once, by what no retry mends."""
    airflow = scheduled.airflow
    airflow.finished(dag, run_id, state="failed")
    task = airflow.tasks(dag, run_id)["load"]
    assert (task["state"], task["try_number"], task["max_tries"]) == ("failed", 1, 2)
    log = airflow.log(dag, run_id, "load")
    for named in ("CronDataIntervalTimetable", "CronPartitionTimetable", "window='data_interval'"):
        assert named in log
    return log


def first_run(scheduled: Scene, dag: str) -> dict[str, Any]:
    """Switch a DAG on and wait for the run that its schedule makes."""
    scheduled.airflow.dag(dag)
    scheduled.airflow.wait_for(lambda: scheduled.airflow.runs(dag), f"scheduled run of {dag}")
    return scheduled.airflow.runs(dag)[0]


def test_p12_a_backfill_of_sixteen_runs_at_once_loads_each_days_rows_once(
    scheduled: Scene,
) -> None:
    airflow = scheduled.airflow
    airflow.dag("sliced")
    last = SLICES + timedelta(days=DAYS - 1)
    body = {
        "dag_id": "sliced", "from_date": SLICES.isoformat(), "to_date": last.isoformat(),
        "max_active_runs": DAYS,
    }  # fmt: skip
    airflow.ask("POST", "backfills", body)

    def states() -> list[str]:
        """Return the states of the backfill's runs, once all have ended."""
        runs = [run["state"] for run in airflow.runs("sliced") if run["run_type"] == "backfill"]
        return runs if len(runs) == DAYS and set(runs) <= set(DONE) else []

    assert airflow.wait_for(states, f"end of {DAYS} runs") == ["success"] * DAYS
    assert len(airflow.events("raw.sliced")) == DAYS
    logs = [airflow.log("sliced", r["dag_run_id"], "load") for r in airflow.runs("sliced")]
    assert not [log for log in logs if "was edited" in log]  # loads side by side are no person
    found = scheduled.ledger("sliced", "load_window, rows_inserted, request_key")
    assert len({key for *_, key in found}) == DAYS
    assert [inserted for _, inserted, _ in found] == [4] * DAYS
    assert len({window for window, *_ in found}) == DAYS
    # Each load has its own day's rows, from the first moment on.
    days = "SELECT count(*), count(DISTINCT at::date), min(at) FROM raw.sliced"
    each = scheduled.sql(f"{days} GROUP BY _conduit_load_id ORDER BY 3")
    assert each == [
        (4, 1, (SLICES + timedelta(days=day)).replace(tzinfo=None)) for day in range(DAYS)
    ]


def test_a_manual_run_of_a_scheduled_dag_fails_and_is_not_retried(scheduled: Scene) -> None:
    scheduled.airflow.dag("sliced")
    before = scheduled.relations("sliced")
    log = refused(scheduled, "sliced", scheduled.airflow.trigger("sliced"))
    assert "triggered by hand" in log
    assert scheduled.relations("sliced") == before or before == []


def test_a_daily_schedule_has_no_interval_and_its_run_fails_at_once(scheduled: Scene) -> None:
    run = first_run(scheduled, "daily")
    log = refused(scheduled, "daily", run["dag_run_id"])
    assert "@daily" in log
    assert scheduled.relations("daily") == []


def test_a_partition_is_loaded_whole(scheduled: Scene) -> None:
    run = first_run(scheduled, "partitioned")
    scheduled.airflow.finished("partitioned", run["dag_run_id"])
    day = datetime.fromisoformat(run["partition_key"])
    (found,) = scheduled.sql("SELECT count(*), min(at), max(at) FROM raw.partitioned")
    assert found == (4, day, day + timedelta(hours=18))


def test_p12_two_runs_of_one_stream_at_once_load_each_row_once(scheduled: Scene) -> None:
    """Whoever is second plans again, and finds nothing new."""
    airflow = scheduled.airflow
    airflow.dag("twice")
    for run in [airflow.trigger("twice") for _ in range(2)]:
        airflow.finished("twice", run)
    rows = (DAYS + 5) * 4  # the days of the backfill, and some around today
    (found,) = scheduled.sql("SELECT count(*), count(DISTINCT at) FROM raw.twice")
    assert found == (rows, rows)
    assert [inserted for (inserted,) in scheduled.ledger("twice", "rows_inserted")] == [rows]
    assert len(airflow.events("raw.twice")) == 1
