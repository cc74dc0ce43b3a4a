"""Slices by value: one form, JSON, overlap against a plain model of rows, and what covers time."""

from __future__ import annotations

import itertools
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.errors import StateError
from conduit_core.state.coverage import coverage
from conduit_core.state.only import Only
from conduit_core.state.window import Window
from tests.unit.state.records import at, record

TEXTS = st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1, max_size=5)


def only(*values: str, column: str = "region") -> Only:
    return Only.of(column, [pa.scalar(v, pa.string()) for v in values])


def window(low: int | None, high: int | None, values: Only | None) -> Window:
    return Window("given", *(None if n is None else at(n) for n in (low, high)), only=values)


@given(TEXTS, st.randoms())
def test_order_and_doubles_make_no_difference(texts: list[str], random: Any) -> None:
    other = [*texts, texts[0]]
    random.shuffle(other)
    one, same = (window(None, None, only(*values)) for values in (texts, other))
    assert one == same
    assert one.to_json() == same.to_json()
    assert Window.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int32(), [3, 1]),
        (pa.bool_(), [True, False]),
        (pa.decimal128(10, 2), [Decimal("1.00"), Decimal("0.10")]),
        (pa.timestamp("us", "UTC"), [1, 0]),
        (pa.date32(), [date(2024, 2, 29)]),
        (pa.large_string(), ["", "é"]),
    ],
)
def test_every_type_comes_back_from_its_text(kind: pa.DataType, values: list[Any]) -> None:
    one = window(None, None, Only.of("c", [pa.scalar(v, kind) for v in values]))
    assert Window.from_json(one.to_json()) == one


def test_null_none_and_two_types_are_no_slice() -> None:
    for values in ([], [pa.scalar(None, pa.string())], [pa.scalar("1"), pa.scalar(1)]):
        with pytest.raises(ValueError, match="slice"):
            Only.of("c", values)


@pytest.mark.parametrize(
    "item", ["7", "{}", '{"column":"c","type":"int64","values":[]}',
             '{"column":"c","type":"int64","values":["x"]}',
             '{"column":"c","type":"int64","values":"12"}'],
)  # fmt: skip
def test_what_is_no_slice_is_refused(item: str) -> None:
    with pytest.raises(StateError, match="slice by value"):
        Window.from_json(f'{{"kind":"given","only":{item}}}')


def test_it_is_told_to_people() -> None:
    assert window(None, None, only("eu")).display() == "region = 'eu'"
    assert window(None, None, only("us", "eu")).display() == "region in ('eu', 'us')"
    assert window(1, 5, only("")).display() == "[1, 5), region = ''"
    number = Only.of("customer", [pa.scalar(42)])
    assert window(1, None, number).display() == "[1, end), customer = 42"


# --- overlap --------------------------------------------------------------------------------------

BOUND = st.none() | st.integers(0, 4)
VALUES = st.sets(st.sampled_from("abc"), min_size=1)
SLICES = st.none() | st.tuples(st.sampled_from(["region", "kind"]), VALUES)
ROWS = list(itertools.product(range(-1, 6), "abcd", "abcd"))


@given(BOUND, BOUND, SLICES, BOUND, BOUND, SLICES)
def test_two_slices_overlap_where_a_row_could_be_in_both(
    low: int | None, high: int | None, mine: Any, start: int | None, end: int | None, theirs: Any
) -> None:
    if (low is not None and high is not None and low >= high) or (
        start is not None and end is not None and start >= end
    ):
        return  # no such window can be asked for

    def holds(low: int | None, high: int | None, by: Any, row: tuple[int, str, str]) -> bool:
        n, region, kind = row
        value = region if by and by[0] == "region" else kind
        in_time = (low is None or low <= n) and (high is None or n < high)
        return in_time and (by is None or value in by[1])

    def made(low: int | None, high: int | None, by: Any) -> Window:
        return window(low, high, only(*by[1], column=by[0]) if by else None)

    shared = any(holds(low, high, mine, r) and holds(start, end, theirs, r) for r in ROWS)
    one, other = made(low, high, mine), made(start, end, theirs)
    assert one.overlaps(other) == other.overlaps(one) == shared


def test_values_of_two_types_overlap_in_doubt() -> None:
    small, wide = (Only.of("c", [pa.scalar(n, t)]) for n, t in ((1, pa.int32()), (2, pa.int64())))
    assert window(None, None, small).overlaps(window(None, None, wide))


def test_a_slice_overlaps_whatever_has_no_values() -> None:
    eu = window(None, None, only("eu"))
    for other in (Window("full"), Window("watermark", at(1), at(2)), window(1, 2, None)):
        assert eu.overlaps(other)
        assert other.overlaps(eu)


# --- coverage -------------------------------------------------------------------------------------


def test_slices_by_value_cover_no_time_and_leave_no_gap() -> None:
    eu, day = window(None, None, only("eu")), window(20, 30, only("eu"))
    assert coverage([record(1, window=eu), record(2, window=day)]).covered == ()
    chain = [record(n, window=w) for n, w in enumerate((window(1, 5, None), eu, day), 1)]
    found = coverage(chain)
    assert ([s.display() for s in found.covered], found.gaps) == (["[1, 5)"], ())
