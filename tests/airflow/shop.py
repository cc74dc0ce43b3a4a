"""The shop that most tests load: orders in a SQLite file, a warehouse in DuckDB."""

from __future__ import annotations

from pathlib import Path

from tests.airflow.lab import Lab

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
        ConduitLoadOperator(task_id="load", pipeline="shop.yml", stream="orders"{more})
"""


def dag(dag_id: str, more: str = "") -> str:
    """Return a DAG with one load; ``more`` are further arguments of it."""
    return DAG.format(dag_id=dag_id, more=f", {more}" if more else "")


FORGET = """
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete
    with create_session() as session:
        session.execute(delete(AssetStateStoreModel))
"""


ENTRY = """
    import json
    from airflow.models.asset import AssetModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import select
    with create_session() as session:
        asset = session.scalar(select(AssetModel).filter_by(name="raw.orders"))
        row = session.scalar(select(AssetStateStoreModel).filter_by(asset_id=asset.id))
        result = json.loads(row.value)
"""
"""What an Asset's state has for the orders."""


def open_shop(lab: Lab) -> Lab:
    """Make the source with fifty orders, the pipeline file and both connections.

    All tests' tables have one name, and so one Asset: what another test left there is forgotten.
    """
    lab.call(FORGET)
    furnish(lab)
    return lab


def furnish(lab: Lab) -> None:
    """Make the source, the pipeline file and both connections."""
    fill(lab.folder / "shop.db", 0, 50)
    lab.write("shop.yml", PIPELINE)
    lab.connection("shop_src", conn_type="sqlite", host=str(lab.folder / "shop.db"))
    warehouse = {"type": "duckdb", "path": str(lab.folder / "wh.duckdb")}
    lab.connection("warehouse", conn_type="conduit", extra=warehouse)


def fill(path: Path, first: int, last: int) -> None:
    """Add orders: ids from ``first`` to before ``last``, one a second from midnight."""
    import sqlite3

    with sqlite3.connect(path) as con:
        con.execute(
            "CREATE TABLE IF NOT EXISTS orders"
            " (id INTEGER PRIMARY KEY, amount INTEGER, updated_at TIMESTAMP)"
        )
        rows = [(i, i * 10, f"2026-01-01 00:{i // 60:02}:{i % 60:02}") for i in range(first, last)]
        con.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    con.close()


def rows(lab: Lab, sql: str) -> list[tuple[object, ...]]:
    """Ask the warehouse."""
    import duckdb

    with duckdb.connect(str(lab.folder / "wh.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()
