from __future__ import annotations

from pathlib import Path

import pytest

from tests.airflow.lab import Lab

pytestmark = pytest.mark.xdist_group("airflow")

PIPELINE = """
    name: shop
    source: {connection: shop_src}
    destination: {connection: warehouse, schema: raw}
    streams:
      - {table: orders, cursor: updated_at, mode: upsert, unique_key: id}
"""
DAG = """
    from airflow.sdk import DAG
    from airflow_provider_conduit import ConduitLoadOperator

    with DAG("{dag_id}", schedule=None) as dag:
        ConduitLoadOperator(task_id="load", pipeline="shop.yml", stream="orders")
"""


def fill(path: Path, first: int, last: int) -> None:
    import sqlite3

    with sqlite3.connect(path) as con:
        con.execute(
            "CREATE TABLE IF NOT EXISTS orders"
            " (id INTEGER PRIMARY KEY, amount INTEGER, updated_at TIMESTAMP)"
        )
        rows = [(i, i * 10, f"2026-01-01 00:{i // 60:02}:{i % 60:02}") for i in range(first, last)]
        con.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(sql).fetchall()


@pytest.fixture
def shop(lab: Lab) -> Lab:
    fill(lab.folder / "shop.db", 0, 50)
    lab.write("shop.yml", PIPELINE)
    lab.connection("shop_src", conn_type="sqlite", host=str(lab.folder / "shop.db"))
    lab.connection(
        "warehouse",
        conn_type="conduit",
        extra={"type": "duckdb", "path": str(lab.folder / "wh.duckdb")},
    )
    return lab


def test_what_is_new_is_loaded_and_told_once(shop: Lab) -> None:
    shop.write("dag.py", DAG.format(dag_id="news"))
    first, second = shop.run("dag.py", {}, {})
    fill(shop.folder / "shop.db", 50, 60)
    third = shop.once("dag.py")
    assert [first.state, second.state, third.state] == ["success"] * 3
    assert rows(shop.folder / "wh.duckdb", "SELECT count(*), sum(amount) FROM raw.orders") == [
        (60, sum(range(60)) * 10)
    ]
    assert first.xcoms["load"]["counts"] == {"read": 50, "inserted": 50}
    assert second.xcoms["load"]["outcome"] == "empty"
    assert [len(run.events) for run in (first, second, third)] == [1, 0, 1]
    event = third.events[0]
    assert (event["name"], event["uri"]) == ("raw.orders", "raw.orders")
    assert event["extra"]["watermark"] == "2026-01-01T00:00:59.000000"
    assert event["extra"]["counts"] == {"read": 10, "inserted": 10}
