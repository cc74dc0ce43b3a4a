"""The page lists every point at which loads are killed, in every runner."""

from __future__ import annotations

from tests.conformance import page
from tests.conformance.kills import AT, RANDOM_EVENTS, RANDOM_MOMENTS
from tests.docs.pages import tables


def test_the_page_has_every_point_in_every_runner() -> None:
    *rows, (_, *sums) = tables(page.PAGE)["Killed: killed"]
    assert {point for point, *_ in rows} == {*AT, RANDOM_EVENTS, RANDOM_MOMENTS}
    counts = [[int(cell) for cell in cells] for _, *cells in rows]
    assert all(all(each) for each in counts)
    assert [sum(column) for column in zip(*counts, strict=True)] == [int(each) for each in sums]
