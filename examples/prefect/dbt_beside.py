"""Loads the shop, then has prefect-dbt build what is behind it: python dbt_beside.py."""

from __future__ import annotations

from prefect import flow
from prefect_dbt import PrefectDbtRunner, PrefectDbtSettings

from prefect_conduit import load_stream

PIPELINE = "shop.yml"
STREAMS = ("customers", "orders")


# Tasks of load_stream do nothing of `after:`, so each model runs once: here. run_pipeline does what
# its file says; a file with `after: dbt:` needs no prefect-dbt beside it.
# dbt-duckdb keeps the file open until the process ends: nothing is loaded behind it in this one.
@flow
def load_and_build() -> list[str]:
    loads = [load_stream.submit(PIPELINE, stream) for stream in STREAMS]
    done = [load.result() for load in loads]
    changed = [f"source:{load.target}+" for load in done if load.outcome != "empty"]
    if changed:
        settings = PrefectDbtSettings(project_dir="dbt", profiles_dir="dbt")
        PrefectDbtRunner(settings=settings).invoke(["build", "--select", *changed])
    return changed


if __name__ == "__main__":
    load_and_build()
