"""Cursor values and distances: what is over at a moment, and what lies so far below a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa

from conduit_core.errors import ConfigError

if TYPE_CHECKING:
    from conduit_core.state.cursor import Value

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MICROSECOND = timedelta(microseconds=1)
_START = datetime(1970, 1, 1)  # noqa: DTZ001 - of a clock on the wall, in whichever zone


def is_time(kind: pa.DataType) -> bool:
    """Say whether values of this type are points in time: timestamps and dates."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def is_zoneless(kind: pa.DataType) -> bool:
    """Say whether values of this type are points in time only in some ``cursor_timezone``."""
    if pa.types.is_timestamp(kind):
        return kind.tz is None
    return bool(pa.types.is_date(kind))


def last_before(moment: datetime, kind: pa.DataType, timezone: str | None) -> Value:
    """Return the last value of a time type that is wholly over at a moment.

    A date stands for its day, a timestamp for one of its unit.

    Args:
        moment: with its time zone.
        kind: a timestamp or date type.
        timezone: the zone of values without one.

    Raises:
        ConfigError: values of that type are no points in time.
    """
    zone = ZoneInfo(timezone) if timezone and is_zoneless(kind) else UTC
    local = moment.astimezone(zone).replace(tzinfo=None)
    if pa.types.is_timestamp(kind):
        return pa.scalar(_ticks(local, kind.unit) - 1, pa.int64()).cast(kind)
    if not pa.types.is_date(kind):
        raise ConfigError(f"{kind} is no point in time")
    return pa.scalar(local.date() - timedelta(days=1), kind)


def step_back(value: Value, by: timedelta | Decimal, timezone: str | None) -> Value | None:
    """Return the value that lies ``by`` below another, or a little further; None: below all.

    Args:
        value: a number, timestamp or date.
        by: a duration for times (dates: rounded up to days), a number for numbers.
        timezone: the zone of a timestamp without one, whose clocks may have been put forward.

    Raises:
        ConfigError: values of that type have no such distance.
    """
    kind = value.type
    try:
        if isinstance(by, timedelta):
            return _earlier(value, by, timezone)
        if pa.types.is_floating(kind):
            return pa.scalar(float(value.as_py()) - float(by), kind)
        with localcontext(prec=100):
            if pa.types.is_decimal(kind):
                lower = (value.as_py() - by).quantize(Decimal(1).scaleb(-kind.scale), "ROUND_FLOOR")
                return pa.scalar(lower, kind)
            if pa.types.is_integer(kind):
                return pa.scalar(int((value.as_py() - by).to_integral_value("ROUND_FLOOR")), kind)
    except (OverflowError, ValueError):  # pyarrow's own errors are of these
        return None
    raise ConfigError(f"a number is no distance between values of type {kind}")


def seconds_between(one: Value, other: Value) -> float:
    """Return how much later another timestamp or date of the same type is, in any years."""
    kind = one.type
    if pa.types.is_timestamp(kind):
        start, end = (int(value.cast(pa.int64()).as_py()) for value in (one, other))
        return (end - start) / _PER_SECOND[kind.unit]
    return (_days(other) - _days(one)) * 86_400.0


def _days(value: Value) -> int:
    return int(value.cast(pa.date32()).cast(pa.int32()).as_py())


def _earlier(value: Value, by: timedelta, timezone: str | None) -> Value:
    kind = value.type
    if pa.types.is_date(kind):
        lower = _days(value) + (-by // timedelta(days=1))
        return pa.scalar(lower, pa.int32()).cast(pa.date32()).cast(kind)
    if not pa.types.is_timestamp(kind):
        raise ConfigError(f"a duration is no distance between values of type {kind}")
    per, ticks = _PER_SECOND[kind.unit], int(value.cast(pa.int64()).as_py())
    lower = ticks - -(-(by // _MICROSECOND) * per // 10**6)
    if kind.tz is None and timezone is not None:
        # Where clocks were put forward in between, the wall shows that much more than has passed.
        zone = ZoneInfo(timezone)
        shown = (_START + timedelta(seconds=ticks // per)).replace(tzinfo=zone)
        then = (shown.astimezone(UTC) - by).astimezone(zone).replace(tzinfo=None)
        lower = min(lower, _ticks(then, kind.unit))
    return pa.scalar(lower, pa.int64()).cast(kind)


def _ticks(wall: datetime, unit: str) -> int:
    """Return the units since 1970, rounded down."""
    return (wall - _START) // _MICROSECOND * _PER_SECOND[unit] // 10**6
