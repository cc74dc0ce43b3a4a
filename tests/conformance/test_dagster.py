"""Each case by Dagster."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from tests.conformance import play
from tests.conformance.cases import Case
from tests.conformance.in_dagster import InDagster
from tests.conformance.place import Place
from tests.conformance.play import Record


@pytest.mark.parametrize("case", play.params())
def test_a_case_ends_as_it_should(
    case: Case, place: Callable[[Case], Place], record_property: Record
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        play.whole(InDagster(place(case), instance), record_property)
