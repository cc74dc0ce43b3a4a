"""Staged files on their way into a destination: read ahead by a thread, counted split by split."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from io import IOBase
from typing import TYPE_CHECKING, cast

from conduit_core.connectors.base import Tally
from conduit_core.connectors.objects.base import ObjectStore
from conduit_core.connectors.sql.staging import lost
from conduit_core.connectors.staging import StageReceipt, stages_of
from conduit_core.errors import ConduitError, unexpected
from conduit_core.state.ledger import Counts

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import ipc

_AHEAD = 6
"""Batches read before they are asked for; each was written no larger than ``BATCH_BYTES``."""


def options() -> ipc.IpcWriteOptions:
    """Return how staged files are written: LZ4 costs less than the bytes it saves."""
    from pyarrow import ipc

    return ipc.IpcWriteOptions(compression="lz4")


class StagedFiles:
    """``StagedRows`` over the files of receipts, in their order.

    Args:
        store: where the files lie.
        receipts: one per split.
        schema: names and types, as they were staged.
        report: what the audit found, as JSON.
    """

    def __init__(
        self,
        store: ObjectStore,
        receipts: Sequence[StageReceipt],
        schema: pa.Schema,
        report: str = "",
    ) -> None:
        self.schema = schema
        self._report = report
        self._store = store
        self._receipts = tuple(receipts)
        self._waiting: queue.SimpleQueue[pa.RecordBatch | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._stopped = False
        self._exhausted = False
        self._error: ConduitError | None = None
        self._thread: threading.Thread | None = None

    def reader(self) -> pa.RecordBatchReader:
        """Start to read and return the batches; taken once."""
        import pyarrow as pa

        self._thread = threading.Thread(target=self._read, name="read-staged", daemon=True)
        self._thread.start()
        return pa.RecordBatchReader.from_batches(self.schema, self._drain())

    def finish(self) -> Tally:
        """Return what the readers of all splits counted.

        Raises:
            StagingLostError: a file is gone, or holds other rows than were staged.
        """
        self._stopped = True
        self._room.release()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        counts = {k: sum(getattr(r.counts, k) for r in self._receipts) for k in Counts.model_fields}
        return Tally(
            Counts(**counts),
            tuple(f for r in self._receipts for f in r.files),
            complete=self._exhausted,
            bytes=sum(r.bytes for r in self._receipts),
            letters=self._letters(),
            report=self._report,
            stages=stages_of(self._receipts),
        )

    def _letters(self) -> StagedLetters | None:
        rejected = [receipt for receipt in self._receipts if receipt.letters]
        return StagedLetters(rejected, self._letter_batches) if rejected else None

    def _drain(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._waiting.get()) is not None:
            self._room.release()
            yield batch
        if self._error is not None:
            raise self._error
        self._exhausted = True

    def _read(self) -> None:
        try:
            for receipt in self._receipts:
                for batch in self._batches(receipt):
                    self._room.acquire()
                    if self._stopped:
                        return
                    self._waiting.put(batch)
        except ConduitError as error:
            self._error = error
        except BaseException as error:  # noqa: BLE001 - carried to the thread that publishes
            self._error = unexpected(error)
        finally:
            self._waiting.put(None)

    def _batches(self, receipt: StageReceipt) -> Iterator[pa.RecordBatch]:
        return self._counted(receipt, receipt.places, self.schema, receipt.rows)

    def _letter_batches(self, receipt: StageReceipt) -> Iterator[pa.RecordBatch]:
        from conduit_core.connectors.letters import LETTER_SCHEMA

        places = (receipt.letters,)
        return self._counted(receipt, places, LETTER_SCHEMA, receipt.counts.rejected)

    def _counted(
        self, receipt: StageReceipt, places: Sequence[str], schema: pa.Schema, staged: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of files, which have to be as many as were staged."""
        import pyarrow as pa

        rows = 0
        for place in places:
            try:
                for batch in self._file(receipt, place, schema):
                    rows += batch.num_rows
                    yield batch
            except FileNotFoundError as error:
                raise lost(receipt.split, f"{place} in {self._store.identity} is gone") from error
            except (pa.ArrowException, OSError, ValueError) as error:
                why = f"{place} in {self._store.identity} is damaged ({error})"
                raise lost(receipt.split, why) from error
        if rows != staged:
            where = ", ".join(places) or "no file"
            why = f"{where} in {self._store.identity} holds {rows} rows, {staged} were staged"
            raise lost(receipt.split, why)

    def _file(
        self, receipt: StageReceipt, place: str, wanted: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        from pyarrow import ipc

        with (
            self._store.reader(place) as stream,
            ipc.open_stream(cast("IOBase", stream)) as batches,
        ):
            found = batches.schema
            if (found.names, found.types) != (wanted.names, wanted.types):
                raise lost(receipt.split, f"{place} has other columns than the plan says")
            for batch in batches:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=wanted)


class StagedLetters:
    """Rejected rows in the files of receipts.

    Args:
        receipts: those that name such a file.
        batches: reads the file of one.
    """

    def __init__(
        self,
        receipts: Sequence[StageReceipt],
        batches: Callable[[StageReceipt], Iterator[pa.RecordBatch]],
    ) -> None:
        self._receipts = receipts
        self._batches = batches

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(receipt.counts.rejected for receipt in self._receipts)

    def reader(self) -> pa.RecordBatchReader:
        """Return them; may be taken again."""
        import pyarrow as pa

        from conduit_core.connectors.letters import LETTER_SCHEMA

        batches = (batch for receipt in self._receipts for batch in self._batches(receipt))
        return pa.RecordBatchReader.from_batches(LETTER_SCHEMA, batches)

    def close(self) -> None:
        """Nothing to let go of: they go with their load."""
