"""The shop that tests of receivers load: orders from a SQLite file into DuckDB."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from conduit_core import Pipeline


def make_shop(tmp_path: Path, **extra: object) -> Pipeline:
    """Return a pipeline of one stream over ten orders, one of which breaks a rule.

    Args:
        tmp_path: where its files are.
        extra: keys of the pipeline file, in place of the shop's own or beside them.
    """
    with closing(sqlite3.connect(tmp_path / "shop.db")) as con:
        con.execute("CREATE TABLE orders (id INTEGER, email TEXT, updated_at TIMESTAMP)")
        rows = [(n, f"u{n}@example.com", f"2026-01-01 00:00:{n:02d}") for n in range(10)]
        rows[3] = (3, "broken", "2026-01-01 00:00:03")
        con.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
        con.commit()
    orders = {
        "table": "orders",
        "mode": "upsert",
        "unique_key": "id",
        "cursor": ["updated_at", "id"],
        "quality": [
            {"rule": "not_null", "column": "id"},
            {"rule": "regex", "column": "email", "pattern": ".+@.+", "action": "dlq"},
        ],
    }
    mapping = {
        "name": "shop",
        "source": {"type": "sqlite", "path": "shop.db"},
        "destination": {"type": "duckdb", "path": "wh.duckdb", "schema": "raw"},
        "streams": [orders],
        **extra,
    }
    return Pipeline.from_mapping(mapping, tmp_path)
