"""Windows: JSON, overlap, and words for people."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.errors import StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from tests.unit.state.records import at

BOUND = st.none() | st.integers(-5, 5).map(at)
WINDOWS = st.builds(
    Window, st.sampled_from(["full", "watermark", "given"]), BOUND, BOUND, st.booleans(),
    st.booleans(),
)  # fmt: skip


def given_window(low: int | None, high: int | None) -> Window:
    return Window("given", *(None if n is None else at(n) for n in (low, high)))


@given(WINDOWS)
def test_a_window_comes_back_from_its_text(window: Window) -> None:
    assert Window.from_json(window.to_json()) == window


def test_keys_it_does_not_know_are_left_alone() -> None:
    assert Window.from_json('{"kind":"full","files":["a"]}') == Window("full")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kind":"half"}', '{"kind":"given","low":5}', "null", "7"]
)
def test_text_that_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(StateError):
        Window.from_json(text)


@given(*([st.none() | st.integers(-5, 5)] * 4))
def test_half_open_windows_overlap_where_they_share_a_point(
    a: int | None, b: int | None, c: int | None, d: int | None
) -> None:
    def points(low: int | None, high: int | None) -> set[int]:
        return {
            n for n in range(-9, 10) if (low is None or n >= low) and (high is None or n < high)
        }

    one, two = given_window(a, b), given_window(c, d)
    if not points(a, b) or not points(c, d):
        return  # the engine refuses empty windows before it compares
    assert one.overlaps(two) == bool(points(a, b) & points(c, d))
    assert one.overlaps(two) == two.overlaps(one)


def test_windows_over_unlike_cursors_do_not_compare() -> None:
    with pytest.raises(StateError):
        given_window(1, 2).overlaps(Window("given", at("a", pa.string()), at("b", pa.string())))


@pytest.mark.parametrize(
    ("window", "shown"),
    [
        (Window("full"), "everything"),
        (Window("full", None, at(5)), "everything up to 5"),
        (Window("full", at(2), at(5), closed_low=True), "everything from 2 up to 5"),
        (Window("full", at(2), closed_low=True), "everything from 2"),
        (Window("watermark", None, at(5)), "(start, 5]"),
        (Window("watermark", at(2), at(5)), "(2, 5]"),
        (Window("watermark", at(2), at(5), closed_low=True), "[2, 5]"),
        (Window("given", at(2), at(5)), "[2, 5)"),
        (Window("given", at(2)), "[2, end)"),
    ],
)
def test_a_window_is_shown_with_its_brackets(window: Window, shown: str) -> None:
    assert window.display() == shown


def test_a_composite_bound_is_shown_whole() -> None:
    values: tuple[pa.Scalar[Any], ...] = (pa.scalar(1), pa.scalar("x"))
    assert Window("watermark", None, Cursor(("a", "b"), values)).display() == "(start, 1, x]"
