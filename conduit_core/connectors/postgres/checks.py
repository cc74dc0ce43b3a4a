"""What ``conduit check`` looks at: reach, version, round trip, and rights with their GRANTs."""

from __future__ import annotations

import time

from conduit_core.connectors.base import CheckItem
from conduit_core.connectors.postgres.connection import Server, ServerConnection
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.connectors.sql.hooks import HOOKS
from conduit_core.connectors.sql.incidents import INCIDENTS
from conduit_core.connectors.sql.letters import LETTERS
from conduit_core.errors import ConnectionFailedError
from conduit_core.types.dialect import Table

_DIALECT = PostgresDialect()
OLDEST, NEWEST = 13, 18


def _fine(name: str, detail: str) -> CheckItem:
    return CheckItem(name, ok=True, detail=detail)


def _wrong(name: str, detail: str, remedy: str) -> CheckItem:
    return CheckItem(name, ok=False, detail=detail, remedy=remedy)


def _reach(server: Server) -> tuple[list[CheckItem], ServerConnection | None]:
    try:
        connection = server.connect_plain()
    except ConnectionFailedError as error:
        return [_wrong("reachable", error.message, "look at url, network and password")], None
    started = time.perf_counter()
    number, text = connection.rows(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
    )[0]
    trip = f"round trip {(time.perf_counter() - started) * 1000:.1f} ms"
    where, database = server.options.place()
    items = [_fine("reachable", f"{where}, database {database}, {trip}")]
    if OLDEST <= int(str(number)) // 10_000 <= NEWEST:
        items.append(_fine("version", f"PostgreSQL {text}"))
    else:
        remedy = f"PostgreSQL {OLDEST} to {NEWEST} are supported"
        items.append(_wrong("version", f"PostgreSQL {text}", remedy))
    return items, connection


def check_source(server: Server) -> list[CheckItem]:
    """Look at a source; items that aren't fine name the remedy."""
    items, connection = _reach(server)
    if connection is None:
        return items
    try:
        items.append(_may_read(connection))
    finally:
        connection.close()
    return items


def _may_read(connection: ServerConnection) -> CheckItem:
    role, readable, closed, where = connection.rows(
        """
        SELECT quote_ident(current_user), count(*) FILTER (WHERE readable),
               count(*) FILTER (WHERE NOT readable),
               coalesce(string_agg(DISTINCT schema, ', ') FILTER (WHERE NOT readable), '')
        FROM (
          SELECT quote_ident(n.nspname) AS schema, has_schema_privilege(n.oid, 'USAGE')
                 AND has_table_privilege(c.oid, 'SELECT') AS readable
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
            AND n.nspname <> 'information_schema'
        ) AS relations
        """
    )[0]
    detail = f"role {role} may read {readable} tables and views"
    if closed:
        detail += f", not {closed} others (in {where})"
    if readable or not closed:
        return _fine("right to read", detail)
    first = str(where).split(", ", maxsplit=1)[0]
    return _wrong(
        "right to read",
        detail,
        f"GRANT USAGE ON SCHEMA {first} TO {role};"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA {first} TO {role}",
    )


def check_destination(server: Server, schemas: tuple[str, ...], internal: str) -> list[CheckItem]:
    """Look at a destination: may the role create, write and read where loads will go?"""
    items, connection = _reach(server)
    if connection is None:
        return items
    try:
        items.append(_writable(connection))
        for schema in dict.fromkeys((*schemas, internal)):
            items.extend(_check_schema(connection, schema))
    finally:
        connection.close()
    return items


def _writable(connection: ServerConnection) -> CheckItem:
    standby, read_only, role = connection.rows(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',"
        " quote_ident(current_user)"
    )[0]
    if standby:
        return _wrong("writable", "the server is a read-only standby", "use the primary's address")
    if read_only:
        remedy = f"ALTER ROLE {role} SET default_transaction_read_only = off"
        return _wrong("writable", f"transactions of role {role} are read-only by default", remedy)
    return _fine("writable", "transactions may write")


def _check_schema(connection: ServerConnection, schema: str) -> list[CheckItem]:
    name = _DIALECT.quote(schema)
    role, database, may_make, usage, create = connection.rows(
        """
        SELECT quote_ident(current_user), quote_ident(current_database()),
               has_database_privilege(current_database(), 'CREATE'),
               (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1),
               (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1)
        """,
        (schema,),
    )[0]
    if usage is None:
        if may_make:
            return [_fine(f"schema {schema}", "does not exist; the first load makes it")]
        detail = f"does not exist, and role {role} can't make it"
        remedy = f"CREATE SCHEMA {name} AUTHORIZATION {role}"
        remedy += f" (or: GRANT CREATE ON DATABASE {database} TO {role})"
        return [_wrong(f"schema {schema}", detail, remedy)]
    items = []
    for right, has, verb in (("USAGE", usage, "use it"), ("CREATE", create, "make tables in it")):
        item = f"schema {schema}: {right}"
        if has:
            items.append(_fine(item, f"role {role} may {verb}"))
        else:
            remedy = f"GRANT {right} ON SCHEMA {name} TO {role}"
            items.append(_wrong(item, f"role {role} may not {verb}", remedy))
    return [*items, *_check_tables(connection, schema, str(role))] if usage else items


def _check_tables(connection: ServerConnection, schema: str, role: str) -> list[CheckItem]:
    """Check the rights to read and write the tables there; loads need them on their targets."""
    rows = connection.rows(
        r"""
        SELECT c.relname::text,
               concat_ws(', ',
                 CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
                 CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
                 CASE WHEN (c.relname NOT LIKE '\_conduit\_%' OR c.relname IN ($2, $3, $4))
                   AND NOT has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
                 CASE WHEN c.relname <> $2
                   AND NOT has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY 1
        """,
        (schema, LETTERS, HOOKS, INCIDENTS),
    )
    lacking = [(str(table), str(rights)) for table, rights in rows if rights]
    if not lacking:
        return [
            _fine(f"schema {schema}: tables", f"role {role} may read and write its {len(rows)}")
        ]
    return [
        _wrong(
            f"table {schema}.{table}",
            f"role {role} lacks {rights}",
            f"GRANT {rights} ON {_DIALECT.table(Table(schema, table))} TO {role}",
        )
        for table, rights in lacking
    ]
