"""Splits of PostgreSQL relations: conditions for COPY, and where a window is cut.

COPY takes no parameters, so bounds are settings of the transaction, as a window's are. Texts are
compared byte by byte and blank-padded ones with their blanks: the order that Arrow has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.cuts import EXACT_ROWS, SAMPLED_ROWS, First, range_cuts
from conduit_core.connectors.postgres import catalog
from conduit_core.connectors.postgres.connection import Connection, ServerConnection, as_text
from conduit_core.connectors.postgres.reading import decode
from conduit_core.connectors.postgres.types import (
    SYSTEM,
    PgType,
    cursor_type,
    is_ordered,
    is_text,
    read_column,
    read_type,
)
from conduit_core.connectors.splits import Split, SplitBy
from conduit_core.connectors.sql.predicate import firsts_query, split_predicate
from conduit_core.errors import SchemaError, SourceDataError

if TYPE_CHECKING:
    from conduit_core.connectors.postgres.reading import Array

_BY_CODE_POINT = frozenset({"UTF8", "SQL_ASCII", "LATIN1"})
_ENOUGH_OF_EACH = 10
PLAIN_TEXTS = frozenset({"text", "character varying"})
"""Types that keep each text as it is."""
_FEW_PAGES = 65_536
_BY_PAGE_OF_EACH = 400


@dataclass(frozen=True, slots=True)
class Key:
    """The split column.

    Args:
        name: its name.
        quoted: how SQL refers to it.
        ddl: its type.
    """

    name: str
    quoted: str
    ddl: str

    @property
    def compared(self) -> tuple[str, str]:
        """How it is written where it is compared, and the type of what it is compared with."""
        kind = PgType.parse(self.ddl)
        if not kind.is_array and kind.base in ("character", "bpchar"):
            return f'textin(bpcharout({self.quoted})) COLLATE "C"', "text"
        if is_text(self.ddl):
            return f'{self.quoted} COLLATE "C"', kind.base
        if not is_ordered(self.ddl) and read_type(kind) == pa.string():
            return f'({self.quoted})::text COLLATE "C"', "text"
        return self.quoted, kind.base

    @property
    def exact(self) -> tuple[str, ...]:
        """How it is written to be equal byte by byte; a text also as it is, for an index."""
        compared = self.compared[0]
        is_plain = PgType.parse(self.ddl).base in PLAIN_TEXTS
        return (self.quoted, compared) if is_plain else (compared,)


def condition(connection: ServerConnection, split: Split, key: Key) -> str:
    """Return the rows of a split as a condition; its values are bound as settings.

    Raises:
        SchemaError: the column's values can't be compared.
    """
    if split.kind == "values" and PgType.parse(key.ddl).base in ("json", "jsonb"):
        raise SchemaError(
            f"column {key.name!r} is {key.ddl}, whose values can't be compared: split by hash",
            connector=SYSTEM,
            command="conduit plan",
        )
    texts: dict[str, str] = {}
    compared, against = key.compared

    def param(position: int, value: pa.Scalar[pa.DataType]) -> str:
        texts[f"conduit.s{position}"] = as_text(value)
        return f"current_setting('conduit.s{position}')::{against}"

    where = split_predicate(
        split,
        lambda _: compared if split.kind != "hash" else key.quoted,
        param,
        _bucket,
    )
    if texts:
        connection.set_local(texts)
    return where.sql


def _bucket(column: str, buckets: int) -> str:
    hashed = f'hashtextextended(({column})::text COLLATE "C", 0)'
    return f"coalesce(({hashed} % {buckets:d} + {buckets:d}) % {buckets:d}, 0)"


# --- cuts -----------------------------------------------------------------------------------------


def cut(
    connection: Connection, relation: str, oid: int | None, key: Key, where: str, count: int
) -> SplitBy:
    """Return the cuts of a window by a column, at quantiles of its rows.

    Exact for few rows, else by a sample; where that has too few of the window, exact again.

    Args:
        connection: in a transaction that has the settings of ``where``.
        relation: a FROM item that ends in its alias.
        oid: the relation's, None for a query.
        key: the column.
        where: the window's condition; empty: all rows.
        count: how many parts.

    Raises:
        SchemaError: the column has no order.
    """
    _check_order(connection, key)
    filtered = f" WHERE {where}" if where else ""
    rows = catalog.estimate(connection, f"SELECT 1 FROM {relation}{filtered}") or 0
    firsts: list[First] | None = None
    if rows > EXACT_ROWS:
        sampled, chosen = _sample(connection, relation, oid, where, rows, count)
        firsts = _firsts(connection, sampled, key, chosen, count, _ENOUGH_OF_EACH)
    if firsts is None:
        firsts = _firsts(connection, relation, key, where, count, 0) or []
    kind = PgType.parse(key.ddl)
    free = is_text(key.ddl) or kind.base == "bytea"
    return range_cuts(key.name, cursor_type(key.ddl), firsts, shorten=free)


def _check_order(connection: Connection, key: Key) -> None:
    if not is_ordered(key.ddl):
        raise SchemaError(
            f"column {key.name!r} is {key.ddl}, whose values have no order to cut by: split by"
            " hash, or by another column",
            connector=SYSTEM,
            command="conduit plan",
        )
    if is_text(key.ddl):
        encoding = str(connection.rows("SELECT current_setting('server_encoding')")[0][0])
        if encoding not in _BY_CODE_POINT:
            raise SchemaError(
                f"column {key.name!r} holds text in {encoding}, whose bytes order otherwise than"
                " Unicode: split by hash, or by another column",
                connector=SYSTEM,
                command="conduit plan",
            )


def _sample(
    connection: Connection, relation: str, oid: int | None, where: str, rows: int, count: int
) -> tuple[str, str]:
    """Return FROM item and condition of a sample.

    Of a table by rows where all its pages are read in a moment (512 MiB), else by pages: more rows
    then, since a page's are neighbours. Of a view or a query at random.
    """
    found = connection.rows(
        "SELECT relkind::text, relpages::int8 FROM pg_class WHERE oid = $1", (oid or 0,)
    )
    kind, pages = (str(found[0][0]), int(str(found[0][1]))) if found else ("", 0)
    share = SAMPLED_ROWS / rows
    if kind not in ("r", "p", "m"):
        part = f"random() < {share:.9f}"
        return relation, f"({where}) AND {part}" if where else part
    method = "BERNOULLI"
    if not 0 < pages <= _FEW_PAGES:
        method, share = "SYSTEM", max(SAMPLED_ROWS, _BY_PAGE_OF_EACH * count) / rows
    percent = min(100.0, 100 * share)
    return f"{relation} TABLESAMPLE {method} ({percent:.6f}) REPEATABLE (0)", where


def _firsts(
    connection: Connection,
    relation: str,
    key: Key,
    where: str,
    count: int,
    fewest: int,
) -> list[First] | None:
    """Return each part's first row; None where there are fewer than ``fewest`` rows a part."""
    query = firsts_query(key.quoted, key.compared[0], relation, where, count)
    columns = [
        read_column(name, name, key.ddl, nullable=True).expression for name in ("value", "before")
    ]
    table = connection.table(
        f"SELECT {', '.join(columns)}, total FROM ({query}) AS p ORDER BY place"
    )
    total = int(str(table.column(2)[0].as_py())) if table.num_rows else 0
    if total < fewest * count:
        return None
    values, before = (_decoded(table.column(i).combine_chunks(), key) for i in (0, 1))
    return [First(*pair) for pair in zip(values, before, strict=True)]


def _decoded(array: Array, key: Key) -> list[pa.Scalar[pa.DataType] | None]:
    """Return the values; one that Arrow can't say (an infinity) is no cut."""
    field = pa.field(key.name, cursor_type(key.ddl))
    try:
        values = decode(array, field, key.name)
    except SourceDataError:
        if len(array) == 1:
            return [None]
        return [v for i in range(len(array)) for v in _decoded(array.slice(i, 1), key)]
    return [value if value.is_valid else None for value in values]
