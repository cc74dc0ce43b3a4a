"""Each case by Airflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.airflow.lab import Airflow
from tests.conformance import play
from tests.conformance.cases import Case
from tests.conformance.in_airflow import InAirflow
from tests.conformance.place import Place
from tests.conformance.play import Record


@pytest.mark.parametrize("case", play.params())
def test_a_case_ends_as_it_should(
    case: Case, place: Callable[[Case], Place], airflow: Airflow, record_property: Record
) -> None:
    play.whole(InAirflow(place(case), airflow), record_property)
