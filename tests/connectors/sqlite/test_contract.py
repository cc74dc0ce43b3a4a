"""SQLite meets the contracts of a source and of a destination."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from conduit_core.connectors.base import Destination, Source, StreamRef
from conduit_core.testing import DestinationSuite, SourceSuite
from tests.connectors.sqlite.files import destination_at, fill, source_at

if TYPE_CHECKING:
    import pyarrow as pa


class TestSqliteSource(SourceSuite):
    # NaN and -0.0 can't be kept, intervals and nested values have no type of their own.
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {"float64", "float32", "float16", "interval"}
        | {"list_int64", "list_text", "list_nested", "list_fixed", "struct", "map"}
    )

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Callable[[], Source]:
        return lambda: source_at(tmp_path / "t.sqlite")

    @pytest.fixture
    def fill(self, tmp_path: Path) -> Callable[[str, pa.Table], StreamRef]:
        return lambda name, table: fill(tmp_path / "t.sqlite", name, table)


class TestSqliteDestination(DestinationSuite):
    # NaN would become NULL; there is no place for an interval of months and days.
    refused: ClassVar[frozenset[str]] = frozenset({"float64", "float32", "float16", "interval"})

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Callable[[], Destination]:
        return lambda: destination_at(tmp_path / "t.sqlite", lock_wait=20.0)
