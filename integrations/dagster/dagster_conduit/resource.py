"""The resource: the connections of pipelines, and the run of one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import AssetExecutionContext
from pydantic import Field

from conduit_core.errors import ConduitError
from dagster_conduit.asked import Asked
from dagster_conduit.failures import failure
from dagster_conduit.steps import RESOURCE, StreamStep, Told

if TYPE_CHECKING:
    from conduit_core import ConnectionResolver
    from conduit_core.events import Listener


class ConduitResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Loads streams, with Dagster's own configuration for connections.

    Examples:
        >>> conduit = ConduitResource(connections={"shop_pg": dg.EnvVar("SHOP_URL")})

    Args:
        connections: the named connections of pipeline files: of each name a URL, or a mapping as
            in the file. ``EnvVar`` stands for what only the step may see. Without any, names are
            looked up in ``~/.conduit/connections.yml``.
        observe: who is told of loads: URLs of receivers. ``EnvVar`` stands for one with a token, or
            for several with blanks between. Without any: those that ``CONDUIT_OBSERVE`` names.
    """

    connections: dict[str, Any] = Field(
        default_factory=dict, description="Named connections: a URL or a mapping of each."
    )

    observe: list[str] = Field(
        default_factory=list, description="URLs of receivers of metrics, traces and lineage."
    )

    def __repr__(self) -> str:
        """Return the connections' names, and nothing of what they say."""
        return f"ConduitResource(connections=[{', '.join(sorted(self.connections))}])"

    def resolver(self) -> ConnectionResolver | None:
        """Return what finds connections by name; None for those of the file in the home folder."""
        if not self.connections:
            return None
        from conduit_core import GivenConnections

        named = {name: _as_text(value) for name, value in self.connections.items()}
        return GivenConnections(named, f"resource {RESOURCE!r}")

    def receivers(self) -> tuple[str, ...] | None:
        """Return the receivers' URLs; None for those of the environment."""
        return tuple(self.observe) or None

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
        try:
            step = StreamStep(context, self.resolver(), listeners, self.receivers())
            yield from step.told(Asked(full_refresh, reload, allow_empty, allow_deletes))
        except ConduitError as error:
            failed = failure(error, context.op_execution_context)
            raise failed from failed.__cause__


def _as_text(value: object) -> object:
    """Return a connection with ``${NAME}`` where Dagster's configuration has ``{"env": NAME}``."""
    if isinstance(value, Mapping):
        if set(value) == {"env"}:
            return f"${{{value['env']}}}"
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return value
