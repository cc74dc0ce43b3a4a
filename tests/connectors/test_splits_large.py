"""Splits of DuckDB, SQLite and files beyond the contract: samples, collations, file cursors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conduit_core.connectors.base import Source, StreamRef
from conduit_core.connectors.splits import SplitBy
from conduit_core.errors import SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.splitting import assert_together, read_split, read_splits
from tests.connectors.files.helpers import source as files_at
from tests.connectors.sqlite.files import source_at as sqlite_at
from tests.connectors.sqlite.files import sqlite
from tests.connectors.test_duckdb import source_on as duckdb_at

FULL = Window("full")
ORDERS = StreamRef(table="orders")
ROWS = 210_000


def sizes(source: Source, by: SplitBy) -> list[int]:
    return [read_split(source, ORDERS, split).num_rows for split in by.splits()]


def duckdb_with(path: Path, *statements: str) -> Source:
    import duckdb

    with duckdb.connect(path) as con:
        for statement in statements:
            con.execute(statement)
    return duckdb_at(path)


def test_duckdb_samples_what_is_large(tmp_path: Path) -> None:
    source = duckdb_with(
        tmp_path / "w.duckdb",
        "CREATE TABLE orders AS SELECT CASE WHEN i < 105000 THEN i ELSE i + 10000000000 END AS id,"
        f" uuid() AS u FROM range({ROWS}) r(i)",
    )
    for column in ("id", "u"):
        by = source.cut(ORDERS, FULL, "range", column, 10)
        assert by.count == 10
        found = sizes(source, by)
        assert sum(found) == ROWS
        assert max(found) < 1.2 * ROWS / 10
    source.close()


def test_duckdb_compares_texts_byte_by_byte_whatever_the_collation(tmp_path: Path) -> None:
    source = duckdb_with(
        tmp_path / "w.duckdb",
        "CREATE TABLE orders (id INTEGER, k VARCHAR COLLATE NOCASE)",
        "INSERT INTO orders VALUES (1, 'a'), (2, 'B'), (3, 'c'), (4, NULL), (5, 'A')",
    )
    by = source.cut(ORDERS, FULL, "range", "k", 5)
    parts = read_splits(source, ORDERS, by)
    assert parts == [[4], [5], [2], [1], [3]]
    listed = SplitBy(kind="values", column="k", cuts=("a",))
    assert [sorted(p, key=str) for p in read_splits(source, ORDERS, listed)] == [[1], [2, 3, 4, 5]]
    source.close()


def test_duckdb_splits_enums_by_value_and_hash_alone(tmp_path: Path) -> None:
    source = duckdb_with(
        tmp_path / "w.duckdb",
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE orders (id INTEGER, m mood, n BIGNUM)",
        "INSERT INTO orders VALUES (1, 'ok', 1), (2, 'sad', 2), (3, NULL, NULL)",
    )
    listed = SplitBy(kind="values", column="m", cuts=("ok", "unknown"))
    assert [sorted(p, key=str) for p in read_splits(source, ORDERS, listed)] == [[1], [], [2, 3]]
    assert_together(
        read_splits(source, ORDERS, SplitBy(kind="hash", column="n", buckets=2)), [1, 2, 3]
    )
    with pytest.raises(SchemaError, match="m can't be split by ranges"):
        source.cut(ORDERS, FULL, "range", "m", 2)
    numbers = SplitBy(kind="values", column="n", type="decimal256(76, 38)", cuts=("1",))
    with pytest.raises(SchemaError, match="n can't be split by values"):
        read_splits(source, ORDERS, numbers)
    source.close()


def test_sqlite_samples_what_is_large(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    sqlite(
        path,
        "CREATE TABLE orders (id INTEGER, k TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
        f" SELECT i + 1 FROM n WHERE i < {ROWS}) INSERT INTO orders SELECT i * i, i % 5 FROM n",
    )
    source = sqlite_at(path)
    by = source.cut(ORDERS, FULL, "range", "id", 10)
    assert by.count == 10
    found = sizes(source, by)
    assert sum(found) == ROWS
    assert max(found) < 1.2 * ROWS / 10
    assert source.cut(ORDERS, FULL, "range", "k", 10).count == 5


def test_sqlite_cuts_times_by_time_not_by_spelling(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    sqlite(
        path,
        "CREATE TABLE orders (id INTEGER, at TIMESTAMP WITH TIME ZONE, j JSON); INSERT INTO orders"
        " VALUES (1, '2024-01-01 23:30:00-02:00', '{}'), (2, '2024-01-02T00:30:00Z', NULL),"
        " (3, '2024-01-02 00:15:00.5+00:00', NULL), (4, NULL, NULL), (5, '2024-01-02', NULL)",
    )
    source = sqlite_at(path)
    ref = StreamRef(query="SELECT id, at FROM orders WHERE id < 5")
    by = source.cut(ref, FULL, "range", "at", 4)
    assert read_splits(source, ref, by) == [[4], [3], [2], [1]]
    with pytest.raises(SchemaError, match="split column 'j'"):
        source.cut(ORDERS, FULL, "range", "j", 2)


def test_files_of_a_window_are_split_and_keep_their_paths(tmp_path: Path) -> None:
    for n in range(6):
        path = tmp_path / f"day_{n}.csv"
        path.write_text(f"id\n{n}\n")
        os.utime(path, ns=(0, 1_700_000_000_000_000_001 + (9 - n)))  # newest first by path
    source = files_at("csv", tmp_path)
    cursor = ("_file_modified", "_file_path")
    ref = StreamRef(path="day_*.csv", cursor=cursor, file_column=True)
    high = source.bounds(ref, None, None).high
    assert high is not None
    low = Cursor(cursor[:1], (high.values[0],)).before()  # 0 and 1 are later
    assert low is not None
    window = Window("watermark", None, Cursor(cursor, (low.values[0], high.values[1])))
    by = source.cut(ref, window, "file", None, 2)
    parts = read_splits(source, ref, by, window)
    assert parts == [[3, 2], [5, 4]]  # by path; inside by time
    first = read_split(source, ref, by.splits()[0], window)
    assert first.column("_conduit_file").to_pylist() == ["day_3.csv", "day_2.csv"]
