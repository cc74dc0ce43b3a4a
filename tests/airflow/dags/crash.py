"""The same load many times, each killed at another fault point in its first attempt."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_conduit.assets import conduit_asset
from airflow_provider_conduit.load import ConduitLoadOperator
from tests.airflow.given import AGAIN, DUCK_POINTS, FOLDER, POINTS, killed_at


def pipeline(table: str, destination: dict[str, object]) -> dict[str, object]:
    """Return the pipeline of a task."""
    more = {"splits": 4} if table.startswith("split") else {}
    return {
        "name": "crash",
        "source": {"type": "parquet", "path": str(FOLDER / "items")},
        "destination": {**destination, "schema": "raw"},
        "streams": [
            {"path": "*.parquet", "into": table, "name": table, "mode": "append"}
            | {"cursor": "id", **more}
        ],
    }


def duck(table: str) -> dict[str, object]:
    """Return a DuckDB destination of its own."""
    return {"type": "duckdb", "path": str(FOLDER / table / "warehouse.duckdb")}


def load(table: str, point: str, destination: dict[str, object]) -> None:
    """Make the task."""
    ConduitLoadOperator(
        task_id=table,
        pipeline=pipeline(table, destination),
        pre_execute=killed_at(point) if point else None,
        **AGAIN,
    )


with DAG("crash", schedule=None):
    for name, at in POINTS.items():
        load(name, at, {"connection": "warehouse"})
    for name, at in DUCK_POINTS.items():
        load(name, at, duck(name))

# Where the file says the place, the URI is that place: the Asset is made by our function.
DUCK = conduit_asset(pipeline("duck_commit", duck("duck_commit")), "duck_commit")
with DAG("after_crash", schedule=[DUCK]):
    EmptyOperator(task_id="seen")
