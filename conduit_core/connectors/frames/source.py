"""Data that Python made, as a source: each name is a table."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import pyarrow as pa

from conduit_core.connectors.base import (
    BATCH_BYTES,
    Bounds,
    CheckItem,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    Source,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.files.formats import conform
from conduit_core.connectors.files.windowing import Last, inside, needed, orderable
from conduit_core.connectors.frames.data import Data
from conduit_core.connectors.plain import Field
from conduit_core.connectors.splits import refuse_kind
from conduit_core.errors import SchemaError, SourceDataError
from conduit_core.state.cursor import Cursor


class FrameSource(Source):
    """Data by its name.

    Args:
        identity: what it is called from run to run; the data itself is another one each time.
        data: what there is. It outlives the source, so that it can be taken again.
    """

    system = "frames"
    capabilities = SourceCapabilities(kinds=frozenset({"table"}), slices=True, looks_by_taking=True)

    def __init__(self, identity: str, data: Mapping[str, Data]) -> None:
        self._identity = identity
        self._data = data

    @property
    def identity(self) -> str:
        """The name it was given: stable from run to run."""
        return self._identity

    def check(self) -> list[CheckItem]:
        """Name what there is; nothing of it is taken."""
        return [CheckItem(name, ok=True, detail=data.kind) for name, data in self._data.items()]

    def discover(self) -> list[Relation]:
        """List what there is. A generator is taken for it."""
        return [
            Relation(name, data.schema, data.rows)
            for name, data in sorted(self._data.items())
            if data.schema is not None
        ]

    def describe(self, ref: StreamRef) -> Shape:
        """Return the columns. A generator is taken to its end for it, as a part may differ."""
        data = self._of(ref)
        schema = data.schema
        if schema is None:
            return Shape(pa.schema([]), nothing=f"the data is {_nothing(data)}: nothing to load")
        kinds = []
        for name in ref.cursor:
            kind = _field(schema, name, "cursor column").type
            if not orderable(kind):
                raise SchemaError(f"cursor column {name!r} is {kind}, which has no order")
            kinds.append(kind)
        if ref.columns is not None:
            schema = pa.schema([_field(schema, name, "column") for name in ref.columns])
        untyped = [field.name for field in schema if pa.types.is_null(field.type)]
        told = f"{', '.join(untyped)}: no type in the data (all NULL), text in a new table"
        return Shape(schema, tuple(kinds), data.rows, notes=(told,) if untyped else ())

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Go over the cursor columns for the last row. The clock stood when the data was given."""
        data = self._of(ref)
        found = Last(ref.cursor, low, cap)
        for batch in data.batches(ref.cursor, BATCH_BYTES):
            found.add(batch)
        return Bounds(found.high, found.null_rows, found.rows, data.made_at)

    def read(self, request: ReadRequest) -> Reading:
        """Open the window.

        Raises:
            SourceDataError: the columns aren't those that the plan saw.
        """
        refuse_kind(
            request.split.kind if request.split else "whole", self.capabilities.splits, self.system
        )
        data = self._of(request.ref)
        _compare(data.schema or pa.schema([]), request.schema)
        batches = _read(data, request)
        reader = pa.RecordBatchReader.from_batches(request.schema, batches)
        return Reading(reader, batches.close, threaded=True)

    def _of(self, ref: StreamRef) -> Data:
        if ref.table is None or ref.table not in self._data:
            raise SchemaError(
                f"there is no data {str(ref)!r}, only {', '.join(self._data) or 'nothing'}"
            )
        return self._data[ref.table]


def _read(data: Data, request: ReadRequest) -> Generator[pa.RecordBatch]:
    cursor = request.ref.cursor
    names = list(dict.fromkeys([*request.schema.names, *needed(request.window, cursor)]))
    for batch in data.batches(names, request.batch_bytes):
        rows = inside(batch, request.window, cursor)
        if rows.num_rows:
            yield conform(rows, request.schema)


def _compare(schema: pa.Schema, wanted: pa.Schema) -> None:
    for field in wanted:
        if field.name not in schema.names or schema.field(field.name).type != field.type:
            raise SourceDataError(
                f"column {field.name!r} was {field.type} when the load was planned, and isn't"
                " any more",
                retry="plan",
            )


def _nothing(data: Data) -> str:
    return "None" if data.kind.startswith("nothing") else f"{data.kind} without columns or parts"


def _field(schema: pa.Schema, name: str, what: str) -> Field:
    if name not in schema.names:
        raise SchemaError(f"{what} {name!r} doesn't exist; there are {', '.join(schema.names)}")
    return schema.field(name)
