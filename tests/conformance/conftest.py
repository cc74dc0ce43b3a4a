"""Collects what the tests recorded, and writes the page when a session had all of it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg
import pytest

from tests.airflow.lab import Airflow
from tests.conformance import page, play
from tests.conformance.cases import BY_NAME, Case
from tests.conformance.command_line import CommandLine
from tests.conformance.in_airflow import InAirflow
from tests.conformance.in_dagster import InDagster
from tests.conformance.in_prefect import InPrefect
from tests.conformance.kills import WHOLE
from tests.conformance.place import Place
from tests.conformance.play import Runner
from tests.dbt.lab import quick_dbt
from tests.prefect.conftest import let_pass, serving

__all__ = ["quick_dbt"]

_told: dict[str, list[Any]] = defaultdict(list)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let Prefect's own warnings pass where it is used."""
    let_pass([i for i in items if "prefect_api" in getattr(i, "fixturenames", ())])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            _told[name].append(value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, where everything is together: in the controller, in a deep session."""
    if WHOLE and play.UPDATE and not hasattr(session.config, "workerinput"):
        page.renew(_told, tuple(BY_NAME), len(play.orders()))


@pytest.fixture(scope="package")
def prefect_api() -> Iterator[None]:
    """A Prefect API of these tests' own."""
    yield from serving()


@pytest.fixture(scope="package")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow of these tests' own, whose dbt is quick."""
    made = Airflow(tmp_path_factory.mktemp("airflow"))
    code = "from tests.dbt.lab import hasten_dbt; hasten_dbt()"
    made.ask("call", made.home / "quick.log", {}, code=code, args={})
    yield made
    made.end()


@pytest.fixture
def company(airflow: Airflow, prefect_api: None) -> Iterator[Callable[[Place], dict[str, Runner]]]:
    """All four runners of a place, by their names."""
    with dg.DagsterInstance.ephemeral() as instance:

        def made(here: Place) -> dict[str, Runner]:
            all_of_them: tuple[Runner, ...] = (
                CommandLine(here), InAirflow(here, airflow), InPrefect(here),
                InDagster(here, instance),
            )  # fmt: skip
            return {each.name: each for each in all_of_them}

        yield made


@pytest.fixture
def place(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[Case], Place]]:
    """Makes the place of a case, in one folder each time: else Airflow's Assets would change."""
    with ExitStack() as stack:

        def made(case: Case) -> Place:
            wants = case.destination == "postgres"
            url = request.getfixturevalue("postgres_database") if wants else None
            if case.dbt:
                request.getfixturevalue("quick_dbt")
            folder = tmp_path_factory.getbasetemp() / f"place-{case.name}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            here = Place(folder, case, url)
            stack.callback(here.close)
            return here

        yield made
