"""COPY undecoded, by psycopg2: a connection whose rows stay the bytes that the servers exchange.

The driver's loops wait without the interpreter's lock, so that reading and writing overlap.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from conduit_core.connectors.base import RawBatch, RawReading
from conduit_core.connectors.postgres.connection import ServerConnection, as_text
from conduit_core.connectors.sql.session import Row, Value

if TYPE_CHECKING:
    from psycopg2 import extensions

WIRE = "postgres-copy-binary"
"""The format's name: what ``COPY ... (FORMAT binary)`` writes and reads."""

_AGAIN_SECONDS = 0.2
_WHOLE = 1 << 30  # more than any batch: each is handed to the driver as it is
_PLACES = re.compile(r'"(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|%|\$(\d+)')


class PlainConnection(ServerConnection):
    """An open connection of psycopg2's. Not for two threads at once, but for :meth:`cancel`."""

    _raw: extensions.connection

    def __init__(self, raw: extensions.connection) -> None:
        super().__init__(raw)
        raw.set_client_encoding("UTF8")
        self._autocommit(on=True)

    def _autocommit(self, *, on: bool) -> None:
        self._raw.autocommit = on

    def execute(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        """Run a statement; return the rows it affected, 0 where the server counts none."""
        with self._raw.cursor() as cursor:
            cursor.execute(*_bound(sql, values))
            return max(0, cursor.rowcount)

    def rows(self, sql: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """Run a query with a small result and return it as Python rows."""
        with self._raw.cursor() as cursor:
            cursor.execute(*_bound(sql, values))
            return cast("list[Row]", cursor.fetchall())

    def copy_out(
        self, sql: str, values: tuple[Value, ...], size: int, take: Callable[[RawBatch], bool]
    ) -> None:
        """Run ``COPY ... TO STDOUT``; hand over batches of about ``size`` bytes until refused."""
        sink = _Sink(size, take)
        with self._raw.cursor() as cursor:
            cursor.copy_expert(cursor.mogrify(*_bound(sql, values)), sink)
            sink.finish(cursor.rowcount)

    def copy_in(self, sql: str, batches: Iterator[RawBatch]) -> int:
        """Run ``COPY ... FROM STDIN`` over the batches; return the rows the server took."""
        with self._raw.cursor() as cursor:
            cursor.copy_expert(sql, _Feed(batches), _WHOLE)
            return int(cursor.rowcount)


def _bound(sql: str, values: tuple[Value, ...]) -> tuple[str, dict[str, Value] | None]:
    """Return the statement with the driver's placeholders for ``$1``, and their values by name."""
    if not values:
        return sql, None

    def place(found: re.Match[str]) -> str:
        return f"%(p{found[1]})s" if found[1] else found[0].replace("%", "%%")

    given: dict[str, Value] = {
        f"p{i}": as_text(v) if isinstance(v, pa.Scalar) else v for i, v in enumerate(values, 1)
    }
    return _PLACES.sub(place, sql), given


class _StoppedError(Exception):
    """Nobody takes rows any more."""


class _Sink:
    """The file that the driver writes rows to, one a call."""

    def __init__(self, size: int, take: Callable[[RawBatch], bool]) -> None:
        self._size = size
        self._take = take
        self._rows: list[bytes] = []
        self._bytes = 0
        self._handed = 0

    def write(self, row: bytes) -> None:
        self._rows.append(row)
        self._bytes += len(row)
        if self._bytes >= self._size:
            self._hand_over(len(self._rows))

    def finish(self, total: int) -> None:
        """Hand over the rest: the server's count tells the rows from the format's trailer."""
        self._hand_over(total - self._handed)

    def _hand_over(self, rows: int) -> None:
        batch = RawBatch(b"".join(self._rows), rows)
        self._rows, self._bytes = [], 0
        self._handed += rows
        if not self._take(batch):
            raise _StoppedError


class _Feed:
    """The file that the driver reads from: a batch a call."""

    def __init__(self, batches: Iterator[RawBatch]) -> None:
        self._batches = batches

    def read(self, _size: int = -1, /) -> bytes:
        batch = next(self._batches, None)
        return batch.data if batch is not None else b""

    def readline(self, _size: int = -1, /) -> bytes:
        raise NotImplementedError  # the driver wants it to be there


class OpenCopy:
    """A ``COPY ... TO STDOUT`` that one thread pumps and another may end."""

    def __init__(
        self,
        connection: PlainConnection,
        statement: tuple[str, tuple[Value, ...]],
        size: int,
        explain: Callable[[Exception], Exception],
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._size = size
        self._explain = explain
        self._pumping = threading.Lock()
        self._closed = False

    def reading(self) -> RawReading:
        """Return it as the contract wants it."""
        return RawReading(self.pump, close=self.close, cancel=self.close)

    def pump(self, take: Callable[[RawBatch], bool]) -> None:
        """Run the statement and hand its rows over until the last, or until it is closed."""
        with self._pumping:
            if self._closed:
                return
            try:
                self._connection.copy_out(*self._statement, self._size, take)
            except _StoppedError:
                return
            except Exception as error:
                raise self._explain(error) from error

    def close(self) -> None:
        """Stop the statement and give the connection back. Idempotent."""
        self._closed = True
        wait = 0.0
        while not self._pumping.acquire(timeout=wait):
            self._connection.cancel()  # again, if it came before the statement
            wait = _AGAIN_SECONDS
        try:
            self._connection.close()
        finally:
            self._pumping.release()
