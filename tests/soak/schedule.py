"""Schedules: from a seed, a stream's keys and a list of steps. Pure data, the same every time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

SHOPS = (1, 2, 3)
START = datetime(2024, 1, 1)  # noqa: DTZ001 - the cursor column has no zone: cursor_timezone says it
FAULTS = (
    "before_plan", "after_plan", "locked", "mid_stage:1", "mid_stage:2", "after_split:1",
    "after_split:2", "after_split:3", "audit", "before_commit", "before_commit", "after_commit",
    "after_commit:2", "after_hooks",
)  # fmt: skip


class Row(NamedTuple):
    """A row of the source. ``at`` is its place in time: microseconds, or a plain number."""

    shop: int
    id: int
    at: int
    v: str | None
    n: int
    gone: int = 0


@dataclass(frozen=True)
class Spec:
    """One stream, as far as it decides what its target holds.

    ``log`` says that the source keeps the old rows of a key; ``unit`` is what one tick of the
    clock adds to ``at``; ``lookback`` is in ticks; ``deletes`` is how they are
    detected; ``splits`` is ``values`` (by shop), ``range`` or nothing: then loads are fused.
    """

    mode: str
    key: tuple[str, ...]
    cursor: tuple[str, ...]
    unit: int
    lookback: int
    splits: str
    log: bool
    source: str
    destination: str
    fresh: bool
    deletes: str = ""
    soft: bool = True
    max_ratio: float | None = None

    @property
    def is_time(self) -> bool:
        """Whether the cursor is a timestamp."""
        return self.unit > 1

    def stream(self) -> dict[str, Any]:
        """Return the stream as a pipeline file has it."""
        keys: dict[str, Any] = {"name": "items", "into": "items", "mode": self.mode}
        if self.key:
            keys["unique_key"] = list(self.key)
        if self.cursor:
            keys["cursor"] = list(self.cursor)
            if self.is_time:
                keys["cursor_timezone"] = "UTC"
        if self.lookback:
            keys["lookback"] = f"{self.lookback}s" if self.is_time else self.lookback
        if self.deletes:
            keys["deletes"] = self._deletes()
        if self.splits == "values":
            keys["splits"] = {"column": "shop", "values": list(SHOPS[:-1])}
        elif self.splits:
            keys["splits"] = {"count": 3, "column": "id"}
        return keys

    def _deletes(self) -> dict[str, Any]:
        more: dict[str, Any] = {"detect": self.deletes, "apply": "soft" if self.soft else "hard"}
        if self.max_ratio is not None:
            more["max_ratio"] = self.max_ratio
        if self.deletes == "flag":
            more["column"] = "gone"
        if self.deletes == "tracking_table":
            more["table"] = "{graves}"  # the player knows where it lies
            if self.cursor:
                more["cursor"] = "at"
        return more

    def text(self, at: int) -> str:
        """Return a value of the cursor as people type it."""
        return str(at) if not self.is_time else moment(at).isoformat(" ", "microseconds")


def moment(at: int) -> datetime:
    """Return the time that a number of microseconds stands for."""
    return START + timedelta(microseconds=at)


@dataclass(frozen=True)
class Step:
    """One thing that happens; ``chance`` makes its own numbers, so that steps can be left out."""

    kind: str
    seed: int
    fault: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def chance(self) -> random.Random:
        """Return the step's own dice."""
        return random.Random(self.seed)

    def __str__(self) -> str:
        more = [f"{k}={v}" for k, v in self.options.items()]
        return " ".join([self.kind, *more, *([f"killed at {self.fault}"] if self.fault else [])])


@dataclass(frozen=True)
class Schedule:
    """What one seed says."""

    seed: int
    spec: Spec
    steps: tuple[Step, ...]


CHANGES = {
    "insert": 6,
    "update": 5,
    "delete": 3,
    "late": 3,
    "reinsert": 1,
    "repeat": 1,
    "empty": 0.2,
}
LOADS = {"run": 7, "cap": 1.5, "window": 2.5, "refresh": 0.7, "rewind": 1.2, "reset": 0.5}


def schedule(seed: int, destinations: tuple[str, ...], sources: tuple[str, ...]) -> Schedule:
    """Return a seed's schedule, over these systems."""
    dice = random.Random(f"conduit soak {seed}")
    spec = _spec(dice, destinations, sources)
    steps = [_step("insert", dice)]
    for _ in range(dice.randint(5, 9)):
        steps += [_step(_pick(CHANGES, dice), dice) for _ in range(dice.randint(0, 3))]
        kind = _load(spec, dice)
        killed = dice.choice(FAULTS) if dice.random() < 0.4 else None
        steps.append(_step(kind, dice, killed))
        if killed and dice.random() < 0.7:  # the same again, as a scheduler would
            last = steps[-1]
            steps.append(Step(last.kind, last.seed, None, last.options))
    steps.append(_step("run", dice))
    return Schedule(seed, spec, tuple(steps))


def _pick(weights: dict[str, float], dice: random.Random) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]


def _step(kind: str, dice: random.Random, fault: str | None = None) -> Step:
    options: dict[str, Any] = {}
    if kind in ("run", "cap", "window", "refresh") and dice.random() < 0.4:
        options["allow_empty"] = True
    if kind in ("run", "cap", "window", "refresh") and dice.random() < 0.4:
        options["allow_deletes"] = True
    if kind in ("rewind", "reset") and dice.random() < 0.3:
        options["replace_after"] = True
    return Step(kind, dice.getrandbits(32), None if kind in ("rewind", "reset") else fault, options)


def _load(spec: Spec, dice: random.Random) -> str:
    kinds = dict(LOADS)
    if not spec.cursor:
        kinds.update(cap=0, window=0, rewind=0, reset=0)
    if spec.mode == "replace" or spec.deletes == "snapshot":
        kinds.update(window=0)
    return _pick(kinds, dice)


def _spec(dice: random.Random, destinations: tuple[str, ...], sources: tuple[str, ...]) -> Spec:
    mode = dice.choices(
        ["append", "insert_only", "upsert", "replace", "replace_window", "scd2"], [2, 1, 4, 1, 2, 3]
    )[0]  # fmt: skip
    needs_key = mode in ("insert_only", "upsert", "scd2")
    keyed = needs_key or (mode == "replace_window" and dice.random() < 0.5)
    key = dice.choice([("id",), ("id",), ("shop", "id")]) if keyed else ()
    cursors = [("at",), ("at",), ("at", "id")]
    if mode == "replace" or (keyed and mode != "scd2"):
        cursors.append(())
    cursor = dice.choice(cursors)
    unit = dice.choice([1, 10**6]) if cursor else 1
    lookback = dice.choice([0, 3, 8]) if cursor and keyed else 0
    deletes = ""
    if mode in ("upsert", "scd2"):
        deletes = dice.choice(["", "flag", "snapshot", "tracking_table"])
    if mode == "scd2" and deletes == "snapshot":
        unit = 10**6  # where a version ends whose key is missing is a time
    return Spec(
        mode=mode,
        key=key,
        cursor=cursor,
        unit=unit,
        lookback=lookback,
        splits=dice.choice(["", "", "values", "range"]),
        log=bool(cursor) and dice.random() < 0.3,
        source=dice.choice(sources),
        destination=dice.choice(destinations),
        fresh=dice.random() < 0.02,
        deletes=deletes,
        soft=dice.random() < 0.5,
        max_ratio=0.5 if deletes and dice.random() < 0.2 else None,
    )
