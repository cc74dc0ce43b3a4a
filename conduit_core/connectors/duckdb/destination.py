"""DuckDB as a destination: the catalogue, the swap, and what its errors mean."""

from __future__ import annotations

import os
import re
import string
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conduit_core.connectors.base import (
    CheckItem,
    DestinationCapabilities,
    TargetColumn,
    TargetShape,
)
from conduit_core.connectors.checking import failed
from conduit_core.connectors.datasets import Dataset, duckdb_dataset
from conduit_core.connectors.duckdb.file import find_problem, shared_file
from conduit_core.connectors.duckdb.merging import DuckDBMerging, rows_of
from conduit_core.connectors.duckdb.reading import brief, open_reader, reads_of
from conduit_core.connectors.duckdb.session import DuckDBSession, bound_as
from conduit_core.connectors.duckdb.types import SYSTEM, DuckDBDialect
from conduit_core.connectors.publish import Column, Publish, WidenColumn
from conduit_core.connectors.sql.altering import (
    Change,
    Holder,
    after,
    rebuild_table,
    retyped,
    told,
)
from conduit_core.connectors.sql.destination import SQL_ACTIONS, SqlDestination
from conduit_core.connectors.sql.ledger import LedgerSql, LedgerTypes
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.connectors.sql.steps import Alter, Ingest, Step
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    ConnectionFailedError,
    PublishError,
    SchemaError,
)
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa

_DISK_FULL = ("No space left", "File too large", "disk quota", "Disk quota")
_CHANGE_ROWS = frozenset({"merge_staged", "close_versions", "delete_matching", "delete_window"})
_FOR_UPDATES = 8
_BYTES_OF_CHANGED_ROW = 24
"""What can't spill of each row in a table of which many rows are changed: measured, with room.

Near a row that is deleted, the commit needs 8 bytes of each row; the join that chooses them, more.
"""
_KEPT_IN_PLACE = ("PRIMARY KEY", "UNIQUE", "CHECK", "FOREIGN KEY")


class DuckDBDestination(SqlDestination):
    """A DuckDB file. It is opened when needed and belongs to this process until :meth:`close`.

    Args:
        path: the file, absolute; made by the first load.
        budget: bytes for DuckDB's own buffers.
        schema: where targets lie by default.
        internal: where the ``_conduit_*`` tables lie.
        lock_wait: seconds to wait for another process to close the file, or for a lock.
    """

    system = SYSTEM
    merging = DuckDBMerging()
    folded = f"translate({{}}, '{string.ascii_uppercase}', '{string.ascii_lowercase}')"
    keyed_letters = False

    def __init__(
        self, path: Path, budget: int, schema: str, internal: str, lock_wait: float
    ) -> None:
        self.path = path
        self.dialect = DuckDBDialect()
        self.ledger = LedgerSql(
            self.dialect, LedgerTypes("VARCHAR", "BIGINT", "TIMESTAMP WITH TIME ZONE"), internal
        )
        self.capabilities = DestinationCapabilities(
            actions=SQL_ACTIONS, case_sensitive_names=False, default_schema=schema
        )
        self._budget = budget
        self._lock_wait = lock_wait
        self._file = shared_file(path)
        self._file.expect_writes(self)

    @property
    def identity(self) -> str:
        """The file's path."""
        return f"{SYSTEM}:{self.path}"

    def dataset(self, target: Table) -> Dataset:
        """Return what lineage calls a target."""
        return duckdb_dataset(self.path, target)

    # --- sessions -------------------------------------------------------------------------------

    def session(self) -> DuckDBSession:
        """Open a session that may write; makes the file if it isn't there."""
        lease = self._file.lease(self, self._budget, self._lock_wait, write=True, long=False)
        return DuckDBSession(lease, self._file, self.dialect, self._lock_wait)

    def read_session(self) -> DuckDBSession:
        """Open a session that only reads; a missing file reads like an empty database."""
        lease = (
            self._file.lease(self, self._budget, self._lock_wait, write=False, long=False)
            if self.path.exists()
            else self._file.empty()
        )
        return DuckDBSession(lease, self._file, self.dialect, self._lock_wait)

    def close(self) -> None:
        """Let go of the file, so that another process can open it."""
        self._file.close(self)

    # --- looking --------------------------------------------------------------------------------

    def check(self, schemas: tuple[str, ...]) -> list[CheckItem]:
        """Look at the file, its folder, the driver and the schemas; makes nothing."""
        if problem := find_problem(self.path, write=True):
            remedy = "make the folder, choose another path:, or give this user the right to write"
            return [CheckItem("file", ok=False, detail=problem, remedy=remedy)]
        made = "" if self.path.exists() else " (made by the first load)"
        items = [CheckItem("file", ok=True, detail=f"{self.path}{made}")]
        started = time.monotonic()
        try:
            session = self.read_session()
        except ConnectionFailedError as error:
            remedy = "close it there, or choose another path:"
            return [*items, failed("open", error, remedy)]
        try:
            version = str(session.rows("SELECT version()")[0][0])
            taken = (time.monotonic() - started) * 1000
            items.append(CheckItem("version", ok=True, detail=f"DuckDB {version}"))
            items.append(CheckItem("round trip", ok=True, detail=f"{taken:.1f} ms"))
            for schema in schemas:
                there = not self.create_schema(session, schema)
                detail = f"{schema} exists" if there else f"{schema} will be made"
                items.append(CheckItem(f"schema {schema}", ok=True, detail=detail))
        finally:
            session.close()
        return items

    def describe(self, target: Table) -> TargetShape | None:
        """Return the target as it is; makes nothing."""
        session = self.read_session()
        try:
            columns = self._catalogue(
                session, target, "data_type, is_nullable, column_default, is_generated"
            )
            if not columns:
                return None
            reads = reads_of(session.con, self.dialect.table(target))
            tables = self._facts(session, "duckdb_tables()", "estimated_size", target)
            return TargetShape(
                columns=tuple(
                    TargetColumn(
                        str(name), str(ddl), read.field.type, bool(nullable), default is not None
                    )
                    for (name, ddl, nullable, default, _), read in zip(columns, reads, strict=True)
                ),
                rows_estimate=int(str(tables[0][0])) if tables else None,
                dependants=(
                    *self._dependants(session, target),
                    *(f"generated column {name}" for name, *_, is_so in columns if is_so),
                ),
                is_table=bool(tables),
            )
        finally:
            session.close()

    def has_tables(self, session: SqlSession, *names: str) -> bool:
        """Say whether internal tables of these names exist, all of them."""
        marks = ", ".join("?" for _ in names)
        found = session.rows(
            "SELECT schema_name FROM duckdb_tables() WHERE database_name = current_database()"
            f" AND table_name IN ({marks}) AND lower(schema_name) = lower(?)",
            (*names, self.ledger.schema),
        )
        schema = _fold(self.ledger.schema)
        return sum(_fold(str(name)) == schema for (name,) in found) == len(names)

    def target_columns(self, session: SqlSession, target: Table) -> tuple[Column, ...] | None:
        """Return the target's columns from the catalogue, in order."""
        rows = self._catalogue(session, target, "data_type, is_nullable")
        found = tuple(Column(name=str(n), ddl=str(d), nullable=bool(null)) for n, d, null in rows)
        return found or None

    def _catalogue(self, session: SqlSession, target: Table, what: str) -> list[Row]:
        return self._facts(
            session, "duckdb_columns()", f"column_name, {what}", target, "column_index"
        )

    def _facts(
        self, session: SqlSession, source: str, what: str, target: Table, order: str = "1"
    ) -> list[Row]:
        """Read a catalogue function for one table; DuckDB folds the ASCII letters of names."""
        sql = (
            f"SELECT {what}, schema_name, table_name FROM {source} WHERE database_name ="
            f" current_database() AND lower(table_name) = lower(?)"
            f" AND lower(schema_name) = lower(?) ORDER BY {order}"
        )
        rows = session.rows(sql, (target.name, target.schema))
        wanted = (_fold(target.schema), _fold(target.name))
        return [r[:-2] for r in rows if (_fold(str(r[-2])), _fold(str(r[-1]))) == wanted]

    def _dependants(self, session: SqlSession, target: Table) -> tuple[str, ...]:
        """List the constraints that a swap would lose: keys and checks. Views bind by name."""
        own = self._facts(
            session, "duckdb_constraints()", "constraint_type, constraint_text", target
        )
        found = [str(text) for kind, text in own if kind in _KEPT_IN_PLACE]
        others = session.rows(
            "SELECT schema_name, table_name, referenced_table, constraint_text FROM"
            " duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY' AND database_name ="
            " current_database()"
        )
        for schema, name, referenced, text in others:
            if _fold(str(referenced)) == _fold(target.name):
                found.append(f"{schema}.{name}: {text}")
        return tuple(found)

    def steps(
        self, publish: Publish, session: SqlSession, existing: tuple[Column, ...] | None
    ) -> Iterator[Step]:
        """Yield the actions' statements; where they change rows, DuckDB gets memory for it."""
        changes = existing is not None and bool(publish.action_kinds & _CHANGE_ROWS)
        for step in super().steps(publish, session, existing):
            yield step
            if changes and isinstance(step, Ingest) and isinstance(session, DuckDBSession):
                changes = False
                target = Table(publish.target_schema, publish.target_table)
                times = 1 if self.merging.rewrites(session, target) else _FOR_UPDATES
                session.widen(times, rows_of(session, target) * _BYTES_OF_CHANGED_ROW)

    # --- columns --------------------------------------------------------------------------------

    def holding(
        self, session: SqlSession, target: Table, columns: tuple[str, ...]
    ) -> tuple[Holder, ...]:
        """Return constraints, generated columns, and indexes that a new table couldn't keep."""
        folded = {_fold(name): name for name in columns}
        kinds = self._facts(
            session,
            "duckdb_constraints()",
            "constraint_type, constraint_text, constraint_column_names",
            target,
        )
        found: list[Holder] = []
        for kind, text, names in kinds:
            on = [folded[n] for n in map(_fold, _texts(names)) if n in folded]
            if kind in _KEPT_IN_PLACE and on:
                found.append(Holder(str(text), frozenset(on)))
        made = self._catalogue(session, target, "column_default, is_generated")
        for name, expression, is_so in made:
            if is_so and (on := _mentioned(str(expression), columns)):
                found.append(Holder(f"generated column {name}", frozenset(on)))
        own = {str(text) for kind, text, _ in kinds if kind in _KEPT_IN_PLACE}
        others = [d for d in self._dependants(session, target) if d not in own]
        found += [Holder(text, frozenset(columns)) for text in others]
        kept = (*sorted(own), *(f"generated column {n}" for n, _, is_so in made if is_so))
        for name, text, _ in self._indexes(session, target) if kept else ():
            if on := _mentioned(text, columns):
                found.append(Holder(f"index {name} beside {', '.join(kept)}", frozenset(on)))
        return tuple(found)

    def _indexes(self, session: SqlSession, target: Table) -> list[tuple[str, str, str]]:
        """Return name, expressions and DDL of the table's indexes."""
        rows = self._facts(session, "duckdb_indexes()", "index_name, expressions, sql", target)
        return [(str(name), str(expressions), str(sql)) for name, expressions, sql in rows]

    def alter(
        self, session: SqlSession, target: Table, changes: tuple[Change, ...], load_id: str
    ) -> Iterator[Step]:
        """Yield the changes: DuckDB alters no column beside an index.

        Indexes on other columns are made anew. The transaction that drops a column's own index
        can't alter it either: then a new table takes the old one's place.
        """
        widened = tuple(c for c in changes if isinstance(c, WidenColumn))
        indexes = self._indexes(session, target) if widened else []
        new_types = [c.column.name for c in widened if retyped(c)]
        if any(_mentioned(text, new_types) for _, text, _ in indexes):
            new, what = rebuild_table(target, load_id), told(target, widened)
            columns = after(self.target_columns(session, target) or (), widened)
            yield Alter(self.create_table(new, columns), what=what)
            yield Alter(self.rebuilt(target, new, columns, widened), what=what)
            for text in self.swap(session, target, new, columns):
                yield Alter(text, what=what)
            yield from self.altered(target, tuple(c for c in changes if c not in widened))
            return
        schema = f"{self.dialect.quote(target.schema)}." if target.schema else ""
        for name, _, _ in indexes:
            drop = f"DROP INDEX {schema}{self.dialect.quote(name)}"
            yield Alter(drop, what=told(target, widened))
        yield from self.altered(target, changes)
        for name, _, sql in indexes:
            yield Alter(sql, what=f"{target}: index {name} can't be made again")

    # --- writing --------------------------------------------------------------------------------

    def create_schema(self, session: SqlSession, schema: str) -> list[str]:
        """Return the DDL that makes the schema if it isn't there."""
        names = session.rows(
            "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()"
        )
        if _fold(schema) in {_fold(str(name)) for (name,) in names}:
            return []
        return [f"CREATE SCHEMA {self.dialect.quote(schema)}"]

    def swap(
        self, session: SqlSession, target: Table, new: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Drop the old table, rename the new one; indexes, defaults and comments come along."""
        place, quote = self.dialect.table(target), self.dialect.quote
        rename = f"ALTER TABLE {self.dialect.table(new)} RENAME TO {quote(target.name)}"
        existing = self._catalogue(session, target, "column_default, comment")
        if not existing:
            return [rename]
        kept = {_fold(c.name) for c in columns}
        after: list[str] = []
        for name, default, comment in existing:
            if _fold(str(name)) not in kept:
                continue
            column = quote(str(name))
            if default is not None:
                after.append(f"ALTER TABLE {place} ALTER COLUMN {column} SET DEFAULT {default}")
            if comment is not None:
                after.append(f"COMMENT ON COLUMN {place}.{column} IS {_literal(str(comment))}")
        for (comment,) in self._facts(session, "duckdb_tables()", "comment", target):
            if comment is not None:
                after.append(f"COMMENT ON TABLE {place} IS {_literal(str(comment))}")
        indexes = self._facts(session, "duckdb_indexes()", "sql", target)
        return [f"DROP TABLE {place}", rename, *after, *(str(sql) for (sql,) in indexes)]

    def bind(self, position: int, value: pa.Scalar[pa.DataType]) -> str:
        """Return the placeholder of a cursor's value, cast to its own type."""
        return bound_as(self.dialect, value)

    def slices_by(self, field: pa.Field[pa.DataType], ddl: str) -> bool:
        """Say whether the type keeps each text as it is."""
        return _is_text(ddl) or str(field.type) not in ("string", "large_string")

    def exact(self, column: Column) -> tuple[str, ...]:
        """Return how a column is written to compare it exactly: texts byte by byte."""
        quoted = self.dialect.quote(column.name)
        return (f"CAST({quoted} AS VARCHAR) COLLATE C" if _is_text(column.ddl) else quoted,)

    def keep_schema(self, session: SqlSession, values: tuple[Value, ...]) -> None:
        """Write a schema's text in a transaction of its own.

        Two loads of like tables would both insert it, and the second one's commit would fail.
        """
        own = self.session()
        try:
            own.begin("conduit:schemas")
            own.execute(self.ledger.insert_schema(), values)
            own.commit()
        finally:
            own.rollback()
            own.close()

    def scan(self, target: Table, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Read a table; its cursor is given back with the last batch."""
        session = self.read_session()
        try:
            place = self.dialect.table(target)
            reads = reads_of(session.con, place)
            if columns is not None:
                by_name = {read.field.name: read for read in reads}
                reads = tuple(by_name[name] for name in columns)
            return open_reader(session.lease, reads, place, "", ())
        except KeyError as error:
            session.close()
            raise SchemaError(f"{target} has no column {error}", connector=SYSTEM) from error
        except BaseException:
            session.close()
            raise

    # --- errors ---------------------------------------------------------------------------------

    def explain(self, error: Exception, publish: Publish | None) -> ConduitError:
        """Turn the driver's error into ours."""
        import duckdb

        if isinstance(error, ConduitError):
            return error
        text = brief(error)
        where = self.path.name
        if any(sign in text for sign in _DISK_FULL):
            return PublishError(
                f"{where}: the disk is full ({text})",
                connector=SYSTEM, retry="step", command=f"df -h {os.fspath(self.path.parent)}",
            )  # fmt: skip
        if publish is None:
            return ConnectionFailedError(f"{where}: {text}", connector=SYSTEM, retry="never")
        target = f"{publish.target_schema}.{publish.target_table}"
        if isinstance(error, duckdb.TransactionException):
            return ConcurrentLoadError(
                f"{target}: another transaction of this process got in first ({text})",
                connector=SYSTEM, command="conduit run",
            )  # fmt: skip
        if isinstance(error, duckdb.OutOfMemoryException):
            return PublishError(
                f"{target}: the load needs more memory than DuckDB may take ({text}): load in"
                " smaller parts (`--from`, `--to`), or everything again, which changes no rows;"
                " a primary key or an index on the table makes changes take more",
                connector=SYSTEM, command="conduit run --full-refresh",
            )  # fmt: skip
        if isinstance(error, duckdb.ConnectionException):
            return ConnectionFailedError(f"{where}: {text}", connector=SYSTEM)
        return PublishError(f"{target}: {text}", connector=SYSTEM, command="conduit plan --sql")


def _fold(name: str) -> str:
    """Fold as DuckDB does: ASCII letters only."""
    return "".join(c.lower() if c.isascii() else c for c in name)


def _texts(names: object) -> list[str]:
    return [str(name) for name in names] if isinstance(names, list) else []


def _mentioned(expression: str, columns: Sequence[str]) -> list[str]:
    """Return the columns whose names occur in an expression: one too many does no harm."""
    text = _fold(expression)
    return [n for n in columns if re.search(rf"(?<!\w){re.escape(_fold(n))}(?!\w)", text)]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_text(ddl: str) -> bool:
    return ddl.upper().startswith(("VARCHAR", "ENUM"))
