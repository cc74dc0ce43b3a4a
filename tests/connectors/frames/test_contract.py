"""The shipped source suite, over data in memory, on disk, and in a dataset."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from conduit_core.connectors.base import StreamRef
from conduit_core.connectors.frames import Data, FrameSource
from conduit_core.testing import SourceSuite
from conduit_core.testing.source import Connect, Fill


class FramesSuite(SourceSuite):
    """A name is a table."""

    def given(self, table: pa.Table) -> object:
        raise NotImplementedError

    @pytest.fixture
    def data(self) -> dict[str, Data]:
        return {}

    @pytest.fixture
    def connect(self, data: dict[str, Data]) -> Connect:
        return lambda: FrameSource("frames:test", data)

    @pytest.fixture
    def fill(self, data: dict[str, Data]) -> Fill:
        def give(name: str, table: pa.Table) -> StreamRef:
            data[name] = Data(self.given(table))
            return StreamRef(table=name)

        return give


class TestTableSource(FramesSuite):
    def given(self, table: pa.Table) -> object:
        return table


class TestGeneratorSource(FramesSuite):
    def given(self, table: pa.Table) -> object:
        step = max(len(table) // 3, 1)
        return (table.slice(at, step) for at in range(0, max(len(table), 1), step))


class TestDatasetSource(FramesSuite):
    unsupported = frozenset({"interval"})  # Parquet has none

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.place = tmp_path_factory.mktemp("dataset")

    def given(self, table: pa.Table) -> object:
        path = self.place / f"{len(list(self.place.iterdir()))}.parquet"
        pq.write_table(table, path)
        return ds.dataset(path)
