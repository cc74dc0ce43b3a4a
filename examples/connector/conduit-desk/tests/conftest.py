"""The API for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from server import Desk, serving


@pytest.fixture
def desk() -> Iterator[Desk]:
    with serving() as made:
        yield made
