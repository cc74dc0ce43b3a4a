"""What is over at a moment, and what lies so far below a value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conduit_core.errors import ConfigError
from conduit_core.state.distance import last_before, step_back

NOON = dt.datetime(2024, 3, 10, 12, 0, 0, 123456, tzinfo=dt.UTC)
OSLO = "Europe/Oslo"


@pytest.mark.parametrize(
    ("kind", "zone", "shown"),
    [
        (pa.timestamp("us", "UTC"), None, "2024-03-10 12:00:00.123455Z"),
        (pa.timestamp("us", "UTC"), OSLO, "2024-03-10 12:00:00.123455Z"),
        (pa.timestamp("ns", "UTC"), None, "2024-03-10 12:00:00.123455999Z"),
        (pa.timestamp("ms"), "UTC", "2024-03-10 12:00:00.122"),
        (pa.timestamp("s"), OSLO, "2024-03-10 12:59:59"),
        (pa.date32(), "UTC", "2024-03-09"),
        (pa.date32(), "Pacific/Kiritimati", "2024-03-10"),
        (pa.date64(), "America/Los_Angeles", "2024-03-09"),
    ],
)
def test_what_is_over_at_a_moment(kind: pa.DataType, zone: str | None, shown: str) -> None:
    assert str(last_before(NOON, kind, zone).cast(pa.string()).as_py()) == shown


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.time64("us")])
def test_what_is_no_time_is_over_at_no_moment(kind: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="no point in time"):
        last_before(NOON, kind, None)


def at(text: str, unit: str = "us", tz: str | None = None) -> pa.Scalar[Any]:
    return pa.scalar(text).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, tz))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("value", "by", "zone", "lower"),
    [
        (pa.scalar(100, pa.int32()), Decimal(30), None, pa.scalar(70, pa.int32())),
        (pa.scalar(100, pa.int64()), Decimal("0.5"), None, pa.scalar(99, pa.int64())),
        (pa.scalar(5, pa.uint8()), Decimal(6), None, None),
        (pa.scalar(-128, pa.int8()), Decimal(1), None, None),
        (pa.scalar(Decimal("1.50")), Decimal("0.255"), None, pa.scalar(Decimal("1.24"))),
        (pa.scalar(1.5), Decimal("0.5"), None, pa.scalar(1.0)),
        (pa.scalar(dt.date(2024, 3, 1)), dt.timedelta(days=1), None, dt.date(2024, 2, 29)),
        (pa.scalar(dt.date(2024, 3, 1)), dt.timedelta(minutes=10), None, dt.date(2024, 2, 29)),
        (at("2024-01-01", "s"), dt.timedelta(milliseconds=1), None, at("2023-12-31T23:59:59", "s")),
        (at("2024-01-01", "ns"), dt.timedelta(seconds=1), None, at("2023-12-31T23:59:59", "ns")),
        (
            at("2024-01-01", tz="UTC"), dt.timedelta(minutes=10), None,
            at("2023-12-31T23:50", tz="UTC"),
        ),
        # Clocks were put forward at 02:00: the hour before 03:30 began at 01:30 on the wall.
        (at("2024-03-31T03:30"), dt.timedelta(hours=1), OSLO, at("2024-03-31T01:30")),
        (at("2024-03-31T03:30"), dt.timedelta(hours=1), None, at("2024-03-31T02:30")),
        # Put back at 03:00, the hour before 03:30 began at the second 02:30: the first is read too.
        (at("2024-10-27T03:30"), dt.timedelta(hours=1), OSLO, at("2024-10-27T02:30")),
        (at("1677-09-21T00:12:44", "ns"), dt.timedelta(days=365), None, None),
    ],
)  # fmt: skip
def test_what_lies_so_far_below(
    value: pa.Scalar[Any], by: dt.timedelta | Decimal, zone: str | None, lower: Any
) -> None:
    got = step_back(value, by, zone)
    expected = pa.scalar(lower, value.type) if isinstance(lower, dt.date) else lower
    assert got == expected
    if got is not None:
        assert got.type == value.type


@pytest.mark.parametrize(
    ("value", "by"),
    [
        (pa.scalar(1), dt.timedelta(minutes=1)),
        (pa.scalar(dt.date(2024, 1, 1)), Decimal(1)),
        (at("2024-01-01"), Decimal(1)),
        (pa.scalar("a"), Decimal(1)),
        (pa.scalar("a"), dt.timedelta(minutes=1)),
        (pa.scalar(b"a"), Decimal(1)),
    ],
)
def test_a_distance_that_the_type_does_not_have_is_refused(
    value: pa.Scalar[Any], by: dt.timedelta | Decimal
) -> None:
    with pytest.raises(ConfigError, match="no distance"):
        step_back(value, by, None)


@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2099, 1, 1)),  # noqa: DTZ001 - on a wall
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=400)),
    st.sampled_from([OSLO, "America/New_York", "Australia/Lord_Howe", "UTC"]),
)
def test_a_wall_clock_s_lookback_covers_all_that_passed(
    wall: dt.datetime, by: dt.timedelta, zone: str
) -> None:
    lower = step_back(pa.scalar(wall, pa.timestamp("us")), by, zone)
    assert lower is not None
    assert lower.as_py() <= wall - by
    shown = wall.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC)
    assume(shown.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall)  # no clock skips it
    moment = shown - by
    assert lower.as_py() <= moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
