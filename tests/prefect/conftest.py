from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.prefect.shop import Shop

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
SERVER = "CONDUIT_TEST_PREFECT"
"""The URL of a running Prefect API that tests may fill: starting one takes half a minute."""
if url := os.environ.get(SERVER):
    os.environ["PREFECT_API_URL"] = url  # threads of Prefect's own don't see temporary settings


_PREFECTS_OWN = (
    "ignore:unclosed:ResourceWarning",  # its clients leave sockets to the garbage collector
    "ignore::pytest.PytestUnraisableExceptionWarning",  # the same, told by pytest
    "ignore:Logger 'prefect.task_runs':UserWarning",  # of a task that no flow calls
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let warnings pass that Prefect itself gives, in these tests alone."""
    here = Path(__file__).parent
    let_pass([item for item in items if item.path.is_relative_to(here)])


def let_pass(items: list[pytest.Item]) -> None:
    """Let warnings pass that Prefect itself gives, in some tests."""
    for item in items:
        for warning in _PREFECTS_OWN:
            item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="package", autouse=True)
def server() -> Iterator[None]:
    """A Prefect server of these tests' own, or the one that is given."""
    yield from serving()


def serving() -> Iterator[None]:
    """Run a Prefect server, or take the one that is given, while a fixture lasts."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with ExitStack() as stack:
        if url := os.environ.get(SERVER):
            stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        else:
            from prefect.testing.utilities import prefect_test_harness  # imports the server

            stack.enter_context(prefect_test_harness(server_startup_timeout=120))
        yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # else what is left of these tests is told of at the end of all


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.fill(0, 5)
    return made
