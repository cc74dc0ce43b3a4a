"""What SQLite says for a merge: order as time means it, texts by their bytes, rows by rowid."""

from __future__ import annotations

from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.merging import Merging
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sqlite.order import can_order, order_expr
from conduit_core.connectors.sqlite.types import column_of
from conduit_core.types.dialect import Table

_ROWIDS = ("rowid", "_rowid_", "oid")


class SqliteMerging(Merging):
    """Merging in SQLite."""

    position_ddl = "INTEGER PRIMARY KEY"
    numbers_rows = False

    def comparable(self, column: Column, value: str) -> str:
        """Return the value, compared byte by byte whatever the column's collation."""
        return f"{value} COLLATE BINARY"

    def ordered(self, column: Column, value: str) -> str:
        """Return the value so that time orders as time, not as it is spelled."""
        known = column_of(column.name, column.ddl)
        return order_expr(known.field.type, value) if known else value

    def can_order(self, column: Column) -> bool:
        """Say whether the type is one that SQLite orders."""
        known = column_of(column.name, column.ddl)
        return known is None or can_order(known.field)

    def typed(self, column: Column, parameter: str) -> str:
        """Return the parameter in the storage class of the column."""
        known = column_of(column.name, column.ddl)
        kind = {"integer": "INTEGER", "real": "REAL"}.get(known.raw) if known else None
        return f"CAST({parameter} AS {kind})" if kind else parameter

    def fills(self, session: SqlSession, target: Table) -> frozenset[str]:
        """Return the generated columns, those with a default, and the name of the rowid."""
        found = session.rows(
            "SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 0 OR dflt_value IS NOT NULL"
            " OR (pk > 0 AND upper(type) = 'INTEGER')",
            (target.name,),
        )
        return frozenset(str(name) for (name,) in found)

    def place(self, session: SqlSession, target: Table, columns: tuple[Column, ...]) -> str | None:
        """Return the name by which the rowid can be had; None where the table has none."""
        listed = session.rows(
            "SELECT wr FROM pragma_table_list WHERE lower(name) = lower(?) AND schema = 'main'",
            (target.name,),
        )
        if listed and listed[0][0] == 1:
            return None
        taken = {c.name.lower() for c in columns}
        return next((name for name in _ROWIDS if name not in taken), None)

    def filled(self, staged: str, key: str) -> list[str]:
        """Index the key, so that a target without an index on it is read once."""
        index = f'"_conduit_key_of{staged.strip(chr(34))}"'
        return [f"CREATE INDEX temp.{index} ON {staged} ({key})", f"ANALYZE temp.{staged}"]
