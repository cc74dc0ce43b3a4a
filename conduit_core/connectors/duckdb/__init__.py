"""DuckDB as source and destination: a file that one process at a time may open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, field_validator

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.connectors.registry import Connector

if TYPE_CHECKING:
    from conduit_core.connectors.airflow import AirflowConnection

LOCK_WAIT = 600.0
"""Seconds that a source waits for another process to close the file."""


class DuckDBOptions(BaseModel):
    """``type: duckdb``: the database file, relative to the pipeline file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """The database file, relative to the pipeline file; a load makes it where it isn't there."""

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if not path.strip() or path.startswith(":memory:"):
            raise ValueError("must name a file: a database in memory is gone when the load ends")
        if path.startswith(("md:", "motherduck:")) or "://" in path:  # with a token, perhaps
            raise ValueError("must name a file on this machine, not a service or a URL")
        return path

    def resolve(self, context: Context) -> Path:
        """Return the file's absolute path."""
        return (context.base_dir / Path(self.path).expanduser()).resolve()


def _source(options: BaseModel, context: Context) -> Source:
    from conduit_core.connectors.duckdb.source import DuckDBSource

    config = DuckDBOptions.model_validate(options.model_dump())
    return DuckDBSource(config.resolve(context), context.budget_bytes, LOCK_WAIT)


def _destination(
    options: BaseModel,
    context: Context,
    schema: str | None,
    internal_schema: str | None,
    lock_wait: float,
) -> Destination:
    from conduit_core.connectors.duckdb.destination import DuckDBDestination

    config = DuckDBOptions.model_validate(options.model_dump())
    path = config.resolve(context)
    internal = internal_schema or schema or "main"
    return DuckDBDestination(path, context.budget_bytes, schema or "main", internal, lock_wait)


def _from_airflow(conn: AirflowConnection) -> Mapping[str, object]:
    """Return the file: the host, or extra ``file``. A password is MotherDuck's token."""
    if conn.password:
        raise conn.refuse("has a password, as MotherDuck needs one: only database files are loaded")
    return {"type": "duckdb", "path": str(conn.extra.get("file") or conn.file_path())}


connector = Connector(
    name="duckdb",
    options=DuckDBOptions,
    source=_source,
    destination=_destination,
    title="DuckDB database file",
    extra="duckdb",
    airflow_types=("duckdb",),
    from_airflow=_from_airflow,
)
