"""p03: no watermark moves past a row that wasn't published."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core import Pipeline, RunResult, read, run
from conduit_core.connectors import registry
from conduit_core.engine import admin
from conduit_core.errors import SourceDataError
from conduit_core.testing.faulty import Faults, faulty_connector
from tests.lab import DESTINATIONS, Lab, only, stream

ROWS, BATCH = 95, 10
BATCHES = -(-ROWS // BATCH)


def table(first: int, last: int) -> pa.Table:
    ids = pa.array(range(first, last + 1), pa.int64())
    return pa.table({"id": ids, "v": ids.cast(pa.string())})


class Scene:
    def __init__(self, lab: Lab, mode: str) -> None:
        mapping = {
            "name": "shop",
            "source": {"type": "faulty"},
            "destination": lab.destination,
            "streams": [stream(mode=mode)],
        }
        self._mapping, self._folder = mapping, lab.folder
        self.table = table(1, ROWS)

    def run(self, faults: Faults | None = None) -> RunResult:
        with registry.added(faulty_connector({"orders": self.table}, faults, BATCH)):
            return run(self.pipeline(), attempts=1)

    def pipeline(self) -> Pipeline:
        return Pipeline.from_mapping(self._mapping, self._folder)

    def ids(self) -> list[int]:
        with (
            registry.added(faulty_connector({})),
            read(self.pipeline(), "orders") as reader,
        ):
            return sorted(reader.read_all().column("id").to_pylist())

    def watermark(self) -> str | None:
        with registry.added(faulty_connector({})):
            return admin.state_show(self.pipeline())[0].watermark


@pytest.fixture(params=list(product(DESTINATIONS, ("append", "replace"))), ids="-".join)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    name, mode = request.param
    url = request.getfixturevalue("postgres_database") if name == "postgres" else name
    return Scene(Lab(tmp_path, url), mode)


def fails(at: int) -> Faults:
    return Faults(fail_at=at, error=SourceDataError(f"batch {at} is broken"))


def test_p03_a_batch_that_fails_in_the_middle_publishes_nothing(scene: Scene) -> None:
    for at in (0, BATCHES // 2, BATCHES - 1):
        result = scene.run(fails(at))
        (failure,) = result.failures
        assert f"batch {at} is broken" in failure.lines[0]
        assert failure.lines[1] == "nothing published; the target has no watermark yet"
        assert scene.watermark() is None
    assert only(scene.run()).counts.read == ROWS
    assert scene.ids() == list(range(1, ROWS + 1))


def test_p03_the_watermark_stays_and_the_next_run_loads_every_row(scene: Scene) -> None:
    only(scene.run())
    scene.table = table(1, 2 * ROWS)
    (failure,) = scene.run(fails(BATCHES // 2)).failures
    assert failure.lines[1] == f"nothing published; watermark unchanged at {ROWS}"
    assert scene.watermark() == str(ROWS)
    assert scene.ids() == list(range(1, ROWS + 1))
    only(scene.run())
    assert scene.watermark() == str(2 * ROWS)
    assert scene.ids() == list(range(1, 2 * ROWS + 1))
