from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.airflow.lab import Airflow, Lab
from tests.airflow.shop import open_shop


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    made = Airflow(tmp_path_factory.mktemp("airflow"))
    yield made
    made.end()


@pytest.fixture
def lab(tmp_path: Path, airflow: Airflow) -> Lab:
    return Lab(tmp_path, airflow)


@pytest.fixture
def shop(lab: Lab) -> Lab:
    return open_shop(lab)
