"""The demo's DAGs in the Airflow that is here: they load the flights, by what demo.py asks.

That demo.py starts an Airflow of its own is for the deep tier: tests/examples.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from tests.airflow.scene import DEMO, Scene
from tests.examples.test_flights_airflow import RUNNERS, loads_by_their_rows, said_of_two_runs

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(DEMO))  # what demo.py adds is taken back with it
    spec = importlib.util.spec_from_file_location("flights_airflow_demo", DEMO / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_loads_each_half_year_and_the_other_dag_follows(
    scheduled: Scene, demo: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for dag in ("flights", "delays"):
        scheduled.airflow.dag(dag)
    api = demo.Api(scheduled.airflow.port, scheduled.airflow.process)
    for until in (demo.END_OF_JUNE, ""):
        api.run(until)
    said_of_two_runs(capsys.readouterr().out)
    loads_by_their_rows(lambda sql: scheduled.duck("flights.duckdb", sql))
    assert scheduled.duck("flights.duckdb", RUNNERS) == [(7,)]
