"""Versions of a key in plain Python: what scd2 must end with, one key and one row at a time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

Detect = Literal["flag", "missing", "listed"]


@dataclass(frozen=True)
class Row:
    """A row that arrives: a key as it was ``at`` a time; of two at one time the higher ``tie``."""

    key: int
    at: int
    tie: int = 0
    value: str | None = None
    note: int = 0
    flagged: bool = False


@dataclass(frozen=True)
class Version:
    """A row of the target. ``row`` is how the key was seen last."""

    begins: int
    row: Row
    until: int | None = None
    deleted: str | None = None


@dataclass
class _Run:
    """A version that is being made: its sightings, each with the old version or row behind it."""

    points: list[tuple[int, Row, Row | None]] = field(default_factory=list)
    until: int | None = None
    deleted: str | None = None
    is_ended: bool = False

    @property
    def version(self) -> Version:
        at, row, _ = self.points[-1]
        return Version(self.points[0][0], replace(row, at=at), self.until, self.deleted)


History = dict[int, list[Version]]


@dataclass
class Target:
    """A target, its history, and how its loads learn of deletes."""

    detect: Detect | None = None
    soft: bool = True
    history: History = field(default_factory=dict)

    def load(
        self,
        rows: Iterable[Row],
        at: str = "",
        *,
        present: frozenset[int] = frozenset(),
        ends_at: int = 0,
        tombstones: Iterable[tuple[int, int]] = (),
    ) -> Counter[str]:
        """Load rows; return what is counted."""
        counts: Counter[str] = Counter()
        staged = self._newest(list(rows), counts)
        listed = list(tombstones)
        covered = {
            key
            for key, time in listed
            for v in self.history.get(key, [])
            if v.begins <= time and (v.until is None or v.until > time)
        }
        for key in sorted({key for key, _ in staged} | covered):
            mine = [row for (owner, _), row in staged.items() if owner == key]
            self._key(key, mine, {time for k, time in listed if k == key}, at, counts)
        if self.detect == "missing":
            self._end_missing(present | {key for key, _ in staged}, ends_at, at, counts)
        return +counts

    def _newest(self, rows: list[Row], counts: Counter[str]) -> dict[tuple[int, int], Row]:
        counts["read"] += len(rows)
        best: dict[tuple[int, int], Row] = {}
        for row in rows:
            now = best.get((row.key, row.at))
            if now is None or row.tie >= now.tie:
                best[row.key, row.at] = row
        for spot, won in best.items():
            losers = [row for row in rows if (row.key, row.at) == spot]
            losers.remove(won)
            for row in losers:
                counts["deduplicated" if row == won else "superseded"] += 1
        return best

    def _key(
        self, key: int, staged: list[Row], told: set[int], at: str, counts: Counter[str]
    ) -> None:
        old = self.history.get(key, [])
        seen, ends = _known(old)
        gave_way = set()
        for row in staged:
            if not row.flagged:
                seen[row.at] = (row, row)
                if self.detect != "listed" and row.at in ends:
                    del ends[row.at]
                    gave_way.add(row.at)
        new_ends = ({row.at for row in staged if row.flagged} | told) - set(ends)
        mark = at if self.soft else None
        runs = _runs(seen, {**ends, **dict.fromkeys(new_ends, mark)})
        came_back = self.detect == "missing" and bool(runs) and runs[-1].until is not None
        if came_back:
            runs[-1].until = runs[-1].deleted = None
        ends_now = bool(runs) and runs[-1].until in new_ends
        goes = ends_now and not self.soft
        self._count(runs, old, gave_way, staged, counts, came_back=came_back, goes=goes)
        flagged = sum(row.flagged for row in staged)
        counts["flagged"] += flagged
        counts["deleted"] += flagged
        counts["gone"] += bool(old) and old[-1].until is None and ends_now
        if self.detect == "listed":  # versions of before that the load ends
            starts = {v.begins for v in old}
            was_open = bool(old) and old[-1].until is None
            for run in runs:
                known = any(point[0] in starts for point in run.points)
                is_new = run.is_ended and run.until in new_ends
                if is_new and (known or (run is runs[-1] and was_open)):
                    counts["deleted"] += 1
        if goes or not runs:
            self.history.pop(key, None)
        else:
            self.history[key] = [run.version for run in runs]

    def _count(
        self,
        runs: list[_Run],
        old: list[Version],
        gave_way: set[int],
        staged: list[Row],
        counts: Counter[str],
        *,
        came_back: bool,
        goes: bool,
    ) -> None:
        heads = {v.begins: v for v in old}
        newest = max((row.at for row in staged if not row.flagged), default=None)
        for run in runs:
            owner = next((heads[time] for time, _, _ in run.points if time in heads), None)
            for time, _, arrived in run.points:
                if arrived is None:
                    continue
                first, last = time == run.points[0][0], time == run.points[-1][0]
                if goes:
                    counts["superseded"] += 1
                elif first and owner is None:
                    counts["inserted"] += 1
                elif (
                    (last and (owner is None or owner.row != arrived))
                    or (first and owner is not None and owner.begins != time)
                    or (time in heads and heads[time] is not owner)
                    or time in gave_way
                    or (came_back and time == newest)
                ):
                    counts["updated"] += 1
                else:
                    counts["unchanged"] += 1

    def _end_missing(
        self, present: frozenset[int], ends_at: int, at: str, counts: Counter[str]
    ) -> None:
        for key, versions in list(self.history.items()):
            last = versions[-1]
            if key in present or last.until is not None:
                continue
            counts["gone"] += 1
            counts["deleted"] += 1
            if self.soft:
                until = max(ends_at, last.row.at)
                versions[-1] = replace(last, until=until, deleted=at)
            else:
                del self.history[key]


def _known(old: list[Version]) -> tuple[dict[int, tuple[Row, Row | None]], dict[int, str | None]]:
    """Return when a key was seen, and when it ended."""
    seen: dict[int, tuple[Row, Row | None]] = {}
    ends: dict[int, str | None] = {}
    for v, after in itertools.zip_longest(old, old[1:]):
        seen[v.begins] = (v.row, None)
        seen.setdefault(v.row.at, (v.row, None))
        if v.until is not None and (after is None or after.begins != v.until):
            ends[v.until] = v.deleted
    return seen, ends


def _runs(seen: dict[int, tuple[Row, Row | None]], ends: dict[int, str | None]) -> list[_Run]:
    """Return the versions of a key; an end comes after the row of its time."""
    runs: list[_Run] = []
    is_open = False
    for time, is_end in sorted([(t, 0) for t in seen] + [(t, 1) for t in ends]):
        if is_end:
            if is_open:
                runs[-1].until, runs[-1].deleted, runs[-1].is_ended = time, ends[time], True
            is_open = False
            continue
        row, arrived = seen[time]
        if not is_open or runs[-1].points[-1][1].value != row.value:
            if is_open:
                runs[-1].until = time
            runs.append(_Run())
        runs[-1].points.append((time, row, arrived))
        is_open = True
    return runs
