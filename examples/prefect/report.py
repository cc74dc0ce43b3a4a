"""Shows what customers ordered; prefect.yaml deploys it, automation.py says when it runs."""

from __future__ import annotations

import duckdb
from prefect import flow
from prefect.artifacts import create_table_artifact

ORDERED = """
SELECT name, count(*) AS orders, sum(amount)::int AS amount
FROM raw.orders JOIN raw.customers ON customers.id = customer_id GROUP BY ALL ORDER BY 1
"""


@flow
def report() -> None:
    with duckdb.connect("warehouse.duckdb", read_only=True) as warehouse:
        found = warehouse.sql(ORDERED)
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    create_table_artifact(key="shop-report", table=rows)
