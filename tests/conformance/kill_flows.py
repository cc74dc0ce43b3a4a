"""The flows that load the scenes of a schedule of kills, and the process that serves them."""

from __future__ import annotations

import sys
from pathlib import Path

from prefect import flow, serve, unmapped

from prefect_conduit import audit_load, plan_stream, publish_load, run_pipeline, stage_split
from prefect_conduit.hooks import run_after

PLAIN_FLOW, STEPS_FLOW = "whole", "steps"
AT_ONCE = 4


@flow
def in_steps(pipeline: str, stream: str = "orders", hook: str = "tell") -> None:
    """Load a stream in steps of its own, then do what follows."""
    plan = plan_stream(pipeline, stream)
    receipts = stage_split.map(unmapped(pipeline), unmapped(plan), plan.splits.ids()).result()
    report = audit_load(pipeline, plan, receipts)
    publish_load(pipeline, plan, receipts, report)
    run_after(pipeline, hook)


if __name__ == "__main__":
    own = sys.argv[1]
    serve(
        run_pipeline.to_deployment(f"{PLAIN_FLOW}-{own}"),
        in_steps.from_source(
            str(Path(__file__).parents[2]), f"tests/conformance/{Path(__file__).name}:in_steps"
        ).to_deployment(f"{STEPS_FLOW}-{own}"),
        limit=AT_ONCE,
    )
