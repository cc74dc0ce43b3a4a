"""The distributions, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.install import matrix


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of their wheels and sdists."""
    return matrix.build(tmp_path_factory.mktemp("dist"))
