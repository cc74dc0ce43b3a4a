"""Loads the shop, in a flow of your own: python flow.py."""

from __future__ import annotations

from prefect import flow

from prefect_conduit import run_pipeline


@flow
def nightly() -> None:
    done = run_pipeline("shop.yml")
    for load in done.results:
        print(f"{load.stream}: {load.counts.inserted} rows, watermark {load.watermark}")


if __name__ == "__main__":
    nightly()
