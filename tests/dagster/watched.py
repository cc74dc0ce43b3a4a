"""A job whose steps run in processes of their own, and tell receivers."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob

from dagster_conduit import ConduitResource, conduit_assets

FOLDER = "CONDUIT_TEST_FOLDER"
RECEIVER = "CONDUIT_TEST_RECEIVER"


def anew() -> ReconstructableJob:
    """Return the job for other processes, made of what the variables say now.

    Dagster keeps the last one that it made, and takes two of one name for the same.
    """
    ReconstructableJob.get_repository_definition.cache_clear()
    ReconstructableJob.get_definition.cache_clear()
    return dg.reconstructable(watched_job)


def watched_job() -> dg.JobDefinition:
    """Return the job of a shop, whose resource names the receiver by a variable."""

    @conduit_assets(pipeline=Path(os.environ[FOLDER]) / "shop.yml", name="shop")
    def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):  # type: ignore[no-untyped-def]
        yield from conduit.run(context=context)

    resource = ConduitResource(observe=[dg.EnvVar(RECEIVER)])
    found = dg.Definitions(
        assets=[shop],
        resources={"conduit": resource},
        jobs=[dg.define_asset_job("nightly", selection=[shop])],
    )
    return found.resolve_job_def("nightly")
