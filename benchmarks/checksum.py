"""Whether two tables hold the same rows: a digest of each that doesn't depend on their order.

DuckDB hashes each row and each column, and the hashes are added up. A value is first made of the
source's type, so a decimal that became a wider one is equal, and one that lost a digit isn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import EQUAL

AS_ARROW = {"decimal": "{0}::numeric(38, 4)::text", "time": "{0}::timestamptz"}
"""What PostgreSQL is asked for; other kinds as they are."""
AS_VALUE = {
    "integer": "CAST({0} AS BIGINT)",
    "decimal": "CAST({0} AS DECIMAL(38, 4))",
    "double": "CAST({0} AS DOUBLE)",
    "text": "CAST({0} AS VARCHAR)",
    "boolean": "CAST({0} AS BOOLEAN)",
    "time": "epoch_us(CAST({0} AS TIMESTAMPTZ))",
}


@dataclass(frozen=True)
class Digest:
    """How many rows, what their hashes add up to, and those of each column alone."""

    rows: int
    total: int
    columns: Mapping[str, int]


def differs(source: Digest, target: Digest) -> str:
    """Return "equal", or what isn't."""
    if source == target:
        return EQUAL
    if source.rows != target.rows:
        return f"NOT EQUAL: {target.rows:,} rows of {source.rows:,}"
    wrong = [name for name, value in source.columns.items() if target.columns[name] != value]
    return f"NOT EQUAL: {', '.join(wrong) or 'values of different rows'}"


def of_postgres(url: str, table: str, kinds: Mapping[str, str]) -> Digest:
    """Return the digest of a table's columns, by their kinds."""
    from adbc_driver_postgresql import dbapi

    columns = ", ".join(
        f"{AS_ARROW.get(kind, '{0}').format(name)} AS {name}" for name, kind in kinds.items()
    )
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {table}")
        return _digest("rows", kinds, rows=cursor.fetch_record_batch())


def of_duckdb(path: Path, table: str, kinds: Mapping[str, str]) -> Digest:
    """Return the digest of a table in a DuckDB file."""
    return _digest(f"place.{table}", kinds, attached=path)


def of_file(path: Path, kinds: Mapping[str, str]) -> Digest:
    """Return the digest of a CSV file, whose values are taken as text, or of a Parquet file."""
    reader = "read_csv('{}', all_varchar = true)" if path.suffix == ".csv" else "read_parquet('{}')"
    return _digest(reader.format(path), kinds)


def _digest(
    place: str, kinds: Mapping[str, str], *, rows: Any = None, attached: Path | None = None
) -> Digest:
    import duckdb

    values = {name: AS_VALUE[kind].format(f'"{name}"') for name, kind in kinds.items()}
    sums = [f"sum(hash({value})::HUGEINT)" for value in values.values()]
    query = f"SELECT count(*), sum(hash({', '.join(values.values())})::HUGEINT), {', '.join(sums)}"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if rows is not None:
            connection.register("rows", rows)
        if attached is not None:
            connection.execute(f"ATTACH '{attached}' AS place (READ_ONLY)")
        found = connection.execute(f"{query} FROM {place}").fetchone()
    assert found is not None
    count, total, *each = found
    return Digest(count, total or 0, dict(zip(kinds, (one or 0 for one in each), strict=True)))
