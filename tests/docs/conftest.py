"""A folder like the one that the pages talk of: a shop in SQLite, a pipeline, some files."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.dbt.lab import quick_dbt

__all__ = ["quick_dbt"]

PIPELINE = """\
name: shop
source: {type: sqlite, path: shop.db}
destination: {type: duckdb, path: warehouse.duckdb, schema: raw}
streams:
  - customers
  - {table: orders, mode: append, cursor: [updated_at, id], cursor_timezone: UTC, freshness: 24h}
"""

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT);
INSERT INTO customers VALUES (1, 'Ada', 'ada@example.org'), (2, 'Grace', NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL,
                     amount DECIMAL TEXT(9, 2), updated_at TIMESTAMP NOT NULL);
INSERT INTO orders VALUES
  (1, 1, '12.50', '2024-01-31 08:00:00.000000'), (2, 1, '250.00', '2024-02-01 00:00:00.000000'),
  (3, 2, '8.99', '2024-02-29 12:30:00.000000'), (4, 2, '101.00', '2024-03-01 09:15:00.000000');
"""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import sqlite3

    folder = tmp_path_factory.mktemp("prepared") / "shop"
    (folder / "data" / "events").mkdir(parents=True)
    (folder / "pipeline.yml").write_text(PIPELINE)
    (folder / "data" / "events" / "a.csv").write_text("id,zip,price\n1,00501,9.99\n")
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.executescript(SHOP)
    return folder


@pytest.fixture(autouse=True)
def _tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's program may say where the spans of all of this process go: it is undone."""
    from opentelemetry import trace
    from opentelemetry.util._once import Once

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def shop(prepared: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(prepared, tmp_path / "shop"))
