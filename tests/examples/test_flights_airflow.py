"""The demo with a real Airflow, run to its end from a copy: what it loads, and what it leaves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.demos import EXAMPLES, Demo, ask, demo_of_flights, files

HALVES = [166_054, 170_722]

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return demo_of_flights(tmp_path, "flights_airflow", "--once")


def the_two_runs_load_each_half_year_and_the_other_dag_follows(demo: Demo) -> None:
    found = re.findall(r"^flights +(\w+) +(\d+) rows$", demo.output, re.MULTILINE)
    assert found == [("published", str(rows)) for rows in HALVES]
    assert re.findall(r"^planes +(\w+)", demo.output, re.MULTILINE) == ["published", "empty"]
    assert demo.output.count("delays     followed") == 2
    assert re.search(r"^Airflow: http://127\.0\.0\.1:\d+$", demo.output, re.MULTILINE)


def each_row_is_there_once(demo: Demo) -> None:
    rows = "SELECT count(*) FROM raw.flights GROUP BY _conduit_load_id ORDER BY 1"
    assert [n for (n,) in ask(demo.folder, rows)] == HALVES
    runners = "SELECT count(*) FROM raw._conduit_ledger WHERE runner LIKE '%airflow%'"
    assert ask(demo.folder, runners) == [(7,)]


def it_leaves_the_warehouse_and_airflows_home(demo: Demo) -> None:
    left = files(demo.folder) - files(EXAMPLES / "flights_airflow")
    assert {name for name in left if name.partition("/")[0] != "airflow"} == {"warehouse.duckdb"}
    assert files(demo.home) == set()


def test_the_demo(demo: Demo) -> None:
    """One test, so that workers side by side don't run it once each."""
    the_two_runs_load_each_half_year_and_the_other_dag_follows(demo)
    each_row_is_there_once(demo)
    it_leaves_the_warehouse_and_airflows_home(demo)
