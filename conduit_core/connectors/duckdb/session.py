"""A session on a DuckDB file: one cursor, one transaction at a time, Arrow streams in and out."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

import pyarrow as pa

from conduit_core.connectors.duckdb.file import DuckDBFile, Lease
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.errors import PublishError
from conduit_core.types.dialect import Dialect, Table
from conduit_core.types.years import infinity_of, year_and_rest

_WIDE_ROW = 16 * 1024
"""Bytes of a row from where on DuckDB can't write a row group within the usual limit.

The rows of an unfinished row group stay in memory until the commit.
"""
_FOR_WIDE_ROWS = 8
_stream_numbers = itertools.count(1)


class DuckDBSession(SqlSession):
    """One cursor of the shared connection.

    Args:
        lease: the cursor.
        file: where the locks of this process are.
        dialect: quotes names.
        lock_wait: seconds to wait for a lock.
    """

    def __init__(self, lease: Lease, file: DuckDBFile, dialect: Dialect, lock_wait: float) -> None:
        self.con = lease.con
        self.lease = lease
        self._file = file
        self._dialect = dialect
        self._lock_wait = lock_wait
        self._lock: threading.Lock | None = None

    def widen(self, times: int, more: int = 0) -> None:
        """Raise DuckDB's memory limit to the budget several times, and ``more`` bytes."""
        self._file.widen(times, more)

    def begin(self, lock: str) -> None:
        """Take the lock, then open the transaction: its snapshot is of after the wait."""
        held = self._file.lock(lock)
        started = time.monotonic()
        if not held.acquire(timeout=self._lock_wait):
            raise PublishError(
                f"another load of this process has held {lock!r} in {self._file.path} for"
                f" {time.monotonic() - started:.0f} s (lock_wait)",
                connector="duckdb",
                retry="step",
                command="conduit run",
            )
        self._lock = held
        try:
            self.con.begin()
        except BaseException:
            self._unlock()
            raise

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run one statement and return the rows it affected."""
        result = self.con.execute(sql, _parameters(values)).fetchall()
        if len(result) == 1 and len(result[0]) == 1 and isinstance(result[0][0], int):
            return result[0][0]
        return 0

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query through Arrow: the driver's own rows need pytz for a time with a zone."""
        table = self.con.sql(sql, params=_parameters(values)).to_arrow_table()
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def ingest(
        self, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        """Stream the batches into the table."""
        name = f"_conduit_stream_{next(_stream_numbers)}"
        watched = pa.RecordBatchReader.from_batches(reader.schema, self._watched(reader))
        self.con.register(name, watched)
        try:
            return self.execute(self._insert(table, tuple(reader.schema.names), name))
        finally:
            with contextlib.suppress(Exception):  # an aborted transaction lets go of it by itself
                self.con.unregister(name)

    def _watched(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Hand batches on; before the first one of wide rows, give DuckDB more memory."""
        narrow = True
        for batch in reader:
            if narrow and batch.nbytes > batch.num_rows * _WIDE_ROW > 0:
                narrow = False
                self._file.widen(_FOR_WIDE_ROWS)
            yield batch

    def ingest_text(self, table: Table, columns: tuple[Column, ...]) -> list[str]:
        """Return what :meth:`ingest` does."""
        return [self._insert(table, tuple(c.name for c in columns), "staged_rows")]

    def _insert(self, table: Table, names: tuple[str, ...], stream: str) -> str:
        listed = self._dialect.columns(names)
        return (
            f"INSERT INTO {self._dialect.table(table)} ({listed})"
            f" SELECT {listed} FROM {self._dialect.quote(stream)}"
        )

    def commit(self) -> None:
        """Commit and let go of the lock."""
        try:
            self.con.commit()
        finally:
            self._unlock()

    def rollback(self) -> None:
        """Roll back, if there is something to, and let go of the lock."""
        try:
            with contextlib.suppress(Exception):  # no transaction, or a connection that is gone
                self.con.rollback()
        finally:
            self._unlock()

    def close(self) -> None:
        """Give the cursor back."""
        self._unlock()
        self.lease.close()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def _parameters(values: tuple[Value, ...]) -> list[object]:
    return [parameter(v) if isinstance(v, pa.Scalar) else v for v in values]


def parameter(value: pa.Scalar[pa.DataType]) -> object:
    """Return what is bound for a cursor's value; :func:`bound_as` casts it back, exactly."""
    kind = value.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        year, rest = year_and_rest(value)
        return infinity_of(value) or f"{year:04}{rest}{_zone_of(kind)}"
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return str(value.cast(pa.string()).as_py())
    return value.as_py()


def _zone_of(kind: pa.DataType) -> str:
    return "+00" if pa.types.is_timestamp(kind) and kind.tz else ""


def bound_as(dialect: Dialect, value: pa.Scalar[pa.DataType]) -> str:
    """Return the placeholder of a cursor's value, cast to its own type."""
    return f"CAST(? AS {dialect.landing(pa.field('value', value.type)).ddl})"
