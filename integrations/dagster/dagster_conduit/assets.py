"""``@conduit_assets``: a pipeline's streams as assets, each in a step of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

import dagster as dg
from dagster import (
    AssetsDefinition,
    DependencyDefinition,
    GraphDefinition,
    InputMapping,
    Nothing,
    OutputMapping,
)

from dagster_conduit.after import HookSpecs, hook_specs, run_after
from dagster_conduit.pipelines import Held, PipelineLike, held
from dagster_conduit.specs import StreamSpecs, stream_specs
from dagster_conduit.translator import DagsterConduitTranslator

STREAM_TAG = "dagster_conduit/stream"
"""The tag of an op that says which stream it loads."""


def conduit_assets(
    *,
    pipeline: PipelineLike,
    select: str = "*",
    exclude: str = "",
    after: bool = False,
    name: str | None = None,
    group_name: str | None = None,
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    partition_expr: str | Mapping[str, str] | None = None,
    backfill_policy: dg.BackfillPolicy | None = None,
    dagster_conduit_translator: DagsterConduitTranslator | None = None,
    op_tags: Mapping[str, str] | None = None,
    pool: str | None = None,
    retry_policy: dg.RetryPolicy | None = None,
) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """Make the streams of a pipeline assets: one asset per stream, one check per rule.

    Each stream is a step of its own: it fails, is retried and is run alone. The function is called
    once for each, and has to hand on what the resource yields::

        @conduit_assets(pipeline="shop.yml")
        def shop(context: AssetExecutionContext, conduit: ConduitResource):
            yield from conduit.run(context=context)

    Args:
        pipeline: its file, relative to the file that calls; or a mapping, or a Pipeline.
        select: names of streams, or patterns such as ``fact_*``, with spaces between.
        exclude: the same, to be left out.
        after: whether each hook of the file's ``after:`` is one more asset, behind all streams;
            False where dagster-dbt has the models.
        name: the name of the assets' graph; default the function's.
        group_name: the group of all assets; default the translator's.
        partitions_def: a time partition is the window that is loaded, ``[start, end)``; of other
            partitions the keys are values of ``partition_expr``.
        partition_expr: the stream's column that a partition's key is a value of; by dimension,
            where there are several.
        backfill_policy: default: a backfill is one run, over the whole range.
        dagster_conduit_translator: makes the assets' and checks' specs.
        op_tags: tags of each step.
        pool: the pool of each step.
        retry_policy: how often, and when, a step is retried whose error says that it may help; by
            default twice.

    Raises:
        ConfigError: the file is missing or is no pipeline, a name fits no stream, two streams have
            one key, or there is no ``after:`` to be done.
    """
    kept = held(pipeline)
    found = stream_specs(kept, select, exclude, dagster_conduit_translator, partition_expr)
    hooks = hook_specs(kept, found) if after else ()

    def decorate(fn: Callable[..., Any]) -> AssetsDefinition:
        _resolve_annotations(fn)
        ops = [_op(fn, specs, op_tags, pool, retry_policy) for specs in found]
        assets = [_attributed(specs.asset, group_name, partitions_def) for specs in found]
        policy = backfill_policy
        if policy is None and any(spec.partitions_def is not None for spec in assets):
            policy = dg.BackfillPolicy.single_run()
        inputs = {
            f"{op.name}__{name_}": dep.asset_key
            for op, spec in zip(ops, assets, strict=True)
            for name_, dep in zip(op.input_dict, spec.deps, strict=True)
        }
        last = [_hook_op(kept, each, ops, op_tags, pool, retry_policy) for each in hooks]
        loaded = [(op.name, _output(s)) for op, s in zip(ops, found, strict=True)]
        return AssetsDefinition(
            node_def=_graph(name or fn.__name__, ops, last, loaded),
            keys_by_input_name=inputs,
            keys_by_output_name={
                **{_output(s): s.asset.key for s in found},
                **{_output(h): h.asset.key for h in hooks},
            },
            check_specs_by_output_name={
                _check_output(s, check): check for s in found for check in s.checks
            },
            specs=[*assets, *(_attributed(each.asset, group_name, None) for each in hooks)],
            can_subset=True,
            backfill_policy=policy,
        )

    return decorate


def _graph(
    name: str,
    streams: Sequence[dg.OpDefinition],
    hooks: Sequence[dg.OpDefinition],
    loaded: Sequence[tuple[str, str]],
) -> GraphDefinition:
    """Return the graph of all ops: each hook waits for what the streams have ``loaded``."""
    return GraphDefinition(
        name=name,
        node_defs=[*streams, *hooks],
        dependencies={
            op.name: {f"dep_{n}": DependencyDefinition(*of) for n, of in enumerate(loaded)}
            for op in hooks
        },
        input_mappings=[
            InputMapping(
                graph_input_name=f"{op.name}__{name_}",
                mapped_node_name=op.name,
                mapped_node_input_name=name_,
            )
            for op in streams
            for name_ in op.input_dict
        ],
        output_mappings=[
            OutputMapping(
                graph_output_name=output,
                mapped_node_name=op.name,
                mapped_node_output_name=output,
            )
            for op in (*streams, *hooks)
            for output in op.output_dict
        ],
    )


def _resolve_annotations(fn: Callable[..., Any]) -> None:
    """Let annotations be texts, as ``from __future__ import annotations`` makes them.

    Dagster reads them as they are, and refuses a context's.
    """
    if not any(isinstance(each, str) for each in fn.__annotations__.values()):
        return
    try:
        fn.__annotations__ = get_type_hints(fn)
    except (NameError, TypeError):
        return  # a name of a function's own: Dagster says what it thinks of the text


def _op(
    fn: Callable[..., Any],
    specs: StreamSpecs,
    tags: Mapping[str, str] | None,
    pool: str | None,
    retry_policy: dg.RetryPolicy | None,
) -> dg.OpDefinition:
    """Return a stream's op. Its outputs have the graph's own names: that is how results find it."""
    outputs = [_output(specs), *(_check_output(specs, check) for check in specs.checks)]
    made: dg.OpDefinition = dg.op(
        name=specs.op,
        description=specs.asset.description,
        ins={f"dep_{n}": dg.In(Nothing) for n in range(len(list(specs.asset.deps)))},
        out={each: dg.Out(Nothing, is_required=False) for each in outputs},
        tags={**(tags or {}), STREAM_TAG: specs.stream.name},
        pool=pool,
        retry_policy=retry_policy,
    )(fn)
    return made


def _hook_op(
    pipeline: Held,
    specs: HookSpecs,
    streams: Sequence[dg.OpDefinition],
    tags: Mapping[str, str] | None,
    pool: str | None,
    retry_policy: dg.RetryPolicy | None,
) -> dg.OpDefinition:
    """Return a hook's op: it waits for all streams, and has the resources of their function."""
    made: dg.OpDefinition = dg.op(
        name=specs.op,
        description=specs.asset.description,
        ins={f"dep_{n}": dg.In(Nothing) for n in range(len(streams))},
        out={_output(specs): dg.Out(Nothing, is_required=False)},
        required_resource_keys=set(streams[0].required_resource_keys),
        tags=dict(tags or {}),
        pool=pool,
        retry_policy=retry_policy,
    )(lambda context: run_after(pipeline, specs, context))
    return made


def _output(specs: StreamSpecs | HookSpecs) -> str:
    return f"asset_{specs.op}"


def _check_output(specs: StreamSpecs, check: dg.AssetCheckSpec) -> str:
    return f"check_{specs.op}__{check.name}"


def _attributed(
    spec: dg.AssetSpec, group_name: str | None, partitions_def: dg.PartitionsDefinition[str] | None
) -> dg.AssetSpec:
    """Return a spec with what the decorator says for all; a translator's own partitions win."""
    given: dict[str, Any] = {"skippable": True}
    if group_name is not None:
        given["group_name"] = group_name
    if partitions_def is not None and spec.partitions_def is None:
        given["partitions_def"] = partitions_def
    return spec.replace_attributes(**given)
