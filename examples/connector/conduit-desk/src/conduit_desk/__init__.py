"""Loads from desk: the options, and the connector that takes them."""

from __future__ import annotations

from conduit_core.connectors.base import Context, Source
from conduit_core.connectors.registry import Connector
from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["DeskOptions", "connector"]


class DeskOptions(BaseModel):
    """What stands beside ``type: desk``."""

    # A key that isn't an option is an error, and an error shows no value.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(pattern="^https?://", description="where the API is")
    token: SecretStr = Field(description="what the API knows us by")
    timeout_seconds: float = Field(default=30, gt=0, description="for each answer")


def _source(options: BaseModel, context: Context) -> Source:
    # Here, not above: a command that loads from elsewhere imports nothing of this connector.
    from conduit_desk.client import Client
    from conduit_desk.source import DeskSource

    if not isinstance(options, DeskOptions):
        raise TypeError("not the options of this connector")
    return DeskSource(Client(options.url, options.token, options.timeout_seconds))


connector = Connector(
    name="desk",
    options=DeskOptions,
    source=_source,
    title="desk: tickets over HTTP",
)
