"""DuckDB as a source: tables, views and queries of a file, read as Arrow."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from conduit_core.connectors.base import (
    Bounds,
    CheckItem,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    Source,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.checking import failed
from conduit_core.connectors.datasets import Dataset, duckdb_dataset, tables_of
from conduit_core.connectors.duckdb.cutting import compared, cut, part
from conduit_core.connectors.duckdb.file import find_problem, shared_file
from conduit_core.connectors.duckdb.reading import brief, open_reader, reads_of, select
from conduit_core.connectors.duckdb.session import DuckDBSession, bound_as, parameter
from conduit_core.connectors.duckdb.types import SYSTEM, DuckDBDialect, Read, can_order
from conduit_core.connectors.splits import SplitBy, refuse_kind
from conduit_core.connectors.sql.predicate import Predicate, both, window_predicate
from conduit_core.errors import (
    ConduitError,
    ConnectionFailedError,
    SchemaError,
    SourceDataError,
)
from conduit_core.spec.names import did_you_mean, quote_name, split_table
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table

_REMEDY = "mend path:, or give this user the right to read it"


class DuckDBSource(Source):
    """A DuckDB file to read from.

    Args:
        path: the file, absolute.
        budget: bytes for DuckDB's own buffers.
        lock_wait: seconds to wait for another process to close the file.
    """

    system = SYSTEM
    default_schema = "main"
    capabilities = SourceCapabilities(
        kinds=frozenset({"table", "query"}),
        splits=frozenset({"range", "hash", "values"}),
        slices=True,
    )

    def __init__(self, path: Path, budget: int, lock_wait: float) -> None:
        self.path = path
        self._budget = budget
        self._lock_wait = lock_wait
        self._dialect = DuckDBDialect()
        self._file = shared_file(path)

    @property
    def identity(self) -> str:
        """The file's path."""
        return f"{SYSTEM}:{self.path}"

    def datasets(self, ref: StreamRef) -> tuple[Dataset, ...]:
        """Return the tables that a stream reads."""
        found = tables_of(ref, SYSTEM, self.default_schema)
        return tuple(duckdb_dataset(self.path, table) for table in found)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close(self)

    def _session(self, *, long: bool = False) -> DuckDBSession:
        if problem := find_problem(self.path, write=False):
            raise ConnectionFailedError(problem, connector=SYSTEM, retry="never")
        lease = self._file.lease(self, self._budget, self._lock_wait, write=False, long=long)
        return DuckDBSession(lease, self._file, self._dialect, self._lock_wait)

    @contextmanager
    def _looking(self, ref: StreamRef | None = None) -> Iterator[DuckDBSession]:
        """Lend a session, and turn the driver's errors into ours."""
        session = self._session()
        try:
            with self._explained(ref):
                yield session
        finally:
            session.close()

    @contextmanager
    def _explained(self, ref: StreamRef | None) -> Iterator[None]:
        import duckdb

        what = ref or self.path.name
        try:
            yield
        except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException) as error:
            raise SchemaError(
                f"{what}: {brief(error)}", connector=SYSTEM, command="conduit discover"
            ) from error
        except duckdb.Error as error:
            raise SourceDataError(f"{what}: {brief(error)}", connector=SYSTEM) from error

    # --- looking --------------------------------------------------------------------------------

    def check(self) -> list[CheckItem]:
        """Look at the file, the driver and the round trip."""
        if problem := find_problem(self.path, write=False):
            return [CheckItem("file", ok=False, detail=problem, remedy=_REMEDY)]
        items = [CheckItem("file", ok=True, detail=str(self.path))]
        started = time.monotonic()
        try:
            with self._looking() as session:
                version = str(session.rows("SELECT version()")[0][0])
                taken = (time.monotonic() - started) * 1000
                columns = session.rows("SELECT count(*) FROM duckdb_columns() WHERE NOT internal")
        except ConduitError as error:
            remedy = "close it there, or wait"
            return [*items, failed("open", error, remedy)]
        items.append(CheckItem("version", ok=True, detail=f"DuckDB {version}"))
        items.append(CheckItem("round trip", ok=True, detail=f"{taken:.1f} ms"))
        items.append(CheckItem("read", ok=True, detail=f"{columns[0][0]} columns to read"))
        return items

    def discover(self) -> list[Relation]:
        """List tables and views, with the names a stream would write."""
        with self._looking() as session:
            return [self._relation(session, table) for table in self._tables(session)]

    def _tables(self, session: DuckDBSession) -> list[Table]:
        rows = session.rows(
            "SELECT DISTINCT schema_name, table_name FROM duckdb_columns() WHERE NOT internal AND"
            " database_name = current_database() AND NOT starts_with(table_name, '_conduit_')"
            " ORDER BY ALL"
        )
        return [Table(str(schema), str(name)) for schema, name in rows]

    def _relation(self, session: DuckDBSession, table: Table) -> Relation:
        reads = reads_of(session.con, self._dialect.table(table))
        name = f"{quote_name(table.schema)}.{quote_name(table.name)}"
        estimate, key = self._facts(session, table)
        return Relation(name, pa.schema([read.field for read in reads]), estimate, key)

    def _facts(self, session: DuckDBSession, table: Table) -> tuple[int | None, tuple[str, ...]]:
        where = "database_name = current_database() AND schema_name = ? AND table_name = ?"
        names = (table.schema, table.name)
        sizes = session.rows(f"SELECT estimated_size FROM duckdb_tables() WHERE {where}", names)
        keys = session.rows(
            f"SELECT unnest(constraint_column_names) FROM duckdb_constraints() WHERE {where}"
            " AND constraint_type = 'PRIMARY KEY'",
            names,
        )
        return (int(str(sizes[0][0])) if sizes else None), tuple(str(k) for (k,) in keys)

    def describe(self, ref: StreamRef) -> Shape:
        """Return the exact schema of a table, view or query without reading it."""
        with self._looking(ref) as session:
            every = self._reads(session, ref)
            reads = self._chosen(every, ref.columns, ref)
            estimate: int | None = None
            key: tuple[str, ...] = ()
            if ref.table is not None:
                estimate, key = self._facts(session, self._table(ref.table))
            return Shape(
                schema=pa.schema([read.field for read in reads]),
                cursor_types=tuple(r.field.type for r in self._cursor_reads(session, every, ref)),
                rows_estimate=estimate,
                primary_key=key,
                notes=tuple(read.note for read in reads if read.note),
            )

    def _table(self, text: str) -> Table:
        try:
            schema, name = split_table(text)
        except ValueError as error:
            raise SchemaError(f"table: {text!r} {error}", connector=SYSTEM) from error
        return Table(schema or self.default_schema, name)

    def _relation_sql(self, ref: StreamRef) -> str:
        if ref.table is not None:
            return self._dialect.table(self._table(ref.table))
        query = (ref.query or "").strip().rstrip(";")
        return f"(\n{query}\n) AS q"

    def _reads(self, session: DuckDBSession, ref: StreamRef) -> tuple[Read, ...]:
        if ref.table is not None:
            self._must_exist(session, self._table(ref.table))
        return reads_of(session.con, self._relation_sql(ref))

    def _must_exist(self, session: DuckDBSession, table: Table) -> None:
        tables = self._tables(session)
        if any(str(t).lower() == str(table).lower() for t in tables):
            return
        names = [str(t) for t in tables]
        near = difflib.get_close_matches(str(table), names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SchemaError(
            f"there is no table {table} in {self.path.name}{hint} There are:"
            f" {', '.join(names[:20]) or 'none'}{' ...' if len(names) > 20 else ''}",
            connector=SYSTEM, command="conduit discover",
        )  # fmt: skip

    def _chosen(
        self, reads: tuple[Read, ...], columns: tuple[str, ...] | None, ref: StreamRef
    ) -> tuple[Read, ...]:
        if columns is None:
            return reads
        by_name = {read.field.name: read for read in reads}
        missing = [name for name in columns if name not in by_name]
        if missing:
            raise SchemaError(
                f"{ref} has no column {', '.join(missing)}{did_you_mean(missing[0], by_name)} it"
                f" has {', '.join(by_name)}",
                connector=SYSTEM, command="conduit discover",
            )  # fmt: skip
        return tuple(by_name[name] for name in columns)

    def _cursor_reads(
        self,
        session: DuckDBSession,
        reads: tuple[Read, ...],
        ref: StreamRef,
        use: str = "a cursor",
    ) -> tuple[Read, ...]:
        chosen = self._chosen(reads, ref.cursor, ref)
        if not chosen:
            return ()
        found = session.con.sql(f"SELECT * FROM {self._relation_sql(ref)}")
        kinds = dict(zip(found.columns, found.types, strict=True))
        for read in chosen:
            kind = kinds[read.field.name]
            if not can_order(kind, read.field.type):
                raise SchemaError(
                    f"{ref}: column {read.field.name} can't be {use}: its type {kind} has no"
                    " order that survives reading",
                    connector=SYSTEM, command="conduit discover",
                )  # fmt: skip
        return chosen

    # --- reading --------------------------------------------------------------------------------

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Return the last row's cursor, the rows without one, and the window's count."""
        with self._looking(ref) as session:
            reads = self._cursor_reads(session, self._reads(session, ref), ref)
            relation, quote = self._relation_sql(ref), self._dialect.quote
            names = [quote(c) for c in ref.cursor]
            there = " AND ".join(f"{n} IS NOT NULL" for n in names)
            where = there
            values: tuple[pa.Scalar[pa.DataType], ...] = ()
            if cap is not None:
                where += f" AND {compared(reads[0])} <= {bound_as(self._dialect, cap.values[0])}"
                values = (cap.values[0],)
            order = ", ".join(f"{compared(read)} DESC" for read in reads)
            last = select(reads, relation, f"{where} ORDER BY {order} LIMIT 1")
            bound = [parameter(v) for v in values]
            high = _cursor(ref, session.con.sql(last, params=bound).to_arrow_table())
            nulls = session.rows(f"SELECT count(*) FROM {relation} WHERE NOT ({there})")[0][0]
            clock = session.con.sql("SELECT now() AS clock").to_arrow_table().column(0)[0].as_py()
            count = self._count(session, ref, reads, Window("watermark", low, high)) if high else 0
            return Bounds(high, int(str(nulls)), count, clock)

    def _count(
        self, session: DuckDBSession, ref: StreamRef, cursor: tuple[Read, ...], window: Window
    ) -> int:
        where = self._where(cursor, window, cursor)
        sql = f"SELECT count(*) FROM {self._relation_sql(ref)} WHERE {where.sql}"
        return int(str(session.rows(sql, where.values)[0][0]))

    def _bind(self, position: int, value: pa.Scalar[pa.DataType]) -> str:
        return bound_as(self._dialect, value)

    def _where(
        self, cursor: tuple[Read, ...], window: Window, every: tuple[Read, ...]
    ) -> Predicate:
        names = tuple(read.field.name for read in cursor)
        quote = {read.field.name: compared(read) for read in every}.__getitem__
        return window_predicate(window, names, quote, self._bind, lambda name: (quote(name),))

    def cut(
        self,
        ref: StreamRef,
        window: Window,
        kind: Literal["range", "file"],
        column: str | None,
        count: int,
    ) -> SplitBy:
        """Cut a window where its rows are, exactly; a large one by a sample."""
        refuse_kind(kind, self.capabilities.splits, SYSTEM)
        by = replace(ref, cursor=(column or "",))
        with self._looking(ref) as session:
            every = self._reads(session, ref)
            (read,) = self._cursor_reads(session, every, by, "split by ranges")
            where = self._where(self._chosen(every, ref.cursor, ref), window, every)
            return cut(session, self._relation_sql(ref), read, where, count)

    def read(self, request: ReadRequest) -> Reading:
        """Open the window for reading in batches of about ``batch_bytes``."""
        ref = request.ref
        with self._looking(ref) as session:
            by_name = {read.field.name: read for read in self._reads(session, ref)}
        reads = []
        for field in request.schema:
            read = by_name.get(field.name)
            if read is None or read.field.type != field.type:
                now = "is gone" if read is None else f"is {read.field.type} now"
                raise SchemaError(
                    f"{ref}: column {field.name} ({field.type} at plan) {now}",
                    connector=SYSTEM, retry="plan", command="conduit plan",
                )  # fmt: skip
            reads.append(read)
        every = tuple(by_name.values())
        where = self._where(self._chosen(every, ref.cursor, ref), request.window, every)
        if request.split is not None and request.split.kind != "whole":
            refuse_kind(request.split.kind, self.capabilities.splits, SYSTEM)
            (read,) = self._chosen(every, (request.split.column or "",), ref)
            where = both(where, part(request.split, read))
        session = self._session(long=True)
        try:
            with self._explained(ref):
                reader = open_reader(
                    session.lease,
                    tuple(reads),
                    self._relation_sql(ref),
                    where.sql,
                    tuple(parameter(v) for v in where.values),
                    request.batch_bytes,
                )
        except BaseException:
            session.close()
            raise
        return Reading(reader, session.close, cancel=session.con.interrupt, threaded=True)


def _cursor(ref: StreamRef, last: pa.Table) -> Cursor | None:
    if last.num_rows == 0:
        return None
    values = tuple(last.column(i)[0] for i in range(last.num_columns))
    for name, value in zip(ref.cursor, values, strict=True):
        if pa.types.is_floating(value.type) and math.isnan(value.as_py()):
            raise SourceDataError(
                f"{ref}: the cursor column {name} holds NaN, which no window can have as its end",
                connector=SYSTEM,
            )
    return Cursor(ref.cursor, values)
