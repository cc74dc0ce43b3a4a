"""What the model of versions promises by itself: the same end however the rows are cut up."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.connectors.versions_model import Row, Target

ROWS = st.lists(
    st.builds(
        Row,
        key=st.integers(1, 2),
        at=st.integers(1, 9),
        value=st.sampled_from(["a", "b"]),
        note=st.integers(0, 1),
    ),
    unique_by=lambda row: (row.key, row.at),
    max_size=12,
)


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.at)


@given(rows=ROWS, cut=st.integers(0, 12))
def test_loads_in_the_order_of_the_cursor_end_as_one_load_does(rows: list[Row], cut: int) -> None:
    whole, parts = Target(), Target()
    whole.load(rows)
    parts.load(in_order(rows)[:cut])
    parts.load(in_order(rows)[cut:])
    assert parts.history == whole.history


@given(rows=ROWS)
def test_a_re_run_changes_nothing(rows: list[Row]) -> None:
    target = Target()
    target.load(rows)
    before = {key: list(versions) for key, versions in target.history.items()}
    counts = target.load(rows)
    assert counts["unchanged"] == len(rows)
    assert target.history == before


@given(loads=st.lists(ROWS, max_size=4))
def test_every_row_is_counted_once_and_versions_follow_each_other(loads: list[list[Row]]) -> None:
    target = Target()
    for rows in loads:
        counts = target.load(rows)
        kinds = ("inserted", "updated", "unchanged", "deduplicated", "superseded")
        assert counts["read"] == sum(counts[kind] for kind in kinds)
    for versions in target.history.values():
        for one, other in itertools.pairwise(versions):
            assert one.begins <= one.row.at < other.begins == one.until
            assert one.row.value != other.row.value
        assert versions[-1].until is None
