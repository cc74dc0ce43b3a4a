"""Each case by Prefect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance import play
from tests.conformance.cases import Case
from tests.conformance.in_prefect import InPrefect
from tests.conformance.place import Place
from tests.conformance.play import Record

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.mark.parametrize("case", play.params())
def test_a_case_ends_as_it_should(
    case: Case, place: Callable[[Case], Place], record_property: Record
) -> None:
    play.whole(InPrefect(place(case)), record_property)
