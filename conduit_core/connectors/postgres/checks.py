"""What ``conduit check`` looks at: reach, version, round trip, and each right with the GRANT that gives it."""

from __future__ import annotations

import time

from conduit_core.connectors.base import CheckItem
from conduit_core.connectors.postgres.connection import Connection, Server
from conduit_core.connectors.postgres.types import PostgresDialect
from conduit_core.errors import ConnectionFailedError
from conduit_core.types.dialect import Table

_DIALECT = PostgresDialect()
OLDEST, NEWEST = 13, 18


def _reach(server: Server) -> tuple[list[CheckItem], Connection | None]:
    try:
        connection = server.connect()
    except ConnectionFailedError as error:
        return [
            CheckItem("reachable", False, error.message, "check url, network and password")
        ], None
    started = time.perf_counter()
    number, text = connection.rows(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
    )[0]
    milliseconds = (time.perf_counter() - started) * 1000
    where, database = server.options.place()
    major = int(str(number)) // 10_000
    version_ok = OLDEST <= major <= NEWEST
    items = [
        CheckItem(
            "reachable", True, f"{where}, database {database}, round trip {milliseconds:.1f} ms"
        ),
        CheckItem(
            "version",
            version_ok,
            f"PostgreSQL {text}",
            "" if version_ok else f"PostgreSQL {OLDEST} to {NEWEST} are supported",
        ),
    ]
    return items, connection


def check_source(server: Server) -> list[CheckItem]:
    """Look at a source; items that aren't fine name the remedy."""
    items, connection = _reach(server)
    if connection is None:
        return items
    try:
        role, readable, closed, examples = connection.rows(
            """
            SELECT current_user::text,
                   count(*) FILTER (WHERE has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')),
                   count(*) FILTER (WHERE NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))),
                   coalesce(string_agg(DISTINCT quote_ident(n.nspname), ', ')
                     FILTER (WHERE NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))), '')
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            """
        )[0]
        detail = f"role {role} may read {readable} tables and views"
        if closed:
            detail += f", {closed} it may not (in {examples})"
        remedy = ""
        ok = bool(readable) or not closed
        if not ok:
            first = str(examples).split(", ", maxsplit=1)[0]
            remedy = f"GRANT USAGE ON SCHEMA {first} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {first} TO {role}"
        items.append(CheckItem("right to read", ok, detail, remedy))
    finally:
        connection.close()
    return items


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


def _writable(connection: Connection) -> CheckItem:
    standby, read_only, role = connection.rows(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', quote_ident(current_user)"
    )[0]
    if standby:
        return CheckItem(
            "writable", False, "the server is a read-only standby", "use the primary's address"
        )
    if read_only:
        return CheckItem(
            "writable",
            False,
            f"transactions of role {role} are read-only by default",
            f"ALTER ROLE {role} SET default_transaction_read_only = off",
        )
    return CheckItem("writable", True, "transactions may write")


def _check_schema(connection: Connection, schema: str) -> list[CheckItem]:
    name = _DIALECT.quote(schema)
    found = connection.rows(
        """
        SELECT quote_ident(current_user), quote_ident(current_database()),
               has_database_privilege(current_database(), 'CREATE'),
               (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = $1),
               (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = $1)
        """,
        (schema,),
    )
    role, database, may_make, usage, create = found[0]
    if usage is None:
        return [
            CheckItem(
                f"schema {schema}",
                bool(may_make),
                "does not exist; the first load makes it"
                if may_make
                else f"does not exist, and role {role} can't make it",
                ""
                if may_make
                else f"CREATE SCHEMA {name} AUTHORIZATION {role} (or: GRANT CREATE ON DATABASE {database} TO {role})",
            )
        ]
    items = [
        CheckItem(
            f"schema {schema}: {right}",
            bool(has),
            f"role {role} {'may' if has else 'may not'} {verb}",
            "" if has else f"GRANT {right} ON SCHEMA {name} TO {role}",
        )
        for right, has, verb in (
            ("USAGE", usage, "use it"),
            ("CREATE", create, "make tables in it"),
        )
    ]
    if usage:
        items.extend(_check_tables(connection, schema, str(role)))
    return items


def _check_tables(connection: Connection, schema: str, role: str) -> list[CheckItem]:
    """Check SELECT, INSERT and DELETE on the tables there; loads need them on their targets."""
    rows = connection.rows(
        """
        SELECT c.relname::text,
               concat_ws(', ',
                 CASE WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
                 CASE WHEN NOT has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
                 CASE WHEN NOT has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY 1
        """,
        (schema,),
    )
    lacking = [(str(table), str(rights)) for table, rights in rows if rights]
    if not lacking:
        return [
            CheckItem(
                f"schema {schema}: tables",
                True,
                f"role {role} may read and write its {len(rows)} tables",
            )
        ]
    return [
        CheckItem(
            f"table {schema}.{table}",
            False,
            f"role {role} lacks {rights}",
            f"GRANT {rights} ON {_DIALECT.table(Table(schema, table))} TO {role}",
        )
        for table, rights in lacking
    ]
