"""The shop that most tests load: tables in a SQLite file, a warehouse in DuckDB."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from prefect.client.orchestration import get_client

from conduit_core import Pipeline
from conduit_core.state.ledger import LedgerRecord

ORDERS: Mapping[str, object] = {
    "table": "orders",
    "mode": "upsert",
    "unique_key": "id",
    "cursor": ["updated_at", "id"],
}


@dataclass
class Shop:
    """A folder with a source, and what a test makes of it.

    The target's schema is one of its own, so that tests which share a Prefect share no Variable.

    Args:
        folder: where its files are.
    """

    folder: Path
    streams: Sequence[object] = (ORDERS,)
    more: Mapping[str, object] = field(default_factory=dict)
    schema: str = field(default_factory=lambda: f"raw_{uuid.uuid4().hex[:8]}")

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return f"shop-{self.schema[4:]}"

    @property
    def mapping(self) -> dict[str, Any]:
        """The pipeline."""
        return {
            "name": self.name,
            "source": {"type": "sqlite", "path": str(self.folder / "shop.db")},
            "destination": {
                "type": "duckdb",
                "path": str(self.folder / "wh.duckdb"),
                "schema": self.schema,
            },
            "streams": list(self.streams),
            **self.more,
        }

    def written(self) -> Path:
        """Write the pipeline's file; return its path."""
        path = self.folder / "shop.yml"
        path.write_text(json.dumps(self.mapping))
        return path

    def pipeline(self) -> Pipeline:
        """Return the pipeline for the core's own functions."""
        return Pipeline.from_mapping(self.mapping, self.folder)

    def sql(self, script: str) -> None:
        """Run statements in the source."""
        with closing(sqlite3.connect(self.folder / "shop.db")) as con:
            con.executescript(script)
            con.commit()

    def fill(self, first: int, last: int) -> None:
        """Add orders: ids from ``first`` to before ``last``, one a day from 2026-01-01."""
        with closing(sqlite3.connect(self.folder / "shop.db")) as con:
            con.execute(
                "CREATE TABLE IF NOT EXISTS orders"
                " (id INTEGER PRIMARY KEY, amount INTEGER, region TEXT, updated_at TIMESTAMP)"
            )
            con.executemany(
                "INSERT INTO orders VALUES (?, ?, ?, datetime('2026-01-01', '+' || ? || ' days'))",
                [(n, n * 10, ("eu", "us")[n % 2], n) for n in range(first, last)],
            )
            con.commit()

    def fill_with_note(self, first: int, last: int) -> None:
        """Add orders to a table that has got a column ``note``."""
        days = "datetime('2026-01-01', '+{n} days')"
        values = ", ".join(
            f"({n}, {n * 10}, 'eu', {days.format(n=n)}, 'new')" for n in range(first, last)
        )
        self.sql(f"INSERT INTO orders VALUES {values}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse; ``raw`` stands for the target's schema."""
        with duckdb.connect(str(self.folder / "wh.duckdb")) as con:
            return con.execute(query.replace("raw.", f"{self.schema}.")).fetchall()

    def count(self, table: str = "orders") -> int:
        """Return how many rows a table of the warehouse has."""
        return int(self.rows(f"SELECT count(*) FROM raw.{table}")[0][0])

    def chain(self, stream: str = "orders") -> list[LedgerRecord]:
        """Return the ledger's records of a stream's target."""
        made = self.pipeline()
        (spec,) = made.select((stream,))
        with made.open() as ends:
            return ends.destination.records(made.target(spec, ends.destination))

    def variable(self, table: str = "orders") -> Any:
        """Return the value of a table's Variable; None where there is none."""
        with get_client(sync_client=True) as client:
            found = client.read_variable_by_name(f"conduit-{self.schema}-{table}")
        return None if found is None else found.value

    def delete_variable(self, table: str = "orders") -> None:
        """Delete a table's Variable."""
        with get_client(sync_client=True) as client:
            client.delete_variable_by_name(f"conduit-{self.schema}-{table}")


def forget_tables() -> None:
    """Delete the Variables of the tables that the pages load, whose schema is ``raw``."""
    with get_client(sync_client=True) as client:
        tables = {"variables": {"name": {"like_": "conduit-raw-"}}}
        for found in client.request("POST", "/variables/filter", json=tables).json():
            client.delete_variable_by_name(found["name"])
