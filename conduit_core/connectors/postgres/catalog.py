"""What PostgreSQL's catalogue knows of relations and columns: queries and their answers as data."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass

from conduit_core.connectors.postgres.connection import Connection, ServerConnection
from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Table

# Domains are followed to the type they stand on, whose modifier they carry.
_COLUMNS = """
WITH RECURSIVE typed AS (
  SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type, a.atttypmod AS modifier, a.attnotnull,
         a.atthasdef OR a.attidentity <> '' AS filled, a.attgenerated <> '' AS generated
  FROM pg_attribute a
  WHERE {where} AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attrelid, b.attnum, b.attname, t.typbasetype,
         CASE WHEN t.typtypmod = -1 THEN b.modifier ELSE t.typtypmod END,
         b.attnotnull, b.filled, b.generated
  FROM typed b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
)
SELECT c.attrelid::int8, c.attname::text, format_type(c.type, c.modifier), c.attnotnull,
       c.filled, c.generated
FROM typed c JOIN pg_type t ON t.oid = c.type WHERE t.typtype <> 'd'
ORDER BY c.attrelid, c.attnum
"""
_RELATIONS = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, c.reltuples::float8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {where}
ORDER BY n.nspname, c.relname
"""
_USERS_OWN = """
n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT c.relispartition
AND c.relname NOT LIKE '\\_conduit\\_%' AND has_schema_privilege(n.oid, 'USAGE')
AND has_table_privilege(c.oid, 'SELECT')
"""
_PRIMARY_KEYS = """
SELECT i.indrelid::int8, a.attname::text
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indisprimary AND k.position <= i.indnkeyatts AND {where}
ORDER BY i.indrelid, k.position
"""
# The driver tells types of a query by name (or oid, where it has no name) and modifier.
_QUERY_TYPES = """
SELECT x.i, format_type(coalesce(x.oid::oid, (
  SELECT t.oid FROM pg_type t WHERE t.typname = x.name AND pg_type_is_visible(t.oid) LIMIT 1
)), x.modifier)
FROM json_to_recordset($1::text::json) AS x(i int, name text, oid int8, modifier int)
ORDER BY x.i
"""
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialised view",
    "f": "foreign table",
}


@dataclass(frozen=True, slots=True)
class PgColumn:
    """A column: its type's DDL text (of a domain: the type under it), and what fills it."""

    name: str
    ddl: str
    nullable: bool = True
    has_default: bool = False
    generated: bool = False


@dataclass(frozen=True, slots=True)
class PgRelation:
    """A table, view or the like."""

    oid: int
    table: Table
    kind: str
    rows_estimate: int | None

    @property
    def kind_name(self) -> str:
        """The kind in words."""
        return _KINDS[self.kind]


def split_name(name: str) -> Table:
    """Return schema and name of ``orders``, ``public.orders`` or ``"my.schema"."my.table"``."""
    if name.startswith('"'):
        head, end = [], 1
        while end < len(name):
            if name[end] == '"' and name[end + 1 : end + 2] != '"':
                break
            step = 2 if name[end] == '"' else 1
            head.append(name[end])
            end += step
        first, rest = "".join(head), name[end + 1 :]
        if not rest.startswith("."):
            return Table("", first)
        return Table(first, _unquoted(rest[1:]))
    schema, dot, table = name.partition(".")
    return Table(schema, _unquoted(table)) if dot else Table("", name)


def _unquoted(text: str) -> str:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        return text[1:-1].replace('""', '"')
    return text


def find(connection: ServerConnection, table: Table) -> PgRelation | None:
    """Return a relation by name; without a schema, the one the search path finds."""
    if table.schema:
        sql = _RELATIONS.format(where="c.relname = $1 AND n.nspname = $2")
        found = connection.rows(sql, (table.name, table.schema))
    else:
        sql = _RELATIONS.format(where="c.relname = $1 AND pg_table_is_visible(c.oid)")
        found = connection.rows(sql, (table.name,))
    return _relation(found[0]) if found else None


def relations(connection: ServerConnection) -> list[PgRelation]:
    """Return every relation that the role may read and that isn't the system's or ours."""
    return [_relation(row) for row in connection.rows(_RELATIONS.format(where=_USERS_OWN))]


def _relation(row: tuple[object, ...]) -> PgRelation:
    oid, schema, name, kind, tuples = row
    estimate = int(float(str(tuples)))
    return PgRelation(
        int(str(oid)), Table(str(schema), str(name)), str(kind), estimate if estimate >= 0 else None
    )


def columns(connection: ServerConnection, oid: int) -> tuple[PgColumn, ...]:
    """Return a relation's columns in order."""
    rows = connection.rows(_COLUMNS.format(where="a.attrelid = $1"), (oid,))
    return tuple(_column(row) for row in rows)


def columns_of_all(connection: ServerConnection) -> dict[int, tuple[PgColumn, ...]]:
    """Return the columns of all :func:`relations`, by oid."""
    where = (
        "a.attrelid IN (SELECT c.oid FROM pg_class c JOIN pg_namespace n"
        f" ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_USERS_OWN})"
    )
    found: dict[int, list[PgColumn]] = {}
    for row in connection.rows(_COLUMNS.format(where=where)):
        found.setdefault(int(str(row[0])), []).append(_column(row))
    return {oid: tuple(items) for oid, items in found.items()}


def _column(row: tuple[object, ...]) -> PgColumn:
    _, name, ddl, not_null, filled, generated = row
    return PgColumn(str(name), str(ddl), not not_null, bool(filled), bool(generated))


def query_columns(connection: Connection, sql: str) -> tuple[PgColumn, ...]:
    """Return the columns a query gives, without running it."""
    items = []
    for i, field in enumerate(connection.schema_of(sql)):
        metadata = field.metadata or {}
        name = metadata.get(b"POSTGRESQL:type", b"text").decode()
        by_oid = name.startswith("unnamed<oid:")
        items.append(
            {
                "i": i,
                "name": None if by_oid else name,
                "oid": int(name.removeprefix("unnamed<oid:").removesuffix(">")) if by_oid else None,
                "modifier": int(metadata.get(b"POSTGRESQL:typmod", b"-1")),
                "column": field.name,
            }
        )
    rows = connection.rows(_QUERY_TYPES, (json.dumps(items),))
    return tuple(
        PgColumn(str(item["column"]), str(ddl)) for item, (_, ddl) in zip(items, rows, strict=True)
    )


def primary_key(connection: ServerConnection, oid: int) -> tuple[str, ...]:
    """Return the columns of a relation's primary key, in key order."""
    rows = connection.rows(_PRIMARY_KEYS.format(where="i.indrelid = $1"), (oid,))
    return tuple(str(name) for _, name in rows)


def primary_keys(connection: ServerConnection) -> dict[int, tuple[str, ...]]:
    """Return every table's primary key, by oid."""
    found: dict[int, tuple[str, ...]] = {}
    for oid, name in connection.rows(_PRIMARY_KEYS.format(where="true")):
        key = int(str(oid))
        found[key] = (*found.get(key, ()), str(name))
    return found


def estimate(connection: ServerConnection, sql: str) -> int | None:
    """Return how many rows the planner expects a query to give."""
    ((told,),) = connection.rows(f"EXPLAIN (FORMAT JSON) {sql}")
    plan = told if isinstance(told, list) else json.loads(str(told))  # a driver may have read it
    rows = plan[0]["Plan"].get("Plan Rows")
    return None if rows is None else int(rows)


def missing(connection: ServerConnection, table: Table) -> SchemaError:
    """Return the error for a relation that isn't there, naming the nearest that are."""
    known = [str(r.table) for r in relations(connection)]
    near = difflib.get_close_matches(str(table), known, n=3, cutoff=0.5) or [
        k for k in known if k.rpartition(".")[2] == table.name
    ]
    hint = (
        f"; did you mean {', '.join(near)}?"
        if near
        else f"; there are {', '.join(known[:20]) or 'none'}"
    )
    return SchemaError(
        f"there is no table or view {str(table)!r} that the role can see{hint}",
        connector="postgres",
        command="conduit discover",
    )


def missing_column(name: str, known: tuple[PgColumn, ...], relation: str) -> SchemaError:
    """Return the error for a column that isn't there, naming the nearest."""
    names = [c.name for c in known]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return SchemaError(
        f"{relation} has no column {name!r}{hint} Columns: {', '.join(names)}",
        connector="postgres",
        command="conduit discover",
    )
