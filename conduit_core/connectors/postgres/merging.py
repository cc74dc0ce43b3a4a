"""What PostgreSQL says for a merge: canonical forms, rows by ``ctid``, a lock on the target."""

from __future__ import annotations

from conduit_core.connectors.postgres.types import PgType, is_text
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.merging import Merging
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.types.dialect import Table

_COLLATED = frozenset({"text", "character varying", "character", "bpchar"})
_EXACT = frozenset(
    {
        "boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "oid",
        "money", "date", "time without time zone", "time with time zone", "interval", "duration",
        "timestamp without time zone", "timestamp with time zone", "bytea", "uuid", "jsonb", "name",
        "inet", "cidr", "macaddr", "macaddr8", "bit", "bit varying", "pg_lsn", "int4range",
        "int8range", "numrange", "daterange", "tsrange", "tstzrange", "tsvector", "tsquery",
    }
)  # fmt: skip
"""Types whose ``=`` means: the same value. Others (citext, boxes by their area) compare as text."""
_NO_EQUALITY = frozenset({"json", "xml", "point", "polygon", "path", "box", "circle", "line"})

_WORK_MEM = "128MB"
"""What a join may take of the server's memory; by default it spills after 4 MB."""


class PostgresMerging(Merging):
    """Merging in PostgreSQL, 13 and later."""

    position_ddl = "bigint GENERATED ALWAYS AS IDENTITY"
    numbers_rows = False
    place_is_unique = False  # each partition has its own

    def comparable(self, column: Column, value: str) -> str:
        """Return the value in a form that has an ``=``: json as jsonb, texts by their bytes."""
        kind = PgType.parse(column.ddl)
        if kind.base in _EXACT or (kind.is_array and kind.base in _COLLATED):
            return value
        if kind.base == "json" and not kind.is_array:
            # jsonb can't hold the character that this escape stands for.
            plain = f"strpos({value}::text, '\\u0000') > 0"
            return f"CASE WHEN {plain} THEN to_jsonb({value}::text) ELSE {value}::jsonb END"
        if kind.base in _COLLATED:
            return f'{value} COLLATE "C"'
        return f"{value}::text"

    def ordered(self, column: Column, value: str) -> str:
        """Return the value so that texts order by their bytes."""
        return f'{value} COLLATE "C"' if is_text(column.ddl) else value

    def can_be_key(self, column: Column) -> bool:
        """Say whether the type has an ``=`` that means the same value."""
        return PgType.parse(column.ddl).base not in _NO_EQUALITY

    def place(self, session: SqlSession, target: Table, columns: tuple[Column, ...]) -> str | None:
        """Return where a row lies; in a partitioned table the key says the rest."""
        return "ctid"

    def fills(self, session: SqlSession, target: Table) -> frozenset[str]:
        """Return generated columns, identities, and those with a default."""
        found = session.rows(
            "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2"
            " AND a.attnum > 0 AND (a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '')",
            (target.schema, target.name),
        )
        return frozenset(str(name) for (name,) in found)

    def hold(self, target: str) -> list[str]:
        """Keep other writers away, so that rows stay where they were found; readers go on."""
        return [f"LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE"]

    def filled(self, staged: str, key: str) -> list[str]:
        """Tell the planner how many rows there are, and let it hash them in memory."""
        return [f"SET LOCAL work_mem = '{_WORK_MEM}'", f"ANALYZE {staged}"]

    def paired(self, pairs: str) -> list[str]:
        """Tell the planner how many pairs there are."""
        return [f"ANALYZE {pairs}"]
