"""The shop in Dagster, and the flights, from copies: loads, then models, and then nothing."""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conduit_dbt.in_process import InProcess
from conduit_dbt.invoke import Invocation
from tests.dbt.lab import quick_dbt
from tests.examples.demos import EXAMPLES, ask, copy_beside_flights, data_folder
from tests.examples.test_flights_dagster import MODELS as OF_FLIGHTS
from tests.examples.test_flights_dagster import each_row_is_there_once_and_in_the_models

__all__ = ["quick_dbt"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("dagster-dbt"),
    pytest.mark.filterwarnings("ignore:.*AssetExecutionContext:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),
]
MODELS = {"stg_orders", "revenue"}


@pytest.fixture
def folder(tmp_path: Path, quick_dbt: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    made = tmp_path / "dagster"
    leave = shutil.ignore_patterns("*.duckdb*", "*.sqlite", "target", "logs", "__pycache__")
    shutil.copytree(EXAMPLES / "dagster", made, ignore=leave)
    parse(made / "dbt", made / "profiles")
    a_day(made)
    return made


def parse(project: Path, profiles: Path) -> None:
    """Write the manifest, as ``dagster dev`` lets dbt do."""
    common = ("--project-dir", str(project), "--profiles-dir", str(profiles))
    assert InProcess().invoke(Invocation(("parse",), (), common, project)).code == 0


def a_day(folder: Path) -> None:
    runpy.run_path(str(folder / "make_shop.py"))["add_a_day"](folder)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_all_in_one_run_then_models_on_change(folder: Path, instance: dg.DagsterInstance) -> None:
    defs: dg.Definitions = runpy.run_path(str(folder / "definitions.py"))["defs"]
    dg.Definitions.validate_loadable(defs)
    everything = defs.resolve_implicit_global_asset_job_def()
    done = everything.execute_in_process(instance=instance)
    made = [e.asset_key.path[-1] for e in done.get_asset_materialization_events() if e.asset_key]
    assert sorted(made[:2]) == ["customers", "orders"]
    assert set(made[2:]) == MODELS
    assert len(made) == 4
    checks = [e.asset_check_key.name for e in done.get_asset_check_evaluations()]
    assert checks == ["not_null_amount"]
    assert ask(folder, "SELECT count(DISTINCT ordered_on) FROM raw.revenue") == [(1,)]

    def requested(cursor: dg.AssetDaemonCursor | None) -> tuple[set[str], dg.AssetDaemonCursor]:
        told = dg.evaluate_automation_conditions(defs, instance=instance, cursor=cursor)
        names = {r.key.path[-1] for r in told.results if told.get_num_requested(r.key)}
        return names, told.cursor

    loads = defs.resolve_job_def("loads")
    names, cursor = requested(None)
    assert names == set()
    assert loads.execute_in_process(instance=instance).success
    names, cursor = requested(cursor)
    assert names == set()  # nothing new
    a_day(folder)
    assert loads.execute_in_process(instance=instance).success
    names, cursor = requested(cursor)
    assert names == MODELS


def test_the_flights_are_loaded_and_built_by_one_job(
    tmp_path: Path, quick_dbt: None, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What demo.py starts a server for, which is for the deep tier: tests/examples."""
    folder = copy_beside_flights(tmp_path, "flights_dagster", "flights_dbt")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("FLIGHTS_DATA", str(data_folder()))
    monkeypatch.setenv("WAREHOUSE", str(folder / "warehouse.duckdb"))
    parse(tmp_path / "flights_dbt" / "dbt", folder / "profiles")
    defs: dg.Definitions = runpy.run_path(str(folder / "definitions.py"))["defs"]
    dg.Definitions.validate_loadable(defs)
    done = defs.resolve_job_def("load_and_build").execute_in_process(instance=instance)
    made = [e.asset_key.path[-1] for e in done.get_asset_materialization_events() if e.asset_key]
    assert sorted(name for name in made if name in OF_FLIGHTS) == OF_FLIGHTS
    assert len(made) == len(set(made)) == len(OF_FLIGHTS) + 5
    found = {e.asset_check_key.name: e for e in done.get_asset_check_evaluations()}
    assert len(found) == 6
    (warned,) = [e for e in found.values() if not e.passed]
    assert (warned.asset_check_key.name, warned.severity.value) == ("built_since_1984", "WARN")
    assert "30 of 3322" in str(warned.description)
    each_row_is_there_once_and_in_the_models(folder)
