"""Two DAGs: one loads the flights, the other follows each load that changed their table."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, Param, chain, task

from airflow_provider_conduit.assets import conduit_asset
from airflow_provider_conduit.load import ConduitLoadOperator

RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}

with DAG(
    "flights",
    schedule=None,
    max_active_runs=1,  # a DuckDB file has one writer at a time
    params={"until": Param("", type="string", title="Load flights and weather up to")},
    default_args=RETRIES,
):
    files = [
        ConduitLoadOperator(task_id=stream, pipeline="flights.yml", stream=stream)
        for stream in ("planes", "airports", "airlines")
    ]
    times = [
        ConduitLoadOperator(
            task_id=stream,
            pipeline="flights.yml",
            stream=stream,
            window_to="{{ params.until }}",  # empty: up to what there is
        )
        for stream in ("weather", "flights")
    ]
    chain(*files, *times)

with DAG("delays", schedule=[conduit_asset("flights.yml", "flights")], default_args=RETRIES):

    @task
    def worst_months() -> list[str]:
        """Return the months with the longest delays, of what has been loaded so far."""
        import duckdb

        query = """
            SELECT month, round(avg(dep_delay), 1) AS minutes, count(*) AS flights
            FROM raw.flights GROUP BY month ORDER BY minutes DESC LIMIT 3
        """
        with duckdb.connect(os.environ["WAREHOUSE"], read_only=True) as connection:
            rows = connection.sql(query).fetchall()
        return [f"month {m}: {minutes} min over {n} flights" for m, minutes, n in rows]

    worst_months()
