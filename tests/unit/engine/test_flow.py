"""Rows on their way: order, bounds, errors carried over, and an end from either side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit_core.connectors.base import RawBatch, RawReading, Reading
from conduit_core.engine.flow import BoundedQueue, CancelledError, Flow
from conduit_core.errors import ConduitError, ConnectionFailedError, SchemaError, SourceDataError
from conduit_core.events import AuditStarted, BatchRead, BatchWritten, Event

SCHEMA = pa.schema([("n", pa.int64())])
LOADED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WAIT = 30


def batch(start: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(start, start + rows), pa.int64())], schema=SCHEMA)


# --- the queue --------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 400))
@settings(deadline=None, max_examples=50)
def test_batches_come_out_in_order_and_never_more_than_the_bound(
    sizes: list[int], limit: int
) -> None:
    queue = BoundedQueue(limit)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    peak = 0

    def produce() -> None:
        for start, size in zip(starts, sizes, strict=True):
            assert queue.put(batch(start, size))
        queue.end()

    thread = threading.Thread(target=produce)
    thread.start()
    got: list[int] = []
    while (item := queue.get()) is not None:
        got.extend(item.column("n").to_pylist())
        peak = max(peak, queue.bytes)
    thread.join(WAIT)
    assert not thread.is_alive()
    assert got == list(range(sum(sizes)))
    assert peak <= max(limit, max((8 * s for s in sizes), default=0))
    assert queue.bytes == 0


def test_a_batch_larger_than_the_bound_passes_alone() -> None:
    queue = BoundedQueue(8)
    assert queue.put(batch(0, 100))
    blocked = threading.Thread(target=queue.put, args=(batch(100, 1),))
    blocked.start()
    assert queue.bytes == 800
    assert queue.get() is not None
    blocked.join(WAIT)
    assert queue.bytes == 8


def test_a_producer_that_waits_is_let_go_when_the_consumer_stops() -> None:
    queue = BoundedQueue(8)
    assert queue.put(batch(0, 1))
    answers: list[bool] = []
    blocked = threading.Thread(target=lambda: answers.append(queue.put(batch(1, 1))))
    blocked.start()
    queue.stop()
    blocked.join(WAIT)
    assert answers == [False]
    assert queue.bytes == 0
    assert queue.get() is None
    assert queue.put(batch(2, 1)) is False


def test_a_consumer_that_waits_is_let_go_at_the_end() -> None:
    queue = BoundedQueue(8)
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(queue.get()))
    waiting.start()
    queue.end()
    waiting.join(WAIT)
    assert got == [None]


# --- the flow ---------------------------------------------------------------------------------


class Source:
    """Batches, one of which may be an error; remembers whether it was closed."""

    def __init__(self, items: list[pa.RecordBatch | BaseException]) -> None:
        self.items = items
        self.closed = 0
        self.handed = 0

    def reading(self) -> Reading:
        schema = next((i.schema for i in self.items if isinstance(i, pa.RecordBatch)), SCHEMA)
        reader = pa.RecordBatchReader.from_batches(schema, self._batches())
        return Reading(reader, self._close, ["a.csv"])

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for item in self.items:
            if isinstance(item, BaseException):
                raise item
            self.handed += 1
            yield item

    def _close(self) -> None:
        self.closed += 1


def flow(
    source: Source | Callable[[], Reading],
    *,
    schema: pa.Schema = SCHEMA,
    queue_bytes: int = 1 << 20,
    events: list[Event] | None = None,
    cancel: threading.Event | None = None,
    remember: bool = False,
) -> Flow:
    return Flow(
        source.reading if isinstance(source, Source) else source,
        schema,
        load_id="load",
        loaded_at=LOADED,
        identity=("shop", "orders"),
        emit=[].append if events is None else events.append,
        queue_bytes=queue_bytes,
        cancel=cancel or threading.Event(),
        remember_files=remember,
    )


@given(
    st.lists(st.integers(0, 3000), max_size=8),
    st.sampled_from([1, 10_000, 100_000, 1 << 24]),
)
@settings(deadline=None, max_examples=50)
def test_every_row_arrives_once_and_in_order(sizes: list[int], queue_bytes: int) -> None:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    source = Source([batch(a, n) for a, n in zip(starts, sizes, strict=True)])
    made = flow(source, queue_bytes=queue_bytes)
    table = made.reader().read_all()
    tally = made.finish()
    made.close()
    assert table.column("n").to_pylist() == list(range(sum(sizes)))
    assert tally.counts.read == sum(sizes)
    assert tally.complete


def test_metadata_columns_are_filled_in_and_columns_cast_and_ordered() -> None:
    wanted = pa.schema(
        [
            ("_conduit_load_id", pa.string()),
            ("n", pa.int32()),
            ("_conduit_loaded_at", pa.timestamp("us", "UTC")),
        ]
    )
    made = flow(Source([batch(0, 2)]), schema=wanted)
    (first, _) = made.reader().read_all().to_pylist()
    made.finish()
    made.close()
    assert first == {"_conduit_load_id": "load", "n": 0, "_conduit_loaded_at": LOADED}


def test_events_tell_rows_and_the_order_of_things() -> None:
    events: list[Event] = []
    made = flow(Source([batch(0, 5), batch(5, 3)]), events=events)
    made.reader().read_all()
    made.finish()
    made.close()
    assert sum(e.rows for e in events if isinstance(e, BatchRead)) == 8
    assert sum(e.rows for e in events if isinstance(e, BatchWritten)) == 8
    assert isinstance(events[-1], AuditStarted)
    assert events[-1].rows_read == 8
    assert made.bytes_read == 64
    assert all(a.at <= b.at for a, b in pairwise(events))


def test_big_batches_are_cut_so_that_the_bound_is_kept() -> None:
    made = flow(Source([batch(0, 100_000)]), queue_bytes=400_000)
    sizes = [b.nbytes for b in made.reader()]
    made.finish()
    made.close()
    assert max(sizes) <= 100_000 + 8


@pytest.mark.parametrize(
    ("broken", "kind", "words"),
    [
        (ConnectionFailedError("gone"), ConnectionFailedError, "gone"),
        (SourceDataError("line 5"), SourceDataError, "line 5"),
        (pa.ArrowInvalid("bad bytes"), SourceDataError, "bad bytes"),
        (OSError("no such file"), SourceDataError, "no such file"),
        (KeyError("oops"), ConduitError, "KeyError"),
        (ZeroDivisionError("oops"), ConduitError, "this is a bug"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_breaks_the_source_is_raised_to_who_publishes(
    broken: Exception, kind: type[ConduitError], words: str
) -> None:
    source = Source([batch(0, 2), broken])
    made = flow(source)
    with pytest.raises(Exception, match=r".+"):
        made.reader().read_all()  # what a driver makes of it is the driver's business
    with pytest.raises(kind, match=words) as caught:
        made.finish()
    assert isinstance(caught.value, ConduitError)
    assert source.closed


def test_a_value_that_does_not_fit_names_its_column() -> None:
    made = flow(Source([batch(300, 1)]), schema=pa.schema([("n", pa.int8())]))
    with pytest.raises(Exception, match=r".+"):
        made.reader().read_all()
    with pytest.raises(SchemaError, match="'n'"):
        made.finish()


def test_a_destination_that_stops_early_gets_no_complete_tally() -> None:
    source = Source([batch(n, 1) for n in range(100)])
    made = flow(source, queue_bytes=16)
    reader = made.reader()
    reader.read_next_batch()
    tally = made.finish()
    assert not tally.complete
    assert source.closed
    assert source.handed < 100


def test_closing_twice_or_before_the_start_is_fine() -> None:
    source = Source([batch(0, 1)])
    made = flow(source)
    made.close()
    assert source.closed == 0  # it wasn't opened
    made = flow(source)
    made.reader()
    made.close()
    made.close()
    assert source.closed == 1


def test_a_cancelled_flow_stops_at_the_next_batch() -> None:
    cancel = threading.Event()
    source = Source([batch(n, 1) for n in range(100)])
    made = flow(source, cancel=cancel, queue_bytes=16)
    reader = made.reader()
    reader.read_next_batch()
    cancel.set()
    with pytest.raises(Exception, match=r".+"):
        reader.read_all()
    with pytest.raises(CancelledError):
        made.finish()
    assert source.handed < 100


def test_a_cancel_after_the_last_batch_still_stops_the_commit() -> None:
    cancel = threading.Event()
    made = flow(Source([batch(0, 1)]), cancel=cancel)
    made.reader().read_all()
    cancel.set()
    with pytest.raises(CancelledError):
        made.finish()
    made.close()


def test_files_are_remembered_by_digest_only_where_asked_for() -> None:
    for remember, count in ((False, 0), (True, 1)):
        made = flow(Source([batch(0, 1)]), remember=remember)
        made.reader().read_all()
        files = made.finish().files
        made.close()
        assert len(files) == count
        assert all(len(f) == 16 for f in files)


def test_a_source_that_hangs_is_cancelled_when_the_run_is() -> None:
    """Ctrl-C doesn't wait for a batch that may take hours."""
    cancel, given_up = threading.Event(), threading.Event()

    def hang() -> Iterator[pa.RecordBatch]:
        yield batch(0, 1)
        given_up.wait()
        raise OSError("cancelled by the user")

    def read() -> Reading:
        reader = pa.RecordBatchReader.from_batches(SCHEMA, hang())
        return Reading(reader, cancel=given_up.set)

    made = flow(read, cancel=cancel)
    rows = iter(made.reader())
    next(rows)
    cancel.set()
    with pytest.raises(CancelledError):
        next(rows)
    with pytest.raises(CancelledError):
        made.finish()
    assert given_up.is_set()


# --- undecoded rows ---------------------------------------------------------------------------


def raw_flow(
    parts: list[RawBatch | BaseException], events: list[Event], queue_bytes: int = 1 << 20
) -> Flow:
    """Return a flow whose source can be had undecoded only."""

    def pump(take: Callable[[RawBatch], bool]) -> None:
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            if not take(part):
                return

    made = flow(Source([]), events=events, queue_bytes=queue_bytes)
    made._open_raw = lambda columns, constants: RawReading(pump)
    return made


@pytest.mark.parametrize("queue_bytes", [1, 1 << 20])
def test_undecoded_rows_arrive_in_order_and_are_counted(queue_bytes: int) -> None:
    events: list[Event] = []
    parts = [RawBatch(bytes([i]) * 100, 10) for i in range(20)]
    made = raw_flow([*parts], events, queue_bytes)
    assert list(made.raw((), {})) == parts
    tally = made.finish()
    made.close()
    assert (tally.counts.read, made.bytes_read) == (200, 2000)
    for kind in (BatchRead, BatchWritten):
        found = [e for e in events if isinstance(e, kind)]
        assert [(e.rows, e.bytes) for e in found] == [(10, 100)] * 20


def test_what_breaks_undecoded_rows_is_raised_by_finish() -> None:
    made = raw_flow([RawBatch(b"a", 1), ConnectionFailedError("gone")], [])
    with pytest.raises(ConnectionFailedError, match="gone"):
        list(made.raw((), {}))
    with pytest.raises(ConnectionFailedError, match="gone"):
        made.finish()


def test_a_destination_that_stops_lets_the_source_of_undecoded_rows_go() -> None:
    made = raw_flow([RawBatch(b"a" * 100, 1)] * 50, [], queue_bytes=100)
    assert next(made.raw((), {})).num_rows == 1
    assert made.finish().complete is False
    made.close()
