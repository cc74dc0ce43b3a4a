"""Splits of DuckDB relations: how their column is compared, and where a window is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.cuts import EXACT_ROWS, SAMPLED_ROWS, First, range_cuts
from conduit_core.connectors.duckdb.reading import select
from conduit_core.connectors.duckdb.session import bound_as, parameter
from conduit_core.connectors.duckdb.types import SYSTEM, DuckDBDialect, Read
from conduit_core.connectors.splits import Split, SplitBy
from conduit_core.connectors.sql.predicate import Predicate, firsts_query, split_predicate
from conduit_core.errors import SchemaError
from conduit_core.types.schema import logical_type

if TYPE_CHECKING:
    from conduit_core.connectors.duckdb.session import DuckDBSession

_dialect = DuckDBDialect()


def part(split: Split, read: Read) -> Predicate:
    """Return the rows of a split by the column that is read so.

    Raises:
        SchemaError: its values can't be compared with those of the split.
    """
    if split.kind != "hash" and logical_type(read.field) in ("json", "numeric"):
        raise SchemaError(
            f"column {read.field.name} can't be split by {split.kind}: it is read as text that"
            " compares otherwise than its values",
            connector=SYSTEM, command="conduit plan",
        )  # fmt: skip
    return split_predicate(
        split, lambda _: compared(read), lambda _n, value: bound_as(_dialect, value), _bucket
    )


def cut(session: DuckDBSession, relation: str, read: Read, where: Predicate, count: int) -> SplitBy:
    """Return the cuts of the rows ``where`` of a FROM item, by a column that has an order."""
    column = _dialect.quote(read.field.name)
    filtered = f" WHERE {where.sql}" if where.sql else ""
    total = session.rows(f"SELECT count(*) FROM {relation}{filtered}", where.values)[0][0]
    rows = f"(SELECT {column} FROM {relation}{filtered}) AS q"
    if int(str(total)) > EXACT_ROWS:
        sample = f"reservoir({SAMPLED_ROWS:d} ROWS) REPEATABLE (0)"
        rows = f"(SELECT * FROM {rows} USING SAMPLE {sample}) AS q"
    query = firsts_query(column, compared(read), rows, "", count)
    both = tuple(replace(read, field=read.field.with_name(n)) for n in ("value", "before"))
    sql = select(both, f"({query}) AS parts", "true ORDER BY place")
    bound = [parameter(value) for value in where.values]
    found = session.con.sql(sql, params=bound).to_arrow_table()
    pairs = zip(found["value"], found["before"], strict=True)
    return range_cuts(
        read.field.name,
        read.field.type,
        [First(*(v if v.is_valid else None for v in pair)) for pair in pairs],
        shorten=str(read.field.type) in ("string", "binary") and not logical_type(read.field),
    )


def compared(read: Read) -> str:
    """Return how the column is compared: what is read as text as that text, byte by byte."""
    column = _dialect.quote(read.field.name)
    if not pa.types.is_string(read.field.type):
        return column
    plain = read.cast is None and logical_type(read.field) is None
    return f"{column if plain else f'CAST({column} AS VARCHAR)'} COLLATE C"


def _bucket(column: str, buckets: int) -> str:
    return f"coalesce(hash({column}) % {buckets:d}, 0)"
