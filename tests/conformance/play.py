"""Plays a case in a runner, scene by scene, and compares each with what the case should give.

What it should give is a file in ``expected/``, which people can read, and not a second load: a load
by the command line beside each runner's would double what the suite costs, and could be wrong
together with it. ``CONDUIT_UPDATE_DOCS=1`` lets the command line write the file anew; the change is
to be looked at as one of code is. All four runners, the command line too, are held to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from difflib import unified_diff
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import pytest

from conduit_core.state.store import StateEntry
from tests.conformance.cases import CASES, HANDED, Case, Scene
from tests.conformance.page import CONFORMANCE, RUNNERS
from tests.conformance.picture import Picture, counted, shortened, since
from tests.conformance.place import Place
from tests.crash.systems import System

EXPECTED = Path(__file__).with_name("expected")
UPDATE = os.environ.get("CONDUIT_UPDATE_DOCS") == "1"
WIDE = 160
Record = Callable[[str, object], None]


def orders() -> list[tuple[str, ...]]:
    """Return who plays each scene of the pipeline that is handed on: there and back."""
    count = len(HANDED.scenes)
    return [
        tuple(islice(cycle(way), first, first + count))
        for way in (RUNNERS, RUNNERS[::-1])
        for first in (0, 2)
    ]


class Runner(Protocol):
    """Someone who loads pipelines: the command or an orchestrator, at one place."""

    name: str
    """As the page has it."""
    mark: str
    """As the ledger's ``runner`` has it."""

    place: Place
    said: str
    """What it said last."""

    def load(self, scene: Scene) -> bool:
        """Load all streams, and do what follows; say whether all went well."""
        ...

    def replay(self) -> bool:
        """Replay dead letters; say whether all went well."""
        ...

    def edit(self, target: str, values: str) -> None:
        """Set a target's watermark back as a person does, to values with commas between."""
        ...

    def entry(self, target: str) -> str | None:
        """Return the text of a target's entry in the runner's state store."""
        ...


def params() -> list[Any]:
    """Return the cases as parameters of a test; those that aren't ``daily`` are deep."""
    made = []
    for case in CASES:
        marks = [pytest.mark.postgres] if case.destination == "postgres" else []
        marks += [] if case.daily else [pytest.mark.deep]
        made.append(pytest.param(case, id=case.name, marks=marks))
    return made


def do(runner: Runner, scene: Scene, *, edits: bool = True) -> Picture:
    """Play one scene, and return what is there then; without its edit, where that has been made."""
    place = runner.place
    place.change(scene)
    if edits:
        edit(runner, scene)
    fine = runner.replay() if scene.replay else runner.load(scene)
    assert fine is not scene.fails, f"{runner.name}: it should have ended otherwise: {runner.said}"
    seen = place.look()
    state = {each: mirrored(runner.entry(each), each, place.system) for each in place.targets}
    return {**seen, "state": state}


def whole(runner: Runner, record: Record, *, writes: bool = False) -> None:
    """Play a runner's case, hold it to the case's file, and record it for the page.

    Args:
        runner: who plays.
        record: pytest's ``record_property``.
        writes: whether the file is written first.
    """
    case = runner.place.case
    told = [do(runner, scene) for scene in case.scenes]
    if writes:
        write(case, told)
    hold(case, told)
    assert set(kinds(runner.place.system)) == {runner.mark}
    facts = {"case": case.name, "runner": runner.name, "about": case.about, "scenes": len(told)}
    record(CONFORMANCE, {**facts, **counted(told[-1])})


def edit(runner: Runner, scene: Scene) -> None:
    """Make a scene's edit, of each target that has a cursor."""
    if scene.edit is not None:
        for stream in runner.place.mapping["streams"]:
            if "cursor" in stream:
                runner.edit(stream["into"], scene.edit)


def mirrored(text: str | None, target: str, system: System) -> dict[str, Any] | None:
    """Return what of an entry must be equal: the load it is of, the watermark, and its truth."""
    if text is None:
        return None
    entry = StateEntry.from_json(text)
    found = system.query(
        f"SELECT version, load_id, target_fingerprint, mode FROM {system.place('_conduit_ledger')}"
        f" WHERE target_table = '{target}' ORDER BY version"
    )
    newest = found[-1]
    return {
        "load": sum(1 for each in found if not each[3].startswith("state_")),
        "is_the_newest": (entry.version, entry.load_id, entry.target_fingerprint)
        == (str(newest[0]), newest[1], newest[2]),
        "is_sealed": not entry.is_edited,
        "cursor": shortened(json.loads(entry.cursor)) if entry.cursor else None,
    }


def hold(case: Case, told: list[dict[str, Any]]) -> None:
    """Compare what was there after each scene with the case's file."""
    expected = json.loads(file_of(case).read_text(encoding="utf-8"))
    for number, (here, there) in enumerate(zip(_changes(told), expected, strict=True), 1):
        wanted, found = _pretty(there).splitlines(), _pretty(here).splitlines()
        diff = "\n".join(unified_diff(wanted, found, "expected", "here", lineterm=""))
        assert here == there, f"scene {number} of {case.name}:\n{diff}"


def write(case: Case, told: list[dict[str, Any]]) -> None:
    """Write the case's file."""
    EXPECTED.mkdir(exist_ok=True)
    file_of(case).write_text(_pretty(_changes(told)) + "\n", encoding="utf-8")


def file_of(case: Case) -> Path:
    """Return the file of what a case should give."""
    return EXPECTED / f"{case.name}.json"


def kinds(system: System) -> list[str]:
    """Return who published each load of a destination, in the order of targets and versions."""
    found = system.query(
        f"SELECT runner FROM {system.place('_conduit_ledger')} ORDER BY target_table, version"
    )
    return [str(json.loads(runner)["runner"]) for (runner,) in found]


def _changes(told: list[dict[str, Any]]) -> list[Any]:
    """Return what each scene changed: if that is equal, so is what was there after it."""
    plain = json.loads(json.dumps(told))
    return [since(before, now) for before, now in pairwise([{}, *plain])]


def _pretty(value: object, indent: int = 0) -> str:
    """Return JSON whose lines are whole things: a row, a record, a letter."""
    flat = json.dumps(value, ensure_ascii=False)
    if indent + len(flat) <= WIDE or not isinstance(value, Mapping | list) or not value:
        return flat
    inner, pad = " " * (indent + 1), " " * indent
    if isinstance(value, Mapping):
        parts = [f"{json.dumps(k)}: {_pretty(v, indent + 1)}" for k, v in value.items()]
        opened, closed = "{", "}"
    else:
        parts, opened, closed = [_pretty(v, indent + 1) for v in value], "[", "]"
    lines = ",\n".join(inner + part for part in parts)
    return f"{opened}\n{lines}\n{pad}{closed}"
