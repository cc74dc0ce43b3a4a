"""Two flows beside the ready one: dbt after the loads, and a report that follows the flights."""

from __future__ import annotations

import os

import duckdb
from prefect import flow
from prefect.artifacts import create_table_artifact

from prefect_conduit import run_dbt, run_pipeline

WORST = """
SELECT monthname(time_hour) AS month, round(avg(arr_delay), 1) AS "minutes late"
FROM raw.flights WHERE arr_delay IS NOT NULL GROUP BY ALL ORDER BY 2 DESC LIMIT 3
"""


@flow(name="flights-and-models")
def flights_and_models(pipeline: str = "flights.yml") -> None:
    """Load the streams, then let dbt build what is downstream of the tables that changed."""
    run_pipeline(pipeline)
    run_dbt(pipeline, project_dir="../flights_dbt/dbt", profile="from_destination")


@flow(name="worst-months")
def worst_months() -> None:
    """Tell the months with the longest delays; prefect.yaml says what it follows."""
    with duckdb.connect(os.environ["WAREHOUSE"], read_only=True) as warehouse:
        found = warehouse.sql(WORST)
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    create_table_artifact(key="worst-months", table=rows, description="Average delay at arrival.")
