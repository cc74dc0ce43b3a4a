from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conduit_core.connectors import registry
from conduit_core.connectors.base import Context
from conduit_core.testing import DestinationSuite

if TYPE_CHECKING:
    from pathlib import Path

    from conduit_core.connectors.base import Destination
    from conduit_core.testing.fixtures import Connect

DUCKDB = registry.get("duckdb")


def destination_on(path: Path, schema: str | None = None, wait: float = 20) -> Destination:
    assert DUCKDB.destination is not None
    options = DUCKDB.options(path=str(path))
    return DUCKDB.destination(options, Context(path.parent), schema, None, wait)


class TestDuckDBDestination(DestinationSuite):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: destination_on(tmp_path / "warehouse.duckdb", "raw")
