"""SQLite as source and destination, through ADBC. Options: ``path:`` (a file).

SQLite has five storage classes and no types but what a column was declared as. This is what each
Arrow type is declared and stored as; reading turns the declared type back into the Arrow type, so
that a value round-trips exactly. Types are declared with the word TEXT where SQLite's affinity
would otherwise turn digits into a float.

===============================  ============================  ==================================
Arrow (logical) type             declared                      stored
===============================  ============================  ==================================
bool                             BOOLEAN                       integer 0 or 1
int64                            INTEGER                       integer
int8, int16, int32               TINYINT, SMALLINT, INT4       integer
uint8, uint16, uint32            ... UNSIGNED                  integer
uint64                           DECIMAL TEXT(20, 0)           digits; comes back as decimal(20, 0)
float64; float32 (and 16)        REAL; FLOAT4                  real; infinity too; NaN is an error
decimal(p, s)                    DECIMAL TEXT(p, s)            digits as text, all of them
numeric without bounds           NUMERIC TEXT                  digits as text
string                           TEXT                          text, NUL characters too
uuid, json                       UUID TEXT, JSON TEXT          text
binary                           BLOB                          blob
date                             DATE                          text ``2013-07-01``
timestamp(s, ms, us, ns)         TIMESTAMP(0, 3, none, 9)      text ``2013-07-01 00:00:00.000000``
timestamp with a time zone       TIMESTAMPTZ(...)              the same in UTC, with ``Z``
time                             TIME(...)                     text ``12:00:00.000000``
duration                         DURATION(...)                 integer, in the unit
list, struct, map                JSON TEXT                     JSON text (named as a loss)
===============================  ============================  ==================================

Tables made by others are read by the same words, then by SQLite's rule of affinity (``BIGINT``,
``VARCHAR(20)``, ``DOUBLE``, ``DATETIME``, ``NUMERIC(10, 2)`` held as a float ...). Time text is ISO
8601; in a TIMESTAMPTZ column it must have an offset, in a TIMESTAMP or DATETIME column none.
Columns without a declared type are scanned for what they hold. A value that doesn't fit its
declared type (``'abc'`` in an INTEGER column, seconds since 1970 in a DATETIME) is an error that
shows it; a query with a CAST reads such columns.

A cursor may be a number, text, a date or time, a decimal of at most 15 digits. Foreign keys aren't
enforced while loading, as is SQLite's default. The journal mode (WAL or not) is left as found.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.connectors.registry import Connector
from conduit_core.errors import ConfigError


class SqliteOptions(BaseModel):
    """What a pipeline file says of a SQLite connection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="The database file, relative to the pipeline file.")


def _path(options: BaseModel, context: Context) -> Path:
    if not isinstance(options, SqliteOptions):
        raise TypeError("not the options of this connector")
    if options.path.startswith((":memory:", "file:")):
        raise ConfigError(
            f"path: {options.path!r} is not the path of a file; a database in memory would be gone"
            " with the load"
        )
    return (context.base_dir / Path(options.path).expanduser()).resolve()


def _source(options: BaseModel, context: Context) -> Source:
    from conduit_core.connectors.sqlite.source import SqliteSource

    return SqliteSource(_path(options, context))


def _destination(
    options: BaseModel,
    context: Context,
    schema: str | None,
    internal_schema: str | None,
    lock_wait: float,
) -> Destination:
    from conduit_core.connectors.sqlite.destination import SqliteDestination

    for key, value in (("schema", schema), ("internal_schema", internal_schema)):
        if value not in {None, "main"}:
            raise ConfigError(f"{key}: {value!r} can't be: a SQLite file has one schema, 'main'")
    return SqliteDestination(_path(options, context), lock_wait)


connector = Connector(
    name="sqlite",
    options=SqliteOptions,
    source=_source,
    destination=_destination,
    title="SQLite file (source, destination)",
    extra="sqlite",
    airflow_types=("sqlite",),
    from_airflow=lambda conn: {"type": "sqlite", "path": conn.file_path()},
)
