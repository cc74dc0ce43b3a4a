"""The shop as a DAG: its streams, then dbt, with a trigger form that asks what to load."""

from __future__ import annotations

from airflow_provider_conduit import ConduitDag

dag = ConduitDag(
    "shop",
    pipeline="shop.yml",
    schedule=None,
    max_active_runs=1,
    operator_args={"retries": 2},
)
