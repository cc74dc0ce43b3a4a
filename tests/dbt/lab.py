"""A pipeline, its destination and a dbt project in one folder: real dbt runs on real rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conduit_core import HookResult, Pipeline, RunResult, run
from conduit_dbt.results import DbtResult

PROJECT = """
name: shop
version: "1.0"
profile: shop
flags: {send_anonymous_usage_stats: false}
models: {+materialized: table}
"""
COMMENT = "query-comment: \"{{ env_var('DBT_ENV_CUSTOM_ENV_CONDUIT_QUERY_COMMENT', 'dbt') }}\"\n"
SOURCES = """
sources:
  - name: raw
    tables:
      - {name: orders, columns: [{name: id, data_tests: [not_null]}]}
      - name: items
"""
MODELS = {
    "stg_orders": "select id, amount from {{ source('raw', 'orders') }}",
    "stg_items": "select id from {{ source('raw', 'items') }}",
    "totals": "select sum(amount) as amount from {{ ref('stg_orders') }}",
    "alone": "select 1 as id",
}


def hasten_dbt() -> None:
    """Spare dbt half a second per start: it searches all modules for who defines each flag.

    And three per project: what Jinja made of a macro is kept, as dbt's own tests do.
    """
    from dbt_common import tests
    from dbt_common.behavior_flags import BehaviorFlagRendered

    BehaviorFlagRendered._default_source = lambda _: "dbt"  # type: ignore[method-assign]
    tests.enable_test_caching()


@pytest.fixture(scope="session")
def quick_dbt() -> Iterator[None]:
    """A dbt that keeps what it found out, for the tests that ask for it."""
    from dbt_common import tests
    from dbt_common.behavior_flags import BehaviorFlagRendered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BehaviorFlagRendered, "_default_source", None)  # to have it back at the end
        hasten_dbt()
        yield
        tests.disable_test_caching()


class DbtLab:
    """A CSV source, a destination and a dbt project.

    Args:
        folder: where all lie.
        postgres: a PostgreSQL URL; None: DuckDB.
    """

    def __init__(self, folder: Path, postgres: str | None = None) -> None:
        self.folder = folder
        self.postgres = postgres
        self.project = folder / "dbt"
        self.destination: dict[str, object] = (
            {"type": "postgres", "url": postgres, "schema": "raw"}
            if postgres
            else {"type": "duckdb", "path": "warehouse.duckdb", "schema": "raw"}
        )
        (folder / "data").mkdir(parents=True)
        (self.project / "models").mkdir(parents=True)
        (self.project / "dbt_project.yml").write_text(PROJECT)
        self.write("models/sources.yml", SOURCES)
        for name, sql in MODELS.items():
            self.write(f"models/{name}.sql", sql)
        self.rows("orders", (1, 10), (2, 20))
        self.rows("items", (1, 1))

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        (self.project / name).write_text(text)

    def rows(self, table: str, *rows: tuple[int, object]) -> None:
        """Add rows ``(id, amount)`` to a source file; the id orders change."""
        file = self.folder / "data" / f"{table}.csv"
        if not file.exists():
            file.write_text("id,amount\n")
        with file.open("a") as opened:
            opened.writelines(f"{i},{amount}\n" for i, amount in rows)

    def mapping(self, *streams: dict[str, object], **dbt: object) -> dict[str, object]:
        """Return the pipeline; ``dbt`` are keys of ``after.dbt``."""
        return {
            "name": "shop",
            "source": {"type": "csv", "path": "data"},
            "destination": self.destination,
            "streams": list(streams) or [stream("orders"), stream("items")],
            "after": {"dbt": {"project_dir": "dbt", "profile": "from_destination", **dbt}},
        }

    def pipeline(self, *streams: dict[str, object], **dbt: object) -> Pipeline:
        """Return the pipeline."""
        return Pipeline.from_mapping(self.mapping(*streams, **dbt), self.folder)

    def file(self, *streams: dict[str, object], **dbt: object) -> Path:
        """Write the pipeline as a file, which is JSON, and YAML too."""
        file = self.folder / "pipeline.yml"
        file.write_text(json.dumps(self.mapping(*streams, **dbt)))
        return file

    def run(self, *streams: dict[str, object], **dbt: object) -> RunResult:
        """Run the pipeline, and what follows."""
        return run(self.pipeline(*streams, **dbt))

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the destination."""
        if self.postgres:
            import psycopg

            with closing(psycopg.connect(self.postgres)) as connection:
                return connection.execute(sql).fetchall()
        import duckdb

        path = str(self.folder / "warehouse.duckdb")
        with closing(duckdb.connect(path, read_only=True)) as database:
            return database.execute(sql).fetchall()

    @property
    def models(self) -> str:
        """The schema of the models."""
        return "raw"


def stream(table: str, **keys: object) -> dict[str, object]:
    """Return a stream that upserts a file's rows by their id."""
    upsert = {"mode": "upsert", "unique_key": "id", "cursor": "id"}
    return {"path": f"{table}.csv", "name": table, **upsert, **keys}


def hook(result: RunResult) -> HookResult:
    """Return the only hook of a run."""
    (found,) = result.hooks
    return found


def nodes(result: RunResult) -> dict[str, str]:
    """Return what dbt did: each node's status by its name."""
    return {node.name: node.status for node in done(hook(result)).nodes}


def done(result: HookResult) -> DbtResult:
    """Return dbt's result."""
    details: Mapping[str, object] = result.details
    return DbtResult.model_validate({k: v for k, v in details.items() if k != "select"})
