"""``freshness:`` of a stream as dbt's source freshness. Pure."""

from __future__ import annotations

from datetime import timedelta

from conduit_dbt.sqltext import quoted, sql_name, sql_text
from conduit_dbt.tables import SourceTable

LOADED_AT = "_conduit_loaded_at"
_LEDGER = "_conduit_ledger"
_UTC = frozenset({"utc", "etc/utc", "gmt"})


def period(lag: timedelta) -> dict[str, object]:
    """Return a duration as dbt counts it, in the largest unit that is exact; at least a minute."""
    minutes = max(1, -(-lag // timedelta(minutes=1)))
    for unit, size in (("day", 24 * 60), ("hour", 60)):
        if minutes % size == 0:
            return {"count": minutes // size, "period": unit}
    return {"count": minutes, "period": "minute"}


def loaded_at(table: SourceTable, *, takes_query: bool) -> dict[str, object]:
    """Return where dbt reads when a table was last loaded; empty if nothing of it says.

    Rows that say when they were loaded come first, then a cursor that is a time, then the ledger.

    Args:
        table: the table.
        takes_query: whether dbt knows ``loaded_at_query`` (1.10 and later).
    """
    if "load" in table.metadata:
        return {"loaded_at_field": LOADED_AT}
    cursor = table.column(table.cursor[0]) if table.cursor else None
    kind = cursor.data_type.casefold() if cursor else ""
    if cursor and kind.startswith(("timestamp", "datetime", "date")):
        return {"loaded_at_field": _time(sql_name(cursor.name), kind, table.cursor_timezone)}
    if takes_query:
        where = (
            f"target_schema = {sql_text(table.schema)} and target_table = {sql_text(table.name)}"
        )
        ledger = f"{quoted(table.ledger_schema or table.schema)}.{quoted(_LEDGER)}"
        return {"loaded_at_query": f"select max(published_at) from {ledger} where {where}"}  # noqa: S608 - quoted
    return {}


def _time(name: str, kind: str, zone: str | None) -> str:
    """Return a cursor as dbt takes it: a time without a zone is UTC to it, a date is refused."""
    if kind == "date":
        name = f"cast({name} as timestamp)"
    has_zone = "with time zone" in kind or kind.startswith("timestamptz")
    if has_zone or zone is None or zone.casefold() in _UTC:
        return name
    return f"{name} at time zone {sql_text(zone)}"
