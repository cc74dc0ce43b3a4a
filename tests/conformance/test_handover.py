"""One pipeline that goes from runner to runner: as if one of them had played it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance import play
from tests.conformance.cases import HANDED, STAGED, Case
from tests.conformance.command_line import CommandLine
from tests.conformance.page import HANDOVER, RUNNERS
from tests.conformance.picture import Picture, counted, picture
from tests.conformance.place import Place
from tests.conformance.play import Record, Runner

FIRST, *OTHERS = play.orders()
Company = Callable[[Place], dict[str, Runner]]


def unchanged(target: str, before: Picture, now: Picture) -> bool:
    """Say whether a target had no load."""
    return bool(before["ledger"][target] == now["ledger"][target])


@pytest.mark.parametrize(
    "players",
    [
        pytest.param(FIRST, id=FIRST[0]),
        *(pytest.param(o, id=f"{o[0]}-{o[1]}", marks=pytest.mark.deep) for o in OTHERS),
    ],
)
def test_whoever_comes_next_goes_on_where_the_last_one_stopped(
    players: tuple[str, ...],
    place: Callable[[Case], Place],
    company: Company,
    record_property: Record,
) -> None:
    runners = company(place(HANDED))
    told: list[Picture] = []
    for number, scene in enumerate(HANDED.scenes):
        for later in HANDED.scenes[number + 1 : number + 2]:
            if players[number + 1] != CommandLine.name:  # whose edits all would see at once
                play.edit(runners[players[number + 1]], later)
        by_command = players[number] == CommandLine.name
        seen = play.do(runners[players[number]], scene, edits=by_command)
        if scene.replay or scene.fails:
            # A load that fails, or has no letters, doesn't roll a store that lags forward.
            old = {t: s for t, s in told[-1]["state"].items() if unchanged(t, told[-1], seen)}
            seen["state"] |= old
        told.append(seen)
    play.hold(HANDED, told)
    facts = {"runners": list(players), "scenes": len(told), **counted(told[-1])}
    record_property(HANDOVER, facts)


@pytest.mark.parametrize(
    "who",
    [pytest.param(who, marks=pytest.mark.deep if who != "Dagster" else []) for who in RUNNERS],
)
def test_splits_that_a_killed_command_has_staged_are_published_by_whoever_comes(
    who: str, place: Callable[[Case], Place], company: Company, tmp_path: Path
) -> None:
    """The window stays the one that was frozen: rows that came meanwhile are the next load's."""
    (tmp_path / "unharmed").mkdir()
    unharmed = Place(tmp_path / "unharmed", STAGED)
    for scene in STAGED.scenes:
        play.do(CommandLine(unharmed), scene)
    here = place(STAGED)
    first, *others = STAGED.scenes
    killed = CommandLine(here)
    killed.fault = "after_split:2"
    here.change(first)
    assert not killed.load(first)
    assert here.look() == {}
    next_one = company(here)[who]
    for scene in others:
        play.do(next_one, scene)
    assert picture(here.system) == picture(unharmed.system)
