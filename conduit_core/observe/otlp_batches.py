"""Batches of a load in groups, so that a load of any length has few spans. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from conduit_core.events import BatchRead, BatchWritten

MOST = 64
"""Groups that a load has at most, unless it has more splits than that."""


@dataclass(slots=True)
class Group:
    """Batches that were read one after another, and what was written meanwhile."""

    start: datetime
    end: datetime
    batches: int = 0
    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    read_seconds: float = 0.0
    cast_seconds: float = 0.0
    write_seconds: float = 0.0

    def facts(self) -> dict[str, str | int | float | bool]:
        """Return it as attributes."""
        return {
            "conduit.batches": self.batches,
            "conduit.rows.read": self.rows_read,
            "conduit.bytes.read": self.bytes_read,
            "conduit.rows.written": self.rows_written,
            "conduit.seconds.read": round(self.read_seconds, 6),
            "conduit.seconds.cast": round(self.cast_seconds, 6),
            "conduit.seconds.write": round(self.write_seconds, 6),
        }

    def absorb(self, later: Group) -> None:
        """Add the group that follows."""
        self.end = max(self.end, later.end)
        self.batches += later.batches
        self.rows_read += later.rows_read
        self.bytes_read += later.bytes_read
        self.rows_written += later.rows_written
        self.read_seconds += later.read_seconds
        self.cast_seconds += later.cast_seconds
        self.write_seconds += later.write_seconds


class Batches:
    """The batches of a load, or of one split; groups double where there are too many."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._size = 1

    def read(self, event: BatchRead) -> None:
        """Take in a batch that was read."""
        if not self._groups or self._groups[-1].batches >= self._size:
            if len(self._groups) >= MOST:
                self._groups = _in_pairs(self._groups)
                self._size *= 2
            took = timedelta(seconds=event.read_seconds + event.cast_seconds)
            self._groups.append(Group(event.at - took, event.at))
        group = self._groups[-1]
        group.end = event.at
        group.batches += 1
        group.rows_read += event.rows
        group.bytes_read += event.bytes
        group.read_seconds += event.read_seconds
        group.cast_seconds += event.cast_seconds

    def written(self, event: BatchWritten) -> None:
        """Take in a batch that was written: it counts for the group that is being read."""
        if not self._groups:
            return
        group = self._groups[-1]
        group.end = event.at
        group.rows_written += event.rows
        group.write_seconds += event.write_seconds

    def groups(self, splits: int) -> list[Group]:
        """Return the groups, so few that those of all splits together are not too many."""
        groups = self._groups
        while len(groups) > max(MOST // max(splits, 1), 1):
            groups = _in_pairs(groups)
        return groups


def _in_pairs(groups: list[Group]) -> list[Group]:
    for first, second in zip(groups[::2], groups[1::2], strict=False):
        first.absorb(second)
    return groups[::2]
