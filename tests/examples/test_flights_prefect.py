"""The demo with a real Prefect server and worker, run to its end from a copy: what it loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.demos import EXAMPLES, Demo, ask, demo_of_flights, files

ROWS = {"airlines": 16, "flights": 336_776, "planes": 3292}

pytestmark = [pytest.mark.slow, pytest.mark.deep]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return demo_of_flights(tmp_path, "flights_prefect", "--once", beside=("flights_dbt",))


def prefect_tells_what_it_loaded(demo: Demo) -> None:
    assert re.search(r"^Prefect: http://127\.0\.0\.1:\d+$", demo.output, re.MULTILINE)
    rows = re.findall(r"^\| (\w+) \| published \| [\d,]+ \| ([\d,]+) \|", demo.output, re.MULTILINE)
    assert {stream: int(n.replace(",", "")) for stream, n in rows} == ROWS


def the_report_follows_the_event_of_the_flights(demo: Demo) -> None:
    months = re.findall(r"^(\w+) +([\d.]+) minutes late$", demo.output, re.MULTILINE)
    assert [month for month, _ in months] == ["July", "June", "December"]


def each_row_is_there_once_and_in_the_models(demo: Demo) -> None:
    for stream, rows in ROWS.items():
        assert ask(demo.folder, f"SELECT count(*) FROM raw.{stream}") == [(rows,)]
    assert ask(demo.folder, "SELECT sum(flights) FROM raw.delays") == [(ROWS["flights"],)]
    assert ask(demo.folder, "SELECT count(DISTINCT dbt_run) FROM raw.fct_flights") == [(1,)]
    runners = "SELECT count(*) FROM raw._conduit_ledger WHERE runner LIKE '%prefect%'"
    assert ask(demo.folder, runners) == [(len(ROWS),)]


def it_leaves_the_warehouse_and_prefects_home(demo: Demo) -> None:
    left = files(demo.folder) - files(EXAMPLES / "flights_prefect")
    assert {name for name in left if name.partition("/")[0] != "prefect"} == {"warehouse.duckdb"}
    assert files(demo.home) == set()
    assert files(demo.cwd) == set()


def test_the_demo(demo: Demo) -> None:
    """One test, so that workers side by side don't run it once each."""
    prefect_tells_what_it_loaded(demo)
    the_report_follows_the_event_of_the_flights(demo)
    each_row_is_there_once_and_in_the_models(demo)
    it_leaves_the_warehouse_and_prefects_home(demo)
