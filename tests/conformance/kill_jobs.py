"""The scenes of a schedule of kills as jobs of Dagster, which each process makes again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_conduit import ConduitResource, conduit_assets
from tests.conformance.kills import SPREAD
from tests.conformance.tell import INSTALLED
from tests.dagster.crashing import PRELOADED

SCENES = "scenes.json"
"""In the folder: the pipelines' files and kinds by name, and the environment."""
FORKS = {
    "start_method": {"forkserver": {"preload_modules": [*PRELOADED, __name__]}},
    "max_concurrent": 2,
}
TRIES = 5
RETRIED = {"dagster/max_retries": str(TRIES - 1)}


def assets(name: str, file: str, kind: str) -> dg.AssetsDefinition:
    """Return a pipeline's assets; each step is tried again by Dagster when it has died."""

    @conduit_assets(
        pipeline=Path(file),
        name=name,
        group_name=name,
        after=True,
        fan_out="*" if kind == SPREAD else (),
        retry_policy=dg.RetryPolicy(max_retries=TRIES - 1),
    )
    def load(context: dg.OpExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        yield from conduit.run(context=context)

    return load


def steps_retried(folder: str) -> dg.JobDefinition:
    """Return a job of all pipelines, each step in a process of its own."""
    executor = dg.multiprocess_executor.configured(FORKS)
    return _made(folder, [dg.define_asset_job("load", executor_def=executor)]).resolve_job_def(
        "load"
    )


def runs_retried(folder: str) -> dg.Definitions:
    """Return a job for each pipeline, in the run's process, and who asks for a run of each."""
    asked = [
        dg.define_asset_job(f"load_{name}", selection=dg.AssetSelection.groups(name), tags=RETRIED)
        for name in _told(folder)["scenes"]
    ]

    @dg.sensor(
        jobs=asked, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING
    )
    def once() -> Iterator[dg.RunRequest]:
        for job in asked:
            yield dg.RunRequest(run_key=job.name, job_name=job.name)

    return _made(folder, asked, executor=dg.in_process_executor, sensors=[once])


def _told(folder: str) -> Mapping[str, Any]:
    told: Mapping[str, Any] = json.loads(Path(folder, SCENES).read_text())
    os.environ.update(told["env"])
    if INSTALLED not in sys.path:  # a step's process gets this one's path
        sys.path.append(INSTALLED)
    return told


def _made(folder: str, jobs: list[Any], **more: Any) -> dg.Definitions:
    return dg.Definitions(
        assets=[assets(name, *given) for name, given in _told(folder)["scenes"].items()],
        jobs=jobs,
        resources={"conduit": ConduitResource()},
        **more,
    )
