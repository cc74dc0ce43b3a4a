"""One SQLite file and the connections to it: the only place that talks to the driver.

Only the ADBC driver's SQLite opens the file: a second SQLite library in the same process would lose
the file's locks. No SQL is written with a value in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import pyarrow as pa

from conduit_core.connectors.registry import missing_driver
from conduit_core.connectors.sqlite.encoding import Array, order_value
from conduit_core.errors import ConduitError, ConnectionFailedError, PublishError, SourceDataError

if TYPE_CHECKING:
    import adbc_driver_manager

Value: TypeAlias = "str | int | float | bool | bytes | datetime | pa.Scalar[pa.DataType] | None"

READ_WAIT_MS = 10_000
"""How long a statement waits for another process's lock, in milliseconds."""

_RESULT_ROWS = 1_000_000  # one batch, so that the driver sees all types of a small result


class Connection:
    """An open connection. Not for use by two threads at once."""

    def __init__(self, path: Path, mode: str, wait_ms: int = READ_WAIT_MS) -> None:
        """Open the file; ``mode`` is SQLite's: ``ro``, ``rw`` or ``rwc``.

        Raises:
            ConnectionFailedError: there is no such file, or it can't be opened.
            ConfigError: the driver isn't installed.
        """
        try:
            import adbc_driver_manager as adbc
            from adbc_driver_sqlite import connect
        except ImportError as error:
            raise missing_driver("sqlite", "sqlite", error) from error
        self._adbc = adbc
        self._closed = False
        try:
            self._database = connect(f"{path.as_uri()}?mode={mode}")
        except adbc.Error as error:
            raise _cannot_open(path) from error
        try:
            self._connection = adbc.AdbcConnection(self._database)
        except adbc.Error as error:
            self._database.close()
            raise _cannot_open(path) from error
        try:
            self.wait(wait_ms)
            self.rows("SELECT 1 FROM sqlite_master LIMIT 1")
        except Exception:
            self.close()
            raise

    def wait(self, milliseconds: int) -> None:
        """Set how long statements wait for another connection's lock."""
        self.rows(f"PRAGMA busy_timeout = {int(milliseconds)}")

    def _statement(
        self, sql: str, values: Sequence[Value] = ()
    ) -> adbc_driver_manager.AdbcStatement:
        statement = self._adbc.AdbcStatement(self._connection)
        try:
            statement.set_sql_query(sql)
            if values:
                arrays = [_bound(v) for v in values]
                names = [str(i) for i in range(len(arrays))]
                statement.bind(pa.RecordBatch.from_arrays(arrays, names=names))
        except Exception:
            statement.close()
            raise
        return statement

    def execute(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Run a statement and return the rows it changed."""
        statement = self._statement(sql, values)
        try:
            return max(int(statement.execute_update()), 0)
        finally:
            statement.close()

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[object, ...]]:
        """Run a query with a small result."""
        reader, statement = self._query(sql, values, _RESULT_ROWS)
        try:
            columns = [c.to_pylist() for c in reader.read_all().columns]
            return list(zip(*columns, strict=True))
        finally:
            reader.close()
            statement.close()

    def stream(self, sql: str, values: Sequence[Value], batch_rows: int) -> Stream:
        """Run a query whose result is taken batch by batch."""
        return Stream(*self._query(sql, values, batch_rows))

    def _query(
        self, sql: str, values: Sequence[Value], batch_rows: int
    ) -> tuple[pa.RecordBatchReader, adbc_driver_manager.AdbcStatement]:
        statement = self._statement(sql, values)
        try:
            statement.set_options(**{"adbc.sqlite.query.batch_rows": batch_rows})
            handle, _ = statement.execute_query()
            return pa.RecordBatchReader.from_stream(handle), statement
        except Exception:
            statement.close()
            raise

    def insert(self, sql: str, batches: pa.RecordBatchReader) -> int:
        """Run an INSERT once for each row of ``batches`` and return how many there were."""
        statement = self._statement(sql)
        try:
            statement.bind_stream(batches)
            return max(int(statement.execute_update()), 0)
        finally:
            statement.close()

    def close(self) -> None:
        """Close; what isn't committed is rolled back. Idempotent."""
        if not self._closed:
            self._closed = True
            self._connection.close()
            self._database.close()


class Stream:
    """An open result: its batches, then ``close`` (idempotent), in the order the driver needs."""

    def __init__(
        self, reader: pa.RecordBatchReader, statement: adbc_driver_manager.AdbcStatement
    ) -> None:
        self.reader = reader
        self._statement = statement
        self._closed = False

    def close(self) -> None:
        """Give the statement back."""
        if not self._closed:
            self._closed = True
            self.reader.close()
            self._statement.close()


def open_for_reading(path: Path) -> Connection:
    """Open a file that exists, and change nothing in it.

    A journal that a killed writer left has to be rolled back before anyone can read; a read-only
    connection can't, so then it is opened for writing, as any other reader would.

    Raises:
        ConnectionFailedError: there is no such file, or it is no readable database.
    """
    if not path.is_file():
        raise _cannot_open(path)
    try:
        return Connection(path, "ro")
    except ConduitError:
        raise
    except Exception as error:
        if "readonly" not in str(error) and "unable to open" not in str(error):
            raise explain(error, path) from error
    try:
        return Connection(path, "rw")
    except ConduitError:
        raise
    except Exception as error:
        raise explain(error, path) from error


def _bound(value: Value) -> Array:
    if isinstance(value, pa.Scalar):
        value = order_value(value)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return pa.array([value], pa.null() if value is None else None)


# --- errors ---------------------------------------------------------------------------------------


def _cannot_open(path: Path) -> ConnectionFailedError:
    """Say why a file can't be opened, by looking at it: the driver only says that it can't."""
    if path.is_dir():
        why = f"{path} is a folder, not a SQLite file"
    elif not path.exists():
        why = f"there is no file {path}"
        if not path.parent.is_dir():
            why = f"there is no folder {path.parent}"
    else:
        why = f"the file {path} can't be opened: is it ours to read?"
    return ConnectionFailedError(why, retry="never", command="conduit check")


_NOISE = re.compile(r"^[A-Z_]+: |failed to (execute query|prepare|step): |\[SQLite\] ")

_CAUSES: tuple[tuple[str, str, bool], ...] = (
    ("locked", "is locked by another process", True),
    ("busy", "is locked by another process", True),
    ("disk is full", "can't grow: the disk is full", True),
    ("readonly", "or its folder is read-only", False),
    ("not a database", "is not a SQLite database", False),
    ("malformed", "is damaged (SQLite: database disk image is malformed)", False),
    ("disk i/o", "can't be read or written (SQLite: disk I/O error)", True),
    ("unable to open", "can't be opened: a file beside it can't be made", False),
)


def short(error: Exception) -> str:
    """Return the driver's message without its own prefixes, and without the statement."""
    text = str(error).partition("\n")[0]
    while (cut := _NOISE.sub("", text, count=1)) != text:
        text = cut
    return text


def explain(error: Exception, path: Path, *, publishing: bool = False) -> ConduitError:
    """Turn a driver's error into ours: which file, why, and whether a retry helps.

    What isn't the driver's (a bug of ours) is raised as it is.
    """
    import adbc_driver_manager as adbc

    if isinstance(error, ConduitError):
        return error
    if not isinstance(error, (adbc.Error, OSError, ValueError, pa.ArrowException)):
        raise error
    text = short(error)
    kind = PublishError if publishing else ConnectionFailedError
    for sign, cause, helps in _CAUSES:
        if sign in text.lower():
            return kind(
                f"the file {path} {cause}",
                retry="step" if helps else "never",
                command="conduit run" if helps else "conduit check",
            )
    if publishing:
        return PublishError(f"SQLite refused the load: {text}", command="conduit plan")
    return SourceDataError(f"SQLite can't run the read: {text}", command="conduit discover")


def size_bytes(path: Path) -> int:
    """Return the file's size, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def as_int(value: object) -> int:
    """Return a count that a query gave (NULL counts as 0)."""
    return int(cast("int", value)) if value is not None else 0
