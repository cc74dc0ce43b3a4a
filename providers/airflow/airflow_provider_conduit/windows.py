"""Which window a run loads: its data interval, its partition, or none (the watermark)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import DAG

WINDOWS = ("watermark", "data_interval")
_KEYS = (
    (re.compile(r"\d{4}"), "%Y", "year"),
    (re.compile(r"\d{4}-\d{2}"), "%Y-%m", "month"),
    (re.compile(r"\d{4}-\d{2}-\d{2}"), "%Y-%m-%d", "day"),
    (re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}"), "%Y-%m-%dT%H", "hour"),
)


@dataclass(frozen=True, slots=True)
class RunTimes:
    """What Airflow says of a run's time; None for what it doesn't say.

    Args:
        start, end: the data interval.
        partition_key, partition_date: of a partitioned run.
        partition_end: where the timetable's next partition begins.
        schedule: the DAG's timetable, by its class's name.
    """

    start: datetime | None = None
    end: datetime | None = None
    partition_key: str | None = None
    partition_date: datetime | None = None
    partition_end: datetime | None = None
    schedule: str = ""


def check_window(window: object, window_from: object, window_to: object) -> None:
    """Refuse a window that can't be, while the DAG is parsed.

    Raises:
        ConfigError: an unknown word, or two windows at once.
    """
    if not isinstance(window, str):
        return  # another task's result, which isn't known yet
    if window not in WINDOWS and "{{" not in window and "{%" not in window:
        raise ConfigError(f"window={window!r}: must be one of {', '.join(WINDOWS)}")
    if window == "data_interval" and (window_from is not None or window_to is not None):
        raise ConfigError(
            "window='data_interval' is the run's own interval: leave out window_from and window_to"
        )


def interval(times: RunTimes) -> tuple[str, str]:
    """Return the run's window ``[from, to)`` as texts.

    Raises:
        ConfigError: the run has none; the message names the timetables that give one.
    """
    if times.partition_key is not None or times.partition_date is not None:
        return _partition(times)
    if times.start is not None and times.end is not None and times.start < times.end:
        return times.start.isoformat(), times.end.isoformat()
    raise ConfigError(f"window='data_interval': {_why(times)}")


def _why(times: RunTimes) -> str:
    ways = (
        "schedule the DAG with CronDataIntervalTimetable(cron, timezone=...) or"
        " CronPartitionTimetable(cron, timezone=...) (in airflow.sdk; 3.1 has the first alone, in"
        " airflow.timetables.interval), or give window_from="
        " and window_to="
    )
    if times.start is None or times.end is None:
        return (
            "this run has no data interval (it was triggered by hand, by an API or by an asset),"
            f" and the load never falls back to another window: {ways}"
        )
    at = times.start.isoformat()
    named = f" ({times.schedule})" if times.schedule else ""
    return (
        f"the run's data interval starts and ends at {at}: in Airflow 3 a cron schedule such as"
        f' "@daily"{named} makes intervals without length, and a manual run has none; {ways}'
    )


def _partition(times: RunTimes) -> tuple[str, str]:
    start, end = times.partition_date, times.partition_end
    if start is not None and end is not None and start < end:
        return start.isoformat(), end.isoformat()
    found = _of_key(times.partition_key or "")
    if found is None:
        raise ConfigError(
            f"window='data_interval': the partition key {times.partition_key!r} isn't a year,"
            " month, day or hour (2026-01-31T13), so where it ends can't be known: give"
            " window_from= and window_to=, as templates of {{ partition_key }}"
        )
    return found


def _of_key(key: str) -> tuple[str, str] | None:
    for pattern, form, unit in _KEYS:
        if not pattern.fullmatch(key):
            continue
        try:
            start = datetime.strptime(key, form)  # noqa: DTZ007 - a calendar's day, in the cursor's
            return start.isoformat(), _next(start, unit).isoformat()
        except (ValueError, OverflowError):  # no such day, or none after it
            return None
    return None


def _next(start: datetime, unit: str) -> datetime:
    if unit == "hour":
        return start + timedelta(hours=1)
    if unit == "day":
        return start + timedelta(days=1)
    month = start.month % 12 + 1 if unit == "month" else start.month
    year = start.year + (unit == "year" or start.month == 12)
    return start.replace(year=year, month=month)


def times_of(context: Mapping[str, object], dag: DAG | None) -> RunTimes:
    """Return what a task's context says of its run."""
    date = _moment(context.get("partition_date"))
    schedule = getattr(dag, "schedule", None)
    key = context.get("partition_key")
    return RunTimes(
        start=_moment(context.get("data_interval_start")),
        end=_moment(context.get("data_interval_end")),
        partition_key=key if isinstance(key, str) else None,
        partition_date=date,
        partition_end=_next_tick(schedule, date) if date is not None else None,
        schedule=schedule if isinstance(schedule, str) else type(schedule).__name__,
    )


def _moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _next_tick(schedule: object, date: datetime) -> datetime | None:
    """Return where the partition after ``date`` begins, by the timetable's cron and time zone."""
    expression = getattr(schedule, "expression", None)
    if not isinstance(expression, str):
        return None
    from zoneinfo import ZoneInfo

    from croniter import croniter

    zone = ZoneInfo(str(getattr(schedule, "timezone", "UTC")))
    return croniter(expression, date.astimezone(zone)).get_next(datetime)
