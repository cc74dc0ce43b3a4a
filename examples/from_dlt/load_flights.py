"""A pipeline of dlt, as docs/howto/from-dlt.md moves it: three tables of SQLite into DuckDB."""

from __future__ import annotations

import dlt
from dlt.sources.sql_database import sql_table

SOURCE = "sqlite:///flights.db"


def main() -> None:
    """Load what is new."""
    flights = sql_table(
        SOURCE, table="flights", incremental=dlt.sources.incremental("time_hour"), primary_key="id"
    )
    planes = sql_table(SOURCE, table="planes", write_disposition="merge", primary_key="tailnum")
    airlines = sql_table(SOURCE, table="airlines", write_disposition="replace")
    pipeline = dlt.pipeline(
        "flights", destination=dlt.destinations.duckdb("warehouse.duckdb"), dataset_name="raw"
    )
    print(pipeline.run([flights, planes, airlines]))


if __name__ == "__main__":
    main()
