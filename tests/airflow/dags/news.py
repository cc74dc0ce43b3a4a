"""A load, and a DAG that its table's Asset starts; the run's conf may kill the load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset

from airflow_provider_conduit.load import ConduitLoadOperator
from tests.airflow.given import AGAIN, killed_at, sqlite


def arm(context: Mapping[str, Any]) -> None:
    """Kill the load where the run's conf says."""
    if point := context["dag_run"].conf.get("fault"):
        killed_at(point)(context)


with DAG("news", schedule=None):
    ConduitLoadOperator(
        task_id="load",
        pipeline=sqlite("orders", mode="upsert", unique_key="id", cursor="at"),
        destination_conn_id="duck",
        pre_execute=arm,
        **AGAIN,
    )

with DAG("after_news", schedule=[Asset("raw.orders")]):
    EmptyOperator(task_id="seen")
    # An asset's run has no interval.
    ConduitLoadOperator(
        task_id="sliced",
        pipeline=sqlite("slices", into="after_news", mode="append", cursor="at"),
        window="data_interval",
        **AGAIN,
    )
