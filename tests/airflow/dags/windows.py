"""Loads of a run's interval or partition, by each kind of schedule."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable, CronPartitionTimetable

from airflow_provider_conduit.load import ConduitLoadOperator
from tests.airflow.given import AGAIN, sqlite


def load(into: str) -> None:
    """Make the task."""
    ConduitLoadOperator(
        task_id="load",
        pipeline=sqlite("slices", into=into, mode="append", cursor="at", cursor_timezone="UTC"),
        window="data_interval",
        **AGAIN,
    )


YEAR = datetime(2024, 1, 1, tzinfo=UTC)

# Only a backfill runs it: its last interval is over, and it doesn't catch up.
with DAG(
    "sliced",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=YEAR,
    end_date=datetime(2024, 1, 31, tzinfo=UTC),
    catchup=False,
):
    load("sliced")

with DAG(
    "partitioned",
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", run_immediately=True),
    catchup=False,
):
    load("partitioned")

with DAG("daily", schedule="@daily", start_date=YEAR, catchup=False):
    load("daily")

# Of the watermark: two runs of it at once.
with DAG("twice", schedule=None, max_active_runs=2):
    ConduitLoadOperator(
        task_id="load",
        pipeline=sqlite("slices", into="twice", mode="append", cursor="at", cursor_timezone="UTC"),
        **AGAIN,
    )
