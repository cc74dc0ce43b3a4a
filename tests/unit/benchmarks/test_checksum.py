"""Two tables are equal in whatever order their rows are, and what differs is named."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from benchmarks import checksum
from benchmarks.data import KINDS, fill_postgres, write_files

SMALL = {"id": "integer", "amount": "decimal"}


def table(path: Path, *rows: tuple[int, str], amount: str = "DECIMAL(12, 2)") -> checksum.Digest:
    import duckdb

    with duckdb.connect(path) as connection:
        connection.execute(f"CREATE TABLE t (id BIGINT, amount {amount})")
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    return checksum.of_duckdb(path, "t", SMALL)


@pytest.mark.postgres
def test_the_same_rows_are_equal_wherever_they_are(tmp_path: Path, postgres_database: str) -> None:
    import duckdb

    fill_postgres(postgres_database, "source", 1000)
    write_files(postgres_database, "source", tmp_path)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE wider AS SELECT id::int, customer::bigint, amount::numeric, price,"
            " created, updated, status::varchar(9), note, score, active FROM source"
            " ORDER BY note DESC"
        )
    with duckdb.connect(tmp_path / "there.duckdb") as connection:
        connection.execute(f"CREATE TABLE t AS FROM read_csv('{tmp_path}/data.csv')")
    source = checksum.of_postgres(postgres_database, "source", KINDS)
    assert source.rows == 1000
    for other in (
        checksum.of_postgres(postgres_database, "wider", KINDS),
        checksum.of_file(tmp_path / "data.csv", KINDS),
        checksum.of_file(tmp_path / "data.parquet", KINDS),
        checksum.of_duckdb(tmp_path / "there.duckdb", "t", KINDS),
    ):
        assert checksum.differs(source, other) == "equal"


def test_another_order_is_equal(tmp_path: Path) -> None:
    one = table(tmp_path / "one", (1, "1.50"), (2, "2.50"))
    two = table(tmp_path / "two", (2, "2.50"), (1, "1.50"), amount="DECIMAL(20, 4)")
    assert checksum.differs(one, two) == "equal"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(1, "1.50")], "1 rows of 2"),
        ([(1, "1.50"), (2, "2.50"), (2, "2.50")], "3 rows of 2"),
        ([(1, "1.50"), (2, "2.51")], "amount"),
        ([(1, "1.50"), (3, "2.50")], "id"),
        ([(1, "2.50"), (2, "1.50")], "values of different rows"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, rows: list[tuple[int, str]], said: str) -> None:
    source = table(tmp_path / "one", (1, "1.50"), (2, "2.50"))
    assert checksum.differs(source, table(tmp_path / "two", *rows)) == f"NOT EQUAL: {said}"
