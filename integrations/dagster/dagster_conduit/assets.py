"""``@conduit_assets``: a pipeline's streams as assets, each in a step of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import (
    AssetsDefinition,
    DependencyDefinition,
    GraphDefinition,
    InputMapping,
    NodeInvocation,
    Nothing,
    OutputMapping,
)

from conduit_core.errors import ConfigError
from dagster_conduit.after import HookSpecs, hook_specs, run_after
from dagster_conduit.fanout import stream_graph
from dagster_conduit.ops import DONE, OpOptions, done, resolve_annotations
from dagster_conduit.pipelines import Held, PipelineLike, chosen, held
from dagster_conduit.specs import StreamSpecs, stream_specs
from dagster_conduit.steps import RESOURCE
from dagster_conduit.translator import DagsterConduitTranslator

_Nodes = Mapping[str, dg.OpDefinition | GraphDefinition]
_BEFORE = "before"
"""The input of a step that waits for another stream's: of the graph alone, no asset's."""


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
    fan_out: str = "",
) -> Callable[[Callable[..., Any]], AssetsDefinition]:
    """Make the streams of a pipeline assets: one asset per stream, one check per rule.

    Each stream is a step of its own: it fails, is retried and is run alone. With ``on_error: stop``
    in the file a run's steps come one after another, in its order: one that fails for good leaves
    the later ones skipped. The function is each step's, and has to hand on what the resource
    yields::

        @conduit_assets(pipeline="shop.yml")
        def shop(context: AssetExecutionContext, conduit: ConduitResource):
            yield from conduit.run(context=context)

    Args:
        pipeline: its file, relative to the file that calls; or a mapping, or a Pipeline.
        select: names of streams, or patterns such as ``fact_*``, with spaces between.
        exclude: the same, to be left out.
        after: whether the hooks of ``after:`` are assets too; not where dagster-dbt has the models.
        name: the assets' name, their graph's; default the function's.
        group_name: the group of all assets; default the translator's.
        partitions_def: a time partition is the window that is loaded, ``[start, end)``.
        partition_expr: the column that other partitions' keys are values of, or that of each
            dimension.
        backfill_policy: default: a backfill is one run, over the whole range.
        dagster_conduit_translator: makes the assets' and checks' specs.
        op_tags: each step's.
        pool: each step's.
        retry_policy: how a step is retried where that may help; by default twice.
        fan_out: streams whose splits are staged by an op each; the function isn't called for them.

    Raises:
        ConfigError: the file is no pipeline, a name fits no stream, two streams have one key, or
            there is no ``after:`` to be done.
    """
    given = held(pipeline)
    found = stream_specs(given, select, exclude, dagster_conduit_translator, partition_expr)
    spread = {s.name for s in chosen(given.outline, fan_out, "")} if fan_out else set()
    hooks = hook_specs(given, found) if after else ()

    def decorate(fn: Callable[..., Any]) -> AssetsDefinition:
        graph = name or fn.__name__
        options = OpOptions(graph, op_tags or {}, pool, retry_policy)
        turns = [*range(len(found))] if given.outline.stops else []
        nodes = {
            each.op: _node(fn, each, options, spread, (n in turns[1:], n in turns[:-1]))
            for n, each in enumerate(found)
        }
        last = {each.op: _hook_op(given, each, options, len(found)) for each in hooks}
        assets = [_attributed(each.asset, group_name, partitions_def) for each in found]
        cut = any(spec.partitions_def is not None for spec in assets)
        return AssetsDefinition(
            node_def=_graph(graph, nodes, last, [(each.op, _output(each)) for each in found]),
            keys_by_input_name={
                f"{step}__{input_}": dep.asset_key
                for (step, node), spec in zip(nodes.items(), assets, strict=True)
                for input_, dep in zip(_of_assets(node), spec.deps, strict=True)
            },
            keys_by_output_name=_assets_by_output(found, hooks),
            check_specs_by_output_name=_checks_by_output(found),
            specs=[*assets, *(_attributed(each.asset, group_name, None) for each in hooks)],
            can_subset=True,
            backfill_policy=backfill_policy or (dg.BackfillPolicy.single_run() if cut else None),
        )

    return decorate


def _assets_by_output(
    streams: Sequence[StreamSpecs], hooks: Sequence[HookSpecs]
) -> dict[str, dg.AssetKey]:
    every: list[StreamSpecs | HookSpecs] = [*streams, *hooks]
    return {_output(each): each.asset.key for each in every}


def _checks_by_output(streams: Sequence[StreamSpecs]) -> dict[str, dg.AssetCheckSpec]:
    return {
        name: check
        for each in streams
        for name, check in zip(_check_outputs(each), each.checks, strict=True)
    }


def _graph(
    name: str, streams: _Nodes, hooks: _Nodes, loaded: Sequence[tuple[str, str]]
) -> GraphDefinition:
    """Return the graph of all steps: each hook waits for what the streams have ``loaded``."""
    behind = {f"dep_{n}": DependencyDefinition(*of) for n, of in enumerate(loaded)}
    turns = {
        step: {_BEFORE: DependencyDefinition(before, DONE)}
        for before, (step, node) in zip(streams, list(streams.items())[1:], strict=False)
        if _BEFORE in node.input_dict
    }
    nodes = {**streams, **hooks}
    return GraphDefinition(
        name=name,
        node_defs=list(nodes.values()),
        dependencies={
            NodeInvocation(node.name, alias=step): behind if step in hooks else turns.get(step, {})
            for step, node in nodes.items()
        },
        input_mappings=[
            InputMapping(
                graph_input_name=f"{step}__{each}",
                mapped_node_name=step,
                mapped_node_input_name=each,
            )
            for step, node in streams.items()
            for each in _of_assets(node)
        ],
        output_mappings=[
            OutputMapping(
                graph_output_name=each, mapped_node_name=step, mapped_node_output_name=each
            )
            for step, node in nodes.items()
            for each in node.output_dict
            if each != DONE
        ],
    )


def _of_assets(node: dg.OpDefinition | GraphDefinition) -> list[str]:
    """Return the inputs that stand for assets, in the order of the spec's ``deps``."""
    return [each for each in node.input_dict if each != _BEFORE]


def _node(
    fn: Callable[..., Any],
    specs: StreamSpecs,
    options: OpOptions,
    spread: set[str],
    chained: tuple[bool, bool],
) -> dg.OpDefinition | GraphDefinition:
    """Return what loads a stream. Its outputs have the whole graph's names: results go by them.

    Args:
        fn: the step's function.
        specs: the stream's.
        options: of each op.
        spread: the streams whose splits are staged by an op each.
        chained: whether it waits for the stream before it, and whether another waits for it.
    """
    inputs = [f"dep_{n}" for n, _ in enumerate(specs.asset.deps)] + [_BEFORE] * chained[0]
    outputs = [_output(specs), *_check_outputs(specs)] + [DONE] * chained[1]
    if specs.stream.name in spread:
        return stream_graph(specs.op, specs.stream.name, options, inputs, outputs)
    made = options.op(
        specs.op,
        _handing_on(fn, specs),
        stream=specs.stream.name,
        description=specs.asset.description,
        ins={each: dg.In(Nothing) for each in inputs},
        out={each: dg.Out(Nothing, is_required=False) for each in outputs},
    )
    for unknown in made.input_dict.keys() - set(inputs):
        raise ConfigError(
            f"{fn.__name__}: Dagster takes the argument {unknown!r} for an input, as it has no"
            f" type: write `{unknown}: ConduitResource`, or the type of the resource that it is"
        )
    return made


def _handing_on(fn: Callable[..., Any], specs: StreamSpecs) -> Callable[..., Any]:
    """Return a step's body around the function that hands on what loads.

    The function isn't called where the step is only in the way of another that was chosen. One
    that forgets to hand on fails: nothing would be loaded, and Dagster would take its ``None`` for
    a materialization.
    """
    resolve_annotations(fn)  # Dagster reads the function's, not its wrapper's

    @functools.wraps(fn)
    def body(*args: Any, **kwargs: Any) -> Iterator[object]:
        context = _context_of((*args, *kwargs.values()))
        if context is None or _is_asked(context, specs):
            told = fn(*args, **kwargs)
            if told is None:
                raise dg.Failure(
                    f"{fn.__name__} hands on nothing, so nothing is loaded: its body has to be"
                    " `yield from conduit.run(context=context)`",
                    allow_retries=False,
                )
            yield from told
        if context is not None:
            yield from done(context.op_execution_context)

    return body


def _context_of(arguments: Iterable[object]) -> dg.AssetExecutionContext | None:
    for each in arguments:
        if isinstance(each, dg.AssetExecutionContext):
            return each
        if isinstance(each, dg.OpExecutionContext):
            return dg.AssetExecutionContext(op_execution_context=each)
    return None


def _is_asked(context: dg.AssetExecutionContext, specs: StreamSpecs) -> bool:
    checks = {check.key for check in specs.checks}
    return specs.asset.key in context.selected_asset_keys or not checks.isdisjoint(
        context.selected_asset_check_keys
    )


def _hook_op(pipeline: Held, specs: HookSpecs, options: OpOptions, streams: int) -> dg.OpDefinition:
    """Return a hook's op: it waits for all streams."""
    return options.op(
        specs.op,
        lambda context: run_after(pipeline, specs, context),
        description=specs.asset.description,
        ins={f"dep_{n}": dg.In(Nothing) for n in range(streams)},
        out={_output(specs): dg.Out(Nothing, is_required=False)},
        required_resource_keys={RESOURCE},
    )


def _output(specs: StreamSpecs | HookSpecs) -> str:
    return f"asset_{specs.op}"


def _check_outputs(specs: StreamSpecs) -> list[str]:
    """Return numbers, not names: `a` with `b__c` would be `a__b` with `c`."""
    return [f"check_{specs.op}_{n}" for n, _ in enumerate(specs.checks)]


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
