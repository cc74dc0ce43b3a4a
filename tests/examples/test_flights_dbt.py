"""The demo with dbt on real data, run once from a copy: what is built after which load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conduit_core.cli import main
from tests.examples.demos import EXAMPLES, Demo, ask, data_folder, demo_of_flights, files

HALVES = [166_054, 170_722]

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return demo_of_flights(tmp_path, "flights_dbt")


def each_run_builds_what_its_load_touched_and_the_last_one_nothing(demo: Demo) -> None:
    assert re.findall("^built: (.*)$", demo.output, re.MULTILINE) == [
        "delays dim_planes fct_flights stg_flights; 7 tests",
        "delays fct_flights stg_flights; 4 tests",
        "nothing",
    ]
    assert "after.dbt: skipped: no table changed since it last finished" in demo.output


def the_incremental_fact_has_each_loads_rows_from_one_run_of_dbt(demo: Demo) -> None:
    loaded = "SELECT _conduit_load_id, count(*) FROM raw.flights GROUP BY ALL ORDER BY 2"
    fact = loaded.replace("raw.flights", "raw.fct_flights")
    assert ask(demo.folder, fact) == ask(demo.folder, loaded)
    by_run = "SELECT count(*) FROM raw.fct_flights GROUP BY dbt_run ORDER BY 1"
    assert [n for (n,) in ask(demo.folder, by_run)] == HALVES
    assert ask(demo.folder, "SELECT sum(flights) FROM raw.delays") == [(sum(HALVES),)]


def the_sources_are_as_the_command_writes_them(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLIGHTS_DATA", str(data_folder()))
    assert main(["dbt", "sources", str(demo.folder / "pipeline.yml"), "--dry-run"]) == 0
    assert capsys.readouterr().out == "models/sources.yml: nothing to add\n"


def it_leaves_the_warehouse_and_what_dbt_writes(demo: Demo) -> None:
    left = files(demo.folder) - files(EXAMPLES / "flights_dbt")
    assert {name for name in left if not name.startswith("dbt/target")} <= {"warehouse.duckdb"}
    assert files(demo.home) == set()
    assert files(demo.cwd) == set()


def test_the_demo(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One test, so that workers side by side don't run it once each."""
    each_run_builds_what_its_load_touched_and_the_last_one_nothing(demo)
    the_incremental_fact_has_each_loads_rows_from_one_run_of_dbt(demo)
    the_sources_are_as_the_command_writes_them(demo, monkeypatch, capsys)
    it_leaves_the_warehouse_and_what_dbt_writes(demo)
