"""What is in a SQLite file: relations, columns, keys, what hangs on a table. Reads only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from conduit_core.connectors.sqlite.file import Connection, as_int

_CONSTRAINTS = re.compile(
    r"\b(CHECK|COLLATE|AUTOINCREMENT|GENERATED|STRICT|WITHOUT\s+ROWID|REFERENCES|UNIQUE|PRIMARY\s+KEY)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A table or view, by the name it was made with."""

    name: str
    is_table: bool
    sql: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A column as declared; ``key`` is its place in the primary key, 0 for none."""

    name: str
    declared: str
    nullable: bool
    default: str | None
    key: int
    generated: bool


def relations(connection: Connection) -> list[Listed]:
    """List tables and views; SQLite's own and ours aside."""
    found = connection.rows(
        "SELECT name, type, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_conduit\\_%' ESCAPE '\\'"
        " ORDER BY name"
    )
    return [Listed(str(name), kind == "table", str(sql)) for name, kind, sql in found]


def find(connection: Connection, name: str) -> Listed | None:
    """Return a table or view by name; case doesn't matter, as everywhere in SQLite."""
    found = connection.rows(
        "SELECT name, type, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'view')"
        " AND name = ? COLLATE NOCASE",
        (name,),
    )
    return Listed(str(found[0][0]), found[0][1] == "table", str(found[0][2])) if found else None


def columns(connection: Connection, name: str) -> list[Declared]:
    """Return the columns of a table or view, in order; hidden ones of virtual tables aside."""
    found = connection.rows(
        "SELECT name, coalesce(type, ''), \"notnull\", dflt_value, pk, hidden"
        " FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid",
        (name,),
    )
    return [
        Declared(
            str(column),
            str(declared),
            not as_int(notnull),
            None if default is None else str(default),
            as_int(key),
            as_int(hidden) > 1,
        )
        for column, declared, notnull, default, key, hidden in found
    ]


def primary_key(declared: list[Declared]) -> tuple[str, ...]:
    """Return the primary key's columns in its own order."""
    return tuple(c.name for c in sorted(declared, key=lambda c: c.key) if c.key)


def dependants(connection: Connection, table: Listed) -> tuple[str, ...]:
    """Return what a swap would break or lose: views, triggers, foreign keys, constraints, defaults.

    Plain indexes are not among them: a swap makes them again.
    """
    out: list[str] = []
    mention = re.compile(rf"(?<!\w){re.escape(table.name)}(?!\w)", re.IGNORECASE)
    others = connection.rows(
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master"
        " WHERE type IN ('view', 'trigger') ORDER BY type DESC, name"
    )
    for kind, name, on, sql in others:
        if str(on).lower() == table.name.lower() or mention.search(str(sql)):
            out.append(f"{kind} {name}")
    references = connection.rows(
        "SELECT DISTINCT m.name FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f"
        " WHERE m.type = 'table' AND f.\"table\" = ? COLLATE NOCASE ORDER BY m.name",
        (table.name,),
    )
    out.extend(f"foreign key of {name}" for (name,) in references)
    declared = columns(connection, table.name)
    bare = re.sub(r'"(?:[^"]|"")*"|\[[^\]]*\]|`[^`]*`|\'(?:[^\']|\'\')*\'', "", table.sql)
    words = {" ".join(w.upper().split()) for w in _CONSTRAINTS.findall(bare)}
    out.extend(f"its own {word}" for word in sorted(words))
    out.extend(f"the default of {c.name}" for c in declared if c.default is not None)
    return tuple(out)


def index_ddl(connection: Connection, table: str) -> list[str]:
    """Return the statements that made the table's indexes."""
    return _ddl_on(connection, "index", table)


def trigger_ddl(connection: Connection, table: str) -> list[str]:
    """Return the statements that made the table's triggers."""
    return _ddl_on(connection, "trigger", table)


def _ddl_on(connection: Connection, kind: str, table: str) -> list[str]:
    found = connection.rows(
        "SELECT sql FROM sqlite_master WHERE type = ? AND sql IS NOT NULL"
        " AND tbl_name = ? COLLATE NOCASE ORDER BY name",
        (kind, table),
    )
    return [str(sql) for (sql,) in found]


def counts_up(connection: Connection, table: Listed) -> bool:
    """Say whether the table's keys go on where they were (AUTOINCREMENT)."""
    if not re.search(r"\bAUTOINCREMENT\b", table.sql, re.IGNORECASE):
        return False
    return bool(connection.rows("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"))
