"""A pipeline's streams as Dagster's specs, and the asset key of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from conduit_core import StreamOutline
from conduit_core.errors import ConfigError
from dagster_conduit.pipelines import Held, PipelineLike, chosen, held
from dagster_conduit.translator import CheckData, DagsterConduitTranslator, StreamData, free_name

LOAD = "dagster_conduit/load"
"""The key of a spec's metadata under which a step finds what it loads."""


@dataclass(frozen=True)
class StreamLoad:
    """What an asset's step loads. Dagster keeps it in the spec, and shows its class's name alone.

    Args:
        held: the pipeline.
        stream: the stream's outline.
        rules: the rule of each check, by the check's name.
        partition_expr: the column of the stream that a partition's key is a value of.
    """

    held: Held = field(repr=False)
    stream: StreamOutline = field(repr=False)
    rules: Mapping[str, str] = field(repr=False)
    partition_expr: str | Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class StreamSpecs:
    """A stream's specs, and the name of its op."""

    op: str
    stream: StreamOutline
    asset: dg.AssetSpec
    checks: tuple[dg.AssetCheckSpec, ...]


def build_conduit_asset_specs(
    *,
    pipeline: PipelineLike,
    select: str = "*",
    exclude: str = "",
    dagster_conduit_translator: DagsterConduitTranslator | None = None,
) -> Sequence[dg.AssetSpec]:
    """Return the assets of a pipeline's streams, as external ones: something else loads them.

    Args:
        pipeline: its file, relative to the file that calls; or a mapping, or a Pipeline.
        select: names of streams, or patterns such as ``fact_*``, with spaces between.
        exclude: the same, to be left out.
        dagster_conduit_translator: makes the specs.

    Raises:
        ConfigError: the file is missing or is no pipeline, or two streams have one key.
    """
    made = stream_specs(held(pipeline), select, exclude, dagster_conduit_translator)
    return [specs.asset for specs in made]


def get_asset_key_for_stream(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec], stream: str, pipeline: str | None = None
) -> dg.AssetKey:
    """Return the asset key of a stream.

    Args:
        assets: what ``conduit_assets`` or ``build_conduit_asset_specs`` made.
        stream: the stream's name.
        pipeline: the pipeline's name, where streams of several have the name.

    Raises:
        ConfigError: no asset, or several, are of a stream of that name.
    """
    loads = {key: load for key, (_, load) in loads_of(assets).items()}
    found = [
        key
        for key, load in loads.items()
        if load.stream.name == stream and pipeline in (None, load.held.name)
    ]
    if len(found) != 1:
        known = ", ".join(sorted(load.stream.name for load in loads.values())) or "none"
        what = "no asset is" if not found else f"{len(found)} assets are"
        more = "; say which pipeline's" if found else ""
        raise ConfigError(f"{what} of stream {stream!r}{more}; there are: {known}")
    return found[0]


def loads_of(
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec],
) -> dict[dg.AssetKey, tuple[dg.AssetSpec, StreamLoad]]:
    """Return each asset that loads a stream, with what it loads."""
    found: dict[dg.AssetKey, tuple[dg.AssetSpec, StreamLoad]] = {}
    for one in assets:
        for spec in (one,) if isinstance(one, dg.AssetSpec) else one.specs:
            load = spec.metadata.get(LOAD)
            if isinstance(load, StreamLoad):
                found[spec.key] = (spec, load)
    return found


def stream_specs(
    held_: Held,
    select: str,
    exclude: str,
    translator: DagsterConduitTranslator | None,
    partition_expr: str | Mapping[str, str] | None = None,
) -> tuple[StreamSpecs, ...]:
    """Return the specs of the chosen streams.

    Raises:
        ConfigError: a name fits none, two streams have one key, or two rules one name.
    """
    translator = translator or DagsterConduitTranslator()
    made: list[StreamSpecs] = []
    ops: set[str] = set()
    for stream in chosen(held_.outline, select, exclude):
        op = free_name(stream.name, ops)
        ops.add(op)
        made.append(_specs(held_, stream, op, translator, partition_expr))
    _refuse_twins(made, held_)
    return tuple(made)


def _specs(
    held_: Held,
    stream: StreamOutline,
    op: str,
    translator: DagsterConduitTranslator,
    partition_expr: str | Mapping[str, str] | None,
) -> StreamSpecs:
    asset = translator.get_asset_spec(StreamData(held_.outline, stream))
    checks: dict[str, dg.AssetCheckSpec] = {}
    rules: dict[str, str] = {}
    for rule in stream.rules:
        check = translator.get_check_spec(CheckData(held_.outline, stream, rule, asset.key))
        if check.name in checks:
            raise ConfigError(
                f"rules {rules[check.name]!r} and {rule.name!r} are both the check {check.name!r}:"
                " give one of them a `name:` of letters, digits and _",
                pipeline=held_.name,
                stream=stream.name,
            )
        checks[check.name], rules[check.name] = check, rule.name
    expr = asset.metadata.get("partition_expr", partition_expr)
    load = StreamLoad(held_, stream, rules, expr)
    return StreamSpecs(
        op, stream, asset.merge_attributes(metadata={LOAD: load}), tuple(checks.values())
    )


def _refuse_twins(made: Sequence[StreamSpecs], held_: Held) -> None:
    owners: dict[dg.AssetKey, str] = {}
    for specs in made:
        name = specs.stream.name
        if specs.asset.key in owners:
            raise ConfigError(
                f"streams {owners[specs.asset.key]!r} and {name!r} have one asset key,"
                f" {specs.asset.key.to_user_string()!r}: give one another `into:`, or a translator"
                " that keeps them apart",
                pipeline=held_.name,
                command=f"conduit check {held_.given}"
                if isinstance(held_.given, str | Path)
                else None,
            )
        owners[specs.asset.key] = name
