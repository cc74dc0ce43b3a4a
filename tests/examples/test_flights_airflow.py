"""The demo with a real Airflow, run to its end from a copy: what it loads, and what it leaves."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.demos import EXAMPLES, ask, files, run_demo

HALVES = [166_054, 170_722]

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of ``demo.py --once`` in a copy of the example, with a home of its own."""

    folder: Path
    home: Path
    output: str


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    base = tmp_path / "demo"
    home, cwd = base / "home", base / "cwd"
    for name in ("flights", "flights_airflow"):
        left_out = shutil.ignore_patterns("*.duckdb*", "__pycache__", "airflow")
        shutil.copytree(EXAMPLES / name, base / name, ignore=left_out)
    home.mkdir()
    cwd.mkdir()
    folder = base / "flights_airflow"
    return Demo(folder, home, run_demo(folder, home, cwd, "--once"))


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
