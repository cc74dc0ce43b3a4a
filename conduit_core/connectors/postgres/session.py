"""A publish's connection to PostgreSQL: advisory lock, bound statements, COPY and casts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.base import RawRows
from conduit_core.connectors.postgres.connection import Connection, ServerConnection
from conduit_core.connectors.postgres.copying import PlainConnection
from conduit_core.connectors.postgres.errors import explain, primary, sqlstate
from conduit_core.connectors.postgres.types import (
    PostgresDialect,
    copies,
    exact_type,
    hand_over_type,
)
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.errors import PublishError, SchemaError
from conduit_core.types.dialect import Table

_DIALECT = PostgresDialect()
_STAGE = "_conduit_text"


class ServerSession(SqlSession):
    """One connection; locks are advisory and end with their transaction."""

    connection: ServerConnection

    def __init__(self, connection: ServerConnection, lock_wait_seconds: float, where: str) -> None:
        self.connection = connection
        self._lock_wait = lock_wait_seconds
        self._where = where

    def begin(self, lock: str) -> None:
        """Open a transaction and wait for the lock, at most ``lock_wait``."""
        connection = self.connection
        connection.begin(lock_timeout_seconds=self._lock_wait)
        try:
            connection.rows("SELECT pg_advisory_xact_lock($1)::text", (lock_key(lock),))
        except Exception as error:
            connection.rollback()
            if sqlstate(error) != "55P03":
                raise
            raise PublishError(
                f"another session holds the lock of {lock!r} for more than {self._lock_wait:g} s"
                " (lock_wait)"
                f"{self._holder(lock_key(lock))}",
                connector="postgres",
                retry="step",
                command="conduit run",
            ) from error

    def begin_unlocked(self, *, read_only: bool = False) -> None:
        """Open a transaction without a lock."""
        self.connection.begin(read_only=read_only, lock_timeout_seconds=self._lock_wait)

    def _holder(self, key: int) -> str:
        found = self.connection.rows(
            """
            SELECT a.pid::text, coalesce(a.application_name, ''), coalesce(a.xact_start::text, '')
            FROM pg_locks l JOIN pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::int8 << 32 | l.objid::int8) = $1
            """,
            (key,),
        )
        return "".join(
            f": backend {pid} ({name}), in a transaction since {since}"
            for pid, name, since in found[:1]
        )

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run one statement; return the rows it affected."""
        return self.connection.execute(sql, values)

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query with a small result."""
        return self.connection.rows(sql, values)

    def commit(self) -> None:
        """Commit."""
        self.connection.commit()

    def rollback(self) -> None:
        """Roll back, if there is something to."""
        self.connection.rollback()

    def close(self) -> None:
        """Close the connection."""
        self.connection.rollback()
        self.connection.close()


class PostgresSession(ServerSession):
    """A session that takes Arrow."""

    connection: Connection

    def ingest(
        self, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        """COPY into the table; columns COPY can't write go through a temporary text table."""
        indirect = _indirect(columns, reader.schema)
        checked = _FiniteTimes(reader, str(table))
        try:
            return self._ingest(table, columns, checked.reader(), indirect)
        except Exception:
            if checked.error is not None:
                raise checked.error from None
            raise

    def _ingest(
        self,
        table: Table,
        columns: tuple[Column, ...],
        reader: pa.RecordBatchReader,
        indirect: frozenset[str],
    ) -> int:
        if not indirect:
            return self.connection.copy_in(table, reader)
        stage = Table("", _STAGE)
        create, insert, drop = _by_way_of(stage, table, columns, indirect, reader.schema)
        self.execute(create)
        self.connection.copy_in(stage, reader)
        for column, check in _checks(stage, columns, indirect):
            if self.rows(check) != [(0,)]:
                raise SchemaError(
                    f"column {column.name!r} ({table}): a value doesn't fit a {column.ddl}: it"
                    " would be rounded or cut off",
                    connector="postgres",
                    command="conduit plan",
                )
        self.execute("SAVEPOINT conduit_cast")
        try:
            taken = self.execute(insert)
        except Exception as error:
            raise self._named(error, stage, table, columns, indirect) from error
        self.execute(drop)
        return taken

    def _named(
        self,
        error: Exception,
        stage: Table,
        table: Table,
        columns: tuple[Column, ...],
        indirect: frozenset[str],
    ) -> Exception:
        """Find the column whose cast failed, casting each alone; the transaction is lost."""
        if not sqlstate(error).startswith("22"):
            return error
        for column in columns:
            if column.name not in indirect:
                continue
            quoted = _DIALECT.quote(column.name)
            try:
                self.execute("ROLLBACK TO SAVEPOINT conduit_cast")
                self.rows(
                    f"SELECT count(({quoted}::{column.ddl})::text) FROM {_DIALECT.table(stage)}"
                )
            except Exception as cause:  # noqa: BLE001 - whatever it is, it names the column
                return PublishError(
                    f"column {column.name!r} ({table}): a value isn't a {column.ddl};"
                    f" the server says: {primary(cause)}",
                    connector="postgres",
                    command="conduit plan",
                )
        return explain(error, where=self._where, relation=str(table))

    def ingest_text(self, table: Table, columns: tuple[Column, ...]) -> list[str]:
        """Return the statements of :meth:`ingest` for the types ``describe`` asks for."""
        return arrow_statements(table, columns)


class CopySession(ServerSession):
    """A session that takes rows undecoded.

    Args:
        connection, lock_wait_seconds, where: as for every session.
        constants: the columns with one value in every row, as text.
    """

    connection: PlainConnection

    def __init__(
        self,
        connection: PlainConnection,
        lock_wait_seconds: float,
        where: str,
        constants: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(connection, lock_wait_seconds, where)
        self._constants = constants or {}

    def ingest(
        self, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        """Refuse: a publish with a wire has rows that can be had undecoded."""
        raise TypeError("this session takes no Arrow")

    def ingest_raw(self, table: Table, columns: tuple[Column, ...], rows: RawRows) -> int:
        """COPY the source's bytes into the table."""
        constants = {c.name: self._constants[c.name] for c in columns if c.name in self._constants}
        (copy,) = self.ingest_text(table, columns)
        return self.connection.copy_in(copy, rows.raw(columns, constants))

    def ingest_text(self, table: Table, columns: tuple[Column, ...]) -> list[str]:
        """Return the statement of :meth:`ingest_raw`."""
        return [copy_statement(table, columns)]


def copy_statement(table: Table, columns: tuple[Column, ...]) -> str:
    """Return the COPY into a table, as text."""
    names = _DIALECT.columns([c.name for c in columns])
    return f"COPY {_DIALECT.table(table)} ({names}) FROM STDIN (FORMAT binary)"


def arrow_statements(table: Table, columns: tuple[Column, ...]) -> list[str]:
    """Return how Arrow comes into a table, in the types that ``describe`` asks for."""
    schema = pa.schema([pa.field(c.name, hand_over_type(c.ddl)) for c in columns])
    indirect = _indirect(columns, schema)
    stage = Table("", _STAGE)
    copy = copy_statement(stage if indirect else table, columns)
    if not indirect:
        return [copy]
    create, insert, drop = _by_way_of(stage, table, columns, indirect, schema)
    checks = [check for _, check in _checks(stage, columns, indirect)]
    return [create, copy, *checks, insert, drop]


class _FiniteTimes:
    """Refuses what other systems store for an infinite time: COPY would write a year 294247.

    The driver only sees a broken stream, so the error waits here.
    """

    _INFINITE = pa.array([-(2**63) + 1, 2**63 - 1], pa.int64())

    def __init__(self, reader: pa.RecordBatchReader, table: str) -> None:
        self._reader = reader
        self._table = table
        self._times = [f.name for f in reader.schema if pa.types.is_timestamp(f.type)]
        self.error: SchemaError | None = None

    def reader(self) -> pa.RecordBatchReader:
        """Return the batches, checked."""
        if not self._times:
            return self._reader
        return pa.RecordBatchReader.from_batches(self._reader.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._reader:
            for name in self._times:
                ticks = batch.column(name).view(pa.int64())
                if pc.any(pc.is_in(ticks, value_set=self._INFINITE)).as_py():
                    self.error = SchemaError(
                        f"column {name!r} ({self._table}): an infinite time can't be handed to"
                        " PostgreSQL by Arrow: select NULL or a date for it",
                        connector="postgres",
                        command="conduit plan",
                    )
                    raise self.error
            yield batch


def lock_key(name: str) -> int:
    """Return the 64-bit key of a lock's name."""
    return int.from_bytes(
        hashlib.sha256(f"conduit:{name}".encode()).digest()[:8], "big", signed=True
    )


def _indirect(columns: tuple[Column, ...], schema: pa.Schema) -> frozenset[str]:
    return frozenset(c.name for c in columns if not copies(c.ddl, schema.field(c.name).type))


def _checks(
    stage: Table, columns: tuple[Column, ...], indirect: frozenset[str]
) -> list[tuple[Column, str]]:
    """Return, for each column that the server would make values fit, the query that counts some."""
    found = []
    for column in columns:
        exact = exact_type(column.ddl)
        if column.name in indirect and exact is not None:
            value = _DIALECT.quote(column.name)
            changed = f"({value}::{column.ddl})::{exact} <> {value}::{exact}"
            one = f"SELECT 1 FROM {_DIALECT.table(stage)} WHERE {changed} LIMIT 1"
            found.append((column, f"SELECT count(*) FROM ({one}) AS t"))
    return found


def _by_way_of(
    stage: Table,
    table: Table,
    columns: tuple[Column, ...],
    indirect: frozenset[str],
    schema: pa.Schema,
) -> tuple[str, str, str]:
    """Return create, insert and drop of the temporary table that text columns are cast from."""
    parts, values = [], []
    for column in columns:
        quoted = _DIALECT.quote(column.name)
        if column.name in indirect:
            waits_as = _DIALECT.landing(pa.field(column.name, schema.field(column.name).type))
            parts.append(f"{quoted} {waits_as.ddl}")
            values.append(f"{quoted}::{column.ddl}")
        else:
            parts.append(f"{quoted} {column.ddl}")
            values.append(quoted)
    names = _DIALECT.columns([c.name for c in columns])
    source = _DIALECT.table(stage)
    create = f"CREATE TEMPORARY TABLE {source} ({', '.join(parts)}) ON COMMIT DROP"
    insert = (
        f"INSERT INTO {_DIALECT.table(table)} ({names}) OVERRIDING SYSTEM VALUE"
        f" SELECT {', '.join(values)} FROM {source}"
    )
    return create, insert, f"DROP TABLE {source}"
