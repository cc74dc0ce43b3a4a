"""How a merge changes rows in DuckDB: by writing them anew, unless the table forbids it."""

from __future__ import annotations

from conduit_core.connectors.sql.merging import Merging
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.types.dialect import Table

_NAMED = (
    "database_name = current_database() AND lower(schema_name) = lower(?)"
    " AND lower(table_name) = lower(?)"
)


class DuckDBMerging(Merging):
    """Merging in DuckDB."""

    def rewrites(self, session: SqlSession, target: Table) -> bool:
        """Say whether rows may be deleted and inserted anew.

        An UPDATE of many rows takes several times the time, and memory that doesn't spill. But an
        index doesn't take a key that the same transaction has deleted, and generated columns take
        no values.
        """
        name = (target.schema, target.name)
        plain = session.rows(f"SELECT index_count = 0 FROM duckdb_tables() WHERE {_NAMED}", name)
        made = f"SELECT 1 FROM duckdb_columns() WHERE is_generated AND {_NAMED} LIMIT 1"
        return bool(plain) and all(row[0] for row in plain) and not session.rows(made, name)


def rows_of(session: SqlSession, target: Table) -> int:
    """Return about how many rows the target has."""
    sql = f"SELECT max(estimated_size) FROM duckdb_tables() WHERE {_NAMED}"
    return int(str(session.rows(sql, (target.schema, target.name))[0][0] or 0))


def waiting_rows(session: SqlSession, table: Table, quoted: str) -> int:
    """Return how many rows a temporary relation has; 0 where there is none.

    The catalogue's estimate leaves out those of the open transaction.
    """
    sql = "SELECT count(*) FROM duckdb_tables() WHERE temporary AND table_name = ?"
    if session.rows(sql, (table.name,)) == [(0,)]:
        return 0
    return int(str(session.rows(f"SELECT count(*) FROM {quoted}")[0][0]))
