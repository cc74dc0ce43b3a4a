"""SQLite meets the contract of a destination."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from conduit_core.connectors.base import Destination
from conduit_core.testing import DestinationSuite
from tests.connectors.sqlite.files import destination_at


class TestSqliteDestination(DestinationSuite):
    # NaN would become NULL; there is no place for an interval of months and days.
    refused: ClassVar[frozenset[str]] = frozenset({"float64", "float32", "float16", "interval"})

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Callable[[], Destination]:
        return lambda: destination_at(tmp_path / "t.sqlite", lock_wait=20.0)
