"""PostgreSQL 13 to 18 as source and destination, through ADBC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.connectors.registry import Connector

if TYPE_CHECKING:
    from pydantic import BaseModel


def _source(options: BaseModel, context: Context) -> Source:
    from conduit_core.connectors.postgres.source import PostgresSource

    return PostgresSource(_checked(options), context)


def _destination(
    options: BaseModel,
    context: Context,
    schema: str | None,
    internal_schema: str | None,
    lock_wait: float,
) -> Destination:
    from conduit_core.connectors.postgres.destination import PostgresDestination

    return PostgresDestination(
        _checked(options),
        context,
        schema=schema,
        internal_schema=internal_schema,
        lock_wait=lock_wait,
    )


def _checked(options: BaseModel) -> PostgresOptions:
    if not isinstance(options, PostgresOptions):
        raise TypeError(f"not options of the postgres connector: {type(options).__name__}")
    return options


connector = Connector(
    name="postgres",
    options=PostgresOptions,
    source=_source,
    destination=_destination,
    title="PostgreSQL 13 to 18",
    extra="postgres",
)
