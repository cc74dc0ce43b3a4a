"""A publish's session on a SQLite file: own transactions (BEGIN IMMEDIATE), bound inserts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.connectors.sqlite.encoding import encode_batch, encoded_schema
from conduit_core.connectors.sqlite.file import Connection, open_for_reading
from conduit_core.connectors.sqlite.types import SqliteDialect, is_numeric_affinity
from conduit_core.errors import PublishError
from conduit_core.types.dialect import Table

_SLICE_MS = 200
"""The driver can't be interrupted while it waits for a lock: it waits this long at a time."""


class SqliteSession(SqlSession):
    """A connection to a SQLite file.

    SQLite has one lock for the whole file, which ``BEGIN IMMEDIATE`` takes and commit or rollback
    gives back; it is held by the operating system, so a dead process holds nothing.

    Args:
        path: the file; a writing session makes it.
        writes: whether the session may write; a reading one of a missing file sees nothing.
        lock_wait: seconds to wait for the lock.
    """

    def __init__(self, path: Path, *, writes: bool, lock_wait: float) -> None:
        self._path = path
        self._dialect = SqliteDialect()
        self._lock_wait = lock_wait
        self._open_transaction = False
        self.connection: Connection | None
        if writes:
            self.connection = Connection(path, "rwc")
        else:
            self.connection = open_for_reading(path) if path.exists() else None

    @property
    def _open(self) -> Connection:
        if self.connection is None:
            raise RuntimeError("a reading session of a file that doesn't exist")
        return self.connection

    def begin(self, lock: str) -> None:
        """Take the file's write lock; ``lock`` is only a part of it."""
        self._persist("BEGIN IMMEDIATE", "another process is writing to it")
        self._open_transaction = True

    def _persist(self, sql: str, why: str) -> None:
        """Run a statement that waits for others, as long as ``lock_wait`` says."""
        connection = self._open
        deadline = time.monotonic() + self._lock_wait
        connection.wait(_SLICE_MS)
        while True:
            try:
                connection.execute(sql)
                return
            except Exception as error:
                if "locked" not in str(error) and "busy" not in str(error):
                    raise
                if time.monotonic() >= deadline:
                    raise PublishError(
                        f"the file {self._path} wasn't free within {self._lock_wait:g} s"
                        f" (lock_wait): {why}",
                        retry="step",
                        command="conduit run",
                    ) from error

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run one statement."""
        return self._open.execute(sql, values)

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query with a small result."""
        return self._open.rows(sql, values)

    def ingest(
        self, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        """Insert every row, encoded as the package's table says."""
        ddl = {c.name: c.ddl for c in columns}
        numeric = tuple(is_numeric_affinity(ddl[n]) for n in reader.schema.names)
        broken: list[BaseException] = []

        def encoded() -> Iterator[pa.RecordBatch]:
            try:
                for batch in reader:
                    yield encode_batch(batch, numeric)
            except Exception as error:
                broken.append(error)
                raise

        batches = pa.RecordBatchReader.from_batches(encoded_schema(reader.schema), encoded())
        try:
            return self._open.insert(self._insert(table, reader.schema.names), batches)
        except Exception:
            if broken:  # the driver only knows that its stream broke
                raise broken[0] from None
            raise

    def _insert(self, table: Table, names: list[str]) -> str:
        marks = ", ".join("?" for _ in names)
        return (
            f"INSERT INTO {self._dialect.table(table)} ({self._dialect.columns(names)})"
            f" VALUES ({marks})"
        )

    def ingest_text(self, table: Table, columns: tuple[Column, ...]) -> list[str]:
        """Return the insert that each row goes through."""
        return [self._insert(table, [c.name for c in columns])]

    def commit(self) -> None:
        """Commit; waits for readers to be done. An error rolls back: the ledger can tell."""
        try:
            self._persist("COMMIT", "another process is reading it")
        except BaseException:
            self.rollback()
            raise
        self._open_transaction = False

    def rollback(self) -> None:
        """Roll back whatever is open; SQLite may have done so itself after a full disk."""
        if not self._open_transaction or self.connection is None:
            return
        self._open_transaction = False
        try:
            self.connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - the driver's own classes; closing rolls back too
            if "no transaction is active" not in str(error):
                self.close()

    def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
