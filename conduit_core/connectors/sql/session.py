"""One connection to a SQL destination: the only thing that talks to a driver during a publish."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from conduit_core.connectors.base import RawRows
from conduit_core.connectors.publish import Column
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa

Value: TypeAlias = "str | int | float | bool | datetime | pa.Scalar[pa.DataType] | None"
Row = tuple[object, ...]


class SqlSession(ABC):
    """A connection. Transactions are explicit; every method may raise the driver's own errors."""

    @abstractmethod
    def begin(self, lock: str) -> None:
        """Open a transaction (READ COMMITTED) and take the lock named ``lock``, waiting.

        The lock is held until commit or rollback, by the database where it can hold one.

        Raises:
            PublishError: the lock wasn't free in the destination's ``lock_wait``.
        """

    @abstractmethod
    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run one statement and return the rows it affected (0 for DDL)."""

    @abstractmethod
    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query with a small result and return it."""

    @abstractmethod
    def ingest(
        self, table: Table, columns: tuple[Column, ...], reader: pa.RecordBatchReader
    ) -> int:
        """Append every batch to an existing table in the open transaction; return rows taken.

        The driver's own count, not the reader's. Columns whose type the driver's bulk path can't
        write go through a temporary relation and a cast; that is the session's business.
        """

    @abstractmethod
    def ingest_text(self, table: Table, columns: tuple[Column, ...]) -> list[str]:
        """Return, as text, what :meth:`ingest` does."""

    @abstractmethod
    def commit(self) -> None:
        """Commit. An error leaves the outcome open: ask the ledger."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll back; no error if there is nothing to roll back or the connection is gone."""

    @abstractmethod
    def close(self) -> None:
        """Give the connection back. Idempotent."""


@runtime_checkable
class RawSession(Protocol):
    """Trait: a session that takes rows undecoded."""

    def ingest_raw(self, table: Table, columns: tuple[Column, ...], rows: RawRows) -> int:
        """Append the rows to an existing table in the open transaction; return rows taken."""
        ...
