"""The destination's contract, for each format on a local disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import NoNewerRecord
from conduit_core.errors import ConcurrentLoadError
from conduit_core.events import ignore
from conduit_core.testing import DestinationSuite
from conduit_core.testing.doubles import TableRows
from conduit_core.testing.fixtures import Connect, DestinationFixtures, commit, ids, load
from conduit_core.testing.publishing import _ROWS, _append, _more
from tests.lake.worker import destination_at


class Optimistic(DestinationFixtures):
    """Of two loads side by side the one that commits first wins, not the one that began first."""

    def test_a_rival_that_starts_while_the_first_one_writes_loses(
        self, destination: Destination, other: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        base = (NoNewerRecord(version=1),)

        def rival(_: int) -> None:
            thread = threading.Thread(
                target=lambda: commit(other, _append(schema, requires=base), _more(20))
            )
            thread.start()
            thread.join(60)

        rows = TableRows(_more(10), on_batch=rival)
        with pytest.raises(ConcurrentLoadError):
            destination.commit(_append(schema, requires=base), rows, ignore)
        assert ids(destination, schema, "t") == [1, 2, 3, 20]


class LakeSuite(Optimistic, DestinationSuite):
    """The contract in a folder."""

    system: ClassVar[str] = "parquet"
    options: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: destination_at(tmp_path / "lake", self.system, **self.options)


class TestParquet(LakeSuite):
    refused = frozenset({"interval"})


class TestCsv(LakeSuite):
    system = "csv"
    refused = frozenset({"interval"})


@pytest.mark.deep  # test_pipelines loads such files, and all else is the same
class TestCsvZstd(LakeSuite):
    system = "csv"
    options: ClassVar[dict[str, object]] = {"compression": "zstd", "delimiter": ";"}
    refused = frozenset({"interval"})


class TestJsonl(LakeSuite):
    system = "jsonl"
    refused = frozenset({"interval"})


@pytest.mark.deep
class TestJsonlGzip(LakeSuite):
    system = "jsonl"
    options: ClassVar[dict[str, object]] = {"compression": "gzip"}
    refused = frozenset({"interval"})
