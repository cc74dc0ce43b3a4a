"""A shop in Dagster that loads when there is something to load; jobs to rewind and to replay."""

import dagster as dg

from dagster_conduit import (
    ConduitResource,
    build_conduit_jobs,
    build_conduit_sensor,
    conduit_assets,
)


@conduit_assets(pipeline="shop.yml", retry_policy=dg.RetryPolicy(max_retries=3, delay=30))
def shop(context: dg.AssetExecutionContext, conduit: ConduitResource):
    yield from conduit.run(context=context)


defs = dg.Definitions(
    assets=[shop],
    sensors=[build_conduit_sensor(assets=shop, minimum_interval_seconds=300)],
    jobs=build_conduit_jobs(assets=shop),
    resources={"conduit": ConduitResource()},
    executor=dg.in_process_executor,  # a DuckDB file has one writer at a time
)
