"""One pipeline that goes from runner to runner: as if one of them had played it all."""

from __future__ import annotations

from collections.abc import Callable

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
from tests.conformance.picture import Picture, counted
from tests.conformance.place import Place
from tests.conformance.play import Record

pytestmark = pytest.mark.usefixtures("prefect_api")


def unchanged(target: str, before: Picture, now: Picture) -> bool:
    """Say whether a target had no load."""
    return bool(before["ledger"][target] == now["ledger"][target])


FIRST, *OTHERS = play.orders()


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
    airflow: Airflow,
    record_property: Record,
) -> None:
    here = place(HANDED)
    told: list[Picture] = []
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
            seen = play.do(runners[player], scene, edits=False)
            if scene.replay:
                # Who has no letters isn't planned, so that a store which lags isn't looked at.
                old = {t: s for t, s in told[-1]["state"].items() if unchanged(t, told[-1], seen)}
                seen["state"] |= old
            told.append(seen)
    play.hold(HANDED, told)
    record_property(
        HANDOVER,
        {"runners": list(players), "scenes": len(told), **counted(told[-1])},
    )
