"""A shop in Dagster: Conduit loads its tables, dagster-dbt builds the models that read them."""

from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from dagster_conduit import ConduitResource, conduit_assets

HERE = Path(__file__).resolve().parent
PROJECT = DbtProject(HERE / "dbt", profiles_dir=HERE / "profiles")
PROJECT.prepare_if_dev()  # with `dagster dev`, dbt reads the project

# Build a model when a table before it has changed, but not what the load's own run has built.
ON_CHANGE = dg.AutomationCondition.eager().replace(
    "newly_updated", dg.AutomationCondition.data_version_changed()
)


@conduit_assets(pipeline="shop.yml")
def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):
    yield from conduit.run(context=context)


# exclude: the load has judged the rules that are tests of the sources, too
@dbt_assets(manifest=PROJECT.manifest_path, project=PROJECT, exclude="source:*")
def models(context: dg.AssetExecutionContext, dbt: DbtCliResource):
    yield from dbt.cli(["build"], context=context).stream()


loads = dg.define_asset_job("loads", selection=[shop])
defs = dg.Definitions(
    assets=[
        shop,
        models.map_asset_specs(lambda s: s.replace_attributes(automation_condition=ON_CHANGE)),
    ],
    jobs=[loads],
    schedules=[dg.ScheduleDefinition(job=loads, cron_schedule="@hourly")],
    resources={"conduit": ConduitResource(), "dbt": DbtCliResource(PROJECT)},
    executor=dg.in_process_executor,  # a DuckDB file has one writer at a time
)
