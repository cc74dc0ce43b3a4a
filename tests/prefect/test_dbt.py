"""dbt behind the loads: what changed is built, once, whatever died or failed in between."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from conduit_core.errors import ConfigError, HookError, LoadFailedError
from prefect_conduit import load_stream, run_dbt, run_pipeline
from tests.dbt.lab import DbtLab, done, quick_dbt, stream
from tests.examples.demos import EXAMPLES

__all__ = ["quick_dbt"]

# Prefect leaves a connection to its API to the garbage collector.


class Lab(DbtLab):
    """A pipeline and a dbt project, under names that no other test has in Prefect."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        own = uuid.uuid4().hex[:8]
        self.name, self.schema = f"shop_{own}", f"raw_{own}"
        self.destination = {**self.destination, "schema": self.schema}
        self.sources("orders", "items")

    @property
    def models(self) -> str:
        return self.schema

    def sources(self, *tables: str) -> None:
        """Write the project's sources."""
        named = [{"name": table} for table in tables]
        found = {"name": "raw", "schema": self.schema, "tables": named}
        self.write("models/sources.yml", json.dumps({"sources": [found]}))

    def mapping(self, *streams: dict[str, object], **dbt: object) -> dict[str, Any]:
        return {**super().mapping(*streams, **dbt), "name": self.name}


@pytest.fixture
def lab(tmp_path: Path, quick_dbt: None) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        made = Lab(tmp_path)
        patch.chdir(made.folder)  # where relative paths of a mapping begin
        yield made


def built(result: Any) -> dict[str, str]:
    """Return each model's status."""
    return {node.name: node.status for node in done(result).nodes if node.kind == "model"}


def shown(lab: Lab) -> list[dict[str, Any]]:
    """Return the newest table of what dbt did."""
    key = ArtifactFilterKey(any_=[f"conduit-{lab.name.replace('_', '-')}--after--dbt"])
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
    newest = max(found, key=lambda each: each.created or 0)  # type: ignore[arg-type,return-value]
    return list(json.loads(str(newest.data)))


def test_what_changed_is_built_and_a_failure_is_made_good_by_the_next_run(lab: Lab) -> None:
    """The flow fails by dbt's four lines; what was loaded stays, and is built by the next."""
    first = run_pipeline(str(lab.file()))
    assert built(first.hooks[0]) == dict.fromkeys(["stg_items", "stg_orders", "totals"], "success")
    assert {row["node"]: row["status"] for row in shown(lab)}["stg\\_items"] == "success"
    assert run_pipeline(str(lab.file())).hooks[0].outcome == "skipped"

    lab.rows("items", (2, 2))
    lab.write("models/stg_items.sql", "select nothing from {{ source('raw', 'items') }}")
    with pytest.raises(LoadFailedError, match=r"after\.dbt.*stg_items") as failed:
        run_pipeline(str(lab.file()))
    assert f"the loads of {lab.schema}.items are published" in str(failed.value)
    assert [row["status"] for row in shown(lab)] == ["error"]

    lab.write("models/stg_items.sql", "select id from {{ source('raw', 'items') }}")
    good = run_pipeline(str(lab.file()))
    assert [each.outcome for each in good.results] == ["empty", "empty"]
    assert built(good.hooks[0]) == {"stg_items": "success"}
    assert lab.select(f"select count(*) from {lab.schema}.stg_items") == [(2,)]


def test_a_run_that_died_before_dbt_is_made_good_and_options_win_over_the_file(lab: Lab) -> None:
    """``load_stream`` runs no hook, as a run that dies behind it; ``run_dbt`` does what is left."""

    @flow
    def died() -> None:
        load_stream(lab.mapping(), "items")

    @flow
    def next_run() -> Any:
        load_stream(lab.mapping(), "orders")
        return run_dbt(lab.mapping(select="alone"), select="changed+1", exclude="stg_orders")

    died()
    result = next_run()
    assert result.tables == (f"{lab.schema}.orders", f"{lab.schema}.items")
    assert built(result) == {"stg_items": "success"}


def test_behind_a_failed_stream_dbt_does_what_on_partial_says(lab: Lab) -> None:
    lab.rows("items", (2, ""))
    ruled = [
        stream("orders"),
        stream("items", quality=[{"rule": "not_null", "column": "amount"}]),
    ]
    with pytest.raises(LoadFailedError, match="1 of 2 streams failed: items"):
        run_pipeline(lab.mapping(*ruled))
    with pytest.raises(LoadFailedError, match="items"):
        run_pipeline(lab.mapping(*ruled, on_partial="changed"))
    assert lab.select(f"select amount from {lab.schema}.totals") == [(30,)]


def test_what_cant_be_done_is_told_before_anything_is_loaded(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"on_partal.*on_partial"):
        run_pipeline(lab.mapping(on_partal="skip"))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "conduit_dbt", None)
        with pytest.raises(ConfigError, match=r"pip install \./dbt_bridge"):
            run_pipeline(lab.mapping())
        with pytest.raises(ConfigError, match=r"pip install \./dbt_bridge"):
            run_dbt(lab.mapping())
    assert not (lab.folder / "warehouse.duckdb").exists()

    @flow
    def unnamed() -> None:
        lab.sources("orders")
        lab.write("models/stg_items.sql", "select 1 as id")
        load_stream(lab.mapping(), "items")
        run_dbt(lab.mapping())

    with pytest.raises(HookError, match="no dbt source names") as failed:
        unnamed()
    assert len(str(failed.value).splitlines()) == 4


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_dbt: None) -> Path:
    """A copy of the example, with names that no other test has in Prefect; it is where we are."""
    folder, own = tmp_path / "example", uuid.uuid4().hex[:8]
    shutil.copytree(EXAMPLES / "prefect", folder, ignore=shutil.ignore_patterns("*.*db", "target"))
    for path in folder.rglob("*.*"):
        if path.suffix in {".yml", ".sql"}:
            text = re.sub(r"\braw\b", f"raw_{own}", path.read_text())
            path.write_text(text.replace("name: shop", f"name: shop_{own}"))
    monkeypatch.chdir(folder)
    return folder


def test_beside_prefect_dbt_each_model_is_built_once_behind_its_loads(example: Path) -> None:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    add_a_day = runpy.run_path("make_shop.py")["add_a_day"]
    load_and_build = runpy.run_path("dbt_beside.py")["load_and_build"]

    def models() -> Counter[str]:
        ran = json.loads((example / "dbt" / "target" / "run_results.json").read_text())
        return Counter(each["unique_id"].split(".")[-1] for each in ran["results"])

    add_a_day(example)
    assert len(load_and_build()) == 2
    assert models() == {"stg_orders": 1, "revenue": 1}
    DuckDBConnectionManager.close_all_connections()  # else open as long as this process lives
    (example / "dbt" / "target" / "run_results.json").unlink()
    assert load_and_build() == []
    assert not (example / "dbt" / "target" / "run_results.json").exists()
    add_a_day(example)
    assert len(load_and_build()) == 1
    assert models() == {"stg_orders": 1, "revenue": 1}
