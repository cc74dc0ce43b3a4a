"""Loads what a function returns, exactly once: python stream.py."""

from __future__ import annotations

import pyarrow as pa
from prefect import flow

from prefect_conduit import conduit_stream


@conduit_stream(
    into="raw.rates", destination="duckdb:///warehouse.duckdb", mode="upsert", key="day"
)
def rates(day: str) -> pa.Table:
    return pa.table({"day": [day], "eur": [0.92]})  # or pandas, polars, or a generator of these


@flow
def daily(day: str = "2026-01-01") -> None:
    load = rates(day)
    print(f"{load.outcome}: {load.counts.inserted} inserted, {load.counts.updated} updated")


if __name__ == "__main__":
    daily()
