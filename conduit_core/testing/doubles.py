"""What suites publish with: rows that can fail on command, and publishes spelled out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from conduit_core.connectors.base import Destination, Tally
from conduit_core.connectors.publish import (
    BALANCE,
    Action,
    AppendStaged,
    Column,
    CreateTable,
    OwnedBy,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    Requirement,
)
from conduit_core.errors import SourceDataError
from conduit_core.state.ledger import Counts, LedgerRecord
from conduit_core.state.window import Window
from conduit_core.types.casts import cast_column
from conduit_core.types.schema import fingerprint


class TableRows:
    """``StagedRows`` over a table in memory.

    Args:
        table: the rows, in the types that the destination asked for.
        batch_rows: rows of a batch.
        fail_at: the batch (from 0) whose place a ``SourceDataError`` takes.
        on_batch: called before each batch is handed over.
        read: rows that were read, where the reader claims another number.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        batch_rows: int = 1000,
        fail_at: int | None = None,
        on_batch: Callable[[int], None] | None = None,
        read: int | None = None,
    ) -> None:
        self.schema = table.schema
        self.finished = False
        self._table = table
        self._batch_rows = batch_rows
        self._fail_at = fail_at
        self._on_batch = on_batch
        self._read = table.num_rows if read is None else read
        self._broken: Exception | None = None

    def reader(self) -> pa.RecordBatchReader:
        """Return the batches."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(self._table.to_batches(max_chunksize=self._batch_rows)):
            if self._on_batch is not None:
                self._on_batch(number)
            if number == self._fail_at:
                self._broken = SourceDataError(f"batch {number} is broken on command")
                raise self._broken
            yield batch

    def finish(self) -> Tally:
        """Count what was read, or raise what broke the read."""
        self.finished = True
        if self._broken is not None:
            raise self._broken
        stages = {"read": 1.5, "write": 0.25}
        return Tally(Counts(read=self._read), bytes=self._table.nbytes, stages=stages)


_serial = threading.Lock()
_serial_number = 0


def unique(prefix: str) -> str:
    """Return a text that no other call returns."""
    global _serial_number  # noqa: PLW0603 - a counter is what it is
    with _serial:
        _serial_number += 1
        return f"{prefix}-{_serial_number}"


def columns_of(destination: Destination, schema: pa.Schema) -> tuple[Column, ...]:
    """Return the columns of a new table for a schema."""
    return tuple(Column(name=f.name, ddl=destination.landing(f).ddl) for f in schema)


def whole(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    """Return a column as one array."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def landed(destination: Destination, table: pa.Table) -> pa.Table:
    """Return the table cast to the types that the destination asks for in a new table."""
    arrays, fields = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = destination.landing(field).arrow
        arrays.append(cast_column(whole(column), kind, field.name))
        fields.append(pa.field(field.name, kind))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def record(
    target: str,
    schema: str,
    *,
    pipeline: str = "suite",
    stream: str | None = None,
    load_id: str | None = None,
    request: str = "full",
    request_key: str | None = None,
    window: Window | None = None,
    cursor: str | None = None,
) -> LedgerRecord:
    """Return a ledger record as a plan makes it: version and counts are still open."""
    now = datetime.now(UTC)
    return LedgerRecord(
        target_schema=schema,
        target_table=target,
        version=0,
        pipeline=pipeline,
        stream=stream or target,
        load_id=load_id or unique("load"),
        request=request,
        request_key=request_key,
        mode="append",
        load_window=(window or Window("full")).to_json(),
        cursor=cursor,
        schema_fingerprint="suite",
        spec_fingerprint="suite",
        target_fingerprint=f"suite:{schema}.{target}",
        runner='{"runner":"suite"}',
        started_at=now,
        published_at=now,
    )


def publish(
    made: LedgerRecord,
    schema: pa.Schema,
    *actions: Action,
    requires: tuple[Requirement, ...] | None = None,
) -> Publish:
    """Return a publish of these actions, the balance and the record, owned by its stream."""
    owned = (OwnedBy(pipeline=made.pipeline, stream=made.stream),)
    marked = made.model_copy(update={"schema_fingerprint": fingerprint(schema)})
    return Publish(
        target_schema=made.target_schema,
        target_table=made.target_table,
        staged_columns=tuple(schema.names),
        requirements=owned if requires is None else requires,
        actions=(*actions, BALANCE, RecordLoad(record=marked, schema_text="[]")),
    )


def create_and_append(
    destination: Destination,
    made: LedgerRecord,
    schema: pa.Schema,
    requires: tuple[Requirement, ...] | None = None,
) -> Publish:
    """Return a first load: the table is created, the rows inserted."""
    create = CreateTable(columns=columns_of(destination, schema))
    return publish(made, schema, create, AppendStaged(), requires=requires)


def replace(
    destination: Destination,
    made: LedgerRecord,
    schema: pa.Schema,
    how: Literal["swap", "in_place"],
) -> Publish:
    """Return a load that replaces the target's content."""
    action = ReplaceWithStaged(how=how, columns=columns_of(destination, schema))
    return publish(made, schema, action)
