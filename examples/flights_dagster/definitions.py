"""A code location: the flights' streams, and the dbt models that read them, in one lineage."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster import AssetExecutionContext
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from dagster_conduit import (
    ConduitResource,
    build_conduit_jobs,
    build_conduit_sensor,
    conduit_assets,
)

HERE = Path(__file__).resolve().parent

project = DbtProject(HERE.parent / "flights_dbt" / "dbt", profiles_dir=HERE / "profiles")
project.prepare_if_dev()


@conduit_assets(pipeline="flights.yml")
def flights(context: AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
    yield from conduit.run(context=context)


# The tests of sources are the pipeline's rules: the load has judged them.
@dbt_assets(manifest=project.manifest_path, exclude="source_*")
def models(context: AssetExecutionContext, dbt: DbtCliResource) -> Iterator[object]:
    yield from dbt.cli(["build"], context=context).stream()


defs = dg.Definitions(
    assets=[flights, models],
    jobs=[
        dg.define_asset_job("load_and_build", selection="*"),
        *build_conduit_jobs(assets=flights),
    ],
    sensors=[build_conduit_sensor(assets=flights)],
    resources={"conduit": ConduitResource(), "dbt": DbtCliResource(project_dir=project)},
    executor=dg.in_process_executor,  # a DuckDB file has one writer at a time
)
