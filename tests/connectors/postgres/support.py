"""What the tests of PostgreSQL share: connectors over a URL."""

from __future__ import annotations

from pathlib import Path

from conduit_core.connectors.base import Context
from conduit_core.connectors.postgres.destination import PostgresDestination
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.connectors.postgres.source import PostgresSource

CONTEXT = Context(Path())


def options(url: str) -> PostgresOptions:
    return PostgresOptions.model_validate({"url": url})


def source_at(url: str) -> PostgresSource:
    return PostgresSource(options(url), CONTEXT)


def destination_at(
    url: str, schema: str | None = None, internal: str | None = None, lock_wait: float = 20.0
) -> PostgresDestination:
    return PostgresDestination(
        options(url), CONTEXT, schema=schema, internal_schema=internal, lock_wait=lock_wait
    )
