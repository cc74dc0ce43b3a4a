"""The faulty source: it keeps the contract when nothing is asked of it, and fails as asked."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from conduit_core.connectors import registry
from conduit_core.connectors.base import Context, ReadRequest, Source, StreamRef
from conduit_core.errors import ConfigError, ConnectionFailedError
from conduit_core.state.window import Window
from conduit_core.testing import Faults, FaultySource, SourceSuite, faulty_connector
from conduit_core.testing.source import Fill, read

ORDERS = pa.table({"id": list(range(35))})
REF = StreamRef(table="orders")


class TestFaultySource(SourceSuite):
    unsupported: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def tables(self) -> dict[str, pa.Table]:
        return {}

    @pytest.fixture
    def source(self, tables: dict[str, pa.Table]) -> Source:
        return FaultySource(tables, batch_rows=5000)

    @pytest.fixture
    def fill(self, tables: dict[str, pa.Table]) -> Fill:
        def fill(name: str, table: pa.Table) -> StreamRef:
            tables[name] = table
            return StreamRef(table=name)

        return fill


def test_it_fails_at_a_batch_as_often_as_asked() -> None:
    faults = Faults(fail_at=2, times=2)
    source = FaultySource({"orders": ORDERS}, faults)
    for _ in range(2):
        reading = source.read(ReadRequest(REF, ORDERS.schema, Window("full")))
        assert [reading.reader.read_next_batch().num_rows for _ in range(2)] == [10, 10]
        with pytest.raises(ConnectionFailedError, match="batch 2"):
            reading.reader.read_next_batch()
    assert read(source, REF).num_rows == 35
    assert (faults.happened, len(faults.reads)) == (2, 3)


def test_it_fails_always_and_with_an_error_of_ones_own() -> None:
    source = FaultySource({"orders": ORDERS}, Faults(fail_at=0, times=None, error=OSError("gone")))
    for _ in range(3):
        with pytest.raises(OSError, match="gone"):
            read(source, REF)


def test_it_ends_short_without_a_word() -> None:
    assert read(FaultySource({"orders": ORDERS}, Faults(stop_at=2)), REF).num_rows == 20


def test_it_is_a_connector_inside_the_with_block_only() -> None:
    connector = faulty_connector({"orders": ORDERS})
    with registry.added(connector):
        assert registry.get("faulty") is connector
        assert "faulty" in registry.names()
        assert connector.source is not None
        assert connector.source(connector.options(), Context(Path())).check()
    with pytest.raises(ConfigError, match="faulty"):
        registry.get("faulty")
