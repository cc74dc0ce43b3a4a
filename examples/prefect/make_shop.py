"""Makes the shop's database, or adds a day of orders to it: python make_shop.py."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

TABLES = """
CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, amount INTEGER NOT NULL,
  ordered_at TIMESTAMP NOT NULL
);
INSERT OR IGNORE INTO customers VALUES (1, 'Ada'), (2, 'Grace');
"""
A_DAY = """
INSERT INTO orders (customer_id, amount, ordered_at)
SELECT 1 + hour % 2, 10 + hour, datetime('2026-01-01', '+' || (day * 24 + hour) || ' hours')
FROM (SELECT count(*) / 24 AS day FROM orders), (
  WITH RECURSIVE hours(hour) AS (SELECT 0 UNION ALL SELECT hour + 1 FROM hours WHERE hour < 23)
  SELECT hour FROM hours
)
"""


def add_a_day(folder: Path) -> None:
    """Add 24 orders, after the last ones."""
    with closing(sqlite3.connect(folder / "shop.sqlite")) as shop, shop:
        shop.executescript(TABLES)
        shop.execute(A_DAY)


if __name__ == "__main__":
    add_a_day(Path(__file__).resolve().parent)
