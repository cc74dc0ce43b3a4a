"""The demo on real data, run twice from a copy: what it loads, and that it leaves nothing else."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.demos import ask, data_folder, files, run_demo

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
FIRST_HALF, SECOND_HALF = 166_054, 170_722
ROWS = {
    "flights": FIRST_HALF + SECOND_HALF,
    "weather": 26_115,
    "planes": 3_322,
    "airports": 1_458,
    "airlines": 16,
}

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class Demo:
    """Two runs of demo.py in a copy of the example, with a home and a folder of its own."""

    folder: Path
    home: Path
    cwd: Path
    first: str
    second: str
    after_first: dict[str, list[tuple[object, ...]]]
    data_before: set[str]

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        return ask(self.folder, sql)


LEDGER = """
SELECT stream, version, rows_read, rows_inserted FROM raw._conduit_ledger ORDER BY stream, version
"""


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    base = tmp_path / "demo"
    folder, home, cwd = base / "flights", base / "home", base / "cwd"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.duckdb*", "__pycache__"))
    home.mkdir()
    cwd.mkdir()
    before = files(data_folder())
    first = run_demo(folder, home, cwd)
    ledger = {"ledger": ask(folder, LEDGER)}
    return Demo(folder, home, cwd, first, run_demo(folder, home, cwd), ledger, before)


def every_row_of_the_five_tables_is_there_once(demo: Demo) -> None:
    for table, rows in ROWS.items():
        assert demo.ask(f"SELECT count(*) FROM raw.{table}") == [(rows,)], table
    assert demo.ask("SELECT count(DISTINCT (_conduit_load_id)) FROM raw.flights") == [(2,)]


def the_first_run_stops_at_the_end_of_june_and_the_second_reads_the_rest(demo: Demo) -> None:
    ledger = demo.after_first["ledger"]
    flights = [row for row in ledger if row[0] == "flights"]
    assert flights == [
        ("flights", 1, FIRST_HALF, FIRST_HALF),
        ("flights", 2, SECOND_HALF, SECOND_HALF),
    ]
    assert [row[1] for row in ledger if row[0] == "weather"] == [1, 2]
    assert [row[:3] for row in ledger if row[0] == "planes"] == [("planes", 1, ROWS["planes"])]
    halves = demo.ask(
        "SELECT count(*) FROM raw.flights GROUP BY time_hour <= '2013-06-30T23:59:59Z' ORDER BY 1"
    )
    assert halves == [(FIRST_HALF,), (SECOND_HALF,)]


def the_last_run_reads_nothing(demo: Demo) -> None:
    again = demo.first.rpartition("$ conduit run")[2].partition("-- one query")[0]
    for stream in ROWS:
        (row,) = [
            line for line in again.splitlines() if line.startswith(stream) and "exactly" in line
        ]
        assert "nothing new" in row


def typed_again_it_goes_on_from_where_it_is(demo: Demo) -> None:
    assert demo.ask(LEDGER) == demo.after_first["ledger"]
    assert "published" not in demo.second.partition("-- one query")[0].replace(" published,", "")


def each_run_ends_with_a_table_and_an_answer(demo: Demo) -> None:
    for output in (demo.first, demo.second):
        for heading in ("stream", "rows", "bytes", "rows/s", "watermark", "load id", "guarantee"):
            assert heading in output
        assert "United Air Lines Inc." in output.partition("-- one query")[2]


def it_leaves_the_warehouse_and_nothing_else(demo: Demo) -> None:
    assert files(demo.folder) == files(EXAMPLE) | {"warehouse.duckdb"}
    assert files(demo.home) == set()
    assert files(demo.cwd) == set()
    assert files(data_folder()) == demo.data_before


def test_the_demo(demo: Demo) -> None:
    """One test, so that workers side by side don't run it once each."""
    every_row_of_the_five_tables_is_there_once(demo)
    the_first_run_stops_at_the_end_of_june_and_the_second_reads_the_rest(demo)
    the_last_run_reads_nothing(demo)
    typed_again_it_goes_on_from_where_it_is(demo)
    each_run_ends_with_a_table_and_an_answer(demo)
    it_leaves_the_warehouse_and_nothing_else(demo)
