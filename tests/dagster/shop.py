"""The shop that most tests load: tables in a SQLite file, a warehouse in DuckDB."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from conduit_core import Pipeline
from conduit_core.state.ledger import LedgerRecord
from dagster_conduit import ConduitResource, DagsterConduitTranslator, conduit_assets

ORDERS: Mapping[str, object] = {
    "table": "orders",
    "mode": "upsert",
    "unique_key": "id",
    "cursor": ["updated_at", "id"],
}


@dataclass
class Shop:
    """A folder with a source, and what a test makes of it.

    Args:
        folder: where its files are.
        instance: Dagster's.
    """

    folder: Path
    instance: dg.DagsterInstance
    streams: Sequence[object] = (ORDERS,)
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def mapping(self) -> dict[str, object]:
        """The pipeline."""
        return {
            "name": "shop",
            "source": {"type": "sqlite", "path": str(self.folder / "shop.db")},
            "destination": {
                "type": "duckdb",
                "path": str(self.folder / "wh.duckdb"),
                "schema": "raw",
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

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the warehouse."""
        with duckdb.connect(str(self.folder / "wh.duckdb")) as con:
            return con.execute(query).fetchall()

    def count(self, table: str = "orders") -> int:
        """Return how many rows a table of the warehouse has."""
        return int(self.rows(f"SELECT count(*) FROM raw.{table}")[0][0])

    def chain(self, stream: str = "orders") -> list[LedgerRecord]:
        """Return the ledger's records of a stream's target."""
        made = self.pipeline()
        (spec,) = made.select((stream,))
        with made.open() as ends:
            return ends.destination.records(made.target(spec, ends.destination))

    def assets(
        self,
        body: Callable[..., Iterator[object]] | None = None,
        translator: DagsterConduitTranslator | None = None,
        **arguments: Any,
    ) -> dg.AssetsDefinition:
        """Return the pipeline's assets."""
        decorate = conduit_assets(
            dagster_conduit_translator=translator,
            **{"pipeline": self.mapping, "name": "shop", **arguments},
        )
        return decorate(body or _shop)

    def materialize(
        self,
        *assets: dg.AssetsDefinition,
        resource: ConduitResource | None = None,
        **arguments: Any,
    ) -> Told:
        """Materialise assets; the shop's own where none are given."""
        result = dg.materialize(
            list(assets) or [self.assets()],
            instance=self.instance,
            resources={"conduit": resource or ConduitResource()},
            raise_on_error=False,
            **arguments,
        )
        return Told(result)

    def entry(self, key: Sequence[str] = ("raw", "orders")) -> dict[str, str] | None:
        """Return the state's entry that counts."""
        from dagster_conduit.state import current

        text = current(self.instance, dg.AssetKey(list(key)))
        return None if text is None else json.loads(text)

    def report(self, entry: object, key: Sequence[str] = ("raw", "orders")) -> None:
        """Report a materialisation from outside, as Dagster's API does; None: without our entry."""
        metadata = {} if entry is None else {"conduit/state": entry}
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey(list(key)), metadata=metadata)  # type: ignore[arg-type]
        )


def _shop(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
    yield from conduit.run(context=context)


class Told:
    """A run's result, by what a test asks of it."""

    def __init__(self, result: dg.ExecuteInProcessResult) -> None:
        self.result = result
        self.success = result.success

    def metadata(self, key: Sequence[str] = ("raw", "orders")) -> dict[str, Any]:
        """Return the metadata of an asset's materialisation."""
        (found,) = [
            e
            for e in self.result.get_asset_materialization_events()
            if e.asset_key == dg.AssetKey(list(key))
        ]
        return {name: value.value for name, value in found.materialization.metadata.items()}

    def metadata_of_all(self) -> list[dict[str, Any]]:
        """Return the metadata of every materialisation."""
        events = self.result.get_asset_materialization_events()
        return [{k: v.value for k, v in e.materialization.metadata.items()} for e in events]

    def materialized(self) -> list[str]:
        """Return what was materialised, in alphabetical order."""
        events = self.result.get_asset_materialization_events()
        return sorted(e.asset_key.to_user_string() for e in events if e.asset_key)

    def data_version(self, key: Sequence[str] = ("raw", "orders")) -> str | None:
        """Return the data version of an asset's materialisation."""
        (found,) = [
            e
            for e in self.result.get_asset_materialization_events()
            if e.asset_key == dg.AssetKey(list(key))
        ]
        return (found.materialization.tags or {}).get("dagster/data_version")

    def checks(self) -> dict[str, bool]:
        """Return what each check found."""
        found = self.result.get_asset_check_evaluations()
        return {e.asset_check_key.to_user_string(): e.passed for e in found}

    def failure(self, step: str = "shop.orders") -> str:
        """Return the text of a step's failure."""
        error = self.result.failure_data_for_node(step)
        assert error is not None
        if error.user_failure_data is not None:
            return str(error.user_failure_data.description)
        assert error.error is not None
        return str(error.error.message)
