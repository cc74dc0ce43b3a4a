"""Time in equal slots, so that a chart has as many columns for a year as for a day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

_MOST = 60
_WIDTHS = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 180, 1440, 2 * 1440, 7 * 1440))
_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday: weeks begin with one
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Slots of one width, from the one that holds the first moment.

    Args:
        start: when the first slot begins.
        width: of each.
        count: how many there are.
    """

    start: datetime
    width: timedelta
    count: int

    @property
    def ends(self) -> tuple[str, ...]:
        """What stands below both ends of a chart."""
        first, last = self.label(0), self.label(self.count - 1)
        return (first,) if self.count == 1 else (first, last)

    def label(self, slot: int) -> str:
        """Return a slot's name: the day, and the time where slots are shorter."""
        begin = self.start + slot * self.width
        return f"{begin:%Y-%m-%d}" if self.width >= timedelta(days=1) else f"{begin:%m-%d %H:%M}"

    @property
    def unit(self) -> str:
        """How much a slot is, for people."""
        minutes = int(self.width.total_seconds()) // 60
        for size, name in ((7 * 1440, "week"), (1440, "day"), (60, "hour"), (1, "minute")):
            if minutes % size == 0:
                many = minutes // size
                return name if many == 1 else f"{many} {name}s"
        raise AssertionError("unreachable: every width is of whole minutes")

    def split(self, items: Iterable[tuple[datetime, _Item]]) -> list[list[_Item]]:
        """Return the items of each slot; what lies outside belongs to the slot at that end."""
        slots: list[list[_Item]] = [[] for _ in range(self.count)]
        for moment, item in items:
            place = (moment - self.start) // self.width
            slots[min(max(place, 0), self.count - 1)].append(item)
        return slots


def timeline(moments: Sequence[datetime]) -> Timeline:
    """Return the finest slots of which 60 reach over all moments; more than 60 weeks are wider."""
    first, last = min(moments), max(moments)
    widths = [w for w in _WIDTHS if _count(first, last, w) <= _MOST]
    weeks = -(-_count(first, last, _WIDTHS[-1]) // _MOST)
    width = widths[0] if widths else (weeks + 1) * _WIDTHS[-1]
    return Timeline(_floor(first, width), width, _count(first, last, width))


def _floor(moment: datetime, width: timedelta) -> datetime:
    return _EPOCH + (moment - _EPOCH) // width * width


def _count(first: datetime, last: datetime, width: timedelta) -> int:
    return (_floor(last, width) - _floor(first, width)) // width + 1
