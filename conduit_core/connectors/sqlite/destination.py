"""SQLite as a destination: catalogue reads, swap and checks of a publish into one file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from conduit_core.connectors.base import (
    CheckItem,
    DestinationCapabilities,
    TargetColumn,
    TargetShape,
)
from conduit_core.connectors.checking import failed
from conduit_core.connectors.datasets import Dataset, sqlite_dataset
from conduit_core.connectors.publish import Column, Publish, WidenColumn
from conduit_core.connectors.sql.altering import Change, after, rebuild_table, told
from conduit_core.connectors.sql.deletes import Where
from conduit_core.connectors.sql.destination import SQL_ACTIONS, SqlDestination
from conduit_core.connectors.sql.ledger import LedgerSql, LedgerTypes
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sql.steps import Alter, Step
from conduit_core.connectors.sqlite import catalogue
from conduit_core.connectors.sqlite.file import Connection, as_int, explain, open_for_reading
from conduit_core.connectors.sqlite.merging import SqliteMerging
from conduit_core.connectors.sqlite.order import can_order, predicate
from conduit_core.connectors.sqlite.reading import Selection, selected, stream_rows
from conduit_core.connectors.sqlite.redeclare import redeclared
from conduit_core.connectors.sqlite.session import SqliteSession
from conduit_core.connectors.sqlite.types import SYSTEM, SqliteDialect, column_of
from conduit_core.errors import ConduitError, ConnectionFailedError, SchemaError
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table

SCHEMA = "main"


class SqliteDestination(SqlDestination):
    """A SQLite file as destination; the ledger lies in the same file.

    Args:
        path: the file; the first publish makes it.
        lock_wait: seconds to wait for another process that writes.
    """

    system = SYSTEM
    capabilities = DestinationCapabilities(
        actions=SQL_ACTIONS,
        max_columns=2000,
        case_sensitive_names=False,
        default_schema=SCHEMA,
    )
    merging = SqliteMerging()
    folded = "lower({})"  # ASCII letters only, as names

    def __init__(self, path: Path, lock_wait: float) -> None:
        self._path = path
        self._lock_wait = lock_wait
        self.dialect = SqliteDialect()
        self.ledger = LedgerSql(self.dialect, LedgerTypes("TEXT", "INTEGER", "TIMESTAMPTZ"), SCHEMA)

    @property
    def identity(self) -> str:
        """The file's full path."""
        return f"sqlite:{self._path}"

    def dataset(self, target: Table) -> Dataset:
        """Return what lineage calls a target."""
        return sqlite_dataset(self._path, target)

    # --- sessions ---------------------------------------------------------------------------------

    def session(self) -> SqlSession:
        """Open the file for writing, and make it if it isn't there."""
        try:
            return SqliteSession(self._path, writes=True, lock_wait=self._lock_wait)
        except ConduitError:
            raise
        except Exception as error:
            raise explain(error, self._path) from error

    def read_session(self) -> SqlSession:
        """Open the file for reading; a missing one is an empty one."""
        return SqliteSession(self._path, writes=False, lock_wait=self._lock_wait)

    def explain(self, error: Exception, publish: Publish | None) -> ConduitError:
        """Turn a driver's error into ours."""
        return explain(error, self._path, publishing=publish is not None)

    def _connection(self, session: SqlSession) -> Connection | None:
        if not isinstance(session, SqliteSession):
            raise TypeError("not a session of this destination")
        return session.connection

    # --- the catalogue ----------------------------------------------------------------------------

    def has_tables(self, session: SqlSession, *names: str) -> bool:
        """Say whether internal tables of these names are there, all of them."""
        if self._connection(session) is None:
            return False
        marks = ", ".join("?" for _ in names)
        sql = f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ({marks})"
        return as_int(session.rows(sql, names)[0][0]) == len(names)

    def target_columns(self, session: SqlSession, target: Table) -> tuple[Column, ...] | None:
        """Return the columns that can be written; generated ones aside."""
        connection = self._connection(session)
        if connection is None or catalogue.find(connection, target.name) is None:
            return None
        return tuple(
            Column(name=c.name, ddl=c.declared, nullable=c.nullable)
            for c in catalogue.columns(connection, target.name)
            if not c.generated
        )

    def create_schema(self, session: SqlSession, schema: str) -> list[str]:
        """Return nothing: a file is one schema."""
        return []

    def describe(self, target: Table) -> TargetShape | None:
        """Return the target's columns by their declared types; None without file or table."""
        if not self._path.exists():
            return None
        connection = open_for_reading(self._path)
        try:
            listed = catalogue.find(connection, target.name)
            if listed is None:
                return None
            columns = tuple(
                TargetColumn(
                    name=c.name,
                    ddl=c.declared,
                    arrow=_writable_type(c.name, c.declared),
                    nullable=c.nullable,
                    has_default=c.default is not None,
                )
                for c in catalogue.columns(connection, listed.name)
                if not c.generated
            )
            count = f"SELECT count(*) FROM {self.dialect.table(Table(SCHEMA, listed.name))}"
            rows = as_int(connection.rows(count)[0][0]) if listed.is_table else None
            hangs = catalogue.dependants(connection, listed) if listed.is_table else ()
            return TargetShape(columns, rows, hangs, listed.is_table)
        except ConduitError:
            raise
        except Exception as error:
            raise explain(error, self._path) from error
        finally:
            connection.close()

    # --- publishing -------------------------------------------------------------------------------

    def swap(
        self, session: SqlSession, target: Table, new: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Drop the old table, rename the new one, make the old one's indexes again.

        Legacy renames don't parse the views of the file, which name a table that is gone just now;
        views bind by name when they are used.
        """
        connection = self._connection(session)
        old = catalogue.find(connection, target.name) if connection is not None else None
        lines: list[str] = []
        indexes: list[str] = []
        if connection is not None and old is not None:
            indexes = catalogue.index_ddl(connection, old.name)
            lines.append(f"DROP TABLE {self.dialect.table(Table(target.schema, old.name))}")
        name = self.dialect.quote(old.name if old else target.name)
        rename = f"ALTER TABLE {self.dialect.table(new)} RENAME TO {name}"
        legacy = "PRAGMA legacy_alter_table = "
        return [*lines, f"{legacy}ON", rename, f"{legacy}OFF", *indexes]

    def alter(
        self, session: SqlSession, target: Table, changes: tuple[Change, ...], load_id: str
    ) -> Iterator[Step]:
        """Yield the changes: a new table takes the old one's place where columns are widened.

        It is declared as the old one was; its triggers are made again, and AUTOINCREMENT goes on.
        Views bind by name.
        """
        widened = tuple(c for c in changes if isinstance(c, WidenColumn))
        connection = self._connection(session)
        old = catalogue.find(connection, target.name) if connection is not None else None
        if widened and connection is not None and old is not None:
            new, what = rebuild_table(target, load_id), told(target, widened)
            columns = after(self.target_columns(session, target) or (), widened)
            changed = tuple(c.column for c in widened)
            triggers = catalogue.trigger_ddl(connection, old.name)
            yield Alter(redeclared(old.sql, self.dialect.table(new), changed), what=what)
            yield Alter(self.rebuilt(target, new, columns, widened), what=what)
            if catalogue.counts_up(connection, old):
                forget = "DELETE FROM sqlite_sequence WHERE name = ?"
                yield Alter(forget, (new.name,), what=what)
                goes_on = "INSERT INTO sqlite_sequence SELECT ?, seq FROM sqlite_sequence"
                yield Alter(f"{goes_on} WHERE name = ?", (new.name, old.name), what=what)
            for text in (*self.swap(session, target, new, columns), *triggers):
                yield Alter(text, what=what)
        yield from self.altered(target, tuple(c for c in changes if c not in widened))

    def window_where(self, window: Window, columns: tuple[Column, ...]) -> Where:
        """Return which rows lie in a window, as time orders them."""
        bounds = [b for b in (window.low, window.high) if b is not None]
        kinds = {c: v.type for b in bounds for c, v in zip(b.columns, b.values, strict=True)}
        where = predicate(window, kinds)
        return Where(where.sql, where.values)

    def slices_by(self, field: pa.Field[pa.DataType], ddl: str) -> bool:
        """Say whether equal is exact: decimals of over 15 digits are compared as floats."""
        return can_order(field)

    def scan(self, target: Table, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Read a table of the file, by its declared types."""
        connection = open_for_reading(self._path)
        try:
            selection = selected(connection, target.name, None, columns)
        except Exception as error:
            connection.close()
            raise explain(error, self._path) from error
        return stream_rows(connection, self._path, selection, Selection.everything()).reader

    # --- checks -----------------------------------------------------------------------------------

    def check(self, schemas: tuple[str, ...]) -> list[CheckItem]:
        """Look at the folder, the file, SQLite's version, a read's time, and the write lock."""
        folder = self._path.parent
        if not folder.is_dir():
            return [
                CheckItem(
                    "folder",
                    ok=False,
                    detail=f"there is no folder {folder}",
                    remedy="make the folder",
                )
            ]
        writable = os.access(folder, os.W_OK)
        items = [
            CheckItem(
                "folder",
                writable,
                f"{folder} is {'writable' if writable else 'read-only'}",
                "" if writable else "let the user of the load write there: SQLite keeps a journal",
            )
        ]
        if not self._path.exists():
            items.append(
                CheckItem("file", writable, f"{self._path} will be made by the first load")
            )
            return items
        return [*items, *check_file(self._path), self._check_write()]

    def _check_write(self) -> CheckItem:
        if not os.access(self._path, os.W_OK):
            return CheckItem(
                "write", ok=False, detail=f"{self._path} is read-only", remedy="chmod u+w the file"
            )
        try:
            session = SqliteSession(self._path, writes=True, lock_wait=1.0)
            try:
                session.begin("conduit:check")
                session.rollback()
            finally:
                session.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what check reports
            return failed("write", explain(error, self._path), "see who writes")
        return CheckItem("write", ok=True, detail="the write lock is free")


def check_file(path: Path) -> list[CheckItem]:
    """Look whether a file is a SQLite database that we may read, and how fast it answers."""
    started = time.perf_counter()
    try:
        connection = open_for_reading(path)
        try:
            version = connection.rows("SELECT sqlite_version()")[0][0]
            journal = connection.rows("PRAGMA journal_mode")[0][0]
        finally:
            connection.close()
    except (ConnectionFailedError, SchemaError) as error:
        return [failed("file", error, "look at path: in the pipeline file")]
    took = (time.perf_counter() - started) * 1000
    size = path.stat().st_size
    return [
        CheckItem("file", ok=True, detail=f"{path}, {size:,} bytes, journal {journal}"),
        CheckItem("version", ok=True, detail=f"SQLite {version}"),
        CheckItem("round trip", ok=True, detail=f"{took:.1f} ms"),
    ]


def _writable_type(name: str, declared: str) -> pa.DataType:
    column = column_of(name, declared)
    return column.field.type if column else pa.string()
