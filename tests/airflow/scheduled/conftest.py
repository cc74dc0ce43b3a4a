from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import services
from tests.airflow.scene import Scene, scene


@pytest.fixture(scope="package")
def scheduled(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: services.PostgresServer
) -> Iterator[Scene]:
    """A real Airflow with its scheduler, and what its DAGs load: it ends with these tests.

    Idle it would take a fifth of a core.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:  # another worker must not have one
        (tmp_path_factory.getbasetemp().parent / "scheduled").mkdir()
    with scene(tmp_path_factory.mktemp("scheduled"), postgres_server) as made:
        yield made
