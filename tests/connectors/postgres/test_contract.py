"""PostgreSQL meets the contract of a destination."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from conduit_core.connectors.base import Destination
from conduit_core.testing import DestinationSuite
from tests.connectors.postgres.support import destination_at


class TestPostgresDestination(DestinationSuite):
    # Texts have no NUL characters, moments nothing finer than microseconds.
    refused: ClassVar[frozenset[str]] = frozenset(
        {"text_nul", "timestamp_ns", "timestamp_ns_utc", "time_ns"}
    )

    @pytest.fixture
    def connect(self, postgres_database: str) -> Callable[[], Destination]:
        return lambda: destination_at(postgres_database, lock_wait=20.0)
