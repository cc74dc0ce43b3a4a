"""The demo with a real Airflow, run to its end from a copy: what it loads, and what it leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.demos import EXAMPLES, Demo, ask, demo_of_flights, files

HALVES = [166_054, 170_722]
RUNNERS = "SELECT count(*) FROM raw._conduit_ledger WHERE runner LIKE '%airflow%'"

# tests/airflow/scheduled/test_demo.py runs its DAGs in an Airflow that is there.
pytestmark = [pytest.mark.slow, pytest.mark.deep]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return demo_of_flights(tmp_path, "flights_airflow", "--once")


def said_of_two_runs(output: str) -> None:
    found = re.findall(r"^flights +(\w+) +(\d+) rows$", output, re.MULTILINE)
    assert found == [("published", str(rows)) for rows in HALVES]
    assert re.findall(r"^planes +(\w+)", output, re.MULTILINE) == ["published", "empty"]
    assert output.count("delays     followed") == 2


def loads_by_their_rows(asked: Callable[[str], list[tuple[object, ...]]]) -> None:
    """Each half-year's rows are there once, from one load."""
    rows = "SELECT count(*) FROM raw.flights GROUP BY _conduit_load_id ORDER BY 1"
    assert [n for (n,) in asked(rows)] == HALVES


def it_leaves_the_warehouse_and_airflows_home(demo: Demo) -> None:
    left = files(demo.folder) - files(EXAMPLES / "flights_airflow")
    assert {name for name in left if name.partition("/")[0] != "airflow"} == {"warehouse.duckdb"}
    assert files(demo.home) == set()


def test_the_demo(demo: Demo) -> None:
    """One test, so that workers side by side don't run it once each."""
    assert re.search(r"^Airflow: http://127\.0\.0\.1:\d+$", demo.output, re.MULTILINE)
    said_of_two_runs(demo.output)
    loads_by_their_rows(lambda sql: ask(demo.folder, sql))
    assert ask(demo.folder, RUNNERS) == [(7,)]
    it_leaves_the_warehouse_and_airflows_home(demo)
