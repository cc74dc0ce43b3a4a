"""A shop in Dagster: assets with owners, an hourly job, a nightly audit of all rules."""

import dagster as dg

from dagster_conduit import (
    ConduitResource,
    DagsterConduitTranslator,
    StreamData,
    conduit_assets,
)


class Ours(DagsterConduitTranslator):
    def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(group_name="shop", owners=["team:shop"])


@conduit_assets(pipeline="shop.yml", dagster_conduit_translator=Ours())
def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):
    yield from conduit.run(context=context)


hourly = dg.define_asset_job("hourly", selection=[shop])
audit = dg.define_asset_job("audit", selection=dg.AssetSelection.checks_for_assets(shop))
defs = dg.Definitions(
    assets=[shop],
    jobs=[hourly, audit],
    schedules=[
        dg.ScheduleDefinition(job=hourly, cron_schedule="@hourly"),
        dg.ScheduleDefinition(job=audit, cron_schedule="@daily"),
    ],
    resources={"conduit": ConduitResource()},
    executor=dg.in_process_executor,  # a DuckDB file has one writer at a time
)
