"""What dlt is told: `python dlt_load.py WORK SOURCE INTO`, in an environment of its own.

Each work is written as its documentation advises for speed: Arrow from end to end where dlt has
it, files handed on as they are where the destination takes them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import dlt

URL = os.environ.get("BENCH_URL", "")
COLUMNS = {
    "id": {"data_type": "bigint"},
    "customer": {"data_type": "bigint"},
    "amount": {"data_type": "decimal", "precision": 12, "scale": 2},
    "price": {"data_type": "decimal", "precision": 18, "scale": 4},
    "created": {"data_type": "timestamp"},
    "updated": {"data_type": "timestamp"},
    "status": {"data_type": "text"},
    "note": {"data_type": "text"},
    "score": {"data_type": "double"},
    "active": {"data_type": "bool"},
}
"""What a file can't say of itself."""


def table(name: str, **more: Any) -> Any:
    """A table of PostgreSQL, read by connectorx as Arrow."""
    from dlt.sources.sql_database import sql_table

    return sql_table(
        URL.replace("postgresql://", "postgresql+psycopg2://"),
        table=name,
        schema="public",
        backend="connectorx",
        backend_kwargs={"conn": URL},
        **more,
    )


@dlt.resource(columns=COLUMNS)
def file(path: str) -> Iterator[Any]:
    """A CSV file as it is, for the COPY of PostgreSQL."""
    yield dlt.mark.with_file_import(path, "csv")


@dlt.resource
def arrow(path: str) -> Iterator[Any]:
    """A CSV file, parsed by pyarrow as a stream."""
    import pyarrow as pa
    import pyarrow.csv

    convert = pyarrow.csv.ConvertOptions(
        column_types={
            "amount": pa.decimal128(12, 2),
            "price": pa.decimal128(18, 4),
            "created": pa.timestamp("us", "UTC"),
            "updated": pa.timestamp("us", "UTC"),
        },
        true_values=["t"],
        false_values=["f"],
    )
    for batch in pyarrow.csv.open_csv(path, convert_options=convert):
        yield pa.Table.from_batches([batch])


def main() -> None:
    """Run one work."""
    work, source, into = sys.argv[1:]
    how: dict[str, Any] = {"write_disposition": "replace", "loader_file_format": "parquet"}
    if work == "file":
        resource, how["loader_file_format"] = file(source), "csv"
    elif work in {"arrow", "arrow-duckdb"}:
        resource = arrow(source)
    elif work == "append":
        resource = table(source, incremental=dlt.sources.incremental("id", range_start="open"))
        how["write_disposition"] = "append"
    else:
        resource = table(source)
    if work in {"upsert", "upsert-base"}:
        how["primary_key"] = "id"
    if work == "upsert":
        how["write_disposition"] = {"disposition": "merge", "strategy": "upsert"}
    destination = (
        dlt.destinations.duckdb(f"{into}.duckdb")
        if work == "arrow-duckdb"
        else dlt.destinations.postgres(URL)
    )
    pipeline = dlt.pipeline(
        into, destination=destination, dataset_name="dlt_bench", pipelines_dir="dlt"
    )
    pipeline.run(resource, table_name=into, **how).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
