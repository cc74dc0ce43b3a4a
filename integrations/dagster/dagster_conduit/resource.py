"""The resource: the connections of pipelines, and the run of one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg
from dagster import AssetExecutionContext
from pydantic import Field

from conduit_core import GivenConnections
from conduit_core.errors import ConduitError, ConfigError
from dagster_conduit.after import warn_of_models
from dagster_conduit.assets import STREAM_TAG
from dagster_conduit.failures import failure
from dagster_conduit.requests import request_of
from dagster_conduit.results import check_results, log_listeners, materialized
from dagster_conduit.specs import LOAD, StreamLoad
from dagster_conduit.state import DagsterStateStore

if TYPE_CHECKING:
    from conduit_core import ConnectionResolver, LoadResult, Pipeline, RunRequest
    from conduit_core.events import Listener

Told: TypeAlias = dg.MaterializeResult[object] | dg.AssetCheckResult
_KEY = "conduit"


class ConduitResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Loads streams, with Dagster's own configuration for connections.

    Example:
        >>> conduit = ConduitResource(connections={"shop_pg": dg.EnvVar("SHOP_URL")})

    Args:
        connections: the named connections of pipeline files: of each name a URL, or a mapping as
            in the file. ``EnvVar`` stands for what only the step may see. Without any, names are
            looked up in ``~/.conduit/connections.yml``.
    """

    connections: dict[str, Any] = Field(
        default_factory=dict, description="Named connections: a URL or a mapping of each."
    )

    def __repr__(self) -> str:
        """Return the connections' names, and nothing of what they say."""
        return f"ConduitResource(connections=[{', '.join(sorted(self.connections))}])"

    def resolver(self) -> ConnectionResolver | None:
        """Return what finds connections by name; None for those of the file in the home folder."""
        if not self.connections:
            return None
        named = {name: _as_text(value) for name, value in self.connections.items()}
        return GivenConnections(named, f"resource {_KEY!r}")

    def run(
        self,
        *,
        context: AssetExecutionContext | dg.OpExecutionContext,
        full_refresh: bool = False,
        reload: bool = False,
        allow_empty: bool = False,
        allow_deletes: bool = False,
        listeners: tuple[Listener, ...] = (),
    ) -> Iterator[Told]:
        """Load the step's stream, or hold its rules to the target where only checks are asked for.

        Args:
            context: the step's.
            full_refresh: read everything, and replace the target's content.
            reload: load again what this run, or one that it is a retry of, has loaded.
            allow_empty: let an empty extract empty the target.
            allow_deletes: let the load delete any share of the target's rows.
            listeners: called with every event of the load.

        Yields:
            What the asset's checks found, and its materialisation.

        Raises:
            Failure: the load failed, and no retry can help.
            RetryRequested: it failed, and a retry may help.
        """
        if isinstance(context, dg.OpExecutionContext):
            context = AssetExecutionContext(op_execution_context=context)
        step: _Step | None = None
        try:
            step = _Step(context, self.resolver(), listeners)
            if not step.is_load:
                yield from step.checked()
                return
            warn_of_models(context, step.load.held, step.spec)
            request = request_of(
                context,
                step.spec.key,
                step.load,
                full_refresh=full_refresh,
                reload=reload,
                allow_empty=allow_empty,
                allow_deletes=allow_deletes,
            )
            yield from step.loaded(request)
        except ConduitError as error:
            if step is not None:
                yield from step.found(error)
            raise failure(error, context.op_execution_context) from None


class _Step:
    """One stream's step: its pipeline, and what is asked of it."""

    def __init__(
        self,
        context: AssetExecutionContext,
        connections: ConnectionResolver | None,
        listeners: tuple[Listener, ...],
    ) -> None:
        self._context = context
        self._own = listeners
        stream = context.op_execution_context.op_def.tags.get(STREAM_TAG)
        self.spec, self.load = _of_stream(context, stream)
        self._connections = connections
        chosen = {
            key.name for key in context.selected_asset_check_keys if key.asset_key == self.spec.key
        }
        self._checks = {name: rule for name, rule in self.load.rules.items() if name in chosen}

    @property
    def is_load(self) -> bool:
        """Whether the asset itself is asked for, not its checks alone."""
        return self.spec.key in self._context.selected_asset_keys

    def opened(self) -> Pipeline:
        """Return the pipeline.

        Raises:
            ConfigError: its file is wrong.
        """
        return self.load.held.opened(self._connections)

    def loaded(self, request: RunRequest) -> Iterator[Told]:
        """Load the stream.

        Raises:
            ConduitError: it failed.
        """
        pipeline = self.opened()
        store = DagsterStateStore(self._context.instance, self.spec.key)
        result = self._run(pipeline, request, store)
        reports = result.quality.get("rules", ())
        checks = check_results(_reports(reports), self._checks, self.spec.key)
        yield materialized(result, store.told, pipeline, self.load, self.spec, checks)

    def _run(self, pipeline: Pipeline, request: RunRequest, store: DagsterStateStore) -> LoadResult:
        from conduit_core import run

        done = run(
            pipeline,
            (self.load.stream.name,),
            request=request,
            store=store,
            listeners=(*log_listeners(self._context.op_execution_context), *self._own),
        )
        if done.failures:
            raise done.failures[0].to_error()
        return done.results[0]

    def checked(self) -> Iterator[Told]:
        """Hold the chosen rules to what is in the target.

        Raises:
            ConduitError: it can't be read.
        """
        from conduit_core import check_rules

        found = check_rules(self.opened(), self.load.stream.name, tuple(self._checks.values()))
        reports = [report.model_dump() for report in found]
        yield from check_results(reports, self._checks, self.spec.key)

    def found(self, error: ConduitError) -> Iterator[Told]:
        """Yield what rules found in a load that one of them stopped."""
        reports = _reports(getattr(error, "reports", ()))
        yield from check_results(reports, self._checks, self.spec.key)


def _of_stream(
    context: AssetExecutionContext, stream: str | None
) -> tuple[dg.AssetSpec, StreamLoad]:
    for spec in context.assets_def.specs:
        load = spec.metadata.get(LOAD)
        if isinstance(load, StreamLoad) and load.stream.name == stream:
            return spec, load
    raise ConfigError(
        "conduit.run(context=context) is for the steps of @conduit_assets: this one loads no stream"
    )


def _reports(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list | tuple):
        return []
    return [one for one in value if isinstance(one, Mapping)]


def _as_text(value: object) -> object:
    """Return a connection with ``${NAME}`` where Dagster's configuration has ``{"env": NAME}``."""
    if isinstance(value, Mapping):
        if set(value) == {"env"}:
            return f"${{{value['env']}}}"
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return value
