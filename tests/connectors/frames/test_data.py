"""Data is taken late, once, and within bounds; what failed half way stays failed."""

from __future__ import annotations

import contextvars
import gc
import threading
from collections.abc import Iterator
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from conduit_core.connectors.base import StreamRef
from conduit_core.connectors.frames import Data, FrameSource
from conduit_core.errors import SourceDataError


class Told:
    """A generator that tells how far it was taken."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.yielded = 0

    def __iter__(self) -> Iterator[pa.Table]:
        for i in range(self.parts):
            self.yielded += 1
            yield pa.table({"id": [i]})


def ids(data: Data) -> list[int]:
    found = [batch.column("id").to_pylist() for batch in data.batches(["id"], 4096)]
    return [i for part in found for i in part]


def test_nothing_is_taken_before_it_is_asked_for_and_then_once() -> None:
    told = Told(5)
    source = FrameSource("frames:x/t", {"t": Data(told)})
    (item,) = source.check()
    assert (item.name, item.ok, told.yielded) == ("t", True, 0)
    assert "Told" in item.detail
    ref = StreamRef(table="t", cursor=("id",))
    assert source.describe(ref).rows_estimate == 5
    high = source.bounds(ref, None, None).high
    assert high is not None
    assert high.display() == "4"
    assert told.yielded == 5


def test_threads_take_it_once_together() -> None:
    told = Told(50)
    data = Data(told)
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [list(range(50))] * 4
    assert told.yielded == 50


def test_small_parts_are_gathered() -> None:
    data = Data(Told(1000))
    assert ids(data) == list(range(1000))
    assert len(list(data.batches(["id"], 1024 * 1024))) == 1


def test_its_code_runs_in_the_context_that_it_was_given_in() -> None:
    who = contextvars.ContextVar("who", default="nobody")

    def parts() -> Iterator[pa.Table]:
        yield pa.table({"who": [who.get()]})

    token = who.set("a task")
    data = Data(parts())
    who.reset(token)
    assert next(data.batches(["who"], 4096)).to_pydict() == {"who": ["a task"]}


@pytest.mark.parametrize("failure", [ValueError("token=hunter2"), KeyboardInterrupt()])
def test_what_failed_half_way_is_never_taken_for_all(failure: BaseException) -> None:
    def parts() -> Iterator[pa.Table]:
        yield pa.table({"id": [1]})
        raise failure

    data = Data(parts())
    with pytest.raises((SourceDataError, KeyboardInterrupt)) as error:
        ids(data)
    if isinstance(error.value, SourceDataError):
        assert "ValueError" in error.value.message
        assert "hunter2" not in str(error.value)
        assert error.value.__cause__ is failure
    with pytest.raises(SourceDataError):
        ids(data)
    with pytest.raises(SourceDataError):
        _ = data.schema


def test_a_disk_that_is_full_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def full() -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(SourceDataError, match=r"No space left on device.*TMPDIR"):
        ids(Data(Told(1)))


@pytest.mark.parametrize("given", [None, [], [None], iter(())])
def test_nothing_is_no_columns(given: object) -> None:
    data = Data(given)
    assert data.schema is None
    assert data.rows == 0
    assert list(data.batches([], 4096)) == []


def test_the_memory_of_a_generator_is_bounded() -> None:
    rows = 65_536
    size = rows * 16
    highest = 0

    def parts() -> Iterator[pa.Table]:
        nonlocal highest
        for _ in range(200):
            yield pa.table({"id": pc.random(rows), "v": pc.random(rows)})
            highest = max(highest, pa.total_allocated_bytes() - before)

    gc.collect()
    before = pa.total_allocated_bytes()
    data = Data(parts())
    assert data.rows == 200 * rows
    for batch in data.batches(["id", "v"], 1024 * 1024):
        highest = max(highest, pa.total_allocated_bytes() - before)
        del batch
    assert highest < 24 * size  # of 200 parts
    gc.collect()
    assert pa.total_allocated_bytes() - before < size


def test_the_file_goes_with_the_data() -> None:
    data = Data(Told(3))
    assert ids(data) == [0, 1, 2]
    reading = data.batches(["id"], 8)
    next(reading)
    del data
    gc.collect()
    with suppress(StopIteration):
        next(reading)  # still good: the reader holds what it reads
