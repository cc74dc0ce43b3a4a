"""What was measured, as data: its medians, promises, and the page that is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.__main__ import PAGE, RESULTS
from benchmarks.results import EQUAL, Measured, Results, Run, Side, Wanted

RUN = Run(
    date="2026-11-30 10:00",
    command="make bench",
    turns=3,
    machine="2 cores",
    load_before=0.1,
    versions={"PostgreSQL": "18.4"},
)


def row(section: str = "full", **more: object) -> Measured:
    ours = Side(name="conduit", seconds=[2.0, 6.0, 3.0], load_seconds=[1.0, 4.0, 2.0], peak_mib=128)
    reference = Side(name="the limit", seconds=[1.0, 2.0, 2.0], peak_mib=64, check=EQUAL)
    return Measured.model_validate(
        {"section": section, "what": "a load", "sides": [ours, reference], **more}
    )


def test_a_ratio_is_the_median_of_the_turns_ratios() -> None:
    measured = row()
    assert measured.ratio() == 2.0  # of 2, 3 and 1.5; that of the medians would be 1.5
    assert measured.load_ratio() == 1.0  # of 1, 2 and 1
    assert measured.more() == 1.0  # of 1, 4 and 1
    assert measured.more_cpu() is None
    assert measured.ours.took == 3.0


def test_a_reference_that_tells_its_own_load_time_is_held_to_that() -> None:
    theirs = Side(name="without rules", seconds=[9.0, 9.0, 9.0], load_seconds=[0.5, 2.0, 1.0])
    assert row(sides=[row().ours, theirs]).load_ratio() == 2.0


def test_a_row_without_a_reference_has_no_ratio() -> None:
    alone = row(sides=[row().ours], wanted=Wanted(seconds=3))
    assert (alone.ratio(), alone.load_ratio(), alone.more()) == (None, None, None)
    assert alone.verdict() == [("3 s", True)]


def test_a_promise_is_met_or_missed() -> None:
    wanted = Wanted(ratio=1.5, load_ratio=1.2, more_seconds=1, peak_mib=100)
    assert row(wanted=wanted).verdict() == [
        ("process 1.5x", False),
        ("load 1.2x", True),
        ("1 s more", True),
        ("100 MiB", False),
    ]


def test_each_command_renews_its_own_rows(tmp_path: Path) -> None:
    later = RUN.model_copy(update={"command": "make bench-peers"})
    first = Results().renewed(RUN, {"pg": row(), "csv": row()})
    both = first.renewed(later, {"peers-pg": row("peers")})
    assert set(both.rows) == {"pg", "csv", "peers-pg"}
    assert len(both.runs) == 2
    again = both.renewed(
        RUN.model_copy(update={"date": "2026-12-01 10:00"}), {"pg": row(), "csv": row()}
    )
    assert set(again.rows) == {"pg", "csv", "peers-pg"}
    assert sorted(again.runs) == [
        "2026-11-30 10:00 make bench-peers",
        "2026-12-01 10:00 make bench",
    ]
    ordered = again.renewed(RUN, {"first": row()}, ["first", "csv", "pg"])
    assert list(ordered.rows) == ["first", "csv", "pg", "peers-pg"]
    again.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == again


def test_the_page_is_made_of_the_results() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page.renewed(text, Results.read(RESULTS)) == text


def test_the_page_has_a_place_for_each_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in page.TABLES if f"<!-- table: {name} -->" not in text] == []
    assert text.count("<!-- table: ") == text.count("<!-- end -->") == len(page.TABLES)


@pytest.mark.parametrize("section", sorted(set(page.TABLES) - {"runs"}))
def test_a_row_stands_in_its_table(section: str) -> None:
    results = Results().renewed(RUN, {"one": row(section)})
    made = page.TABLES[section](results)
    assert made.count("a load") == 1
    for other in set(page.TABLES) - {"runs", section}:
        assert page.TABLES[other](results) == "Not measured yet.\n"


def test_the_page_says_where_rows_differ_and_which_promise_was_missed() -> None:
    ours = row().ours.model_copy(update={"check": "NOT EQUAL: 9 rows of 10"})
    measured = row(sides=[ours, row().sides[1]], wanted=Wanted(ratio=1.5))
    text = page.TABLES["full"](Results().renewed(RUN, {"one": measured}))
    cells = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert cells == [
        "a load", "3.00", "the limit", "2.00", "2.00", "1.00", "128", "64",
        "conduit: NOT EQUAL: 9 rows of 10", "process 1.5x: **missed**", "a",
    ]  # fmt: skip


def test_a_peer_is_so_many_times_ours() -> None:
    peer = Side(name="a peer", seconds=[6.0, 6.0, 9.0], peak_mib=64, check=EQUAL)
    measured = row("peers", sides=[row().ours, peer])
    ours, theirs = page.TABLES["peers"](Results().renewed(RUN, {"one": measured})).splitlines()[2:]
    assert [cell.strip() for cell in ours.strip("|").split("|")][1:5] == [
        "conduit",
        "3.00",
        "1",
        "",
    ]
    assert [cell.strip() for cell in theirs.strip("|").split("|")] == [
        "", "a peer", "6.00", "3.00", "", "64", "0.50", "equal", "",
    ]  # fmt: skip


def test_what_was_measured_beside_other_work_is_marked() -> None:
    results = Results().renewed(RUN, {"one": row(busy=True), "two": row()})
    assert page.TABLES["full"](results).count(page.BUSY) == 1
    assert page.BUSY in page.TABLES["runs"](results)
    assert page.BUSY not in page.TABLES["runs"](Results().renewed(RUN, {"two": row()}))
