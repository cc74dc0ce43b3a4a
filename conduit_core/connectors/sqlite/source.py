"""SQLite as a source: tables, views and queries, by declared types, in bounded memory."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
from conduit_core.connectors.datasets import Dataset, sqlite_dataset, tables_of
from conduit_core.connectors.splits import Split, SplitBy, refuse_kind
from conduit_core.connectors.sql.predicate import Predicate, both
from conduit_core.connectors.sqlite import catalogue
from conduit_core.connectors.sqlite.cutting import cut
from conduit_core.connectors.sqlite.destination import check_file
from conduit_core.connectors.sqlite.file import Connection, as_int, explain, open_for_reading
from conduit_core.connectors.sqlite.order import (
    at_most,
    can_order,
    newest_days,
    order_expr,
    part,
    predicate,
)
from conduit_core.connectors.sqlite.reading import (
    DIALECT,
    Selected,
    Selection,
    read_few,
    selected,
    stream_rows,
)
from conduit_core.connectors.sqlite.types import SYSTEM
from conduit_core.errors import ConduitError, SchemaError, SourceDataError
from conduit_core.spec.names import quote_name
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

if TYPE_CHECKING:
    import pyarrow as pa


class SqliteSource(Source):
    """A SQLite file as source. Every call opens the file for itself and changes nothing in it."""

    system = SYSTEM
    default_schema = "main"
    capabilities = SourceCapabilities(
        kinds=frozenset({"table", "query"}), splits=frozenset({"range", "values"}), slices=True
    )

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def identity(self) -> str:
        """The file's full path."""
        return f"sqlite:{self._path}"

    def datasets(self, ref: StreamRef) -> tuple[Dataset, ...]:
        """Return the tables that a stream reads."""
        found = tables_of(ref, SYSTEM, self.default_schema)
        return tuple(sqlite_dataset(self._path, table) for table in found)

    def check(self) -> list[CheckItem]:
        """Look whether the file is there, ours to read, and a SQLite database."""
        return check_file(self._path)

    def discover(self) -> list[Relation]:
        """List tables and views with their columns and rows."""
        connection = open_for_reading(self._path)
        try:
            return [self._relation(connection, r) for r in catalogue.relations(connection)]
        except Exception as error:
            raise explain(error, self._path) from error
        finally:
            connection.close()

    def _relation(self, connection: Connection, listed: catalogue.Listed) -> Relation:
        found = selected(connection, listed.name, None, None)
        rows = _count(connection, found.source, Predicate("", ())) if listed.is_table else None
        return Relation(quote_name(listed.name), found.schema, rows, found.primary_key)

    def describe(self, ref: StreamRef) -> Shape:
        """Return the schema by declared types; columns without one are scanned."""
        connection = open_for_reading(self._path)
        try:
            found = self._select(connection, ref)
            kinds = tuple(_orderable(found, c) for c in ref.cursor)
            rows = _count(connection, found.source, Predicate("", ())) if found.is_table else None
            return Shape(found.schema, kinds, rows, found.primary_key)
        except Exception as error:
            raise explain(error, self._path) from error
        finally:
            connection.close()

    def _select(self, connection: Connection, ref: StreamRef) -> Selected:
        if ref.path is not None:
            raise SchemaError("a SQLite source reads tables and queries, not a path")
        return selected(connection, ref.table, ref.query, ref.columns)

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Return the last row's cursor, the rows without one, and the rows in between, counted."""
        connection = open_for_reading(self._path)
        try:
            found = self._select(connection, ref)
            kinds = {c: _orderable(found, c) for c in ref.cursor}
            nulls = self._nulls(connection, found, ref.cursor)
            high = self._high(connection, found, kinds, cap)
            rows = None
            if high is not None:
                window = Window("watermark", low, high)
                rows = _count(connection, found.source, predicate(window, kinds))
            return Bounds(high, nulls, rows or 0, datetime.now(UTC))
        except Exception as error:
            raise explain(error, self._path) from error
        finally:
            connection.close()

    def _nulls(self, connection: Connection, found: Selected, names: tuple[str, ...]) -> int:
        """Count rows with a NULL in the cursor; fail on a cursor value that has no order."""
        parts = []
        for name in names:
            column, quoted = found.column(name), DIALECT.quote(name)
            parts.append(f"max({quoted} IS NOT NULL AND {column.misfit(quoted)})")
        null = " OR ".join(f"{DIALECT.quote(n)} IS NULL" for n in names)
        sql = f"SELECT sum({null}), {', '.join(parts)} FROM {found.source}"
        nulls, *bad = connection.rows(sql)[0]
        for name, wrong in zip(names, bad, strict=True):
            if wrong:
                raise SourceDataError(
                    f"the cursor column {name!r} holds a value that is no"
                    f" {found.column(name).field.type}, so its rows have no order",
                    command="conduit discover",
                )
        return as_int(nulls)

    def _high(
        self,
        connection: Connection,
        found: Selected,
        kinds: dict[str, pa.DataType],
        cap: Cursor | None,
    ) -> Cursor | None:
        names = tuple(kinds)
        first = DIALECT.quote(names[0])
        parts = [f"{DIALECT.quote(n)} IS NOT NULL" for n in names]
        values: tuple[pa.Scalar[pa.DataType], ...] = ()
        if cap is not None:
            capped = at_most(cap, kinds)
            parts.append(f"({capped.sql})")
            values = capped.values
        newest = f"SELECT max({first}) FROM {found.source} WHERE {' AND '.join(parts)}"
        since = newest_days(kinds[names[0]], connection.rows(newest, values)[0][0])
        if since is not None:
            parts.append(f"{first} >= '{since}'")
        exprs = [order_expr(kind, DIALECT.quote(name)) for name, kind in kinds.items()]
        order = ", ".join(f"{e} DESC" for e in exprs)
        only = Selected(found.source, tuple(found.column(n) for n in names), found.all_columns)
        where = Predicate(" AND ".join(parts), values)
        last = read_few(connection, only, Selection(where, f" ORDER BY {order} LIMIT 1"))
        if last.num_rows == 0:
            return None
        return Cursor(names, tuple(last.column(n)[0] for n in names))

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
        connection = open_for_reading(self._path)
        try:
            found = self._select(connection, ref)
            where = predicate(window, {c: _orderable(found, c) for c in ref.cursor})
            _orderable(found, column or "", "split")
            return cut(connection, found, column or "", where, count)
        except Exception as error:
            raise explain(error, self._path) from error
        finally:
            connection.close()

    def read(self, request: ReadRequest) -> Reading:
        """Open the window; the schema must still be the one that describe gave."""
        connection = open_for_reading(self._path)
        try:
            found = self._select(connection, request.ref)
            if not found.schema.equals(request.schema):
                changes = _changes(request.schema, found.schema)
                raise SchemaError(
                    f"{request.ref} changed since the plan: {changes}",
                    retry="plan",
                    command="conduit plan",
                )
            kinds = {c: _orderable(found, c) for c in request.ref.cursor}
            where = predicate(request.window, kinds)
            if request.split is not None:
                where = both(where, _part(found, request.split))
        except Exception as error:
            connection.close()
            if isinstance(error, ConduitError):
                raise
            raise explain(error, self._path) from error
        selection = Selection(where, batch_bytes=request.batch_bytes)
        return stream_rows(connection, self._path, found, selection)


def _part(found: Selected, split: Split) -> Predicate:
    refuse_kind(split.kind, SqliteSource.capabilities.splits, SYSTEM)
    if split.column is None:
        return Predicate("", ())
    return part(split, _orderable(found, split.column, "split"))


def _orderable(found: Selected, name: str, what: str = "cursor") -> pa.DataType:
    field = found.column(name).field
    if not can_order(field):
        raise SchemaError(
            f"the {what} column {name!r} ({field.type}) has no order in SQLite: it is kept as text",
            command="conduit discover",
        )
    return field.type


def _count(connection: Connection, source: str, where: Predicate) -> int:
    text = f" WHERE {where.sql}" if where.sql else ""
    return as_int(connection.rows(f"SELECT count(*) FROM {source}{text}", where.values)[0][0])


def _changes(planned: pa.Schema, now: pa.Schema) -> str:
    before = [f"{f.name} {f.type}" for f in planned]
    after = [f"{f.name} {f.type}" for f in now]
    gone = [f"-{f}" for f in before if f not in after]
    new = [f"+{f}" for f in after if f not in before]
    return ", ".join(gone + new) or "the order of its columns"
