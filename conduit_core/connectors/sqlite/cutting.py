"""Where a window of a SQLite relation is cut into parts of about as many rows."""

from __future__ import annotations

from dataclasses import replace

from conduit_core.connectors.cuts import EXACT_ROWS, SAMPLED_ROWS, First, range_cuts
from conduit_core.connectors.splits import SplitBy
from conduit_core.connectors.sql.predicate import Predicate, both, firsts_query
from conduit_core.connectors.sqlite.file import Connection, as_int
from conduit_core.connectors.sqlite.order import order_expr
from conduit_core.connectors.sqlite.reading import DIALECT, Selected, Selection, read_few
from conduit_core.connectors.sqlite.types import SqliteColumn
from conduit_core.types.schema import logical_type

_MILLION = 1_000_000


def cut(
    connection: Connection, found: Selected, name: str, where: Predicate, count: int
) -> SplitBy:
    """Return the cuts of the rows ``where`` by a column that has an order."""
    column, quoted = found.column(name), DIALECT.quote(name)
    filtered = f" WHERE {where.sql}" if where.sql else ""
    sql = f"SELECT count(*) FROM {found.source}{filtered}"
    total = as_int(connection.rows(sql, where.values)[0][0])
    if total > EXACT_ROWS:
        share = SAMPLED_ROWS * _MILLION // total
        where = both(where, Predicate(f"abs(random() % {_MILLION}) < {share:d}", ()))
    order = order_expr(column.field.type, quoted)
    query = firsts_query(quoted, order, found.source, where.sql, count)
    columns = (_named(column, "value"), _named(column, "before"))
    firsts = read_few(
        connection,
        Selected(f"({query})", columns, columns),
        Selection(Predicate("", where.values), " ORDER BY place"),
    )
    pairs = zip(firsts["value"], firsts["before"], strict=True)
    return range_cuts(
        name,
        column.field.type,
        [First(*(v if v.is_valid else None for v in pair)) for pair in pairs],
        shorten=column.raw in ("text", "blob") and _is_free(column),
    )


def _named(column: SqliteColumn, name: str) -> SqliteColumn:
    return replace(column, field=column.field.with_name(name))


def _is_free(column: SqliteColumn) -> bool:
    """Say whether any text is a value of the column."""
    return str(column.field.type) in ("string", "binary") and logical_type(column.field) is None
