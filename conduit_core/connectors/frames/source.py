"""Data that Python made, as a source: each name is a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from conduit_core.connectors.base import (
    Bounds,
    CheckItem,
    Reading,
    ReadRequest,
    Relation,
    Shape,
    SourceCapabilities,
    StreamRef,
)
from conduit_core.connectors.batches import BatchSource
from conduit_core.connectors.frames.data import Data
from conduit_core.errors import SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window


class FrameSource(BatchSource):
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

    def tables(self) -> Sequence[str]:
        """Name what there is."""
        return list(self._data)

    def columns(self, table: str) -> pa.Schema:
        """Return the columns. A generator is taken to its end for it, as a part may differ."""
        return self._of(table).schema or pa.schema([])

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        """Go over the data from its start."""
        return self._of(table).batches(columns, batch_bytes)

    def discover(self) -> list[Relation]:
        """List what there is. A generator is taken for it."""
        return [
            Relation(name, data.schema, data.rows)
            for name, data in sorted(self._data.items())
            if data.schema is not None
        ]

    def describe(self, ref: StreamRef) -> Shape:
        """Return the columns and how many rows there are. A generator is taken to its end."""
        data = self._of(ref.table)
        if data.schema is None:
            return Shape(pa.schema([]), nothing=f"the data is {_nothing(data)}: nothing to load")
        shape = super().describe(ref)
        untyped = [field.name for field in shape.schema if pa.types.is_null(field.type)]
        told = f"{', '.join(untyped)}: no type in the data (all NULL), text in a new table"
        return replace(shape, rows_estimate=data.rows, notes=(told,) if untyped else ())

    def bounds(self, ref: StreamRef, low: Cursor | None, cap: Cursor | None) -> Bounds:
        """Go over the cursor columns for the last row. The clock stood when the data was given."""
        return replace(super().bounds(ref, low, cap), clock=self._of(ref.table).made_at)

    def read(self, request: ReadRequest) -> Reading:
        """Open the window.

        Raises:
            SourceDataError: the columns aren't those that the plan saw.
        """
        reading = super().read(request)
        reading.threaded = True  # what the data comes from may have threads of its own
        return reading

    def _of(self, table: str | None) -> Data:
        if table is None or table not in self._data:
            raise SchemaError(
                f"there is no data {table!r}, only {', '.join(self._data) or 'nothing'}"
            )
        return self._data[table]


def _nothing(data: Data) -> str:
    return "None" if data.kind.startswith("nothing") else f"{data.kind} without columns or parts"
