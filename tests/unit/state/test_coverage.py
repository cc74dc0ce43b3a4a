"""What a chain of slices covers, and the gaps."""

from __future__ import annotations

import itertools
import random

import pyarrow as pa
import pytest

from conduit_core.state.coverage import coverage
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.window import Window
from tests.unit.state.records import at, record


def given(low: int | None, high: int | None) -> Window:
    return Window("given", None if low is None else at(low), None if high is None else at(high))


def mark(low: int | None, high: int) -> Window:
    return Window("watermark", None if low is None else at(low), at(high))


def chain(*windows: Window) -> list[LedgerRecord]:
    return [record(n, window=w, mode="append") for n, w in enumerate(windows, 1)]


def shown(records: list[LedgerRecord]) -> tuple[list[str], list[str]]:
    found = coverage(records)
    return [s.display() for s in found.covered], [s.display() for s in found.gaps]


@pytest.mark.parametrize(
    ("windows", "covered", "gaps"),
    [
        ([], [], []),
        ([mark(None, 5), mark(5, 9)], [], []),
        ([given(1, 5)], ["[1, 5)"], []),
        ([given(5, 9), given(1, 5)], ["[1, 9)"], []),
        ([given(1, 5), given(1, 5)], ["[1, 5)"], []),
        ([given(1, 9), given(2, 5)], ["[1, 9)"], []),
        ([given(1, 5), given(3, 9)], ["[1, 9)"], []),
        ([given(1, 3), given(5, 9), given(12, 15)], ["[1, 3)", "[5, 9)", "[12, 15)"],
         ["[3, 5)", "[9, 12)"]),
        ([given(1, 5), given(7, None)], ["[1, 5)", "[7, end)"], ["[5, 7)"]),
        ([given(7, None), given(9, 12)], ["[7, end)"], []),
        # What watermark loads have read is no gap, and a whole number has its neighbour.
        ([mark(None, 4), given(5, 9)], ["(start, 9)"], []),
        ([mark(None, 3), given(5, 9)], ["(start, 3]", "[5, 9)"], ["(3, 5)"]),
        ([given(1, 5), mark(4, 9)], ["[1, 9]"], []),
        ([given(1, 5), mark(5, 9)], ["[1, 5)", "(5, 9]"], ["[5, 5]"]),
        ([given(1, 5), mark(2, 4)], ["[1, 5)"], []),
    ],
)  # fmt: skip
def test_slices_are_joined_and_gaps_named(
    windows: list[Window], covered: list[str], gaps: list[str]
) -> None:
    assert shown(chain(*windows)) == (covered, gaps)


def test_what_was_replaced_since_does_not_count() -> None:
    records = [*chain(given(1, 5)), record(2, mode="state_reset"), record(3, window=given(7, 9))]
    assert shown(records) == (["[7, 9)"], [])


def test_a_watermark_that_was_set_covers_nothing() -> None:
    assert shown([record(1, window=given(1, 5)), record(2, at(9), mode="state_set")]) == (
        ["[1, 5)"], [],
    )  # fmt: skip


def test_windows_over_another_column_or_type_are_left_out() -> None:
    old = Window("given", at(1, column="old"), at(2, column="old"))
    text = Window("given", at("a", pa.string()), at("b", pa.string()))
    assert shown(chain(old, text, given(1, 5))) == (["[1, 5)"], [])


def test_ties_of_a_second_column_count_as_covered() -> None:
    low = Cursor(("id", "k"), (*at(5).values, *at("x", pa.string()).values))
    assert shown(chain(given(1, 5), Window("watermark", low, at(9)))) == (["[1, 9]"], [])


def test_any_order_covers_the_same() -> None:
    rng = random.Random(7)
    for _ in range(200):
        windows = [given(a := rng.randrange(30), a + rng.randrange(1, 6)) for _ in range(6)]
        found = {n for w in windows for n in range(30 + 6) if _in(w, n)}
        covered, gaps = shown(chain(*windows))
        points = list(range(min(found), max(found) + 1))
        joined = [list(g) for k, g in itertools.groupby(points, found.__contains__) if k]
        assert covered == [f"[{run[0]}, {run[-1] + 1})" for run in joined]
        assert len(gaps) == len(covered) - 1


def _in(window: Window, n: int) -> bool:
    assert window.low is not None
    assert window.high is not None
    return window.low.compare(at(n)) <= 0 < window.high.compare(at(n))
