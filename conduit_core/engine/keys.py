"""What the source says of keys, beside the rows: the key set, tombstones, rows by their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

import pyarrow as pa

from conduit_core.connectors.base import BATCH_BYTES, Reading, ReadRequest, StreamRef
from conduit_core.connectors.splits import Split
from conduit_core.engine.flow import Flow
from conduit_core.engine.model import LoadPlan
from conduit_core.engine.pipeline import Ends, stream_ref
from conduit_core.engine.rows import new_flow, screen_rows, transform_rows
from conduit_core.engine.runtime import Runtime
from conduit_core.errors import SchemaError
from conduit_core.events import Event
from conduit_core.spec import StreamSpec
from conduit_core.state.window import Window
from conduit_core.types.casts import cast_column
from conduit_core.types.schema import schema_from_json

_PLACE = "_conduit_place"


def key_ref(stream: StreamSpec) -> StreamRef:
    """Return what is read for the keys: the stream's own key and cursor, or the tracking table."""
    deletes, key = stream.deletes, stream.unique_key
    if deletes is not None and deletes.table is not None:
        listed = deletes.unique_key or key
        time = (deletes.cursor,) if deletes.cursor and stream.cursor else ()
        columns = (*listed, *time)
        return StreamRef(table=deletes.table, columns=columns)
    columns = tuple(dict.fromkeys((*key, *stream.cursor)))
    return replace(stream_ref(stream), columns=columns, cursor=(), file_column=False)


class SourceKeys:
    """A plan's ``KeyRows``: each read is opened when the destination asks for it.

    Args:
        plan: a plan with ``key_source``.
        stream: its stream.
        ends: the source to read.
        runtime: memory and interruption.
    """

    def __init__(self, plan: LoadPlan, stream: StreamSpec, ends: Ends, runtime: Runtime) -> None:
        self._plan, self._stream = plan, stream
        self._ends, self._source, self._runtime = ends, ends.source, runtime
        self._flows: list[Flow] = []

    def all(self) -> Flow:
        """Return the key rows, as the destination's columns are named and typed."""
        staged = schema_from_json(self._plan.key_staged or [])
        request = self._request(key_ref(self._stream), self._plan.key_source or [])

        def read() -> Reading:
            return _renamed(self._source.read(request), staged.names)

        flow = new_flow(read, staged, self._plan, self._stream, self._runtime, _silent)
        self._flows.append(flow)
        return flow

    def again(self, keys: Sequence[tuple[object, ...]]) -> Flow:
        """Read the rows of some keys as they are now."""
        schema = schema_from_json(self._plan.source_schema)
        wanted = _as_read(keys, self._stream.unique_key, schema)
        request = self._request(
            replace(stream_ref(self._stream), cursor=()), self._plan.source_schema
        )
        first = self._stream.unique_key[0]
        values = tuple(dict.fromkeys(wanted.column(first)))
        among = replace(request, split=Split("among", "among", first, others=values))

        def read() -> Reading:
            claims = "values" in self._source.capabilities.splits
            try:
                opened = self._source.read(among if claims else request)
            except SchemaError:  # a type the source can't compare values of: everything is read
                opened = self._source.read(request)
            return _only(opened, wanted)

        plan, stream = self._plan, self._stream
        flow = new_flow(
            read,
            schema_from_json(plan.staged_schema),
            plan,
            stream,
            self._runtime,
            self._runtime.emit,
            transform=transform_rows(plan, stream),
            screen=screen_rows(plan, stream, self._ends, self._runtime, "again"),
        )
        self._flows.append(flow)
        return flow

    def close(self) -> None:
        """Stop what is still read. Idempotent."""
        for flow in self._flows:
            flow.close()

    def _request(self, ref: StreamRef, schema: list[dict[str, object]]) -> ReadRequest:
        size = min(BATCH_BYTES, self._runtime.queue_bytes)
        return ReadRequest(ref, schema_from_json(schema), Window("full"), batch_bytes=size)


def _silent(event: Event) -> None:
    """Keys aren't rows: no listener counts them."""


def _as_read(
    keys: Sequence[tuple[object, ...]], names: Sequence[str], schema: pa.Schema
) -> pa.Table:
    """Return keys, as a destination's session gives them, in the types of the source."""
    columns = []
    for name, given in zip(names, zip(*keys, strict=True), strict=True):
        kind = schema.field(name).type
        values = [str(value) if isinstance(value, UUID) else value for value in given]
        try:
            columns.append(pa.array(values, kind))
        except (pa.ArrowException, TypeError):
            columns.append(cast_column(pa.array(values), kind, name))
    return pa.table(columns, names=list(names))


def _renamed(reading: Reading, names: list[str]) -> Reading:
    """Name the columns as the stream's key is named: a tracking table may have other names."""
    reader = reading.reader
    if reader.schema.names == names:
        return reading
    schema = pa.schema([f.with_name(n) for f, n in zip(reader.schema, names, strict=True)])
    batches = (pa.RecordBatch.from_arrays(b.columns, schema=schema) for b in reader)
    return replace(reading, reader=pa.RecordBatchReader.from_batches(schema, batches))


def _only(reading: Reading, keys: pa.Table) -> Reading:
    """Leave the rows of some keys: a source compares the first column at most."""
    names, reader = keys.column_names, reading.reader

    def kept() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            rows = pa.Table.from_batches([batch]).select(names)
            rows = rows.append_column(_PLACE, pa.array(range(batch.num_rows), pa.int64()))
            found = rows.join(keys, keys=names, join_type="left semi").column(_PLACE)
            if len(found):
                yield batch.take(found.combine_chunks().sort())

    return replace(reading, reader=pa.RecordBatchReader.from_batches(reader.schema, kept()))


def keys_of(plan: LoadPlan, stream: StreamSpec, ends: Ends, runtime: Runtime) -> SourceKeys | None:
    """Return what the source says of keys, where the plan looks for deletes by key."""
    if plan.key_source is None:
        return None
    return SourceKeys(plan, stream, ends, runtime)
