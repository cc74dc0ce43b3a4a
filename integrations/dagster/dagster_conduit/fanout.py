"""A stream whose splits are staged by ops of their own, on as many workers as the executor has."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import AssetExecutionContext, GraphDefinition, OpExecutionContext

from conduit_core.errors import ConduitError
from dagster_conduit.asked import Asked
from dagster_conduit.failures import failure
from dagster_conduit.ops import OpOptions, done
from dagster_conduit.steps import RESOURCE, StreamStep

if TYPE_CHECKING:
    from conduit_core import LoadPlan
    from dagster_conduit.resource import ConduitResource


def stream_graph(
    name: str, stream: str, options: OpOptions, inputs: Sequence[str], outputs: Sequence[str]
) -> GraphDefinition:
    """Return a stream's graph: plan, one ``stage_split`` for each split, publish.

    Args:
        name: what its ops' names begin with.
        stream: the stream that it loads.
        options: of each op.
        inputs: the names of what has to be there before the plan.
        outputs: the names of what publish tells.
    """
    needs: dict[str, Any] = {"required_resource_keys": {RESOURCE}, "stream": stream}
    plan = options.op(
        f"{name}__plan",
        _plan,
        ins={each: dg.In(dg.Nothing) for each in inputs},
        out={"plan": dg.Out(str), "splits": dg.DynamicOut(str)},
        **needs,
    )
    stage = options.op(
        f"{name}__stage_split",
        _stage,
        ins={"plan": dg.In(str), "split": dg.In(str)},
        out=dg.Out(str),
        **needs,
    )
    publish = options.op(
        f"{name}__publish",
        _publish,
        ins={"plan": dg.In(str), "receipts": dg.In(list[str])},
        out={each: dg.Out(dg.Nothing, is_required=False) for each in outputs},
        **needs,
    )

    def compose(**given: Any) -> dict[str, Any]:
        planned = plan.alias("plan")(**given)
        staged = stage.alias("stage_split")
        receipts = planned.splits.map(lambda split: staged(planned.plan, split))
        told = publish.alias("publish")(planned.plan, receipts.collect())
        return dict(zip(outputs, told if len(outputs) > 1 else [told], strict=True))

    # Dagster reads which inputs a graph has from its function's signature.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    compose.__signature__ = inspect.Signature([inspect.Parameter(i, kind) for i in inputs])  # type: ignore[attr-defined]
    made: GraphDefinition = dg.graph(
        name=f"{options.graph}__{name}",
        ins={each: dg.GraphIn() for each in inputs},
        out={each: dg.GraphOut() for each in outputs},
    )(compose)
    return made


def _plan(context: OpExecutionContext) -> Iterator[object]:
    with _step(context) as step:
        if not step.is_load:  # a check alone: publish does it
            yield dg.Output("", "plan")
            return
        plan = step.planned(Asked())
    yield dg.Output(plan.model_dump_json(), "plan")
    for number, split in enumerate(plan.splits.ids()):
        yield dg.DynamicOutput(split, mapping_key=f"split_{number}", output_name="splits")


def _stage(context: OpExecutionContext, plan: str, split: str) -> str:
    with _step(context, replans=True) as step:
        return step.staged(_read(plan), split)


def _publish(context: OpExecutionContext, plan: str, receipts: list[str]) -> Iterator[object]:
    with _step(context, replans=True) as step:
        yield from step.published(_read(plan), receipts) if plan else step.checked()
    yield from done(context)


def _read(plan: str) -> LoadPlan:
    from conduit_core import LoadPlan

    return LoadPlan.model_validate_json(plan)


@contextmanager
def _step(context: OpExecutionContext, *, replans: bool = False) -> Iterator[StreamStep]:
    """Make the step, and turn an error into what Dagster retries, or doesn't.

    Args:
        context: Dagster's.
        replans: whether an error that a new plan mends is final here: the plan is an op before.
    """
    resource: ConduitResource = getattr(context.resources, RESOURCE)
    try:
        yield StreamStep(
            AssetExecutionContext(op_execution_context=context),
            resource.resolver(),
            to=resource.receivers(),
        )
    except ConduitError as error:
        if replans and error.retry == "plan":
            error.retry = "never"
            error.message += "; re-execute the run from the step `plan`: a new plan is needed"
        failed = failure(error, context)
        raise failed from failed.__cause__
