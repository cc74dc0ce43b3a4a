"""What a target must hold, in lists and dicts: written from the documents, not from the product."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.connectors import versions_model as versions
from tests.soak.schedule import SHOPS, Row, Spec

Point = tuple[int, ...]
NOW = 10**18
"""The time of any load, in the model's numbers: after all that the source tells."""
_OWN = ("shop", "v", "n", "gone")
_SHOP = 10**9
_DETECT: dict[str, versions.Detect] = {
    "flag": "flag",
    "snapshot": "missing",
    "tracking_table": "listed",
}
Counts = dict[str, int]
COUNTED = (
    "read", "inserted", "updated", "unchanged", "deleted", "deduplicated", "superseded", "rejected",
)  # fmt: skip


class Refused(Exception):  # noqa: N818 - the model's word for an error that must come
    """The load must end with this error, and change nothing."""


@dataclass(frozen=True)
class Ask:
    """What a run is asked for, in the model's numbers."""

    start: int | None = None
    end: int | None = None
    refresh: bool = False
    allow_empty: bool = False
    allow_deletes: bool = False


@dataclass(frozen=True)
class Load:
    """A load as planned: what it reads and how it is published."""

    kind: Literal["full", "watermark", "given"]
    how: str
    mark: Point | None
    low: Point | None = None
    high: Point | None = None
    closed: bool = False
    ask: Ask = Ask()
    base: int = 0
    seen: int = 0
    creates: bool = False
    guards: bool = False

    def holds(self, cursor: Point) -> bool:
        """Say whether a row with this cursor lies in the window."""
        if self.kind == "given":
            assert self.low is not None
            return self.low[0] <= cursor[0] and (self.high is None or cursor[0] < self.high[0])
        above = self.low is None or (
            cursor[: len(self.low)] >= self.low if self.closed else cursor > self.low
        )
        return above and (self.high is None or cursor <= self.high)

    def may_share(self, other: Load) -> bool:
        """Say whether two windows may share a row; by the first column, and in doubt yes."""
        return _starts_before(self, other) and _starts_before(other, self)


def _starts_before(one: Load, other: Load) -> bool:
    if one.low is None or other.high is None:
        return True
    return one.low[0] < other.high[0] or (other.kind != "given" and one.low[0] == other.high[0])


@dataclass
class Open:
    """A load that was opened and not published: the parts that have a receipt."""

    load: Load
    is_cut: bool = True
    """Whether its window was cut: one row makes no two ranges, and isn't split by its key."""
    parts: dict[int, list[Row]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lived:
    """How far one attempt came: None for an attempt that came to its end."""

    opened: bool
    staged: int
    committed: bool


@dataclass
class Model:
    """A target and its ledger."""

    spec: Spec
    rows: list[Row] = field(default_factory=list)
    dead: set[Point] = field(default_factory=set)
    history: versions.History = field(default_factory=dict)
    exists: bool = False
    mark: Point | None = None
    chain: list[Load | str] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)
    slices: list[Load] = field(default_factory=list)
    opened: dict[tuple[object, ...], Open] = field(default_factory=dict)

    def cursor(self, row: Row) -> Point:
        """Return a row's place in the stream's order; without a cursor, all have the same."""
        return tuple(getattr(row, c) for c in self.spec.cursor)

    def key(self, row: Row) -> Point:
        """Return a row's unique key."""
        return tuple(getattr(row, c) for c in self.spec.key)

    @property
    def is_marked(self) -> bool:
        """Whether a record says where the watermark is; slices don't."""
        return any(isinstance(c, str) or c.kind != "given" for c in self.chain)

    def content(self) -> list[tuple[object, ...]]:
        """Return what the target must hold; of soft deletes also whether each row is deleted."""
        soft = bool(self.spec.deletes) and self.spec.soft
        if self.spec.mode == "scd2":
            found = [v for kept in self.history.values() for v in kept]
            return [
                (*self._row(v.row), *([v.deleted is not None] if soft else []), v.begins, v.until,
                 v.until is None)
                for v in found
            ]  # fmt: skip
        if soft:
            return [(*r, self.key(r) in self.dead) for r in self.rows]
        return [tuple(r) for r in self.rows]

    # --- a run --------------------------------------------------------------------------------

    def run(
        self, source: Sequence[Row], graves: Sequence[Row], ask: Ask, lived: list[Lived | None]
    ) -> None:
        """Do what a run does.

        Args:
            source: the source's rows.
            graves: the deleted keys that a table of the source lists.
            ask: what is asked for.
            lived: how far each attempt of a killed run came; nothing: it came to its end.

        Raises:
            Refused: the run must fail.
        """
        self._source, self._graves = source, graves
        attempt = 0
        while True:
            if lived and attempt >= len(lived):
                return
            far = lived[attempt] if lived else None
            attempt += 1
            if not self._attempt(source, ask, far):
                return

    def _attempt(self, source: Sequence[Row], ask: Ask, far: Lived | None) -> bool:
        """Plan and publish once; return whether the run plans again."""
        load = self._plan(source, ask)
        if load is None:
            return False
        if not self.spec.splits:
            if far is None or far.committed:
                self._publish(load, [r for r in source if self._reads(load, r)])
            return False
        name = _request(load)
        adopted = name in self.opened and self._takes_up(self.opened[name], load)
        if far is not None and not far.opened:
            return False
        read = {r.id for r in source if self._reads(load, r)}
        is_cut = len(read) > 1 or self.spec.splits != "range"
        held = self.opened[name] if adopted else Open(load, is_cut)
        self.opened[name] = held
        left = None if far is None or far.committed else far.staged
        for part in range(len(SHOPS)):
            if part in held.parts:
                continue
            if left == 0:
                return False
            rows = [r for r in source if self._part(r) == part and self._reads(held.load, r)]
            held.parts[part] = rows
            left = None if left is None else left - 1
        if far is not None and not far.committed:
            return False
        del self.opened[name]  # over, published or refused
        self._publish(held.load, [r for part in sorted(held.parts) for r in held.parts[part]])
        return adopted

    def _part(self, row: Row) -> int:
        """Return the split that reads a row: one for each shop; of ranges it doesn't matter."""
        return SHOPS.index(row.shop)

    def _reads(self, load: Load, row: Row) -> bool:
        return load.holds(self.cursor(row)) if self.spec.cursor else True

    def _takes_up(self, opened: Open, fresh: Load) -> bool:
        """Say whether an open load can still be published in a fresh one's place."""
        held = opened.load
        same = _manner(held) == _manner(fresh)
        by_key = (
            opened.is_cut and ("id" if self.spec.splits == "range" else "shop") in self.spec.key
        )
        newer = [c for c in self.chain[held.seen :] if isinstance(c, Load) and c.kind == "given"]
        return same and (held.kind != "full" or by_key) and not any(map(held.may_share, newer))

    def _plan(self, source: Sequence[Row], ask: Ask) -> Load | None:
        """Return what is to be loaded; None: nothing is new."""
        how = "replace" if ask.refresh else self.spec.mode
        bare = Load("full", how, None, ask=ask, base=self._base(), seen=len(self.chain),
                    creates=not self.exists)  # fmt: skip
        guards = self.spec.deletes == "snapshot" or self.spec.max_ratio is not None
        if self.exists and how in ("upsert", "scd2"):
            bare = _changed(bare, guards=guards and not ask.allow_deletes)
        if self.exists and how == "replace" and self.spec.mode == "scd2":
            bare = _changed(bare, guards=not ask.allow_deletes)
        if ask.start is not None:
            return self._given(bare, ask.start)
        if not self.spec.cursor:
            return bare
        if not ask.refresh and self.chain and not self.is_marked:
            raise Refused("StateError")
        mark = None if ask.refresh else self.mark
        cursors = [self.cursor(r) for r in source if ask.end is None or r.at <= ask.end]
        top = max(cursors, default=None)
        low = self._low(mark) if how != "replace" else mark
        self._refuse_backwards(ask, top, mark, low)
        if how == "replace":
            stands = mark is not None and (top is None or top <= mark)
            is_empty = stands or (ask.end is not None and top is None)
            return None if is_empty else _changed(bare, mark=top, high=top)
        return self._watermark(bare, top, mark, low)

    def _given(self, bare: Load, start: int) -> Load:
        """Return a given window's load: by key, or the slice is replaced."""
        ask, by_key = bare.ask, bare.how in ("upsert", "insert_only", "scd2")
        given = _changed(
            bare, kind="given", how=bare.how if by_key else "replace_window", mark=self.mark,
            low=(start,), high=None if ask.end is None else (ask.end,),
        )  # fmt: skip
        return _changed(given, base=self._base(given))

    def _low(self, mark: Point | None) -> Point | None:
        """Return where reading starts: the watermark, or the lookback behind it."""
        if not self.spec.lookback or mark is None:
            return mark
        # Of a time without a zone whole seconds are taken back: it may be a little further.
        return ((mark[0] // self.spec.unit - self.spec.lookback) * self.spec.unit,)

    def _refuse_backwards(
        self, ask: Ask, top: Point | None, mark: Point | None, low: Point | None
    ) -> None:
        if mark is None or low is None or top is None or ask.end is not None or self.spec.deletes:
            return
        if top < mark and top[: len(low)] < low:
            raise Refused("StateError")

    def _watermark(
        self, bare: Load, top: Point | None, mark: Point | None, low: Point | None
    ) -> Load | None:
        end = bare.ask.end
        stands = mark is not None and (top is None or top <= mark)
        is_over = mark is not None and end is not None and end <= mark[0]
        by_keys = self.spec.deletes in ("snapshot", "tracking_table")
        if top is None and (mark is None or not by_keys):
            return None
        if stands and (is_over or not (self.spec.lookback or by_keys)):
            return None
        load = _changed(bare, kind="watermark", low=low, high=mark if stands else top,
                        closed=low != mark)  # fmt: skip
        if bare.how == "append" and any(self._collide(load, s) for s in self.slices):
            raise Refused("StateError")
        return _changed(load, mark=load.high)

    def _collide(self, load: Load, part: Load) -> bool:
        """Say whether a value of the first column lies in a watermark window and in a slice."""
        assert load.high is not None
        assert part.low is not None
        ties = len(self.spec.cursor) > 1
        first = None if load.low is None else load.low[0] + (not ties)
        start = part.low[0] if first is None else max(first, part.low[0])
        return start <= load.high[0] and (part.high is None or start < part.high[0])

    def _base(self, given: Load | None = None) -> int:
        """Return the version that a load starts from."""
        for version in range(len(self.chain), 0, -1):
            record = self.chain[version - 1]
            is_given = isinstance(record, Load) and record.kind == "given"
            if not is_given or (
                given is not None and isinstance(record, Load) and given.may_share(record)
            ):
                return version
        return 0

    # --- publishing ---------------------------------------------------------------------------

    def _publish(self, load: Load, staged: list[Row]) -> None:
        counts = dict.fromkeys((*COUNTED, "removed", "flagged"), 0)
        if self.spec.mode == "upsert":
            self._upsert(load, staged, counts)
            self._record(load, counts)
            return
        if self.spec.mode == "scd2":
            self._versions(load, staged, counts)
            self._record(load, counts)
            return
        rows = list(self.rows)
        counts["read"] = len(staged)
        keeps = self._newest(staged, counts) if self.spec.key and load.how != "append" else staged
        match load.how:
            case "append":
                if self.spec.cursor and self.mark is None and rows and not load.creates:
                    raise Refused("GuardError")
                rows += staged
            case "replace":
                rows = self._empty(load, staged, counts, stays=[]) + keeps
            case "replace_window":
                rows = self._empty(load, staged, counts, stays=self._beside(load, keeps)) + keeps
            case _:
                rows = self._merge(rows, keeps, counts)
        if load.how in ("append", "replace", "replace_window"):
            counts["inserted"] = len(keeps)
        if self._record(load, counts):
            self.rows = rows

    def _beside(self, load: Load, keeps: list[Row]) -> list[Row]:
        """Return the rows that a slice leaves: outside of it, and of other keys."""
        arriving = {self.key(r) for r in keeps} if self.spec.key else set()
        return [
            r
            for r in self.rows
            if not (self.spec.cursor and load.holds(self.cursor(r)))
            and not (self.spec.key and self.key(r) in arriving)
        ]

    def _empty(
        self, load: Load, staged: list[Row], counts: Counts, *, stays: list[Row]
    ) -> list[Row]:
        """Return what stays where rows make room; for none at all, that has to be allowed."""
        counts["removed"] = len(self.rows) - len(stays)
        if not staged and counts["removed"] and not load.ask.allow_empty:
            raise Refused("GuardError")
        return stays

    def _record(self, load: Load, counts: Counts) -> bool:
        """Write the ledger; return whether there is anything to tell."""
        makes_table = load.creates and load.kind != "given"  # a first load does, empty as it is
        if not any(counts[c] for c in ("read", "removed", "deleted")) and not makes_table:
            return False
        self.exists = True
        self.mark = self.mark if load.kind == "given" else load.mark
        self.chain.append(load)
        self.counts.append(counts)
        if load.how == "replace":
            self.slices = []
        if load.kind == "given":
            self.slices.append(load)
        return True

    def _upsert(self, load: Load, staged: list[Row], counts: Counts) -> None:
        """Merge rows by key, and follow deletes; ``dead`` are keys that were deleted softly."""
        detect, by_time = self.spec.deletes, bool(self.spec.cursor)
        starts_over = load.how == "replace"
        here = {} if starts_over else {self.key(r): r for r in self.rows}
        dead = set() if starts_over else set(self.dead)
        alive = here.keys() - dead
        looks = self._looks(load)
        known = {self.key(r) for r in self._source}
        staged = staged + self._lacking(load, staged, alive)
        counts["read"] = len(staged)
        gone = 0
        died: dict[Point, int] = {}
        for grave in self._graves if detect == "tracking_table" else ():
            died[self.key(grave)] = max(grave.at, died.get(self.key(grave), grave.at))
        keeps = self._newest(staged, counts)
        for row in keeps:
            key, old = self.key(row), here.get(self.key(row))
            is_flagged = (detect == "flag" and bool(row.gone)) or (
                detect == "tracking_table" and by_time and died.get(key, -1) >= row.at
            )
            if is_flagged:
                counts["deleted"] += 1
                counts["flagged"] += 1
                gone += key in alive
                here.pop(key, None)
                if self.spec.soft:
                    here[key] = row
                    dead.add(key)
            else:
                changed = old != row or key in dead
                what = "inserted" if old is None else "updated" if changed else "unchanged"
                counts[what] += 1
                here[key] = row
                dead.discard(key)
        arrived = {self.key(r) for r in keeps}
        for key in alive - arrived:
            lost = looks and key not in known
            buried = key in died and (not by_time or died[key] >= here[key].at)
            if lost or (buried and not starts_over):
                counts["deleted"] += 1
                gone += 1
                if self.spec.soft:
                    dead.add(key)
                else:
                    del here[key]
        self._guard_deletes(load, counts, gone, len(alive), looks=looks)
        if starts_over:
            counts["removed"] = len(self.rows)
        self.rows, self.dead = list(here.values()), dead & here.keys()

    def _looks(self, load: Load) -> bool:
        """Say whether a load compares all keys: in what starts from nothing none is missing."""
        return self.spec.deletes == "snapshot" and not load.creates and load.how != "replace"

    def _lacking(self, load: Load, staged: list[Row], alive: Collection[Point]) -> list[Row]:
        """Return the rows of keys that the target lacks, which are read again."""
        if not self._looks(load):
            return []
        have = {*alive, *map(self.key, staged)}
        lacking = {
            self.key(r)
            for r in self._source
            if self.key(r) not in have and (load.mark is None or self.cursor(r) <= load.mark)
        }
        return [r for r in self._source if self.key(r) in lacking]

    def _versions(self, load: Load, staged: list[Row], counts: Counts) -> None:
        """Keep versions; which they are is the other model's."""
        spec, starts_over = self.spec, load.how == "replace"
        old = {} if starts_over else {key: list(kept) for key, kept in self.history.items()}
        ends = [kept[-1] for kept in old.values()]
        alive = [self.key(self._row(v.row)) for v in ends if v.until is None]
        staged = staged + self._lacking(load, staged, alive)
        target = versions.Target(_DETECT.get(spec.deletes), spec.soft, old)
        found = target.load(
            [self._sighting(r) for r in staged],
            "at",
            present=frozenset(map(self._number, self._source)),
            ends_at=NOW,
            tombstones=[
                (self._number(g), g.at) for g in self._graves if spec.deletes == "tracking_table"
            ],
        )
        counts.update({name: found[name] for name in counts if name in found})
        if starts_over:
            if self.history and not load.ask.allow_deletes:
                raise Refused("GuardError")
            counts["removed"] = sum(map(len, self.history.values()))
        looks = self._looks(load)
        self._guard_deletes(load, counts, found["gone"], len(alive), looks=looks)
        self.history = target.history

    def _sighting(self, row: Row) -> versions.Row:
        """Return a row as the model of versions has it: what makes a version, and the rest."""
        shown = {c: getattr(row, c) for c in _OWN if c not in self.spec.key}
        flagged = self.spec.deletes == "flag" and bool(row.gone)
        return versions.Row(self._number(row), row.at, row.id, json.dumps(shown), 0, flagged)

    def _row(self, seen: versions.Row) -> Row:
        shop, id_ = divmod(seen.key, _SHOP)
        shown = json.loads(seen.value or "{}")
        return Row(**{"shop": shop, "id": id_, "at": seen.at, **shown})

    def _number(self, row: Row) -> int:
        """Return a key as a number."""
        return (row.shop * _SHOP if "shop" in self.spec.key else 0) + row.id

    def _guard_deletes(
        self, load: Load, counts: Counts, gone: int, alive: int, *, looks: bool
    ) -> None:
        if load.how == "replace":
            if not counts["read"] and self.content() and not load.ask.allow_empty:
                raise Refused("GuardError")
            return
        if load.creates or load.ask.allow_deletes:
            return
        too_many = self.spec.max_ratio is not None and gone > self.spec.max_ratio * alive
        if too_many or (looks and not self._source and alive):
            raise Refused("GuardError")

    def _newest(self, staged: list[Row], counts: Counts) -> list[Row]:
        """Return one row of each key, the newest by cursor; count the others."""
        best: dict[Point, Row] = {}
        for row in staged:
            now = best.get(self.key(row))
            if now is None or self.cursor(row) >= self.cursor(now):
                best[self.key(row)] = row
        equal = sum(1 for row in staged if best[self.key(row)] == row)
        counts["deduplicated"] = equal - len(best)
        counts["superseded"] = len(staged) - equal
        return list(best.values())

    def _merge(self, rows: list[Row], keeps: list[Row], counts: Counts) -> list[Row]:
        here = {self.key(r): r for r in rows}
        for row in keeps:
            old = here.get(self.key(row))
            if old is None:
                counts["inserted"] += 1
            elif old == row or self.spec.mode == "insert_only":
                counts["unchanged"] += 1
                continue
            else:
                counts["updated"] += 1
            here[self.key(row)] = row
        return list(here.values())

    # --- state --------------------------------------------------------------------------------

    def rewind(self, wanted: Point, *, replace_after: bool) -> None:
        """Set the watermark back."""
        if replace_after and self.spec.mode == "scd2":
            raise Refused("ConfigError")  # it would cut versions in two
        if replace_after:
            self.rows = [r for r in self.rows if self.cursor(r) <= wanted]
            self.dead &= {self.key(r) for r in self.rows}
            self.slices = []
        self._noted("state_set", wanted)

    def reset(self, *, replace_after: bool) -> None:
        """Forget the watermark."""
        if self.spec.mode == "append" and self.exists and not replace_after:
            raise Refused("StateError")
        if replace_after:
            self.rows, self.dead, self.history = [], set(), {}
        self.slices = []
        self._noted("state_reset", None)

    def _noted(self, what: str, mark: Point | None) -> None:
        self.mark = mark
        self.chain.append(what)
        self.counts.append({})


def _request(load: Load) -> tuple[object, ...]:
    """Return what makes two plans one load."""
    return (load.ask.start, load.ask.end, load.ask.refresh, load.base, load.how)


def _manner(load: Load) -> tuple[object, ...]:
    """Return what makes one load be published in two ways."""
    is_guarded = load.how.startswith("replace") and not load.creates
    return (load.creates, is_guarded and load.ask.allow_empty, load.guards)


def _changed(load: Load, **fields: object) -> Load:
    return replace(load, **fields)  # type: ignore[arg-type]
