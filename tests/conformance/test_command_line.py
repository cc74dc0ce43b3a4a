"""Each case by the command line; with CONDUIT_UPDATE_DOCS=1 it says what all runners must give."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance import play
from tests.conformance.cases import HANDED, Case
from tests.conformance.command_line import CommandLine
from tests.conformance.place import Place
from tests.conformance.play import Record


@pytest.mark.parametrize("case", play.params())
def test_a_case_ends_as_it_should(
    case: Case, place: Callable[[Case], Place], record_property: Record
) -> None:
    play.whole(CommandLine(place(case)), record_property, writes=play.UPDATE)


@pytest.mark.deep
def test_what_runners_play_in_turn_is_what_one_of_them_plays(
    place: Callable[[Case], Place], record_property: Record
) -> None:
    play.whole(CommandLine(place(HANDED)), record_property, writes=play.UPDATE)
