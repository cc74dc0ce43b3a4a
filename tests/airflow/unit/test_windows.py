from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_conduit.windows import RunTimes, check_window, interval, times_of
from conduit_core.errors import ConfigError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_an_interval_is_taken_as_it_is() -> None:
    found = interval(RunTimes(NOON, NOON + DAY))
    assert found == ("2026-01-01T12:00:00+00:00", "2026-01-02T12:00:00+00:00")


@pytest.mark.parametrize(
    "times",
    [
        RunTimes(),
        RunTimes(NOON, None),
        RunTimes(NOON, NOON, schedule="@daily"),
        RunTimes(NOON, NOON - DAY),
    ],
    ids=["asset or API", "half", "@daily", "backwards"],
)
def test_without_length_it_fails_and_names_both_timetables(times: RunTimes) -> None:
    with pytest.raises(ConfigError) as caught:
        interval(times)
    for name in ("CronDataIntervalTimetable", "CronPartitionTimetable", "window_from="):
        assert name in caught.value.message
    assert times.schedule in caught.value.message


@pytest.mark.parametrize(
    ("key", "window"),
    [
        ("2026", ("2026-01-01T00:00:00", "2027-01-01T00:00:00")),
        ("2025-12", ("2025-12-01T00:00:00", "2026-01-01T00:00:00")),
        ("2024-02-29", ("2024-02-29T00:00:00", "2024-03-01T00:00:00")),
        ("2026-01-31T23", ("2026-01-31T23:00:00", "2026-02-01T00:00:00")),
    ],
)
def test_a_partition_key_is_a_year_a_month_a_day_or_an_hour(
    key: str, window: tuple[str, str]
) -> None:
    assert interval(RunTimes(partition_key=key)) == window


@pytest.mark.parametrize(
    "key", ["eu-west", "2026-13", "2026-02-30", "9999", "9999-12-31", "2026-01-01T00:00:00", ""]
)
def test_any_other_key_fails_and_says_what_to_give(key: str) -> None:
    with pytest.raises(ConfigError, match=r"window_from= and window_to=.*partition_key"):
        interval(RunTimes(partition_key=key))


@given(st.dates(min_value=date(1990, 1, 1)), st.sampled_from(["%Y", "%Y-%m", "%Y-%m-%d"]))
def test_keys_tile_the_calendar(day: date, form: str) -> None:
    """Where a partition ends the next one begins."""
    _, end = interval(RunTimes(partition_key=day.strftime(form)))
    following = datetime.fromisoformat(end).strftime(form)
    assert interval(RunTimes(partition_key=following))[0] == end


class Timetable:
    expression = "0 0 * * *"
    timezone = "Europe/Oslo"


class Dag:
    schedule = Timetable()


def test_a_partition_of_a_timetable_ends_where_its_next_one_begins() -> None:
    """A day of 23 hours, when the clocks go forward."""
    start = datetime(2026, 3, 29, tzinfo=ZoneInfo("Europe/Oslo"))
    context = {"partition_key": "2026-03-29T00:00:00", "partition_date": start.astimezone(UTC)}
    first, last = interval(times_of(context, Dag()))  # type: ignore[arg-type]
    length = datetime.fromisoformat(last) - datetime.fromisoformat(first)
    assert length == timedelta(hours=23)


@pytest.mark.parametrize(
    ("window", "window_from", "told"),
    [("yesterday", None, "watermark, data_interval"), ("data_interval", "2026", "leave out")],
)
def test_a_window_that_cannot_be_is_refused_at_parse(
    window: str, window_from: str | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        check_window(window, window_from, None)


def test_a_template_is_looked_at_when_it_is_rendered() -> None:
    check_window("{{ params.window }}", None, None)
