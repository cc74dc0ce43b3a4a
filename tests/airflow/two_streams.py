"""A small shop for DAG files: SQLite tables, a pipeline, a DuckDB warehouse."""

from __future__ import annotations

import textwrap
from contextlib import closing
from pathlib import Path

from tests.airflow.lab import Lab

STREAMS = """
      - {table: customers, mode: upsert, unique_key: id}
      - table: orders
        mode: append
        cursor: [updated_at, id]
        splits: {count: 3, column: id}
"""


def open_shop(lab: Lab, schema: str, streams: str = STREAMS, more: str = "") -> None:
    """Fill the shop with two customers and 30 orders, and write ``shop.yml``.

    The schema is the test's own: tests share the state of the Assets that are named by it.
    """
    if not (lab.folder / "shop.db").exists():
        order(lab.folder, 0, 30)
    head = f"""\
    name: shop
    source: {{type: sqlite, path: shop.db}}
    destination: {{type: duckdb, path: wh.duckdb, schema: {schema}, staging: staging}}
    streams:
"""
    lab.write("shop.yml", textwrap.dedent(head) + textwrap.dedent(streams) + textwrap.dedent(more))


def order(folder: Path, first: int, last: int) -> None:
    """Place orders, one a second."""
    import sqlite3

    with closing(sqlite3.connect(folder / "shop.db")) as con, con:
        con.execute("CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY, name TEXT)")
        con.execute(
            "CREATE TABLE IF NOT EXISTS orders"
            " (id INTEGER PRIMARY KEY, amount INTEGER, updated_at TIMESTAMP)"
        )
        con.execute("INSERT OR IGNORE INTO customers VALUES (1, 'Ada'), (2, 'Bob')")
        rows = [(i, i * 10, f"2026-01-01 00:{i // 60:02}:{i % 60:02}") for i in range(first, last)]
        con.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)


def change(folder: Path, sql: str) -> None:
    """Change something in the shop."""
    import sqlite3

    with closing(sqlite3.connect(folder / "shop.db")) as con, con:
        con.execute(sql)


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """Return rows of the warehouse."""
    import duckdb

    with duckdb.connect(str(folder / "wh.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()
