"""What PostgreSQL says for a merge: canonical forms, rows by ``ctid``, a lock on the target."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from conduit_core.connectors.postgres.types import PgType, is_text
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.merging import Merging
from conduit_core.connectors.sql.session import Row, SqlSession
from conduit_core.connectors.sql.steps import Tell
from conduit_core.types.dialect import Table

_COLLATED = frozenset({"text", "character varying", "character", "bpchar"})
_EXACT = frozenset(
    {
        "boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "oid",
        "money", "date", "time without time zone", "time with time zone",
        "timestamp without time zone", "timestamp with time zone", "bytea", "uuid", "jsonb", "name",
        "inet", "cidr", "macaddr", "macaddr8", "bit", "bit varying", "pg_lsn", "int4range",
        "int8range", "numrange", "daterange", "tsrange", "tstzrange", "tsvector", "tsquery",
    }
)  # fmt: skip
"""Types whose ``=`` means: the same value. Others compare as text: citext, boxes (by their area),
intervals (a month equals 30 days)."""
_NO_EQUALITY = frozenset({"json", "xml", "point", "polygon", "path", "box", "circle", "line"})

_SORTED_FAST = frozenset(
    {
        "smallint", "integer", "bigint", "oid", "date", "uuid", "timestamp without time zone",
        "timestamp with time zone",
    }
)  # fmt: skip
"""Types of which a sort takes a third of the time of a hash table of as many groups."""

_WORK_MEM = "128MB"
"""What a join may take of the server's memory; by default it spills after 4 MB."""


class PostgresMerging(Merging):
    """Merging in PostgreSQL, 13 and later."""

    position_ddl = "bigint GENERATED ALWAYS AS IDENTITY (CACHE 10000)"
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
        """Let the planner hash in memory, and tell it how many rows there are.

        Nothing else is asked of the statistics, so a tenth of the usual sample does.
        """
        return [
            f"SET LOCAL work_mem = '{_WORK_MEM}'",
            "SET LOCAL row_security = off",  # an error, where rows would be there and not be seen
            "SET LOCAL default_statistics_target = 10",
            f"ANALYZE {staged} ({key})",
        ]

    def paired(self, pairs: str) -> list[str]:
        """Tell the planner how many pairs there are."""
        return [f"ANALYZE {pairs}"]

    def go_to_places(self) -> list[str]:
        """Tell the planner that the pages of the pairs' rows cost nothing.

        A row that is changed is fetched by its ctid in any case, so to find it by its ctid too
        costs no page more, and the target isn't read a second time.
        """
        return ["SET LOCAL random_page_cost = 0"]

    def merged(self) -> list[str]:
        """Let pages cost what they did."""
        return ["SET LOCAL random_page_cost TO DEFAULT"]

    def doubled(self, staged: str, key: tuple[Column, ...], listed: str) -> str:
        """Count a key's values by sorting them, where that is faster."""
        if len(key) == 1 and PgType.parse(key[0].ddl).base in _SORTED_FAST:
            return f"SELECT count(*) - count(DISTINCT {listed}) FROM {staged}"
        return super().doubled(staged, key, listed)

    def at_once(self, session: SqlSession, target: Table) -> Callable[[str], Tell] | None:
        """Ask EXPLAIN, from version 15 on: it runs the MERGE and counts what became of each row.

        MERGE itself gives one number for inserts and updates. Tables with rules take no MERGE; of
        partitions the plan isn't JSON; and what a trigger leaves out, the plan counts all the same.
        """
        found = session.rows(
            "SELECT current_setting('server_version_num')::int >= 150000 AND NOT c.relhasrules"
            " AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal)"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r'",
            (target.schema, target.name),
        )
        if found != [(True,)]:
            return None
        asked = "EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, BUFFERS OFF, COSTS OFF, SUMMARY OFF)"
        return lambda merge: Tell(f"{asked} {merge}", _told, "target_doubles")


def _told(rows: list[Row]) -> Mapping[str, int]:
    """Read the counts of a MERGE in its plan."""
    ((text,),) = rows
    (explained,) = json.loads(text if isinstance(text, str) else json.dumps(text))
    plan = explained["Plan"]
    names = {"inserted": "Inserted", "updated": "Updated", "unchanged": "Skipped"}
    return {count: int(plan[f"Tuples {name}"]) for count, name in names.items()}
