"""The faulty source: it keeps the contract when nothing is asked of it, and fails as asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
import stamina

from conduit_core.connectors import registry
from conduit_core.connectors.base import Context, ReadRequest, StreamRef
from conduit_core.engine.pipeline import Pipeline
from conduit_core.engine.run import run
from conduit_core.errors import ConfigError, ConnectionFailedError, SourceDataError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing import Faults, FaultySource, SourceSuite, faulty_connector
from conduit_core.testing.source import Connect, Fill, read
from conduit_core.types.dialect import Table

ORDERS = pa.table({"id": list(range(35))})
REF = StreamRef(table="orders")


class TestFaultySource(SourceSuite):
    unsupported: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def tables(self) -> dict[str, pa.Table]:
        return {}

    @pytest.fixture
    def faults(self) -> Faults:
        return Faults()

    @pytest.fixture
    def connect(self, tables: dict[str, pa.Table], faults: Faults) -> Connect:
        return lambda: FaultySource(tables, faults, batch_rows=5000)

    @pytest.fixture
    def break_connection(self, faults: Faults) -> Callable[[], None]:
        def strike() -> None:
            faults.fail_at, faults.times = 1, None

        return strike

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


def pipeline_on(folder: Path) -> Pipeline:
    return Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "faulty"},
            "destination": {"type": "duckdb", "path": "warehouse.duckdb", "schema": "raw"},
            "streams": [{"table": "orders", "mode": "append", "cursor": "id"}],
        },
        folder,
    )


def loaded_ids(pipeline: Pipeline) -> list[object]:
    with pipeline.open() as ends:
        if ends.destination.describe(Table("raw", "orders")) is None:
            return []
        rows = ends.destination.scan(Table("raw", "orders")).read_all()
    return sorted(rows.column("id").to_pylist())


def watermarks(pipeline: Pipeline) -> list[object]:
    with pipeline.open() as ends:
        cursors = [r.cursor for r in ends.destination.records(None)]
    return [Cursor.from_json(c).values[0].as_py() for c in cursors if c is not None]


def test_p03_a_failed_batch_is_not_skipped(tmp_path: Path) -> None:
    """A batch fails in the middle: nothing is published; the next run loads every row, once."""
    tables = {"orders": ORDERS.slice(0, 15)}
    faults = Faults(fail_at=1, error=SourceDataError("a broken row"))
    pipeline = pipeline_on(tmp_path)
    with registry.added(faulty_connector(tables, faults, batch_rows=5)):
        assert "a broken row" in str(run(pipeline).failures)
        assert (loaded_ids(pipeline), watermarks(pipeline)) == ([], [])
        assert run(pipeline).exit_code == 0
        assert (loaded_ids(pipeline), watermarks(pipeline)) == (list(range(15)), [14])
        tables["orders"], faults.happened = ORDERS, 0
        assert run(pipeline).exit_code == SourceDataError.exit_code
        assert (loaded_ids(pipeline), watermarks(pipeline)) == (list(range(15)), [14])
        assert run(pipeline).exit_code == 0
        assert (loaded_ids(pipeline), watermarks(pipeline)) == (list(range(35)), [14, 34])


def test_p03_a_failure_that_passes_is_retried_in_the_same_run(tmp_path: Path) -> None:
    faults = Faults(fail_at=2, times=1)
    pipeline = pipeline_on(tmp_path)
    with (
        registry.added(faulty_connector({"orders": ORDERS}, faults)),
        stamina.set_testing(True, attempts=2),
    ):
        assert run(pipeline).exit_code == 0
        assert loaded_ids(pipeline) == list(range(35))
    assert faults.happened == 1
