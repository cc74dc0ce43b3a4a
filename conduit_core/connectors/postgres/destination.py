"""PostgreSQL as a destination: one READ COMMITTED transaction a load, under an advisory lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import takewhile

import pyarrow as pa

from conduit_core.connectors.base import (
    CheckItem,
    Context,
    DestinationCapabilities,
    TargetColumn,
    TargetShape,
)
from conduit_core.connectors.datasets import Dataset
from conduit_core.connectors.postgres import catalog
from conduit_core.connectors.postgres.checks import check_destination
from conduit_core.connectors.postgres.connection import Server, ServerConnection
from conduit_core.connectors.postgres.copying import WIRE
from conduit_core.connectors.postgres.errors import explain, explain_read, primary, sqlstate
from conduit_core.connectors.postgres.holders import holders
from conduit_core.connectors.postgres.merging import PostgresMerging
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.connectors.postgres.reading import OpenStream, fetched
from conduit_core.connectors.postgres.session import (
    CopySession,
    PostgresSession,
    ServerSession,
    arrow_statements,
)
from conduit_core.connectors.postgres.splitting import PLAIN_TEXTS, Key
from conduit_core.connectors.postgres.swap import DEPENDANTS, swap_statements
from conduit_core.connectors.postgres.types import (
    MAX_COLUMNS,
    MAX_IDENTIFIER_BYTES,
    SYSTEM,
    PgType,
    PostgresDialect,
    hand_over_type,
    has_own_bytes,
    is_builtin,
    read_column,
)
from conduit_core.connectors.publish import Column, Publish, Wire
from conduit_core.connectors.sql.altering import Holder
from conduit_core.connectors.sql.destination import SQL_ACTIONS, SqlDestination
from conduit_core.connectors.sql.ledger import LedgerSql, LedgerTypes
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sql.steps import Sql, Step
from conduit_core.connectors.staging import Staging
from conduit_core.errors import ConduitError, PublishError
from conduit_core.types.dialect import Landing, Table
from conduit_core.types.schema import native_type

_TYPES = LedgerTypes(text="text", bigint="bigint", timestamptz="timestamp with time zone")


class PostgresDestination(SqlDestination):
    """A database of PostgreSQL that loads are published to."""

    system = SYSTEM
    capabilities = DestinationCapabilities(
        actions=SQL_ACTIONS,
        max_identifier_bytes=MAX_IDENTIFIER_BYTES,
        max_columns=MAX_COLUMNS,
        default_schema="public",
        takes_nul=False,
    )
    dialect = PostgresDialect()
    merging = PostgresMerging()
    keep_identities = " OVERRIDING SYSTEM VALUE"
    alters_at_once = True

    def __init__(
        self,
        options: PostgresOptions,
        context: Context,
        *,
        schema: str | None = None,
        internal_schema: str | None = None,
        lock_wait: float = 600.0,
    ) -> None:
        self._options = options
        self._context = context
        if schema:
            self.capabilities = replace(self.capabilities, default_schema=schema)
        self._schema = self.capabilities.default_schema
        self._lock_wait = lock_wait
        self._server = Server(options)
        self._known_types: dict[str, bool] = {}
        self.ledger = LedgerSql(self.dialect, _TYPES, internal_schema or self._schema)

    @property
    def identity(self) -> str:
        """Host, port and database."""
        return self._options.identity

    def dataset(self, target: Table) -> Dataset:
        """Return what lineage calls a target."""
        return self._options.dataset(target)

    def check(self, schemas: tuple[str, ...]) -> list[CheckItem]:
        """Look at reach, version, round trip, and the rights to create, write and read."""
        return check_destination(self._server, schemas, self.ledger.schema)

    def close(self) -> None:
        """Forget the driver's handle."""
        self._server.close()

    # --- what the publish walk asks for -----------------------------------------------------------

    def session(self) -> PostgresSession:
        """Open a session."""
        return PostgresSession(self._server.connect(), self._lock_wait, self.identity)

    def read_session(self) -> SqlSession:
        """Open a session that only reads."""
        return CopySession(self._server.connect_plain(), self._lock_wait, self.identity)

    def session_for(self, wire: Wire | None) -> ServerSession:
        """Open a session that takes Arrow or, with a wire, rows undecoded."""
        if wire is None:
            return self.session()
        connection = self._server.connect_plain()
        return CopySession(connection, self._lock_wait, self.identity, wire.constants)

    def ingest_text(
        self, session: SqlSession, publish: Publish, table: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Return, as text, how the rows come into a table."""
        if publish.wire is None:
            return arrow_statements(table, columns)
        return session.ingest_text(table, columns)

    def fill_new(
        self,
        wire: Wire | None,
        table: Table,
        columns: tuple[Column, ...],
        staged: tuple[Column, ...],
        kind: str = "TABLE",
        own: tuple[Column, ...] = (),
    ) -> Iterator[Step]:
        """Make and fill a table; with a wire, constants at its end are added after the rows.

        As defaults of columns that the rows lack, they are neither sent nor stored row by row.
        """
        constants = wire.constants if wire else {}
        last = list(takewhile(lambda c: c.name in constants, reversed(columns)))[::-1]
        if not last:
            yield from super().fill_new(wire, table, columns, staged, kind, own)
            return
        rest = columns[: len(columns) - len(last)]
        sent = tuple(c for c in staged if c not in last)
        yield from super().fill_new(wire, table, rest, sent, kind, own)
        alter = f"ALTER TABLE {self.dialect.table(table)}"
        for column in last:
            name, must = self.dialect.quote(column.name), "" if column.nullable else " NOT NULL"
            kind = f"{column.ddl}{must} DEFAULT {self.dialect.param(1)}"
            yield Sql(f"{alter} ADD COLUMN {name} {kind}", (constants[column.name],))
            yield Sql(f"{alter} ALTER COLUMN {name} DROP DEFAULT")

    def takes_raw(
        self, schema: pa.Schema, columns: tuple[Column, ...], constants: Mapping[str, str]
    ) -> str | None:
        """Return COPY's binary format where each column has its source's type, of every server."""
        for field, column in zip(schema, columns, strict=True):
            if column.name in constants:
                fits = column.ddl == self.dialect.landing(field).ddl
            else:
                fits = column.ddl == native_type(field, SYSTEM) and has_own_bytes(column.ddl)
            if not fits:
                return None
        return WIRE

    def explain(self, error: Exception, publish: Publish | None) -> ConduitError:
        """Turn a driver's error into ours."""
        relation = f"{publish.target_schema}.{publish.target_table}" if publish else None
        if sqlstate(error) == "42501" and publish is not None:
            table = Table(publish.target_schema, publish.target_table)
            grants = (
                f"GRANT USAGE, CREATE ON SCHEMA {self.dialect.quote(table.schema)},"
                f" GRANT SELECT, INSERT, UPDATE, DELETE ON {self.dialect.table(table)}"
            )
            return PublishError(
                f"the role may not do what the load needs: {primary(error)}; `conduit check` names"
                f" what is missing of: {grants}",
                connector=SYSTEM,
                command="conduit check",
            )
        return explain(error, where=self.identity, relation=relation)

    def has_tables(self, session: SqlSession, *names: str) -> bool:
        """Say whether tables of these names exist in the internal schema, all of them."""
        marks = ", ".join(f"${i}" for i in range(2, len(names) + 2))
        found = session.rows(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            f" WHERE n.nspname = $1 AND c.relname IN ({marks})",
            (self.ledger.schema, *names),
        )
        return found[0][0] == len(names)

    def target_columns(self, session: SqlSession, target: Table) -> tuple[Column, ...] | None:
        """Return the target's columns from the catalogue."""
        connection = _connection(session)
        found = catalog.find(connection, target)
        if found is None:
            return None
        known = catalog.columns(connection, found.oid)
        return tuple(Column(name=c.name, ddl=c.ddl, nullable=c.nullable) for c in known)

    def create_schema(self, session: SqlSession, schema: str) -> list[str]:
        """Return the DDL that makes the schema, if it isn't there."""
        found = session.rows("SELECT 1 FROM pg_namespace WHERE nspname = $1", (schema,))
        return [] if found else [f"CREATE SCHEMA {self.dialect.quote(schema)}"]

    def slices_by(self, field: pa.Field[pa.DataType], ddl: str) -> bool:
        """Say whether the type keeps each text as it is, or is the source's own."""
        if not pa.types.is_string(field.type) and not pa.types.is_large_string(field.type):
            return True
        return PgType.parse(ddl).base in PLAIN_TEXTS or ddl == native_type(field, SYSTEM)

    def exact(self, column: Column) -> tuple[str, ...]:
        """Return how a column is written to compare it exactly: texts byte by byte."""
        return Key(column.name, self.dialect.quote(column.name), column.ddl).exact

    def create_temp(self, table: Table, columns: tuple[Column, ...]) -> str:
        """Return the DDL of a temporary table that ends with its transaction."""
        return f"{super().create_temp(table, columns)} ON COMMIT DROP"

    def swap(
        self, session: SqlSession, target: Table, new: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Return the statements that put the filled ``new`` in the old table's place."""
        found = catalog.find(_connection(session), target)
        if found is None:
            raise PublishError(
                f"{target} is gone since the plan", retry="plan", command="conduit plan"
            )
        return swap_statements(session, found.oid, target, new, columns)

    def holding(
        self, session: SqlSession, target: Table, columns: tuple[str, ...]
    ) -> tuple[Holder, ...]:
        """Return what keeps the types of columns as they are; views can be made again."""
        found = catalog.find(_connection(session), target)
        return () if found is None else holders(session, found.oid, columns)

    def staging(self) -> Staging:
        """Return staging in relations of the internal schema."""
        from conduit_core.connectors.postgres.staging import PostgresStaging

        return PostgresStaging(self)

    # --- reading ----------------------------------------------------------------------------------

    def describe(self, target: Table) -> TargetShape | None:
        """Return the target's columns, and what a swap would break."""
        with self._looking() as connection:
            found = catalog.find(connection, target)
            if found is None:
                return None
            known = catalog.columns(connection, found.oid)
            dependants = connection.rows(DEPENDANTS, (found.oid,))
            return TargetShape(
                tuple(
                    TargetColumn(
                        c.name,
                        c.ddl,
                        hand_over_type(c.ddl),
                        nullable=c.nullable,
                        has_default=c.has_default or c.generated,
                    )
                    for c in known
                ),
                rows_estimate=found.rows_estimate,
                dependants=tuple(str(text) for (text,) in dependants),
                is_table=found.kind in ("r", "p"),
            )

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source column lands; a type of the source's own only if it is here."""
        landing = self.dialect.landing(field)
        native = native_type(field, SYSTEM)
        if native is None or is_builtin(native) or not pa.types.is_string(field.type):
            return landing
        if self._has_type(native):
            return Landing(native, pa.string())
        return Landing(landing.ddl, landing.arrow, f"its type {native} isn't there: stored as text")

    def _has_type(self, ddl: str) -> bool:
        if ddl not in self._known_types:
            with self._looking() as connection:
                found = connection.rows(
                    "SELECT to_regtype($1) IS NOT NULL", (ddl.partition("(")[0],)
                )
            self._known_types[ddl] = bool(found[0][0])
        return self._known_types[ddl]

    def scan(self, target: Table, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Read a table; the reader holds its connection until it is exhausted or dropped."""
        connection = self._server.connect()
        try:
            connection.begin(read_only=True)
            found = catalog.find(connection, target)
            if found is None:
                raise catalog.missing(connection, target)
            known = {c.name: c for c in catalog.columns(connection, found.oid)}
            for name in columns or ():
                if name not in known:
                    raise catalog.missing_column(name, tuple(known.values()), str(target))
            reads = [
                read_column(n, self.dialect.quote(n), known[n].ddl, nullable=known[n].nullable)
                for n in columns or tuple(known)
            ]
            selected = ", ".join(r.expression for r in reads)
            sql = f"SELECT {selected} FROM {self.dialect.table(found.table)}"
            raw = connection.stream(sql, 4 * 1024 * 1024)
        except Exception as error:
            connection.close()
            raise explain_read(error, where=self.identity, relation=str(target)) from error
        schema = pa.schema([r.field for r in reads])

        stream = OpenStream(connection, fetched(lambda: raw, schema, str(target)))

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from stream
            except Exception as error:
                raise explain_read(error, where=self.identity, relation=str(target)) from error
            finally:
                stream.close()

        return pa.RecordBatchReader.from_batches(schema, batches())

    @contextlib.contextmanager
    def _looking(self) -> Iterator[ServerConnection]:
        try:
            with self._server.looking() as connection:
                yield connection
        except Exception as error:
            raise self.explain(error, None) from error


def _connection(session: SqlSession) -> ServerConnection:
    if not isinstance(session, ServerSession):
        raise TypeError("not a session of PostgreSQL")
    return session.connection
