"""Loads whose entries in the state store a test edits between two runs: a table for each edit."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_conduit.load import ConduitLoadOperator
from tests.airflow.given import EDITS, sqlite


def load(edit: str, mode: dict[str, object]) -> None:
    """Make the task."""
    ConduitLoadOperator(
        task_id=edit,
        pipeline=sqlite("edited", into=f"state_{edit}", cursor="at", **mode),
    )


with DAG("state", schedule=None):
    for name in EDITS:
        load(name, {"mode": "upsert", "unique_key": "id"})
    load("lower_append", {"mode": "append"})
