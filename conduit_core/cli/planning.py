"""Plans every stream and goes on past those that can't be planned, so that all is told at once."""

from __future__ import annotations

from dataclasses import dataclass

from conduit_core.engine.model import LoadPlan, RunRequest
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.plan import plan_stream
from conduit_core.engine.run import checked_hooks
from conduit_core.errors import ConduitError


@dataclass(frozen=True, slots=True)
class Planned:
    """Plans with their statements (empty unless asked for), and what couldn't be planned."""

    plans: list[tuple[LoadPlan, list[str]]]
    errors: tuple[ConduitError, ...]


def plan_each(
    pipeline: Pipeline, streams: tuple[str, ...] | None, request: RunRequest, *, sql: bool = False
) -> Planned:
    """Open the pipeline and plan the chosen streams. Read-only.

    Raises:
        ConfigError: nothing can be planned: a stream's name, a connector, an option, a hook.
    """
    if request.after:
        checked_hooks(pipeline)
    with pipeline.open() as ends:
        return plan_open(pipeline, ends, streams, request, sql=sql)


def plan_open(
    pipeline: Pipeline,
    ends: Ends,
    streams: tuple[str, ...] | None,
    request: RunRequest,
    *,
    sql: bool = False,
) -> Planned:
    """Plan the chosen streams of an open pipeline. Read-only."""
    plans: list[tuple[LoadPlan, list[str]]] = []
    errors: list[ConduitError] = []
    for stream in pipeline.select(streams):
        try:
            plan = plan_stream(pipeline, stream, ends, request)
            statements = ends.destination.render(plan.publish) if sql else []
        except ConduitError as error:
            errors.append(pipeline.at(error, stream.name, "conduit plan"))
        else:
            plans.append((plan, statements))
    return Planned(plans, tuple(errors))
