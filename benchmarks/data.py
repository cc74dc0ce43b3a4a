"""The benchmarks' data: ten columns, numeric and timestamptz among them; made by arithmetic."""

from __future__ import annotations

from pathlib import Path

import psycopg

COLUMNS = (
    "id bigint, customer int, amount numeric(12,2), price numeric(18,4), created timestamptz,"
    " updated timestamptz, status text, note text, score double precision, active boolean"
)
KINDS = {
    "id": "integer", "customer": "integer", "amount": "decimal", "price": "decimal",
    "created": "time", "updated": "time", "status": "text", "note": "text", "score": "double",
    "active": "boolean",
}  # fmt: skip
"""What each column holds, for checksums."""
_SELECT = """
    i::bigint AS id, (i * 7919 % 100000)::int AS customer,
    (i % 1000000 / 100.0)::numeric(12,2) AS amount,
    (i * 31 % 9999999 / 1000.0)::numeric(18,4) AS price,
    '2024-01-01T00:00:00Z'::timestamptz + (i % 31536000) * interval '1 second' AS created,
    '2024-06-01T00:00:00Z'::timestamptz + (i * 13 % 31536000) * interval '1 second' AS updated,
    (ARRAY['new','paid','sent','done'])[1 + i % 4] AS status,
    'note number ' || (i * 17 % 1000003) AS note, (i % 1000)::float8 / 7 AS score,
    i % 3 = 0 AS active
"""


def fill_postgres(url: str, table: str, rows: int) -> None:
    """Make ``table`` with so many rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {table} ({COLUMNS})")
        connection.execute(
            f"INSERT INTO {table} SELECT {_SELECT} FROM generate_series(1::bigint, {rows}) AS i"
        )
        connection.execute(f"VACUUM ANALYZE {table}")


def write_files(url: str, table: str, folder: Path) -> None:
    """Write a table as ``data.csv`` (through COPY) and ``data.parquet``."""
    import pyarrow.csv
    import pyarrow.parquet

    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET timezone TO 'UTC'")
        with (
            (folder / "data.csv").open("wb") as out,
            cursor.copy(f"COPY {table} TO STDOUT (FORMAT csv, HEADER)") as copy,
        ):
            for chunk in copy:
                out.write(chunk)
    read = pyarrow.csv.open_csv(folder / "data.csv")
    with pyarrow.parquet.ParquetWriter(folder / "data.parquet", read.schema) as writer:
        for batch in read:
            writer.write_batch(batch)
