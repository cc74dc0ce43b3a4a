"""PostgreSQL 13 to 18 as source and destination: ADBC moves Arrow, psycopg2 all else.

Options: ``url:``, or ``host: port: user: password: database: sslmode:``.

===============================  ===============================  ==============================
PostgreSQL                       read as                          Arrow that lands in it
===============================  ===============================  ==============================
boolean, smallint .. bigint      bool, int16 .. int64             the same; int8, uint8 .. uint32
real, double precision           float32, float64                 the same; float16
numeric(p, s), p <= 76           decimal(p, s)                    the same; uint64: numeric(20, 0)
numeric without bounds           string, tagged numeric           tagged numeric
text, varchar, char, name        string                           string
bytea                            binary                           binary of any kind
date, time, timestamp(tz)        date32, time64, timestamp (us)   the same; a finer one must fit us
interval                         month_day_nano_interval          the same
interval day to second(6)        duration(us)                     duration
uuid, json, jsonb                string, tagged uuid, json        tagged uuid: uuid, json: json
arrays                           list                             list; nested: json
others (enum, inet, range ...)   string, with its native type     json for struct and map
===============================  ===============================  ==============================

A column that came from PostgreSQL lands in its own type again, if the server has it; where all of
them are built-in, the rows of a table pass from server to server undecoded, whatever they hold. By
way of Arrow these aren't readable, and named with their column: NaN and infinity in a bounded
numeric, infinite or far dates, 24:00:00, arrays of several dimensions. Text has no NUL characters.
A numeric without bounds can be a cursor up to 38 digits before and after the point; text cursors
compare byte by byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.connectors.postgres.options import PostgresOptions, from_airflow
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
    airflow_types=("postgres", "postgresql"),
    from_airflow=from_airflow,
)
