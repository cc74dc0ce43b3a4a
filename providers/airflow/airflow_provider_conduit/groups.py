"""A pipeline as a group of tasks, and as a DAG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_conduit.assets import asset_of
from airflow_provider_conduit.compat import DAG, BaseOperator, Param, TaskGroup
from airflow_provider_conduit.dbt import ConduitDbtOperator, ConduitHookOperator
from airflow_provider_conduit.load import ConduitLoadOperator
from airflow_provider_conduit.naming import safe_ids
from airflow_provider_conduit.pipelines import (
    OURS,
    PipelineLike,
    dag_folder,
    outline_of,
    placed,
)
from airflow_provider_conduit.steps import (
    ConduitAuditOperator,
    ConduitPlanOperator,
    ConduitPublishOperator,
    ConduitStageOperator,
)
from conduit_core import calling_file

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Asset
    from conduit_core import StreamOutline

_OF_GROUPS = ("dag", "default_args", "parent_group", "prefix_group_id", "tooltip")
_OF_REQUESTS = (
    "window",
    "window_from",
    "window_to",
    "only",
    "full_refresh",
    "reload",
    "allow_empty",
    "allow_deletes",
    "chosen",
)


class ConduitTaskGroup(TaskGroup):
    """A pipeline's streams as tasks: one for each; several for one that is spread out.

    A stream with ``splits``, or that ``expand`` names, is a group of its own: plan, a stage mapped
    over the splits, audit, publish. Any other is one task. Behind all of them is one for each hook
    of the file's ``after:``.

    They run side by side. With ``on_error: stop`` in the file they run in its order, each after the
    one before it: one that fails for good leaves the later ones ``upstream_failed``. Before them is
    a task ``start``, which does nothing: what the group waits for is its upstream, so that a stream
    that isn't chosen doesn't keep the others from running.

    Args:
        group_id: the group's.
        pipeline: the pipeline's file, relative to the DAG file; or a mapping, or a Pipeline.
        streams: which streams; None for all.
        expand: streams to spread out though they have no ``splits``.
        after: whether the hooks of ``after:`` are tasks here; False to leave dbt to Cosmos.
        source_conn_id, destination_conn_id: Airflow connections in place of the file's own.
        kwargs: arguments of each task: those of ``ConduitLoadOperator`` that say what to load
            (``window``, ``full_refresh`` ...), and Airflow's (``retries``, ``pool`` ...); or a task
            group's (``dag``, ``default_args``, ``parent_group``, ``prefix_group_id``, ``tooltip``).

    Attributes:
        assets: the tables' Assets, by the streams' names.
        last: the task that publishes, by the streams' names.

    Raises:
        ConfigError: the file is missing or is no pipeline, or there is no such stream.
    """

    def __init__(
        self,
        group_id: str = "load",
        *,
        pipeline: PipelineLike,
        streams: Sequence[str] | None = None,
        expand: Sequence[str] = (),
        after: bool = True,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        **kwargs: object,
    ) -> None:
        own = {name: kwargs.pop(name) for name in _OF_GROUPS if name in kwargs}
        super().__init__(group_id, **own)  # type: ignore[arg-type]
        placed_at = placed(pipeline, dag_folder(self.dag))
        outline = outline_of(placed_at, destination_conn_id)
        named = {outline.stream(name).name for name in streams or ()}
        wanted = [stream for stream in outline.streams if not named or stream.name in named]
        spread = {outline.stream(name).name for name in expand}
        self._shared: dict[str, Any] = {
            "pipeline": placed_at,
            "source_conn_id": source_conn_id,
            "destination_conn_id": destination_conn_id,
        }
        self._asked: dict[str, Any] = {
            name: kwargs.pop(name) for name in _OF_REQUESTS if name in kwargs
        }
        self._kwargs: dict[str, Any] = kwargs
        self.assets: dict[str, Asset] = {s.name: asset_of(outline, s.name) for s in wanted}
        self.last: dict[str, BaseOperator] = {}
        hooks = outline.hooks if after else ()
        given = [*(s.name for s in wanted), *(f"after_{name}" for name in hooks)]
        ids = safe_ids([*given, "start"])
        with self:
            before = self._start(ids[-1]) if outline.stops and len(wanted) > 1 else ()
            for stream, task_id in zip(wanted, ids, strict=False):
                is_spread = stream.splits > 1 or stream.name in spread
                add = self._steps if is_spread else self._load
                self.last[stream.name] = add(stream, task_id, before)
                before = (*before[:1], self.last[stream.name]) if before else ()
            for name, task_id in zip(hooks, ids[len(wanted) : -1], strict=True):
                self._hook(name, task_id).set_upstream(list(self.last.values()))

    def _start(self, task_id: str) -> tuple[BaseOperator, ...]:
        """Return the task that waits for what the group waits for, where streams are a chain."""
        from airflow.providers.standard.operators.empty import EmptyOperator

        given = {key: self._kwargs.pop(key) for key in ("trigger_rule",) if key in self._kwargs}
        return (EmptyOperator(task_id=task_id, **given),)

    def _load(
        self, stream: StreamOutline, task_id: str, before: Sequence[BaseOperator]
    ) -> BaseOperator:
        arguments = {**self._shared, **self._asked, **self._kwargs, **_rule(before)}
        if task_id != stream.name:
            arguments = {"task_display_name": stream.name, **arguments}
        load = ConduitLoadOperator(task_id=task_id, stream=stream.name, **arguments)
        load.set_upstream(list(before))
        return load

    def _steps(
        self, stream: StreamOutline, group_id: str, before: Sequence[BaseOperator]
    ) -> BaseOperator:
        rest: dict[str, Any] = {k: v for k, v in self._kwargs.items() if k != "trigger_rule"}
        with TaskGroup(group_id, group_display_name=stream.name):
            plan = ConduitPlanOperator(
                task_id="plan",
                stream=stream.name,
                **{**self._shared, **self._asked, **self._kwargs, **_rule(before)},
            )
            plan.set_upstream(list(before))
            rest |= {**self._shared, "plan_task_id": plan.task_id}
            stage = ConduitStageOperator.partial(
                task_id="stage", map_index_template="{{ task.split }}", **rest
            ).expand(split=plan.output)
            audit = ConduitAuditOperator(task_id="audit", **rest)
            publish = ConduitPublishOperator(
                task_id="publish", stream=stream.name, audit_task_id=audit.task_id, **rest
            )
            stage >> audit >> publish
        return publish

    def _hook(self, name: str, task_id: str) -> BaseOperator:
        rest: dict[str, Any] = {k: v for k, v in self._kwargs.items() if k != "trigger_rule"}
        rest |= {**self._shared, "task_id": task_id}
        if name == "dbt":
            return ConduitDbtOperator(**rest)
        return ConduitHookOperator(hook=name, **rest)


def _rule(before: Sequence[BaseOperator]) -> dict[str, str]:
    """Return the trigger rule of a stream behind ``start`` and another, which may be skipped.

    The group's own rule, and that of ``default_args``, are for ``start``.
    """
    if not before:
        return {}
    return {"trigger_rule": "none_failed_min_one_success" if before[1:] else "all_success"}


class ConduitDag(DAG):
    """A DAG of a pipeline's streams, whose trigger form asks what to load.

    The form has ``streams`` (a stream that isn't chosen is skipped), ``full_refresh``, ``reload``,
    ``window_from``, ``window_to`` and ``only``. A scheduled run has their defaults.

    Args:
        dag_id: the DAG's.
        pipeline, streams, expand, after, source_conn_id, destination_conn_id: see
            ``ConduitTaskGroup``; the group is ``load``.
        window: ``watermark`` or ``data_interval``, where the form gives no window.
        operator_args: arguments of each task, such as ``retries`` and ``pool``.
        params: more Params, or other ones for those above.
        kwargs: the DAG's own: ``schedule``, ``start_date`` ...

    Attributes:
        load: the group.

    Raises:
        ConfigError: the file is missing or is no pipeline, or there is no such stream.
    """

    def __init__(
        self,
        dag_id: str,
        *,
        pipeline: PipelineLike,
        streams: Sequence[str] | None = None,
        expand: Sequence[str] = (),
        after: bool = True,
        source_conn_id: str | None = None,
        destination_conn_id: str | None = None,
        window: str = "watermark",
        operator_args: Mapping[str, Any] | None = None,
        params: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        file = calling_file(OURS)
        placed_at = placed(pipeline, file.parent)
        outline = outline_of(placed_at, destination_conn_id)
        names = list(streams or (s.name for s in outline.streams))
        own = {**form(names), **(params or {})}
        super().__init__(dag_id, params=own, **kwargs)  # type: ignore[arg-type]
        self.fileloc = str(file)  # the DAG's class takes this file for it
        either = "{{ 'watermark' if params.window_from or params.window_to else '%s' }}"
        with self:
            self.load = ConduitTaskGroup(
                pipeline=placed_at,
                streams=names,
                expand=expand,
                after=after,
                source_conn_id=source_conn_id,
                destination_conn_id=destination_conn_id,
                window=window if window == "watermark" else either % window,
                window_from="{{ params.window_from or '' }}",
                window_to="{{ params.window_to or '' }}",
                only="{{ params.only | tojson }}",
                full_refresh="{{ params.full_refresh }}",
                reload="{{ params.reload }}",
                chosen="{{ params.streams | tojson }}",
                **(operator_args or {}),
            )


def form(streams: Sequence[str]) -> dict[str, Param]:
    """Return the Params of the trigger form of a DAG that loads these streams."""
    end = "of the cursor, as `conduit run` takes it; empty: what is new"
    return {
        "streams": Param(
            list(streams),
            type="array",
            items={"type": "string", "enum": list(streams)},
            examples=list(streams),
            title="Streams",
            description="The others are skipped.",
        ),
        "full_refresh": Param(
            default=False,
            type="boolean",
            title="Full refresh",
            description="Read everything and replace the tables' content.",
        ),
        "reload": Param(
            default=False,
            type="boolean",
            title="Reload",
            description="After a clear of this run: load again what it has loaded.",
        ),
        "window_from": Param(
            None, type=["null", "string"], title="From", description=f"The lowest value {end}."
        ),
        "window_to": Param(
            None,
            type=["null", "string"],
            title="To",
            description=f"Where to stop, a value {end}.",
        ),
        "only": Param(
            None,
            type=["null", "object"],
            title="Only",
            description='The rows whose column has a value, as {"region": ["eu", "us"]}.',
        ),
    }
