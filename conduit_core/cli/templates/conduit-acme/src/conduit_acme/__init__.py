"""Loads from acme: the options, and the connector that takes them."""

from __future__ import annotations

from conduit_core.connectors.base import Context, Source
from conduit_core.connectors.registry import Connector
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AcmeOptions", "connector"]


class AcmeOptions(BaseModel):
    """What stands beside ``type: acme``."""

    # A key that isn't an option is an error, and an error shows no value. A secret among them is a
    # ``pydantic.SecretStr``: nothing shows it, and `get_secret_value()` is for the client alone.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    path: str = Field(description="the folder, relative to the pipeline file")


def _source(options: BaseModel, context: Context) -> Source:
    # Here, not above: a command that loads from elsewhere imports nothing of this connector.
    from conduit_acme.client import Client
    from conduit_acme.source import AcmeSource

    if not isinstance(options, AcmeOptions):
        raise TypeError("not the options of this connector")
    return AcmeSource(Client((context.base_dir / options.path).resolve()))


connector = Connector(
    name="acme",
    options=AcmeOptions,
    source=_source,
    title="acme",
)
