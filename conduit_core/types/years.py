"""Dates and timestamps in any year, as text: neither Python nor Arrow spells them all."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa

_PER_DAY = {"s": 86_400, "ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_ERA_DAYS = 146_097
"""Days of 400 years, after which the calendar repeats."""


def year_and_rest(value: pa.Scalar[pa.DataType]) -> tuple[int, str]:
    """Return a date's or timestamp's year, and the rest of its text in UTC: ``-03-15 10:00:00``.

    The year before 1 is 0, the one before that -1.
    """
    kind = value.type
    if pa.types.is_timestamp(kind):
        per_day = _PER_DAY[kind.unit]
        days, ticks = divmod(int(value.cast(pa.int64()).as_py()), per_day)
        second, part = divmod(ticks * 86_400, per_day)
        time = f" {second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
        if part:
            time += f".{part * 10**9 // per_day:09}".rstrip("0")
    else:
        days, time = int(value.cast(pa.date32()).cast(pa.int32()).as_py()), ""
    eras, day = divmod(days, _ERA_DAYS)
    near = date(1970, 1, 1) + timedelta(day)
    return near.year + 400 * eras, f"{near:-%m-%d}{time}"


def infinity_of(value: pa.Scalar[pa.DataType]) -> str:
    """Return ``infinity`` or ``-infinity`` for what infinite times are read as, else ``""``."""
    is_stamp = pa.types.is_timestamp(value.type)
    number, most = (pa.int64(), 2**63 - 1) if is_stamp else (pa.int32(), 2**31 - 1)
    found = int((value if is_stamp else value.cast(pa.date32())).cast(number).as_py())
    if abs(found) != most:
        return ""
    return "infinity" if found > 0 else "-infinity"
