"""Durations as people write them: ``30s``, ``10m``, ``24h``, ``1h30m``, ``1 day``, ``2 weeks``."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

_UNIT_MS = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_WORDS = {
    "millisecond": "ms",
    "second": "s",
    "minute": "m",
    "hour": "h",
    "day": "d",
    "week": "w",
}
_UNIT = "|".join([*(f"{word}s?" for word in _WORDS), "ms", "[smhdw]"])
_PART = re.compile(rf"(\d{{1,15}}(?:\.\d{{1,9}})?)\s*({_UNIT})", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+", re.ASCII)
PATTERN = rf"^([0-9]+(\.[0-9]+)?\s*({_UNIT})\s*)+$"
EXPECTED = "a duration such as 30s, 10m, 24h or 1 day"


def parse_duration(value: object) -> timedelta:
    """Return the duration that ``value`` writes; a number needs its unit.

    Raises:
        ValueError: not such text, negative, or too long; the message never holds the value.
    """
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise ValueError("must not be negative")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("needs a unit: ms, s, m, h, d or w")  # noqa: TRY004 - pydantic's contract
    if not isinstance(value, str) or not _WHOLE.fullmatch(value.strip()):
        raise ValueError(f"must be {EXPECTED}")
    total = sum(
        (Decimal(number) * _milliseconds(unit) for number, unit in _PART.findall(value)),
        Decimal(0),
    )
    try:
        return timedelta(microseconds=int(total * 1000))
    except OverflowError:
        raise ValueError("is too long for a duration") from None


def _milliseconds(unit: str) -> int:
    return _UNIT_MS[_WORDS.get(unit.removesuffix("s"), unit)]


def format_duration(value: timedelta) -> str:
    """Return the shortest text that :func:`parse_duration` reads back (exact to a microsecond)."""
    micros = value // timedelta(microseconds=1)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        size = _UNIT_MS[unit] * 1000
        count, micros = divmod(micros, size)
        if count:
            parts.append(f"{count}{unit}")
    if micros:
        parts.append(f"{Decimal(micros) / 1000}ms")
    return "".join(parts) or "0s"
