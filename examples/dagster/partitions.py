"""A shop in Dagster by day: orders have daily partitions, customers have none."""

import dagster as dg

from dagster_conduit import ConduitResource, conduit_assets

DAYS = dg.DailyPartitionsDefinition("2026-01-01", timezone="UTC")


# Each day is a window of `ordered_at`; a backfill over many days is one run, and one load.
@conduit_assets(pipeline="partitions.yml", select="orders", partitions_def=DAYS)
def facts(context: dg.AssetExecutionContext, conduit: ConduitResource):
    yield from conduit.run(context=context)


@conduit_assets(pipeline="partitions.yml", exclude="orders")
def dimensions(context: dg.AssetExecutionContext, conduit: ConduitResource):
    yield from conduit.run(context=context)


by_day = dg.define_asset_job("by_day", selection=[facts])
defs = dg.Definitions(
    assets=[facts, dimensions],
    jobs=[by_day],
    schedules=[dg.build_schedule_from_partitioned_job(by_day)],
    resources={"conduit": ConduitResource()},
    executor=dg.in_process_executor,  # a DuckDB file has one writer at a time
)
