"""One connection to PostgreSQL over ADBC's low-level API: transactions, queries, COPY in and out.

Only this module calls that driver; ``copying`` has the other one. Transactions are begun and ended
by the drivers alone: left in autocommit mode ADBC commits by itself after a statement with a
timestamptz among its values, ours included. Settings are local to each transaction, which also
holds behind a pooler in transaction mode.
"""

from __future__ import annotations

import contextlib
import re
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import pyarrow as pa

from conduit_core.connectors.postgres.errors import connection_failed, is_lost, snapshot_gone
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.connectors.registry import missing_driver
from conduit_core.connectors.sql.session import Row, Value
from conduit_core.state.cursor import Cursor
from conduit_core.types.dialect import Table
from conduit_core.types.years import infinity_of, year_and_rest

if TYPE_CHECKING:
    from adbc_driver_manager import (
        AdbcConnection,
        AdbcDatabase,
        AdbcStatement,
        ArrowArrayStreamHandle,
    )

    from conduit_core.connectors.postgres.copying import PlainConnection
    from conduit_core.connectors.postgres.reading import Array

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SNAPSHOT = re.compile(r"[0-9A-Fa-f-]{1,64}")
_IDLE_MILLISECONDS = 5 * 60 * 1000
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": str(_IDLE_MILLISECONDS),
    "tcp_keepalives_idle": "60",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
}


def _one(value: Value) -> Array:
    """Return a bound value as an array of one.

    By its bytes: pyarrow imports pandas, where installed, to look at a Python value.
    """
    if isinstance(value, pa.Scalar):
        return cast("Array", pa.repeat(value, 1))  # type: ignore[call-overload] # any scalar
    kind: pa.DataType
    buffers: list[bytes]
    match value:
        case None:
            return pa.nulls(1)
        case bool():
            kind, buffers = pa.bool_(), [bytes([value])]
        case int():
            kind, buffers = pa.int64(), [struct.pack("=q", value)]
        case float():
            kind, buffers = pa.float64(), [struct.pack("=d", value)]
        case datetime():
            ticks = (value - _EPOCH) // timedelta(microseconds=1)
            kind, buffers = pa.timestamp("us", tz="UTC"), [struct.pack("=q", ticks)]
        case _:
            text = value.encode()
            kind, buffers = pa.string(), [struct.pack("=ii", 0, len(text)), text]
    return pa.Array.from_buffers(kind, 1, [None, *(pa.py_buffer(b) for b in buffers)])


def as_text(value: pa.Scalar[pa.DataType]) -> str:
    """Return a value as PostgreSQL reads it."""
    if pa.types.is_binary(value.type):
        return "\\x" + bytes(value.as_py()).hex()
    if pa.types.is_date(value.type) or pa.types.is_timestamp(value.type):
        year, rest = year_and_rest(value)
        zone = "Z" if pa.types.is_timestamp(value.type) and value.type.tz else ""
        era, year = (" BC", 1 - year) if year < 1 else ("", year)
        return infinity_of(value) or f"{year:04}{rest}{zone}{era}"
    return Cursor(("value",), (value,)).display()


class _Driver(Protocol):
    """What both drivers' connections can do alike."""

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class ServerConnection(ABC):
    """An open connection by any driver: transactions, statements, the end.

    Not for two threads at once; :meth:`cancel` may come from anywhere.
    """

    _raw: _Driver

    def __init__(self, raw: _Driver) -> None:
        self._raw = raw
        self._closed = False
        self.in_transaction = False

    @abstractmethod
    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run a statement; return the rows it affected, 0 where the server counts none."""

    @abstractmethod
    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query with a small result and return it as Python rows."""

    @abstractmethod
    def _autocommit(self, *, on: bool) -> None:
        """Switch the driver's autocommit; off, it sends BEGIN itself."""

    def _finish_statements(self) -> None:  # noqa: B027 - a driver may leave none open
        """Close what is open on the connection."""

    # --- transactions -----------------------------------------------------------------------------

    def begin(
        self,
        *,
        read_only: bool = False,
        lock_timeout_seconds: float = 30.0,
        repeatable: bool = False,
        snapshot: str | None = None,
    ) -> None:
        """Open a transaction in READ COMMITTED, with our settings for its length.

        Args:
            read_only: whether it may write nothing.
            lock_timeout_seconds: how long a statement waits for a lock.
            repeatable: whether all its statements see one moment (REPEATABLE READ).
            snapshot: the moment, as another transaction exported it.

        Raises:
            ConnectionFailedError: the snapshot is gone.
        """
        self._autocommit(on=False)
        self.in_transaction = True
        level = "REPEATABLE READ" if repeatable or snapshot is not None else "READ COMMITTED"
        mode = ", READ ONLY" if read_only else ""
        self.execute(f"SET TRANSACTION ISOLATION LEVEL {level}{mode}")
        if snapshot is not None:
            self._import(snapshot)
        milliseconds = str(max(1, round(lock_timeout_seconds * 1000)))
        self.set_local({**_SETTINGS, "lock_timeout": milliseconds})

    def _import(self, snapshot: str) -> None:
        """Take the snapshot; the statement has no parameters, so what isn't an id is refused."""
        if not _SNAPSHOT.fullmatch(snapshot):
            raise snapshot_gone(snapshot)
        try:
            self.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        except Exception as error:
            if is_lost(error):
                raise
            raise snapshot_gone(snapshot) from error

    def set_local(self, settings: dict[str, str]) -> None:
        """Set parameters until the transaction ends."""
        calls = [f"set_config(${2 * i + 1}, ${2 * i + 2}, true)" for i in range(len(settings))]
        pairs = tuple(text for pair in settings.items() for text in pair)
        self.rows(f"SELECT {', '.join(calls)}", pairs)

    def commit(self) -> None:
        """Commit. After an error the outcome is open."""
        self.in_transaction = False
        self._raw.commit()
        self._rest()

    def rollback(self) -> None:
        """Roll back if a transaction is open and the connection alive; never raises."""
        if self.in_transaction and not self._closed:
            self.in_transaction = False
            with contextlib.suppress(Exception):
                self._finish_statements()
                self._raw.rollback()
            self._rest()

    def _rest(self) -> None:
        """Leave the empty transaction that the driver opens after each end of one."""
        with contextlib.suppress(Exception):
            self._autocommit(on=True)

    # --- the end ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ask the server to stop what the connection runs; from any thread."""
        with contextlib.suppress(Exception):
            self._raw.cancel()

    def close(self) -> None:
        """Give the connection back. Idempotent; never raises."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):
            self._finish_statements()
        with contextlib.suppress(Exception):
            self._raw.close()


class Connection(ServerConnection):
    """An open connection of ADBC's."""

    _raw: AdbcConnection

    def __init__(self, raw: AdbcConnection) -> None:
        super().__init__(raw)
        self._open: list[AdbcStatement] = []

    def _autocommit(self, *, on: bool) -> None:
        self._raw.set_autocommit(on)

    @contextlib.contextmanager
    def _statement(self, sql: str, values: tuple[Value, ...]) -> Iterator[AdbcStatement]:
        from adbc_driver_manager import AdbcStatement

        statement = AdbcStatement(self._raw)
        try:
            statement.set_sql_query(sql)
            if values:
                columns = [_one(value) for value in values]
                batch = pa.record_batch(columns, names=[f"p{i}" for i in range(len(columns))])
                statement.prepare()
                statement.bind_stream(pa.RecordBatchReader.from_batches(batch.schema, [batch]))
            yield statement
        finally:
            statement.close()

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run a statement; return the rows it affected, 0 where the server counts none."""
        with self._statement(sql, values) as statement:
            return max(0, int(statement.execute_update()))

    def table(self, sql: str, values: tuple[Value, ...] = ()) -> pa.Table:
        """Run a query with a small result and return it."""
        with self._statement(sql, values) as statement:
            statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            handle, _ = statement.execute_query()
            return _reader(handle).read_all()

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query with a small result and return it as Python rows."""
        table = self.table(sql, values)
        columns = [column.to_pylist() for column in table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def schema_of(self, sql: str) -> pa.Schema:
        """Return what a query would give, without running it."""
        with self._statement(sql, ()) as statement:
            handle = statement.execute_schema()
            return pa.Schema._import_from_c_capsule(handle.__arrow_c_schema__())  # noqa: SLF001

    def stream(self, sql: str, batch_bytes: int) -> pa.RecordBatchReader:
        """Run a query by COPY and return its batches; the connection does nothing else then."""
        from adbc_driver_manager import AdbcStatement

        statement = AdbcStatement(self._raw)
        self._open.append(statement)
        statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})
        statement.set_sql_query(sql)
        handle, _ = statement.execute_query()
        return _reader(handle)

    def copy_in(self, table: Table, reader: pa.RecordBatchReader) -> int:
        """COPY every batch into an existing table; return the rows the server took.

        A table without schema is a temporary one of this session.
        """
        from adbc_driver_manager import (
            INGEST_OPTION_MODE,
            INGEST_OPTION_MODE_APPEND,
            INGEST_OPTION_TARGET_TABLE,
            AdbcStatement,
        )

        where = {"adbc.ingest.target_db_schema": table.schema}
        if not table.schema:
            where = {"adbc.ingest.temporary": "true"}
        statement = AdbcStatement(self._raw)
        try:
            statement.set_options(
                **{
                    INGEST_OPTION_TARGET_TABLE: table.name,
                    INGEST_OPTION_MODE: INGEST_OPTION_MODE_APPEND,
                    **where,
                }
            )
            statement.bind_stream(reader)
            return int(statement.execute_update())
        finally:
            statement.close()

    def _finish_statements(self) -> None:
        while self._open:
            self._open.pop().close()


class Server:
    """Where connections come from. The driver reads the server's types once; safe for threads."""

    def __init__(self, options: PostgresOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._database: AdbcDatabase | None = None

    def connect(self) -> Connection:
        """Open a connection for Arrow.

        Raises:
            ConnectionFailedError: the server can't be reached or refuses us; what it says, named.
            ConfigError: the driver isn't installed.
        """
        try:
            import adbc_driver_postgresql
            from adbc_driver_manager import AdbcConnection, Error
        except ImportError as error:
            raise missing_driver("postgres", "postgres", error) from error
        try:
            with self._lock:
                if self._database is None:
                    self._database = adbc_driver_postgresql.connect(self.options.conninfo())
                database = self._database
            return Connection(AdbcConnection(database))
        except (Error, OSError) as error:
            raise connection_failed(error, self.options) from None

    def connect_plain(self) -> PlainConnection:
        """Open a connection for statements, small answers and undecoded COPY.

        Raises:
            ConnectionFailedError: the server can't be reached or refuses us; what it says, named.
            ConfigError: the driver isn't installed.
        """
        try:
            import psycopg2
        except ImportError as error:
            raise missing_driver("postgres", "postgres", error) from error
        from conduit_core.connectors.postgres.copying import PlainConnection

        try:
            return PlainConnection(psycopg2.connect(self.options.conninfo()))
        except psycopg2.Error as error:
            raise connection_failed(error, self.options) from None

    @contextlib.contextmanager
    def looking(self) -> Iterator[PlainConnection]:
        """Open a connection and a read-only transaction that is rolled back at the end."""
        with _looking(self.connect_plain()) as connection:
            yield connection

    @contextlib.contextmanager
    def looking_in_arrow(self) -> Iterator[Connection]:
        """Do the same with answers in Arrow; it takes longer, for the driver reads every type."""
        with _looking(self.connect()) as connection:
            yield connection

    def close(self) -> None:
        """Forget the driver's handle; the next :meth:`connect` makes another. Idempotent."""
        with self._lock:
            database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(Exception):
                database.close()


_C = TypeVar("_C", bound=ServerConnection)


@contextlib.contextmanager
def _looking(connection: _C) -> Iterator[_C]:
    try:
        connection.begin(read_only=True)
        yield connection
    finally:
        connection.rollback()
        connection.close()


def _reader(handle: ArrowArrayStreamHandle) -> pa.RecordBatchReader:
    """Return the driver's batches; unlike pyarrow's reader this one keeps an error's SQLSTATE."""
    from adbc_driver_manager import _reader as adbc_reader

    return adbc_reader.AdbcRecordBatchReader._import_from_c(handle.address)  # noqa: SLF001
