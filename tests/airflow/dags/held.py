"""Loads that hang in their source's query until the test lets go of a lock."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_conduit.load import ConduitLoadOperator
from tests.airflow.given import AGAIN


def load(table: str, **more: object) -> None:
    """Make the task."""
    ConduitLoadOperator(
        task_id=table,
        pipeline={
            "name": "held",
            "source": {"connection": "shop"},
            "destination": {"connection": "warehouse", "schema": "raw"},
            "streams": [{"table": table, "mode": "append", "cursor": "id"}],
        },
        **more,
    )


with DAG("held", schedule=None):
    load("held_failed", **AGAIN)
    load("held_cleared")
    load("held_late", execution_timeout=timedelta(seconds=10))
