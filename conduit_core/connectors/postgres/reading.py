"""From the driver's batches to the schema a plan promised: casts, and values Arrow can't say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.errors import SourceDataError

if TYPE_CHECKING:
    from conduit_core.connectors.postgres.connection import Connection

Array: TypeAlias = "pa.Array[pa.Scalar[pa.DataType]]"

# PostgreSQL's calendar begins in 4713 BC; the driver's numbers below that are infinities, or years
# past Arrow's last.
_FIRST_MICROSECOND = -210_866_803_200_000_000
_FIRST_DAY = -2_440_588
_MIDNIGHT = 86_400_000_000
_AGAIN_SECONDS = 0.2
_ODD_TIME = "infinity, or a date beyond Arrow's range"


class OpenStream:
    """The batches of a COPY, which another thread may close while one of them is being fetched.

    Closing would free what a running fetch reads from; so the fetch is cancelled and awaited.
    """

    def __init__(self, connection: Connection, batches: Generator[pa.RecordBatch]) -> None:
        self._connection = connection
        self._batches = batches
        self._fetching = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield batches until the last, or until the stream is closed."""
        while True:
            with self._fetching:
                batch = None if self._closed else next(self._batches, None)
            if batch is None:
                return
            yield batch

    def close(self) -> None:
        """Stop the read and give the connection back. Idempotent."""
        self._closed = True
        wait = 0.0
        while not self._fetching.acquire(timeout=wait):
            self._connection.cancel()  # again, if it came before the statement
            wait = _AGAIN_SECONDS
        try:
            self._batches.close()
            self._connection.close()
        finally:
            self._fetching.release()


def fetched(
    run: Callable[[], pa.RecordBatchReader], schema: pa.Schema, relation: str
) -> Generator[pa.RecordBatch]:
    """Run a query with the first fetch, which :meth:`OpenStream.close` can cancel, and decode it.

    The driver's call returns with the first rows, and they may take long.
    """
    raw = run()
    try:
        yield from decoded(raw, schema, relation)
    finally:
        raw.close()


def decoded(
    reader: pa.RecordBatchReader, schema: pa.Schema, relation: str
) -> Iterator[pa.RecordBatch]:
    """Yield each batch in ``schema``.

    Raises:
        SourceDataError: a value has no place in its Arrow type; the column is named.
    """
    for batch in reader:
        if batch.num_rows:
            yield pa.RecordBatch.from_arrays(
                [decode(a, f, relation) for a, f in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )


def decode(array: Array, field: pa.Field[pa.DataType], relation: str) -> Array:
    """Return one column in its field's type."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_temporal(array.type):
        _check_time(array, field.name, relation)
    if array.type == field.type:
        return array
    try:
        return pc.cast(array, field.type)
    except pa.ArrowInvalid as error:
        raise _not_a_value(array, field, relation, str(error)) from None


def _check_time(array: Array, name: str, relation: str) -> None:
    kind = array.type
    if isinstance(kind, pa.Time64Type):
        if _extreme("max", array.view(pa.int64())) >= _MIDNIGHT:
            raise _unsayable(name, relation, "the time 24:00:00")
    elif isinstance(kind, pa.TimestampType):
        if _extreme("min", array.view(pa.int64())) < _FIRST_MICROSECOND:
            raise _unsayable(name, relation, _ODD_TIME)
    elif kind == pa.date32() and _extreme("min", array.cast(pa.int32())) < _FIRST_DAY:
        raise _unsayable(name, relation, _ODD_TIME)


def _extreme(function: str, numbers: pa.Array[Any]) -> int:
    """Return the smallest or greatest number, 0 if all are NULL."""
    found: object = pc.call_function(function, [numbers]).as_py()
    return found if isinstance(found, int) else 0


def _not_a_value(
    array: Array, field: pa.Field[pa.DataType], relation: str, said: str
) -> SourceDataError:
    if pa.types.is_string(array.type):
        odd = pc.is_in(array, value_set=pa.array(["NaN", "Infinity", "-Infinity"]))
        if pc.any(odd).as_py():
            return _unsayable(field.name, relation, "NaN or infinity as a numeric")
    return SourceDataError(
        f"column {field.name!r} of {relation}: a value isn't a {field.type}: {said}",
        connector="postgres",
        command="conduit plan",
    )


def _unsayable(name: str, relation: str, what: str) -> SourceDataError:
    return SourceDataError(
        f"column {name!r} of {relation} holds {what}, which the column's Arrow type can't say:"
        " select it in a query with a CASE, or as text (column::text)",
        connector="postgres",
        command="conduit plan",
    )
