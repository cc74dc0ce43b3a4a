"""Plans every stream and goes on past those that can't be planned, so that all is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from conduit_core.engine.model import LoadPlan, RunRequest
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.plan import plan_stream
from conduit_core.engine.run import checked_hooks
from conduit_core.engine.slices import has_only_slices, last_slice
from conduit_core.errors import ConduitError, StateError
from conduit_core.spec.model import StreamSpec
from conduit_core.state.ledger import LedgerRecord


@dataclass(frozen=True, slots=True)
class Planned:
    """Plans with their statements (empty unless asked for), and what couldn't be planned.

    ``notes`` has, by the stream's name, what isn't wrong and is to be known.
    """

    plans: list[tuple[LoadPlan, list[str]]]
    errors: tuple[ConduitError, ...]
    notes: Mapping[str, str] = field(default_factory=dict)


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


def _chain(pipeline: Pipeline, ends: Ends, stream: StreamSpec) -> list[LedgerRecord]:
    return ends.destination.records(pipeline.target(stream, ends.destination))


def with_slices(pipeline: Pipeline, ends: Ends, planned: Planned) -> Planned:
    """Plan once more what only slices have filled, as the last slice was: that is a healthy table.

    It has no watermark, so a run without a window would be refused; but nobody need ask for one.
    """
    again: list[tuple[LoadPlan, list[str]]] = []
    errors: list[ConduitError] = []
    notes: dict[str, str] = {}
    for error in planned.errors:
        (stream,) = pipeline.select((error.stream or "",))
        chain = _chain(pipeline, ends, stream) if isinstance(error, StateError) else []
        if not has_only_slices(chain):
            errors.append(error)
            continue
        found = plan_open(pipeline, ends, (stream.name,), last_slice(chain))
        again += found.plans
        errors += found.errors
        notes[stream.name] = (
            "loaded by windows or slices alone, so it has no watermark, and a run without --from or"
            " --only is refused"
        )
    order = [s.name for s in pipeline.streams]
    plans = sorted([*planned.plans, *again], key=lambda item: order.index(item[0].stream))
    return replace(planned, plans=plans, errors=tuple(errors), notes=notes)
