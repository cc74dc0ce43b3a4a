"""Rows on their way: a thread reads and casts, a bounded queue waits, the destination pulls.

This is the hot path: batches stay Arrow, memory is bounded by the queue's bytes, and the two sides
overlap. It is the fused path's ``StagedRows``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.base import (
    UNREADABLE,
    RawBatch,
    RawReading,
    Reading,
    Tally,
    file_digest,
)
from conduit_core.connectors.publish import DELETED_AT, Column
from conduit_core.errors import ConduitError, SourceDataError, unexpected
from conduit_core.events import AuditStarted, BatchRead, BatchWritten, Emit
from conduit_core.state.ledger import Counts
from conduit_core.types.casts import cast_column

if TYPE_CHECKING:
    from conduit_core.connectors.letters import LetterSpool

LOAD_ID = "_conduit_load_id"
LOADED_AT = "_conduit_loaded_at"
_LOOK_SECONDS = 0.2
"""How often a destination that waits for rows looks whether the run was interrupted."""


Batch: TypeAlias = "pa.RecordBatch | RawBatch"
Flag: TypeAlias = "Callable[[pa.RecordBatch], pa.BooleanArray]"
Transformed: TypeAlias = "Callable[[pa.RecordBatch], pa.RecordBatch]"
OpenRaw: TypeAlias = Callable[[tuple[Column, ...], Mapping[str, str]], RawReading]


class Screening(Protocol):
    """What holds staged batches to rules; see :class:`conduit_core.engine.screen.Screen`."""

    letters: LetterSpool | None

    @property
    def rejected(self) -> int:
        """How many rows were taken out so far."""
        ...

    def take(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows that go on."""
        ...

    def set_aside(self, rows: pa.RecordBatch, texts: pa.StringArray) -> None:
        """Keep rows that couldn't be read whole."""
        ...

    def finish(self) -> str:
        """Say that the last batch was taken; return what is to be kept, as JSON."""
        ...

    def close(self) -> None:
        """Forget what was kept."""
        ...


class CancelledError(ConduitError):
    """The run was interrupted; this stream's transaction is rolled back."""

    exit_code = 130
    default_retry = "step"


_B = TypeVar("_B", bound=Batch)


class BoundedQueue(Generic[_B]):
    """A queue of batches bounded by bytes, between one producer and one consumer.

    A batch larger than the bound still passes, alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self._items: deque[_B] = deque()
        self._bytes = 0
        self._closed = False
        self._stopped = False
        self._changed = threading.Condition()
        self.full_seconds = 0.0
        """How long :meth:`put` has waited for room."""

    @property
    def bytes(self) -> int:
        """Bytes waiting."""
        return self._bytes

    def put(self, batch: _B) -> bool:
        """Add a batch, waiting for room; False when the consumer has stopped."""
        size = batch.nbytes
        with self._changed:
            if not self._has_room(size):
                asked = time.perf_counter()
                self._changed.wait_for(lambda: self._has_room(size))
                self.full_seconds += time.perf_counter() - asked
            if self._stopped:
                return False
            self._items.append(batch)
            self._bytes += size
            self._changed.notify_all()
            return True

    def _has_room(self, size: int) -> bool:
        return self._stopped or not self._items or self._bytes + size <= self.limit

    def get(self, cancel: threading.Event | None = None) -> _B | None:
        """Take the next batch, waiting for it; None after the last one, or if ``cancel`` is set."""
        with self._changed:
            while not self._changed.wait_for(
                lambda: self._items or self._closed or self._stopped, timeout=_LOOK_SECONDS
            ):
                if cancel is not None and cancel.is_set():
                    return None
            if not self._items or self._stopped:
                return None
            batch = self._items.popleft()
            self._bytes -= batch.nbytes
            self._changed.notify_all()
            return batch

    def end(self) -> None:
        """Say that no batch follows."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Say that nobody takes batches any more, and forget those that wait."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()


def _closed() -> Reading:
    raise RuntimeError("the flow is closed")


class Flow:
    """One load's rows, read by a thread of its own and pulled by the destination.

    The source is opened when the destination asks for the rows, which is after it has the target's
    lock: a load that waits holds nothing open, and reads what is there when its turn has come.

    Args:
        read: opens the source; what it returns is closed by :meth:`close`.
        schema: names and types the destination takes, metadata columns included.
        load_id, loaded_at: values of the metadata columns.
        identity: (pipeline, stream) for events.
        emit: listener of the events.
        queue_bytes: bound of the batches that wait.
        cancel: set from outside to stop at the next batch.
        remember_files: whether the digests of the files read go into the ledger record.
        check: looks at each batch as it was read, and raises where it may not be loaded.
        is_whole_load: whether the load ends with this flow, or it is one split of it.
        read_raw: opens the source for undecoded rows, where the publish has a wire.
        flag: says which rows of a batch, as read, are deleted at the source.
        transform: changes a batch as read, before it is cast.
        screen: holds the cast rows to the stream's rules.
        split: the id of the split that it is, for events.
    """

    def __init__(
        self,
        read: Callable[[], Reading],
        schema: pa.Schema,
        *,
        load_id: str,
        loaded_at: datetime,
        identity: tuple[str, str],
        emit: Emit,
        queue_bytes: int,
        cancel: threading.Event,
        remember_files: bool,
        check: Callable[[pa.RecordBatch], None] | None = None,
        is_whole_load: bool = True,
        read_raw: OpenRaw | None = None,
        flag: Flag | None = None,
        transform: Transformed | None = None,
        screen: Screening | None = None,
        split: str = "",
    ) -> None:
        self.schema = schema
        self._open = read
        self._open_raw = read_raw
        self._reading: Reading | RawReading | None = None
        self._load_id = load_id
        self._loaded_at = pa.scalar(loaded_at, pa.timestamp("us", "UTC"))
        self._pipeline, self._stream = identity
        self._emit = emit
        self._queue: BoundedQueue[Batch] = BoundedQueue(queue_bytes)
        self._slice_bytes = max(queue_bytes // 4, 64 * 1024)
        self._cancel = cancel
        self._remember_files = remember_files
        self._check = check
        self._flag = flag
        self._transform = transform
        self._screen = screen
        self._split = split
        self._is_whole_load = is_whole_load
        self._error: ConduitError | None = None
        self._thread: threading.Thread | None = None
        self._exhausted = False
        self.rows_read = 0
        self.bytes_read = 0
        self.report = ""
        """What the screen found of all rows, once they are read."""
        self._seconds = dict.fromkeys(("read", "cast", "write", "network", "queue_empty"), 0.0)

    def reader(self) -> pa.RecordBatchReader:
        """Open the source, start reading and return the batches; taken once.

        Raises:
            ConduitError: the source can't be opened, or isn't what it was when planned.
        """
        with self._opening():
            self._reading = reading = self._open()
        self._start(lambda: self._decode(reading))
        batches = (batch for batch in self._drain() if isinstance(batch, pa.RecordBatch))
        return pa.RecordBatchReader.from_batches(self.schema, batches)

    def raw(self, columns: tuple[Column, ...], constants: Mapping[str, str]) -> Iterator[RawBatch]:
        """Open the source, start reading and return the rows undecoded; instead of ``reader``.

        Raises:
            ConduitError: the source can't be opened, or isn't what it was when planned.
        """
        if self._open_raw is None:
            raise RuntimeError("these rows can't be had undecoded")
        with self._opening():
            self._reading = reading = self._open_raw(columns, constants)
        self._start(lambda: self._pump(reading))
        return (batch for batch in self._drain() if isinstance(batch, RawBatch))

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Count as reading what a source does while it is opened: the destination waits for it."""
        started, ours, all_ = time.perf_counter(), time.thread_time(), time.process_time()
        yield
        seconds = time.perf_counter() - started
        threaded = isinstance(self._reading, Reading) and self._reading.threaded
        worked = time.process_time() - all_ if threaded else time.thread_time() - ours
        self._seconds["read"] += seconds
        self._seconds["queue_empty"] += seconds
        self._seconds["network"] += max(seconds - worked, 0.0)

    def _start(self, read: Callable[[], None]) -> None:
        self._thread = threading.Thread(
            target=self._read, args=(read,), name=f"read-{self._stream}", daemon=True
        )
        self._thread.start()

    def stages(self) -> dict[str, float]:
        """Return seconds by stage so far.

        ``network`` is the part of ``read`` in which nothing was computed here: the source's server,
        a disk or the network was waited for. ``queue_full`` is how long the reader waited for the
        destination, ``queue_empty`` how long the destination waited for rows.
        """
        return {**self._seconds, "queue_full": self._queue.full_seconds}

    def finish(self) -> Tally:
        """Return what was read; raise what broke it, which the driver only saw as a broken pipe."""
        if self._error is not None:
            error = self._error
            self.close()
            raise error
        if not self._exhausted:
            self.close()
            return Tally(Counts(read=self.rows_read), complete=False)
        if self._is_whole_load:
            self._emit(
                AuditStarted(
                    pipeline=self._pipeline,
                    stream=self._stream,
                    load_id=self._load_id,
                    rows_read=self.rows_read,
                )
            )
        if self._cancel.is_set():
            raise CancelledError("interrupted before the commit")
        files: tuple[str, ...] = ()
        if self._remember_files and isinstance(self._reading, Reading):
            files = tuple(file_digest(f) for f in self._reading.files)
        if self._screen is None:
            return Tally(
                Counts(read=self.rows_read), files, bytes=self.bytes_read, stages=self.stages()
            )
        self.report = self._screen.finish()
        counts = Counts(read=self.rows_read, rejected=self._screen.rejected)
        letters = self._screen.letters
        return Tally(
            counts,
            files,
            bytes=self.bytes_read,
            letters=letters,
            report=self.report,
            stages=self.stages(),
        )

    def close(self) -> None:
        """Stop the thread and close the source. Idempotent."""
        self._queue.stop()
        if self._thread is not None and self._thread.is_alive() and self._reading is not None:
            self._reading.cancel()
        if self._thread is not None:
            self._thread.join()
        if self._reading is not None:
            self._reading.close()
        if self._screen is not None:
            self._screen.close()
        # A driver may keep the stream of a failed load, and through it this flow, for good.
        self._open, self._open_raw, self._reading = _closed, None, None

    def _read(self, read: Callable[[], None]) -> None:
        try:
            read()
        except ConduitError as error:
            self._error = error
        except (pa.ArrowException, OSError) as error:
            self._error = SourceDataError(f"the source broke while reading: {error}", retry="step")
            self._error.__cause__ = error
        except BaseException as error:  # noqa: BLE001 - carried to the thread that publishes
            self._error = unexpected(error)
        finally:
            self._queue.end()

    def _decode(self, reading: Reading) -> None:
        """Put every batch in the queue, cast to the staged schema."""
        batches = iter(reading.reader)
        busy = time.process_time if reading.threaded else time.thread_time
        while True:
            started, worked = time.perf_counter(), busy()
            raw = next(batches, None)
            read_done = time.perf_counter()
            self._seconds["read"] += read_done - started
            self._seconds["network"] += max(read_done - started - (busy() - worked), 0.0)
            if raw is None:
                break
            if raw.num_rows == 0:
                continue
            if self._check is not None:
                self._check(raw)
            batch = self._screened(raw) if self._screen is not None else self._cast(raw)
            cast_done = time.perf_counter()
            self._count(raw, read_done - started, cast_done - read_done)
            if not all(self._queue.put(part) for part in self._slices(batch)):
                return
            self._look_for_cancel()

    def _pump(self, reading: RawReading) -> None:
        """Put every batch in the queue as it comes."""
        started, worked = time.perf_counter(), time.thread_time()

        def take(batch: RawBatch) -> bool:
            nonlocal started, worked
            seconds = time.perf_counter() - started
            self._seconds["read"] += seconds
            self._seconds["network"] += max(seconds - (time.thread_time() - worked), 0.0)
            self._count(batch, seconds, 0.0)
            taken = self._queue.put(batch)
            self._look_for_cancel()
            started, worked = time.perf_counter(), time.thread_time()
            return taken

        reading.pump(take)

    def _look_for_cancel(self) -> None:
        if self._cancel.is_set():
            raise CancelledError("interrupted while reading")

    def _count(self, batch: Batch, read_seconds: float, cast_seconds: float) -> None:
        size = batch.nbytes
        self.rows_read += batch.num_rows
        self.bytes_read += size
        self._seconds["cast"] += cast_seconds
        self._emit(
            BatchRead(
                pipeline=self._pipeline,
                stream=self._stream,
                load_id=self._load_id,
                rows=batch.num_rows,
                bytes=size,
                read_seconds=read_seconds,
                cast_seconds=cast_seconds,
                queue_bytes=self._queue.bytes,
                queue_limit=self._queue.limit,
                split=self._split,
            )
        )

    def _cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns: list[pa.Array[pa.Scalar[pa.DataType]]] = []
        rows = batch if self._transform is None else self._transform(batch)
        for field in self.schema:
            if rows.schema.get_field_index(field.name) >= 0:
                columns.append(cast_column(rows.column(field.name), field.type, field.name))
            elif field.name == LOAD_ID:
                columns.append(pa.repeat(pa.scalar(self._load_id, field.type), batch.num_rows))
            else:
                times = pa.repeat(self._loaded_at.cast(field.type), batch.num_rows)
                if field.name == DELETED_AT and self._flag is not None:
                    times = pc.if_else(self._flag(batch), times, pa.scalar(None, field.type))
                columns.append(times)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _screened(self, raw: pa.RecordBatch) -> pa.RecordBatch:
        """Return the cast rows that the rules let through; those that can't be read are kept."""
        screen = self._screen
        if screen is None:
            raise TypeError("no rules")
        if UNREADABLE in raw.schema.names:
            texts = cast("pa.StringArray", raw.column(UNREADABLE))
            if texts.null_count < len(texts):
                unread = texts.is_valid()
                screen.set_aside(self._cast(raw.filter(unread)), texts.drop_null())
                raw = raw.filter(texts.is_null())
        return screen.take(self._cast(raw))

    def _slices(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        parts = -(-batch.nbytes // self._slice_bytes)
        rows = max(-(-batch.num_rows // max(parts, 1)), 1)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)

    def _drain(self) -> Iterator[Batch]:
        """Yield batches to the destination; the time between two pulls is its writing."""
        while True:
            asked = time.perf_counter()
            batch = self._queue.get(self._cancel)
            started = time.perf_counter()
            self._seconds["queue_empty"] += started - asked
            if batch is None:
                break
            yield batch
            seconds = time.perf_counter() - started
            self._seconds["write"] += seconds
            self._emit(
                BatchWritten(
                    pipeline=self._pipeline,
                    stream=self._stream,
                    load_id=self._load_id,
                    rows=batch.num_rows,
                    bytes=batch.nbytes,
                    write_seconds=seconds,
                    split=self._split,
                )
            )
        if self._cancel.is_set():
            self._error = CancelledError("interrupted while reading")
        if self._error is not None:
            raise self._error
        self._exhausted = True
