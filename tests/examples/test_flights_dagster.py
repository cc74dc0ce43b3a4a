"""The demo with a real `dagster dev`, run to its end from a copy: what it loads and builds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.demos import EXAMPLES, Demo, ask, demo_of_flights, files

MODELS = ["delays", "dim_planes", "fct_flights", "stg_flights"]
ROWS = {"airlines": 16, "airports": 1458, "flights": 336_776, "planes": 3292, "weather": 26_115}

# tests/dagster/test_example.py runs its definitions without a server.
pytestmark = [pytest.mark.slow, pytest.mark.deep]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return demo_of_flights(tmp_path, "flights_dagster", "--once", beside=("flights_dbt",))


def dagster_tells_what_it_loaded_and_that_each_model_ran_once(demo: Demo) -> None:
    assert re.search(r"^Dagster: http://127\.0\.0\.1:\d+$", demo.output, re.MULTILINE)
    loaded = re.findall(r"^raw/(\w+) +published: (\d+) inserted", demo.output, re.MULTILINE)
    assert sorted(loaded) == [(stream, str(rows)) for stream, rows in sorted(ROWS.items())]
    assert sorted(re.findall(r"^(\w+) +built$", demo.output, re.MULTILINE)) == MODELS


def a_check_shows_what_a_rule_rejected(demo: Demo) -> None:
    checks = re.findall(r" check (\w+) (passed|WARN|ERROR)(?:: (\d+ of \d+))?", demo.output)
    assert len(checks) == 6
    assert [c for c in checks if c[1] != "passed"] == [("built_since_1984", "WARN", "30 of 3322")]


def each_row_is_there_once_and_in_the_models(folder: Path) -> None:
    for stream, rows in ROWS.items():
        assert ask(folder, f"SELECT count(*) FROM raw.{stream}") == [(rows,)]
    assert ask(folder, "SELECT sum(flights) FROM raw.delays") == [(ROWS["flights"],)]
    assert ask(folder, "SELECT min(year) FROM raw.dim_planes") == [(1984,)]
    assert ask(folder, "SELECT count(DISTINCT dbt_run) FROM raw.fct_flights") == [(1,)]
    assert ask(folder, "SELECT count(*) FROM raw._conduit_dead_letters") == [(30,)]
    runners = "SELECT count(*) FROM raw._conduit_ledger WHERE runner LIKE '%dagster%'"
    assert ask(folder, runners) == [(len(ROWS),)]


def it_leaves_the_warehouse_alone(demo: Demo) -> None:
    left = files(demo.folder) - files(EXAMPLES / "flights_dagster")
    assert left <= {"warehouse.duckdb"}
    assert files(demo.home) == set()
    assert files(demo.cwd) == set()


def test_the_demo(demo: Demo) -> None:
    """One test, so that workers side by side don't run it once each."""
    dagster_tells_what_it_loaded_and_that_each_model_ran_once(demo)
    a_check_shows_what_a_rule_rejected(demo)
    each_row_is_there_once_and_in_the_models(demo.folder)
    it_leaves_the_warehouse_alone(demo)
