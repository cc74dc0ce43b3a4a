"""Playing a schedule: each step at the source or in a child, and a comparison with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.child import Ended, Job, forked, run_forked, run_fresh
from tests.soak.look import Content, Seen, System
from tests.soak.model import COUNTED, Ask, Lived, Model, Refused
from tests.soak.schedule import Schedule, Spec, Step
from tests.soak.source import PostgresStore, Rows, SqliteStore, Store

_STAGES = {"BatchWritten", "SplitStaged", "AuditStarted", "PublishStarted", "CommitStarted"}


class Mismatch(AssertionError):  # noqa: N818 - what the soak is there to find
    """The product and the model differ; the text says at which step and how."""


@dataclass
class Place:
    """Where a schedule is played: a folder, and a PostgreSQL database if there is one."""

    folder: Path
    url: str | None = None

    def system(self, spec: Spec, seed: int) -> System:
        """Return the destination, empty."""
        if spec.destination == "postgres":
            return System("postgres", self.url or "", f"t{seed}")
        schema = "main" if spec.destination == "sqlite" else "raw"
        path = str(self.folder / f"warehouse.{spec.destination}")
        return System(spec.destination, path, schema)

    def store(self, spec: Spec, seed: int) -> Store:
        """Return the source, empty."""
        if spec.source == "postgres":
            return PostgresStore(spec, self.url or "", f"s{seed}")
        return SqliteStore(spec, self.folder)


@dataclass
class Player:
    """One schedule under way."""

    schedule: Schedule
    place: Place
    spoil: bool = False
    told: list[str] = field(default_factory=list)
    loads: int = 0
    kills: int = 0

    def __post_init__(self) -> None:
        seed, self.spec = self.schedule.seed, self.schedule.spec
        self.system = self.place.system(self.spec, seed)
        self.store = self.place.store(self.spec, seed)
        self.source = Rows(self.spec)
        self.model = Model(self.spec)
        self.seen = 0
        stream = {**self.spec.stream(), "table": self.store.table}
        if self.spec.deletes == "tracking_table":
            stream["deletes"]["table"] = self.store.graves
        destination = self.system.config()
        if self.spec.splits and self.spec.destination != "postgres":
            destination["staging"] = str(self.place.folder / "staging")
        self.pipeline = {
            "name": "soak",
            "source": self.store.config(),
            "destination": destination,
            "streams": [stream],
        }

    def play(self) -> None:
        """Play every step, and compare after each load.

        Raises:
            Mismatch: the product does something else than the model.
        """
        for step in self.schedule.steps:
            self._step(step)
        if self.refused:  # the last word: everything again
            self._step(Step("refresh", 0, None, {"allow_empty": True, "allow_deletes": True}))

    def _step(self, step: Step) -> None:
        if self._holds_still(step) or not self.source.apply(step):
            if self._holds_still(step):
                return
            act = {"rewind": self._rewind, "reset": self._reset}.get(step.kind, self._load)
            act(step)
        else:
            self.store.write(self.source.rows, self.source.graves)
            self.told.append(f"{step}: {len(self.source.rows)} rows")

    def _holds_still(self, step: Step) -> bool:
        """Say whether a change must wait: of ranges it isn't known which were read before it."""
        is_change = hasattr(self.source, f"_{step.kind}")
        waits = any(held.parts for held in self.model.opened.values())
        return is_change and self.spec.splits == "range" and waits

    # --- steps --------------------------------------------------------------------------------

    def _load(self, step: Step) -> None:
        ask, spec = self._ask(step), self.spec
        request: dict[str, Any] = {"allow_empty": ask.allow_empty, "full_refresh": ask.refresh}
        request["allow_deletes"] = ask.allow_deletes
        request["window_from"] = None if ask.start is None else spec.text(ask.start)
        request["window_to"] = None if ask.end is None else spec.text(ask.end)
        workers = 1 if step.fault else 1 + step.seed % 2
        ended = self._child(
            Job("run", self.pipeline, self.place.folder, request, step.fault, workers)
        )
        self.loads += 1
        self.kills += ended.killed
        self._note(step, ended, ask)
        if "Retrying" in ended.events:
            raise self._mismatch("it was tried again, and nothing called for that", ended)
        has_ended = not ended.killed or "RunFinished" in ended.events
        lived = [] if has_ended else list(_lived(ended.events))
        if not has_ended and not lived:
            self._compare(ended)
            return
        failed, source = "StreamFailed" in ended.events, self.source
        self._expect(ended, failed, lambda: self.model.run(source.rows, source.graves, ask, lived))

    def _ask(self, step: Step) -> Ask:
        dice, now, unit = step.chance, self.source.clock, self.spec.unit
        allow = {k: bool(step.options.get(k)) for k in ("allow_empty", "allow_deletes")}
        start = max(dice.randint(0, now + 1), 0)
        if step.kind == "window":
            end = None if dice.random() < 0.1 else (start + dice.randint(1, 7)) * unit
            return Ask(start * unit, end, **allow)
        if step.kind == "cap":
            return Ask(end=start * unit, **allow)
        return Ask(refresh=step.kind == "refresh", **allow)

    def _rewind(self, step: Step) -> None:
        dice, model = step.chance, self.model
        points = sorted({model.cursor(r) for r in (*model.rows, *self.source.rows)})
        if model.mark is not None:
            points = [p for p in points if p <= model.mark]
        elif not model.chain or model.is_marked:
            points = []
        if not points:
            return
        wanted = dice.choice(points)
        after = bool(step.options.get("replace_after")) or self.spec.mode == "append"
        text = ", ".join([self.spec.text(wanted[0]), *map(str, wanted[1:])])
        request = {"cursor": text, "replace_after": after}
        ended = self._child(Job("state_set", self.pipeline, self.place.folder, request))
        self._note(step, ended, wanted)
        self._expect(ended, bool(ended.error), lambda: model.rewind(wanted, replace_after=after))

    def _reset(self, step: Step) -> None:
        after = bool(step.options.get("replace_after"))
        request = {"replace_after": after}
        ended = self._child(Job("state_reset", self.pipeline, self.place.folder, request))
        self._note(step, ended, "")
        self._expect(ended, bool(ended.error), lambda: self.model.reset(replace_after=after))

    def _child(self, job: Job) -> Ended:
        ended = run_fresh(job) if self.spec.fresh else run_forked(job)
        if ended.error == "Crash":
            raise self._mismatch(ended.text, ended)
        if ended.killed:
            self.system.wait()
        return ended

    # --- comparing ----------------------------------------------------------------------------

    def _expect(self, ended: Ended, failed: bool, act: Any) -> None:
        self.refused = False
        try:
            act()
        except Refused as error:
            self.refused = True
            if not failed or (ended.error and ended.error != str(error)):
                raise self._mismatch(f"the model refuses it with {error}", ended) from None
        else:
            if failed:
                raise self._mismatch("the model does not refuse it", ended)
        self._compare(ended)

    def _compare(self, ended: Ended) -> None:
        model = self.model
        if self.spoil:
            self.model.rows = self.model.rows[1:]
        extra = ("_conduit_deleted_at IS NOT NULL",) if self.spec.deletes and self.spec.soft else ()
        if self.spec.mode == "scd2":
            extra = (*extra, "valid_from", "valid_to", "is_current")
        is_threaded = self.system.kind == "duckdb"
        seen: Seen = (
            forked(lambda _: self.system.look(extra)).answer
            if is_threaded
            else self.system.look(extra)
        )
        rows, records = seen.rows, seen.records
        if Counter(rows) != Counter(model.content()):
            raise self._mismatch(_difference(rows, model.content()), ended)
        if [r["version"] for r in records] != list(range(1, len(model.chain) + 1)):
            versions = [(r["version"], r["mode"], r["load_window"]) for r in records]
            raise self._mismatch(f"{len(model.chain)} records expected: {versions}", ended)
        if len({r["load_id"] for r in records}) != len(records):
            raise self._mismatch("a load id is there twice", ended)
        if model.mark != (mark := seen.mark):
            raise self._mismatch(f"the watermark is {mark}, not {model.mark}", ended)
        for record, counts in list(zip(records, model.counts, strict=True))[self.seen :]:
            read, *parts = (record[f"rows_{c}"] for c in COUNTED)
            beside = counts.get("deleted", 0) - counts.get("flagged", 0)  # they were not read
            if read != sum(parts) - beside:
                raise self._mismatch(f"no balance: {record}", ended)
            wrong = {
                c: record[f"rows_{c}"] for c in COUNTED if record[f"rows_{c}"] != counts.get(c, 0)
            }
            if wrong:
                raise self._mismatch(f"counted {wrong}, not {counts}: {record}", ended)
        self.seen = len(records)

    def _note(self, step: Step, ended: Ended, what: object) -> None:
        how = "killed" if ended.killed else ended.error or "done"
        self.told.append(f"{step} {what}: {how}")

    def _mismatch(self, what: str, ended: Ended) -> Mismatch:
        events = " ".join(ended.events)
        return Mismatch(f"{what}\n{ended.error}: {ended.text}\nevents: {events}")


def _lived(events: list[str]) -> Iterator[Lived | None]:
    """Yield how far each attempt of a killed run came; the last one didn't come to its end."""
    starts = [i for i, name in enumerate(events) if name == "PlanReady"]
    for start, end in zip(starts, [*starts[1:], len(events)], strict=False):
        part = events[start:end]
        if end < len(events):
            yield None
            continue
        opened = not _STAGES.isdisjoint(part)
        yield Lived(opened, part.count("SplitStaged"), "Committed" in part)


def _difference(found: list[Content], wanted: list[Content]) -> str:
    more, less = Counter(found) - Counter(wanted), Counter(wanted) - Counter(found)
    surplus, lost = (sorted(side.elements(), key=str) for side in (more, less))
    return f"the target has {surplus} too much, lacks {lost}"
