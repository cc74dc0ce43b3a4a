from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.spec import format_duration, parse_duration
from conduit_core.spec.durations import PATTERN

UNITS = {
    "ms": ("ms", "millisecond", "milliseconds"),
    "s": ("s", "second", "seconds"),
    "m": ("m", "minute", "minutes"),
    "h": ("h", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
}
PARTS = st.tuples(
    st.integers(0, 9999),
    st.sampled_from([(unit, word) for unit, words in UNITS.items() for word in words]),
    st.sampled_from(["", " ", "  "]),
)
TEXTS = st.lists(PARTS, max_size=4).map(
    lambda parts: "".join(f"{number}{gap}{word}{gap}" for number, (_, word), gap in parts)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("10m", timedelta(minutes=10)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("500ms", timedelta(milliseconds=500)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("1 h 30 m", timedelta(minutes=90)),
        ("0s", timedelta(0)),
        ("1 day", timedelta(days=1)),
        ("2 hours", timedelta(hours=2)),
        ("90 minutes", timedelta(minutes=90)),
        ("1 week", timedelta(weeks=1)),
        ("1 day 2 hours", timedelta(hours=26)),
        ("1.5 hours 10s", timedelta(minutes=90, seconds=10)),
        (timedelta(seconds=5), timedelta(seconds=5)),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "h",
        "1",
        17,
        1.5,
        True,
        None,
        "-1h",
        "1y",
        "9 M",
        "1 Day",
        "1 dayss",
        "1 month",
        "day",
        "1 msecond",
        "1h!",
        "PT1H",
        "9" * 15 + "w",
        "٣h",
        [],
    ],
)
def test_what_is_no_duration_is_refused_without_showing_it(wrong: object) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_duration(wrong)
    assert repr(wrong) not in str(caught.value)


def test_a_negative_timedelta_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        parse_duration(timedelta(seconds=-1))


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
def test_every_duration_survives_writing_and_reading(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@given(st.lists(PARTS, min_size=1, max_size=5))
def test_words_and_letters_mean_the_same(parts: list[tuple[int, tuple[str, str], str]]) -> None:
    letters = "".join(f"{number}{unit}" for number, (unit, _), _ in parts)
    words = "".join(f"{number}{gap}{word}{gap}" for number, (_, word), gap in parts)
    assert parse_duration(words) == parse_duration(letters)


@given(TEXTS | st.text("0123456789 .dayshourmsw", max_size=12))
def test_editors_take_what_the_parser_takes(text: str) -> None:
    """But for a number of more digits than any duration needs, and space at the start."""
    is_long = re.search(r"\d{16}|\.\d{10}", text) is not None
    is_taken = re.search(PATTERN, text.lstrip(), re.ASCII) is not None
    try:
        parse_duration(text)
    except ValueError as error:
        is_parsed = "too long" in str(error)
    else:
        is_parsed = True
    assert is_parsed == is_taken or is_long


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)
