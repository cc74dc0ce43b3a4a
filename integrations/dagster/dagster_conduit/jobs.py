"""Jobs beside the loads: setting a watermark, replaying dead letters, checking what is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from conduit_core.errors import ConduitError, ConfigError
from dagster_conduit.failures import failure
from dagster_conduit.results import facts_of
from dagster_conduit.specs import StreamLoad, loads_of
from dagster_conduit.state import FORGETS, KEY, DagsterStateStore
from dagster_conduit.steps import RESOURCE
from dagster_conduit.watching import watching

if TYPE_CHECKING:
    from dagster import OpExecutionContext, UnresolvedAssetJobDefinition

    from conduit_core import LoadResult
    from dagster_conduit.resource import ConduitResource

Job: TypeAlias = "dg.JobDefinition | UnresolvedAssetJobDefinition"
_Loads = Mapping[str, tuple[dg.AssetKey, StreamLoad]]


def build_conduit_jobs(*, assets: dg.AssetsDefinition, name: str | None = None) -> Sequence[Job]:
    """Return the jobs ``NAME_rewind``, ``NAME_replay`` and ``NAME_check`` for assets' streams.

    ``rewind`` sets a stream's watermark: a record without rows in the ledger, which every runner
    sees, and what Dagster keeps follows it. ``replay`` holds open dead letters to today's rules,
    and loads those that pass. Both have a form in Dagster's launchpad. ``check`` holds all rules to
    what the tables have, and loads nothing; there is none where no stream has rules.

    Args:
        assets: what ``conduit_assets`` made.
        name: what the jobs' names begin with; default the assets' name.

    Raises:
        ConfigError: the assets aren't made by ``conduit_assets``.
    """
    loads: _Loads = {load.stream.name: (key, load) for key, (_, load) in loads_of([assets]).items()}
    if not loads:
        raise ConfigError("build_conduit_jobs takes what conduit_assets made: assets=shop")
    name = name or assets.node_def.name
    made: list[Job] = [_job(name, loads, _REWIND), _job(name, loads, _REPLAY)]
    if assets.check_keys:
        made.append(
            dg.define_asset_job(
                f"{name}_check",
                selection=dg.AssetSelection.checks(*assets.check_keys),
                description="Hold all rules to what the tables have; nothing is loaded.",
            )
        )
    return made


@dataclass(frozen=True)
class _Way:
    """A job of one step.

    Args:
        step: its name.
        description: what it does.
        of_all: whether the stream may be left out: the job is then of all.
        form: the other fields of its config.
        do: does it.
    """

    step: str
    description: str
    of_all: bool
    form: Mapping[str, dg.Field]
    do: Callable[[OpExecutionContext, _Loads, ConduitResource], None]


def _job(name: str, loads: _Loads, way: _Way) -> dg.JobDefinition:
    """Return a job of one step; a code location has one op of a name, so the job's is in it."""

    def step(context):  # type: ignore[no-untyped-def] # Dagster reads annotations as they are
        try:
            way.do(context, loads, getattr(context.resources, RESOURCE))
        except ConduitError as error:
            failed = failure(error, context)
            raise failed from failed.__cause__

    op: dg.OpDefinition = dg.op(
        name=f"{name}_{way.step}_op",
        description=way.description,
        required_resource_keys={RESOURCE},
        out={},
        config_schema={"stream": _stream_field(loads, of_all=way.of_all), **way.form},
    )(step)
    graph = dg.GraphDefinition(
        name=f"{name}_{way.step}",
        node_defs=[op],
        dependencies={dg.NodeInvocation(op.name, alias=way.step): {}},
        description=way.description,
    )
    return graph.to_job()


def _stream_field(loads: _Loads, *, of_all: bool) -> dg.Field:
    # Dagster keeps one type of a name for the whole process: so its name says what is in it.
    streams = dg.Enum(f"one of {', '.join(loads)}", [dg.EnumValue(stream) for stream in loads])
    text = "Whose letters; left out: those of all streams." if of_all else "The stream."
    return dg.Field(streams, is_required=not of_all, description=text)


# --- a watermark ----------------------------------------------------------------------------------


def _rewound(context: OpExecutionContext, loads: _Loads, resource: ConduitResource) -> None:
    from conduit_core import state_entry, state_reset, state_set

    asked = context.op_config
    key, load = loads[asked["stream"]]
    ways = [bool(asked["cursor"]), asked["from_start"], asked["follow_ledger"]]
    if sum(ways) != 1:
        raise ConfigError(
            "say one of: cursor (a watermark), from_start, follow_ledger", stream=asked["stream"]
        )
    pipeline, runner = load.held.opened(resource.resolver()), _runner(context)
    stream, behind = load.stream.name, asked["replace_after"]
    if asked["cursor"]:
        state_set(
            pipeline,
            stream,
            asked["cursor"],
            replace_after=behind,
            skip=asked["skip"],
            runner=runner,
        )
    elif asked["from_start"]:
        state_reset(pipeline, stream, replace_after=behind, runner=runner)
    entry = state_entry(pipeline, stream)
    held = json.loads(entry) if entry is not None else {}
    context.log_event(dg.AssetObservation(key, metadata={KEY: held, FORGETS: True}))
    context.log.info("%s: the state is now %s", stream, held or "empty")


_REWIND = _Way(
    step="rewind",
    description="Set a stream's watermark, so that the next load reads from there.",
    of_all=False,
    form={
        "cursor": dg.Field(
            str,
            default_value="",
            description="The watermark; of several columns the values, with commas between.",
        ),
        "from_start": dg.Field(
            bool, default_value=False, description="Forget the watermark: load all again."
        ),
        "replace_after": dg.Field(
            bool,
            default_value=False,
            description="Delete the target's rows behind the new watermark: append needs it.",
        ),
        "skip": dg.Field(
            bool,
            default_value=False,
            description="Allow a move forward: the rows between are never loaded.",
        ),
        "follow_ledger": dg.Field(
            bool,
            default_value=False,
            description="Change nothing in the destination: what Dagster keeps follows it, as"
            " after a restore, or a move to another one.",
        ),
    },
    do=_rewound,
)


# --- dead letters ---------------------------------------------------------------------------------


def _replayed(context: OpExecutionContext, loads: _Loads, resource: ConduitResource) -> None:
    from conduit_core import replay

    asked = context.op_config
    for name, ids in _whose(asked, loads, resource).items():
        key, load = loads[name]
        pipeline = load.held.opened(resource.resolver())
        store = DagsterStateStore(context.instance, key)
        with watching(pipeline, context, to=resource.receivers()) as listeners:
            (result,) = replay(
                pipeline,
                (load.stream.name,),
                load_id=asked["load_id"] or None,
                rule=asked["rule"] or None,
                ids=ids,
                store=store,
                listeners=listeners,
                runner=_runner(context),
            )
        _tell(context, key, result, store)


def _whose(
    asked: Mapping[str, Any], loads: _Loads, resource: ConduitResource
) -> Mapping[str, tuple[str, ...]]:
    """Return the streams whose letters are asked for, each with the ids that are its own.

    A replay of one stream refuses an id that isn't there, so it isn't asked for those of others.
    """
    from conduit_core import find_letters

    ids = tuple(asked["ids"])
    if asked.get("stream"):
        return {asked["stream"]: ids}
    if not ids:
        return dict.fromkeys(loads, ())
    load = next(iter(loads.values()))[1]  # all of one pipeline
    found = find_letters(load.held.opened(resource.resolver()), ids)
    if others := [name for name in found if name not in loads]:
        raise ConfigError(f"letters of {', '.join(others)}, which is none of these assets' streams")
    return found


def _tell(
    context: OpExecutionContext,
    key: dg.AssetKey,
    result: LoadResult,
    store: DagsterStateStore,
) -> None:
    """Tell what became of a stream's letters: of the table where rows came, else of the state."""
    counts = {kind: n for kind, n in result.counts.model_dump().items() if n}
    text = ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "nothing to replay"
    context.log.info("%s: %s: %s", result.stream, result.outcome, text)
    if result.outcome != "published":
        return
    metadata = facts_of(result, store.told)
    if not counts.keys() & {"inserted", "updated", "deleted"}:
        context.log_event(dg.AssetObservation(key, metadata=metadata))
        return
    tags = {"dagster/data_version": str(result.version)}
    context.log_event(dg.AssetMaterialization(key, metadata=metadata, tags=tags))


_REPLAY = _Way(
    step="replay",
    description="Hold open dead letters to today's rules, and load those that pass, once.",
    of_all=True,
    form={
        "load_id": dg.Field(
            str, default_value="", description="Only letters that this load rejected last."
        ),
        "rule": dg.Field(str, default_value="", description="Only letters that break this rule."),
        "ids": dg.Field(
            [str],
            default_value=[],
            description="Only these letters, by their ids or what those begin with.",
        ),
    },
    do=_replayed,
)


# --- what both do ---------------------------------------------------------------------------------


def _runner(context: OpExecutionContext) -> str:
    return json.dumps({"runner": "dagster", "job": context.job_name, "run_id": context.run_id})
