"""One stream's step: its pipeline, what is asked of it, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from conduit_core.errors import ConduitError, ConfigError, QualityError
from dagster_conduit.after import warn_of_models
from dagster_conduit.asked import Asked, request_of
from dagster_conduit.results import check_results, materialized
from dagster_conduit.specs import StreamLoad, loads_of
from dagster_conduit.state import DagsterStateStore
from dagster_conduit.watching import watching

if TYPE_CHECKING:
    from dagster import AssetExecutionContext

    from conduit_core import ConnectionResolver, LoadPlan, LoadResult, Pipeline, RunRequest
    from conduit_core.events import Listener

RESOURCE = "conduit"
"""The key of the resource."""
STREAM_TAG = "dagster_conduit/stream"
"""The tag of an op that says which stream it loads."""
Told: TypeAlias = dg.MaterializeResult[object] | dg.AssetCheckResult


class StreamStep:
    """A step that loads one stream, as one op or as several.

    Args:
        context: Dagster's.
        connections: finds the pipeline's named connections.
        listeners: called with every event, beside the step's log.
        to: the resource's receivers; None for those of the environment.

    Raises:
        ConfigError: the step is none of ours.
    """

    def __init__(
        self,
        context: AssetExecutionContext,
        connections: ConnectionResolver | None,
        listeners: tuple[Listener, ...] = (),
        to: Sequence[str] | None = None,
    ) -> None:
        self._context = context
        self._to = to
        self._connections = connections
        self._own = listeners
        stream = context.op_execution_context.op_def.tags.get(STREAM_TAG)
        self.spec, self.load = _of_stream(context, stream)
        self._store = DagsterStateStore(context.instance, self.spec.key)
        asked = {k.name for k in context.selected_asset_check_keys if k.asset_key == self.spec.key}
        self._checks = {name: rule for name, rule in self.load.rules.items() if name in asked}

    @property
    def is_load(self) -> bool:
        """Whether the asset itself is asked for, not its checks alone."""
        return self.spec.key in self._context.selected_asset_keys

    def told(self, asked: Asked) -> Iterator[Told]:
        """Load the stream, or hold its rules to the target where only checks are asked for.

        Raises:
            ConduitError: it failed.
        """
        if not self.is_load:
            yield from self.checked()
            return
        warn_of_models(self._context, self.load.held, self.spec)
        pipeline = self._opened()
        try:
            result = self._loaded(pipeline, asked)
        except ConduitError as error:
            yield from self._found(error)
            raise
        yield from self._materialized(pipeline, result)

    def planned(self, asked: Asked) -> LoadPlan:
        """Plan the load for steps that stage it split by split.

        Raises:
            ConduitError: it can't be planned.
        """
        from conduit_core import plan

        warn_of_models(self._context, self.load.held, self.spec)
        pipeline = self._opened()
        with self._watching(pipeline) as listeners:
            (made,) = plan(
                pipeline,
                (self.load.stream.name,),
                request=self._request(asked),
                store=self._store,
                staged=True,
                listeners=listeners,
            )
        return made

    def staged(self, plan: LoadPlan, split: str) -> str:
        """Stage one split; return its receipt as JSON.

        Raises:
            ConduitError: it failed.
        """
        from conduit_core import stage

        pipeline = self._opened()
        with self._watching(pipeline) as listeners:
            receipt = stage(pipeline, plan, split, listeners=listeners)
        return receipt.model_dump_json()

    def published(self, plan: LoadPlan, receipts: Sequence[str]) -> Iterator[Told]:
        """Audit and publish what is staged.

        Raises:
            ConduitError: it failed.
        """
        pipeline = self._opened()
        try:
            result = self._published(pipeline, plan, receipts)
        except QualityError as error:
            yield from self._found(error)
            raise
        yield from self._materialized(pipeline, result)

    def _loaded(self, pipeline: Pipeline, asked: Asked) -> LoadResult:
        from conduit_core import run

        with self._watching(pipeline) as listeners:
            done = run(
                pipeline,
                (self.load.stream.name,),
                request=self._request(asked),
                store=self._store,
                listeners=listeners,
            )
            if done.failures:
                raise done.failures[0].to_error()
        return done.results[0]

    def _published(self, pipeline: Pipeline, plan: LoadPlan, receipts: Sequence[str]) -> LoadResult:
        from conduit_core import StageReceipt, after, publish

        given = [StageReceipt.model_validate_json(text) for text in receipts]
        with self._watching(pipeline) as listeners:
            result = publish(pipeline, plan, given, listeners=listeners)
            self._store.get(self.spec.key.to_user_string())  # the plan was another op's
            after(pipeline, [result], store=self._store, hooks=False, listeners=listeners)
        return result

    def checked(self) -> Iterator[Told]:
        """Hold the chosen rules to what is in the target; nothing is published.

        Raises:
            ConduitError: it can't be read.
        """
        from conduit_core import check_rules

        rules = tuple(self._checks.values())
        found = check_rules(self._opened(), self.load.stream.name, rules)
        reports = [report.model_dump() for report in found]
        yield from check_results(reports, self._checks, self.spec.key)

    def _found(self, error: Exception) -> Iterator[Told]:
        """Yield what rules found in a load that one of them stopped."""
        if isinstance(error, QualityError):
            yield from check_results(error.reports, self._checks, self.spec.key)

    def _materialized(self, pipeline: Pipeline, result: LoadResult) -> Iterator[Told]:
        reports = _reports(result.quality.get("rules", ()))
        checks = check_results(reports, self._checks, self.spec.key)
        told, version = self._store.told, self._store.version
        yield materialized(result, told, version, pipeline, self.load, self.spec, checks)

    def _opened(self) -> Pipeline:
        return self.load.held.opened(self._connections)

    def _request(self, asked: Asked) -> RunRequest:
        return request_of(self._context, self.spec.key, self.load, asked)

    def _watching(self, pipeline: Pipeline) -> AbstractContextManager[tuple[Listener, ...]]:
        return watching(pipeline, self._context.op_execution_context, *self._own, to=self._to)


def _of_stream(
    context: AssetExecutionContext, stream: str | None
) -> tuple[dg.AssetSpec, StreamLoad]:
    for spec, load in loads_of([context.assets_def]).values():
        if load.stream.name == stream:
            return spec, load
    raise ConfigError(
        "conduit.run(context=context) is for the steps of @conduit_assets: this one loads no stream"
    )


def _reports(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list | tuple):
        return []
    return [one for one in value if isinstance(one, Mapping)]
