"""Jobs whose steps die: the same load many times, each killed at another fault point."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from conduit_core.testing import faults
from dagster_conduit import ConduitResource, conduit_assets

PRELOADED = ["tests.dagster.preloaded", __name__]
FORKS = {"start_method": {"forkserver": {"preload_modules": PRELOADED}}, "max_concurrent": 2}
"""How steps start: each is a fork of a process that has imported this module."""

IN_FILE = {
    "unharmed": "",
    "before_plan": "before_plan",
    "after_plan": "after_plan",
    "locked": "locked",
    "mid_stage": "mid_stage:2",
    "audit": "audit",
    "before_commit": "before_commit",
    "after_commit": "after_commit",
    "after_mirror": "after_mirror",
    "after_all": "after_hooks",
}
"""The streams that are loaded into a SQLite file, and where the step of each is killed."""
IN_POSTGRES = {
    "pg_unharmed": "",
    "pg_before_commit": "before_commit",
    "pg_after_commit": "after_commit",
    "split_unharmed": "",
    "split_after": "after_split:2",
    "split_before_commit": "before_commit",
}
"""Those that go from PostgreSQL to PostgreSQL."""
RETRIED = {"again_mid_stage": "mid_stage:2", "again_after_commit": "after_commit"}
"""Those whose step has a retry policy."""


def arm(context: dg.OpExecutionContext, points: Mapping[str, str], signal: str = "KILL") -> None:
    """Let the step's process die at its fault point: in the first attempt of the first run."""
    point = points.get(context.op_def.tags["dagster_conduit/stream"])
    if point and context.run.parent_run_id is None and context.retry_number == 0:
        os.environ["CONDUIT_LISTENERS"] = f"{faults.__name__}:from_environment"
        os.environ["CONDUIT_FAULT"] = point
        os.environ["CONDUIT_FAULT_SIGNAL"] = signal
    else:
        os.environ.pop("CONDUIT_LISTENERS", None)


def assets(
    name: str,
    points: Mapping[str, str],
    source: dict[str, object],
    destination: dict[str, object],
    signal: str = "KILL",
    **keys: Any,
) -> dg.AssetsDefinition:
    """Return a load of one stream for each point, into a table of the point's name."""
    reads = {"path": "*.parquet"} if source["type"] == "parquet" else {"table": "src.items"}
    streams = [
        {**reads, "name": table, "into": table, "mode": "append", "cursor": "id"}
        | ({"splits": 4} if table.startswith("split") else {})
        for table in points
    ]
    spec = {"name": name, "source": source, "destination": destination, "streams": streams}

    @conduit_assets(pipeline=spec, name=name, **keys)
    def load(context: dg.OpExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        arm(context, points, signal)
        yield from conduit.run(context=context)

    return load


def parquet(folder: str) -> dict[str, object]:
    """Return a source: files."""
    return {"type": "parquet", "path": str(Path(folder, "items"))}


def sqlite(folder: str) -> dict[str, object]:
    """Return a destination: a file."""
    return {"type": "sqlite", "path": str(Path(folder, "warehouse.sqlite"))}


def job(assets: list[dg.AssetsDefinition], **keys: Any) -> dg.JobDefinition:
    """Return a job of all assets."""
    made = dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("load", **keys)],
        resources={"conduit": ConduitResource()},
    )
    return made.resolve_job_def("load")


def killed(folder: str, database: str) -> dg.JobDefinition:
    """Return a job whose steps are killed, each at a point of its own."""
    postgres: dict[str, object] = {"type": "postgres", "url": database}
    once = dg.RetryPolicy(max_retries=1)
    return job(
        [
            assets("in_file", IN_FILE, parquet(folder), sqlite(folder)),
            assets("in_postgres", IN_POSTGRES, postgres, {**postgres, "schema": "raw"}),
            assets("again", RETRIED, parquet(folder), sqlite(folder), retry_policy=once),
        ],
        executor_def=dg.multiprocess_executor.configured(FORKS),
    )
