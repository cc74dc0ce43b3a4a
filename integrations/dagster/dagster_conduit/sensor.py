"""A sensor that starts a run when sources have rows that aren't loaded yet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DefaultSensorStatus, SensorEvaluationContext

from conduit_core.errors import ConduitError, ConfigError
from dagster_conduit.after import HOOK
from dagster_conduit.resource import ConduitResource
from dagster_conduit.specs import StreamLoad, loads_of
from dagster_conduit.state import DagsterStateStore

if TYPE_CHECKING:
    from conduit_core import LoadPlan


def build_conduit_sensor(
    *,
    assets: dg.AssetsDefinition | Sequence[dg.AssetsDefinition],
    name: str | None = None,
    minimum_interval_seconds: int = 60,
    default_status: DefaultSensorStatus = DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """Return a sensor that asks sources for news, and starts one run for all streams that have any.

    It plans each load, reads the cursor's newest value, and writes nothing. Streams without a
    ``cursor``, and partitioned ones, aren't looked at. The same news starts one run, also where
    that fails: newer rows start the next. The assets of ``after=True`` are in the run, too.

    Args:
        assets: what ``conduit_assets`` made.
        name: the sensor's; default the assets' with ``_news``.
        minimum_interval_seconds: between two looks.
        default_status: whether it is on when it is first deployed.

    Raises:
        ConfigError: the assets aren't made by ``conduit_assets``.
    """
    given = [assets] if isinstance(assets, dg.AssetsDefinition) else list(assets)
    loads = loads_of(given)
    if not loads:
        raise ConfigError("build_conduit_sensor takes what conduit_assets made: assets=shop")
    behind = [spec.key for one in given for spec in one.specs if HOOK in spec.metadata]
    looked_at = {key: load for key, (spec, load) in loads.items() if spec.partitions_def is None}

    def look(
        context: SensorEvaluationContext, conduit: ConduitResource
    ) -> dg.SensorResult | dg.SkipReason:
        news: dict[dg.AssetKey, str] = {}
        failures: list[ConduitError] = []
        for key, load in looked_at.items():
            try:
                plan = _plan(load, key, conduit, context.instance)
            except ConduitError as error:
                context.log.warning("\n".join(error.lines()))
                failures.append(error)
                continue
            if plan is not None and not plan.empty:
                news[key] = f"{plan.load_id} {plan.watermark_text}"
                context.log.info("%s: new: %s", plan.stream, plan.window_text)
        if not news:
            if failures:
                raise failures[0]
            return dg.SkipReason("nothing new")
        digest = hashlib.sha256("\n".join(sorted(news.values())).encode()).hexdigest()[:16]
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=digest, asset_selection=[*news, *behind])]
        )

    return dg.SensorDefinition(
        name=name or f"{given[0].node_def.name}_news",
        asset_selection=dg.AssetSelection.assets(*looked_at, *behind),
        evaluation_fn=look,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description="Starts a run when sources have rows that aren't loaded yet.",
    )


def _plan(
    load: StreamLoad, key: dg.AssetKey, resource: ConduitResource, instance: dg.DagsterInstance
) -> LoadPlan | None:
    """Return what a load would do now; None for a stream that has no cursor."""
    from conduit_core import RunRequest, plan

    pipeline = load.held.opened(resource.resolver())
    (spec,) = pipeline.select((load.stream.name,))
    if not spec.cursor:
        return None
    store = DagsterStateStore(instance, key)
    (made,) = plan(pipeline, (spec.name,), request=RunRequest(after=False), store=store)
    return made
