from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prefect.shop import Shop

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
SERVER = "CONDUIT_TEST_PREFECT"
"""The URL of a running Prefect API that tests may fill: starting one takes half a minute."""
if url := os.environ.get(SERVER):
    os.environ["PREFECT_API_URL"] = url  # threads of Prefect's own don't see temporary settings


@pytest.fixture(scope="package", autouse=True)
def server() -> Iterator[None]:
    """Run a Prefect server of the tests' own, or take the one that is given."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if url := os.environ.get(SERVER):
        with temporary_settings({PREFECT_API_URL: url}):
            yield
        return
    from prefect.testing.utilities import prefect_test_harness  # imports Prefect's server

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.fill(0, 5)
    return made
