"""One pipeline that goes from runner to runner: as if one of them had played it all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice

import dagster as dg
import pytest

from tests.airflow.lab import Airflow
from tests.conformance import play
from tests.conformance.cases import HANDED, Case
from tests.conformance.command_line import CommandLine
from tests.conformance.in_airflow import InAirflow
from tests.conformance.in_dagster import InDagster
from tests.conformance.in_prefect import InPrefect
from tests.conformance.page import HANDOVER
from tests.conformance.picture import counted
from tests.conformance.place import Place
from tests.conformance.play import Record

pytestmark = pytest.mark.usefixtures("prefect_api")

ROUND = (CommandLine.name, InAirflow.name, InPrefect.name, InDagster.name)
BACK = ROUND[::-1]


def beginning(order: tuple[str, ...], first: int) -> tuple[str, ...]:
    """Return who plays each scene: the order, again and again, from one of them on."""
    return tuple(islice(cycle(order), first, first + len(HANDED.scenes)))


@pytest.mark.parametrize(
    "players",
    [
        pytest.param(beginning(ROUND, 0), id="round"),
        *(
            pytest.param(beginning(order, first), id=f"{name}-{first}", marks=pytest.mark.deep)
            for name, order in (("round", ROUND), ("back", BACK))
            for first in range(len(ROUND))
            if (name, first) != ("round", 0)
        ),
    ],
)
def test_whoever_comes_next_goes_on_where_the_last_one_stopped(
    players: tuple[str, ...],
    place: Callable[[Case], Place],
    airflow: Airflow,
    record_property: Record,
) -> None:
    here = place(HANDED)
    told = []
    with dg.DagsterInstance.ephemeral() as instance:
        runners: dict[str, play.Runner] = {
            each.name: each
            for each in (
                CommandLine(here),
                InAirflow(here, airflow),
                InPrefect(here),
                InDagster(here, instance),
            )
        }
        following = [*HANDED.scenes[1:], None]
        for player, scene, then, next_player in zip(
            players, HANDED.scenes, following, [*players[1:], ""], strict=True
        ):
            if then is not None and then.edit is not None:
                play.edit(runners[next_player], then)
            told.append(play.do(runners[player], scene, edits=False))
    play.hold(HANDED, told)
    record_property(
        HANDOVER,
        {"runners": players, "about": HANDED.about, "scenes": len(told), **counted(told[-1])},
    )
