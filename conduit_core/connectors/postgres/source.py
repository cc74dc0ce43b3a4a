"""PostgreSQL as a source: tables, views, partitioned and foreign tables, and queries."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import pyarrow as pa

from conduit_core.connectors.base import (
    Bounds,
    CheckItem,
    Context,
    RawReading,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    Source,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.datasets import Dataset, tables_of
from conduit_core.connectors.postgres import catalog
from conduit_core.connectors.postgres.checks import check_source
from conduit_core.connectors.postgres.connection import (
    Connection,
    Server,
    ServerConnection,
    as_text,
)
from conduit_core.connectors.postgres.copying import WIRE, OpenCopy, PlainConnection
from conduit_core.connectors.postgres.errors import explain_read
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.connectors.postgres.reading import OpenStream, decode, fetched
from conduit_core.connectors.postgres.splitting import Key, condition, cut
from conduit_core.connectors.postgres.types import (
    SYSTEM,
    PgType,
    PostgresDialect,
    ReadColumn,
    cursor_type,
    is_ordered,
    is_text,
    read_column,
)
from conduit_core.connectors.postgres.writers import open_writes
from conduit_core.connectors.publish import Column
from conduit_core.connectors.splits import SplitBy, refuse_kind
from conduit_core.connectors.sql.predicate import window_predicate
from conduit_core.connectors.writes import OpenWrites
from conduit_core.errors import SchemaError, SourceDataError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

_DIALECT = PostgresDialect()
_TABLES = ("r", "p")


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream as the catalogue knows it: what to select from, and every column there is."""

    name: str
    relation: str
    columns: tuple[catalog.PgColumn, ...]
    oid: int | None = None

    def column(self, name: str) -> catalog.PgColumn:
        for column in self.columns:
            if column.name == name:
                return column
        raise catalog.missing_column(name, self.columns, self.name)

    def read_column(self, name: str) -> ReadColumn:
        column = self.column(name)
        return read_column(name, _DIALECT.quote(name), column.ddl, nullable=column.nullable)

    def order(self, name: str) -> str:
        """Return how a cursor column is written where it is compared: texts byte by byte.

        By way of the relation: a bare name in ORDER BY would be the selected expression's.
        """
        collate = ' COLLATE "C"' if is_text(self.column(name).ddl) else ""
        return f"q.{_DIALECT.quote(name)}{collate}"

    def key(self, name: str) -> Key:
        """Return a column to split by."""
        return Key(name, f"q.{_DIALECT.quote(name)}", self.column(name).ddl)

    def bare_type(self, name: str) -> str:
        """Return the column's type without modifiers, as a cast target."""
        base = PgType.parse(self.column(name).ddl).base
        return "bpchar" if base == "character" else base


class PostgresSource(Source):
    """Reads by COPY, one statement a stream or a split, so that its rows are of one snapshot."""

    system = SYSTEM
    default_schema = "public"
    capabilities = SourceCapabilities(
        kinds=frozenset({"table", "query"}),
        splits=frozenset({"range", "hash", "values"}),
        slices=True,
    )

    def __init__(self, options: PostgresOptions, context: Context) -> None:
        self._options = options
        self._context = context
        self._server = Server(options)

    @property
    def identity(self) -> str:
        """Host, port and database."""
        return self._options.identity

    def datasets(self, ref: StreamRef) -> tuple[Dataset, ...]:
        """Return the tables that a stream reads."""
        found = tables_of(ref, SYSTEM, self.default_schema)
        return tuple(self._options.dataset(table) for table in found)

    def check(self) -> list[CheckItem]:
        """Look at reach, version, round trip and what the role may read."""
        return check_source(self._server)

    def close(self) -> None:
        """Forget the driver's handle."""
        self._server.close()

    # --- what there is ----------------------------------------------------------------------------

    def discover(self) -> list[Relation]:
        """List the tables and views that the role may read."""
        with self._looking("the catalogue") as connection:
            known = catalog.columns_of_all(connection)
            keys = catalog.primary_keys(connection)
            found = []
            for relation in catalog.relations(connection):
                stream = _Stream(str(relation.table), "", known.get(relation.oid, ()), relation.oid)
                fields = [stream.read_column(c.name).field for c in stream.columns]
                found.append(
                    Relation(
                        str(relation.table),
                        pa.schema(fields),
                        relation.rows_estimate,
                        keys.get(relation.oid, ()),
                    )
                )
            return found

    def describe(self, ref: StreamRef) -> Shape:
        """Return the stream's exact schema from the catalogue, and the planner's row estimate."""
        if ref.query is None:
            with self._looking(str(ref)) as connection:
                return self._shape(connection, self._table(connection, ref), ref)
        with self._looking_in_arrow(str(ref)) as connection:
            return self._shape(connection, self._stream(connection, ref), ref)

    def _shape(self, connection: ServerConnection, stream: _Stream, ref: StreamRef) -> Shape:
        names = ref.columns or tuple(c.name for c in stream.columns)
        columns = [stream.read_column(name) for name in names]
        for name in ref.cursor:
            _check_cursor(stream, name)
        return Shape(
            pa.schema([c.field for c in columns]),
            cursor_types=tuple(cursor_type(stream.column(c).ddl) for c in ref.cursor),
            rows_estimate=catalog.estimate(connection, f"SELECT 1 FROM {stream.relation}"),
            primary_key=catalog.primary_key(connection, stream.oid) if stream.oid else (),
            notes=tuple(c.note for c in columns if c.note),
        )

    def _stream(self, connection: Connection, ref: StreamRef) -> _Stream:
        if ref.query is not None:
            relation = f"({ref.query.strip().rstrip(';')}\n) AS q"
            columns = catalog.query_columns(connection, f"SELECT * FROM {relation}")
            names = [c.name for c in columns]
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise SchemaError(
                    f"the query gives several columns of one name: {', '.join(twice)};"
                    " name them with AS",
                    connector=SYSTEM,
                    command="conduit plan",
                )
            return _Stream(str(ref), relation, columns)
        return self._table(connection, ref)

    def _table(self, connection: ServerConnection, ref: StreamRef) -> _Stream:
        table = catalog.split_name(ref.table or "")
        found = catalog.find(connection, table)
        if found is None:
            raise catalog.missing(connection, table)
        columns = catalog.columns(connection, found.oid)
        return _Stream(str(ref), f"{_DIALECT.table(found.table)} AS q", columns, found.oid)

    # --- where the cursor stands ------------------------------------------------------------------

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Return the last row's cursor (at most ``cap``), NULLs counted, rows estimated."""
        with self._looking_in_arrow(str(ref)) as connection:
            stream = self._stream(connection, ref)
            for name in ref.cursor:
                _check_cursor(stream, name)
            high = self._high(connection, stream, ref.cursor, cap)
            maybe_null = [c for c in ref.cursor if stream.column(c).nullable]
            nulls = self._count_nulls(connection, stream, maybe_null) if maybe_null else 0
            rows = None
            if high is not None:
                where = self._where(connection, stream, ref.cursor, Window("watermark", low, high))
                rows = catalog.estimate(
                    connection, f"SELECT 1 FROM {stream.relation} WHERE {where}"
                )
            clock = connection.rows("SELECT clock_timestamp()")[0][0]
            return Bounds(high, nulls, rows, clock if isinstance(clock, datetime) else None)

    def open_writes(self, ref: StreamRef) -> OpenWrites:
        """Look at the transactions that may still commit rows of the stream with older times."""
        with self._looking(str(ref)) as connection:
            oid = None
            if ref.query is None:
                found = catalog.find(connection, catalog.split_name(ref.table or ""))
                oid = found.oid if found is not None and found.kind in _TABLES else None
            return open_writes(connection, oid)

    def _high(
        self, connection: Connection, stream: _Stream, cursor: tuple[str, ...], cap: Cursor | None
    ) -> Cursor | None:
        conditions = [
            f"{_DIALECT.quote(c)} IS NOT NULL" for c in cursor if stream.column(c).nullable
        ]
        if cap is not None:
            first = Cursor(cap.columns[:1], cap.values[:1])
            conditions.append(
                self._where(connection, stream, cursor[:1], Window("watermark", None, first))
            )
        columns = [stream.read_column(c) for c in cursor]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        order = ", ".join(f"{stream.order(c)} DESC" for c in cursor)
        sql = (
            f"SELECT {', '.join(c.expression for c in columns)} FROM {stream.relation}{where}"
            f" ORDER BY {order} LIMIT 1"
        )
        table = connection.table(sql)
        if table.num_rows == 0:
            return None
        values = []
        for name, column in zip(cursor, table.columns, strict=True):
            field = pa.field(name, cursor_type(stream.column(name).ddl))
            value = decode(column.combine_chunks(), field, stream.name)[0]
            if pa.types.is_floating(field.type) and math.isnan(value.as_py()):
                raise SourceDataError(
                    f"the cursor column {name!r} of {stream.name} holds NaN, which sorts above"
                    " every number: no row after it would ever load",
                    connector=SYSTEM,
                    command="conduit plan",
                )
            values.append(value)
        return Cursor(cursor, tuple(values))

    def _count_nulls(self, connection: Connection, stream: _Stream, names: list[str]) -> int:
        where = " OR ".join(f"{_DIALECT.quote(n)} IS NULL" for n in names)
        count = connection.rows(f"SELECT count(*) FROM {stream.relation} WHERE {where}")[0][0]
        return int(str(count))

    def _where(
        self, connection: ServerConnection, stream: _Stream, cursor: tuple[str, ...], window: Window
    ) -> str:
        """Return the window as a condition; its values are bound as settings of the transaction.

        COPY takes no parameters, but it does take ``current_setting``, which the planner evaluates
        like a constant.
        """
        owner = {
            id(value): column
            for bound in (window.low, window.high)
            if bound is not None
            for column, value in zip(bound.columns, bound.values, strict=True)
        }
        texts: dict[str, str] = {}

        def param(position: int, value: pa.Scalar[pa.DataType]) -> str:
            column = owner.get(id(value))
            texts[f"conduit.v{position}"] = as_text(value)
            kind = stream.bare_type(column) if column is not None else against
            return f"current_setting('conduit.v{position}')::{kind}"

        against = stream.key(window.only.column).compared[1] if window.only else ""
        predicate = window_predicate(
            window, cursor, stream.order, param, lambda name: stream.key(name).exact
        )
        if texts:
            connection.set_local(texts)
        return predicate.sql

    def _rows(self, connection: ServerConnection, stream: _Stream, request: ReadRequest) -> str:
        """Return the window, and the split of it, as a condition."""
        where = self._where(connection, stream, request.ref.cursor, request.window)
        split = request.split
        if split is None or split.column is None:
            refuse_kind(split.kind if split else "whole", self.capabilities.splits, SYSTEM)
            return where
        part = condition(connection, split, stream.key(split.column))
        return " AND ".join(f"({text})" for text in (where, part) if text)

    # --- splits -----------------------------------------------------------------------------------

    def cut(
        self,
        ref: StreamRef,
        window: Window,
        kind: Literal["range", "file"],
        column: str | None,
        count: int,
    ) -> SplitBy:
        """Cut a window where its rows are; a large relation by a sample."""
        refuse_kind(kind, self.capabilities.splits, SYSTEM)
        with self._looking_in_arrow(str(ref)) as connection:
            stream = self._stream(connection, ref)
            where = self._where(connection, stream, ref.cursor, window)
            key = stream.key(column or "")
            return cut(connection, stream.relation, stream.oid, key, where, count)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[str]:
        """Hold one moment of the database open: a transaction that idles on its own connection."""
        connection = self._server.connect()
        try:
            yield self._export(connection)
        finally:
            connection.rollback()
            connection.close()

    def _export(self, connection: Connection) -> str:
        try:
            connection.begin(read_only=True, repeatable=True)
            connection.set_local({"idle_in_transaction_session_timeout": "0"})
            return str(connection.rows("SELECT pg_export_snapshot()")[0][0])
        except Exception as error:
            raise explain_read(error, where=self.identity, relation="a snapshot") from error

    # --- reading ----------------------------------------------------------------------------------

    def read(self, request: ReadRequest) -> Reading:
        """Open the window; batches come in exactly the request's schema."""
        name = str(request.ref)
        connection = self._server.connect()
        try:
            connection.begin(read_only=True, snapshot=request.snapshot)
            stream = self._stream(connection, request.ref)
            columns = [stream.read_column(n) for n in request.schema.names]
            for column, field in zip(columns, request.schema, strict=True):
                if column.field.type != field.type:
                    raise SchemaError(
                        f"column {field.name!r} of {name} was {field.type} when the load was"
                        f" planned and is {column.field.type} now",
                        connector=SYSTEM,
                        retry="plan",
                        command="conduit plan",
                    )
            where = self._rows(connection, stream, request)
            sql = f"SELECT {', '.join(c.expression for c in columns)} FROM {stream.relation}"
            if where:
                sql += f" WHERE {where}"
        except Exception as error:
            connection.close()
            raise explain_read(error, where=self.identity, relation=name) from error
        rows = fetched(lambda: connection.stream(sql, request.batch_bytes), request.schema, name)
        opened = OpenStream(connection, rows)
        batches = self._explained(opened, name)
        return Reading(
            pa.RecordBatchReader.from_batches(request.schema, batches),
            close=opened.close,
            cancel=opened.close,
        )

    def raw_format(self, ref: StreamRef) -> str | None:
        """Return COPY's binary format for everything but a query, whose types only ADBC tells."""
        return WIRE if ref.query is None else None

    def read_raw(
        self, request: ReadRequest, columns: tuple[Column, ...], constants: Mapping[str, str]
    ) -> RawReading:
        """Open the window; rows come as COPY writes them."""
        name = str(request.ref)
        connection = self._server.connect_plain()
        try:
            connection.begin(read_only=True, snapshot=request.snapshot)
            stream = self._table(connection, request.ref)
            selected = []
            for column in columns:
                if column.name in constants:
                    at = 1 + tuple(constants).index(column.name)
                    selected.append(f"{_DIALECT.param(at)}::{column.ddl}")
                    continue
                found = stream.column(column.name)
                if found.ddl != column.ddl:
                    raise SchemaError(
                        f"column {column.name!r} of {name} was {column.ddl} when the load was"
                        f" planned and is {found.ddl} now",
                        connector=SYSTEM,
                        retry="plan",
                        command="conduit plan",
                    )
                selected.append(_DIALECT.quote(column.name))
            where = self._rows(connection, stream, request)
            query = f"SELECT {', '.join(selected)} FROM {stream.relation}"
            if where:
                query += f" WHERE {where}"
        except Exception as error:
            connection.close()
            raise explain_read(error, where=self.identity, relation=name) from error
        statement = (f"COPY ({query}) TO STDOUT (FORMAT binary)", tuple(constants.values()))
        explain = partial(explain_read, where=self.identity, relation=name)
        return OpenCopy(connection, statement, request.batch_bytes // 4, explain).reading()

    def _explained(self, batches: Iterable[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            raise explain_read(error, where=self.identity, relation=name) from error

    @contextlib.contextmanager
    def _looking(self, what: str) -> Iterator[PlainConnection]:
        try:
            with self._server.looking() as connection:
                yield connection
        except Exception as error:
            raise explain_read(error, where=self.identity, relation=what) from error

    @contextlib.contextmanager
    def _looking_in_arrow(self, what: str) -> Iterator[Connection]:
        try:
            with self._server.looking_in_arrow() as connection:
                yield connection
        except Exception as error:
            raise explain_read(error, where=self.identity, relation=what) from error


def _check_cursor(stream: _Stream, name: str) -> None:
    ddl = stream.column(name).ddl
    if not is_ordered(ddl):
        usable = [c.name for c in stream.columns if is_ordered(c.ddl)]
        raise SchemaError(
            f"cursor column {name!r} of {stream.name} is {ddl}, whose values have no order to"
            f" load by; columns that have: {', '.join(usable) or 'none'}",
            connector=SYSTEM,
            command="conduit plan",
        )
