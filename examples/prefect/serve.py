"""Loads the shop each hour, from this process: python serve.py."""

from __future__ import annotations

from prefect_conduit import run_pipeline

if __name__ == "__main__":
    run_pipeline.serve(name="shop-hourly", cron="0 * * * *", parameters={"pipeline": "shop.yml"})
