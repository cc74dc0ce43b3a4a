from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.spec import format_duration, parse_duration


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


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)
