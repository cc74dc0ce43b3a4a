"""What follows the loads: each hook of ``after:`` as a step, and who runs the models of dbt."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import AssetExecutionContext, OpExecutionContext
from dagster import _check as check

from conduit_core.errors import ConduitError, ConfigError
from dagster_conduit.failures import failure
from dagster_conduit.specs import StreamSpecs
from dagster_conduit.translator import free_name, plain_name
from dagster_conduit.watching import watching

if TYPE_CHECKING:
    from conduit_core import HookResult, Pipeline
    from dagster_conduit.pipelines import Held

HOOK = "conduit/hook"
"""The key of a hook's name in its asset's metadata."""
_DBT = "dagster_dbt/manifest"
"""The key under which an asset of dagster-dbt has its manifest."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class HookSpecs:
    """A hook's asset, and the name of its op."""

    op: str
    hook: str
    asset: dg.AssetSpec


def hook_specs(held: Held, streams: Sequence[StreamSpecs]) -> tuple[HookSpecs, ...]:
    """Return the assets of a pipeline's hooks: each is downstream of all the streams.

    Raises:
        ConfigError: the file has no ``after:``.
    """
    if not held.outline.hooks:
        raise ConfigError(
            "after=True, but the file has no `after:`: say there what follows the loads",
            pipeline=held.name,
        )
    taken = {specs.op for specs in streams}
    groups = {specs.asset.group_name for specs in streams}
    group = groups.pop() if len(groups) == 1 else None
    made: list[HookSpecs] = []
    for hook in held.outline.hooks:
        op = free_name(f"after_{hook}", taken)
        taken.add(op)
        asset = dg.AssetSpec(
            key=[held.name, "after", hook],
            deps=[specs.asset.key for specs in streams],
            description=f"What follows the loads of the pipeline {held.name}: {hook}.",
            metadata={"conduit/pipeline": held.name, HOOK: hook},
            kinds={plain_name(hook)},
            group_name=group,
        )
        made.append(HookSpecs(op, hook, asset))
    return tuple(made)


def run_after(
    held: Held, specs: HookSpecs, context: OpExecutionContext
) -> Iterator[dg.MaterializeResult[object]]:
    """Run a hook on what changed since it last finished, and yield its materialisation.

    Raises:
        Failure: it failed, and no retry can help.
        RetryRequested: it failed, and a retry may help.
    """
    from conduit_core import bound_hook, finished_versions, run_hook
    from conduit_core.events import Emitter

    try:
        resource = context.resources.conduit
        pipeline: Pipeline = held.opened(resource.resolver())
        bound = bound_hook(pipeline, specs.hook)
        with watching(pipeline, context, to=resource.receivers()) as listeners:
            with _ended_as_by_ctrl_c():
                result = run_hook(pipeline, bound, (), Emitter(listeners))
            if result.failure is not None:
                raise result.failure.to_error()
        keeps = bound.memory is not None
        version = _version(finished_versions(pipeline, bound)) if keeps else context.run.run_id
    except ConduitError as error:
        failed = failure(error, context)
        raise failed from failed.__cause__
    yield dg.MaterializeResult(
        asset_key=specs.asset.key,
        metadata=_facts(result),
        data_version=dg.DataVersion(version),
    )


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let the run's end come as ``KeyboardInterrupt``: dbt cancels what runs for that one alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    try:
        for each in _SIGNALS:
            signal.signal(each, signal.default_int_handler)
        yield
    finally:
        for each, handler in before.items():
            if handler is not None:
                signal.signal(each, handler)


def _facts(result: HookResult) -> dict[str, Any]:
    told: dict[str, Any] = {
        "conduit/outcome": result.outcome,
        "conduit/text": result.text,
        "conduit/tables": list(result.tables),
        "conduit/seconds": round(result.seconds, 3),
    }
    nodes = result.details.get("nodes")
    if isinstance(nodes, list):
        told["conduit/nodes"] = dict(Counter(str(node["status"]) for node in nodes))
    return told


def _version(finished: Mapping[str, int]) -> str:
    """Return what the hook has finished with, in short.

    The destination keeps it: a step that dies behind dbt and is started again says the same.
    """
    return hashlib.sha256(json.dumps(finished, sort_keys=True).encode()).hexdigest()[:16]


# --- who runs the models --------------------------------------------------------------------------


def warn_of_models(context: AssetExecutionContext, held: Held, spec: dg.AssetSpec) -> None:
    """Warn, once in a run, where nothing builds the models of ``after.dbt``, or two things do.

    Args:
        context: a step's.
        held: the pipeline.
        spec: the step's asset. The first one of the run's is where it is told.
    """
    first = next(s for s in context.assets_def.specs if s.key in context.selected_asset_keys)
    if spec.key != first.key or context.retry_number or "dbt" not in held.outline.hooks:
        return
    text = doubt(held.name, _all_specs(context))
    if text is not None:
        context.log.warning(text)


def doubt(pipeline: str, specs: Iterable[dg.AssetSpec]) -> str | None:
    """Say that nothing builds a pipeline's models, or that two things do; None: all is well.

    Args:
        pipeline: its name; its file has ``after.dbt``.
        specs: all assets of the code location.
    """
    known = list(specs)
    of_pipeline = [s for s in known if s.metadata.get("conduit/pipeline") == pipeline]
    after = any(s.metadata.get(HOOK) == "dbt" for s in of_pipeline)
    models = [s for s in known if _DBT in s.metadata]
    if not after and not models:
        return (
            f"nothing here runs the models of {pipeline}: its file has `after: dbt:`, and there"
            " are neither assets of dagster-dbt nor conduit_assets(after=True); choose one of them."
            " If another code location has the models, all is well"
        )
    loaded = {s.key for s in of_pipeline if "conduit/stream" in s.metadata}
    twice = [s for s in models if loaded & {dep.asset_key for dep in s.deps}]
    if after and twice:
        named = ", ".join(sorted(s.key.to_user_string() for s in twice)[:3])
        return (
            f"models are built twice: by after.dbt of {pipeline} (conduit_assets(after=True)), and"
            f" as assets of dagster-dbt, {named}; take after=True away, or dagster-dbt"
        )
    return None


def _all_specs(context: AssetExecutionContext) -> Iterator[dg.AssetSpec]:
    """Yield the assets of the code location; of the job, where it is run without one."""
    inner = context.op_execution_context
    try:
        known: Mapping[dg.AssetKey, dg.AssetsDefinition] = inner.repository_def.assets_defs_by_key
        found: Iterable[dg.AssetsDefinition] = known.values()
    except check.CheckError:  # as in `dg.materialize`
        found = inner.job_def.asset_layer.asset_graph.assets_defs
    for each in {id(one): one for one in found}.values():
        yield from each.specs
