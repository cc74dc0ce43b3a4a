"""Reads the orders in parts, side by side, and publishes them at once: python compose.py."""

from __future__ import annotations

from prefect import flow, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from prefect_conduit import audit_load, plan_stream, publish_load, stage_split

PIPELINE = "parts.yml"


# On a cluster: task_runner=DaskTaskRunner(), of prefect-dask. Nothing else changes.
@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
def in_parts() -> None:
    plan = plan_stream(PIPELINE, "orders")
    parts = stage_split.map(unmapped(PIPELINE), unmapped(plan), plan.splits.ids())
    receipts = parts.result()
    report = audit_load(PIPELINE, plan, receipts)
    load = publish_load(PIPELINE, plan, receipts, report)
    print(f"{len(receipts)} parts, {load.counts.inserted} rows")


if __name__ == "__main__":
    in_parts()
