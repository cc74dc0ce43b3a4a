"""The source: which tables there are, their columns as Arrow types, their rows as batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from conduit_core.connectors.base import CheckItem
from conduit_core.connectors.batches import BatchSource
from conduit_core.connectors.files.records import build
from conduit_core.errors import ConnectionFailedError, SchemaError
from conduit_core.state.window import Window

from conduit_acme.client import Client

TYPES: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "moment": pa.timestamp("us", tz="UTC"),
    "number": pa.float64(),
    "text": pa.string(),
}
"""The Arrow type of each type that there is. A value that isn't of it stops the load."""


class AcmeSource(BatchSource):
    """Tables of acme.

    Args:
        client: what speaks to it.
    """

    system = "acme"

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def identity(self) -> str:
        """What makes this source itself from run to run, without secrets."""
        return f"acme:{self._client.folder}"

    def check(self) -> list[CheckItem]:
        """Look whether it can be reached; what isn't fine has a remedy."""
        try:
            found = f"{len(self._client.tables())} tables"
        except ConnectionFailedError as error:
            return [
                CheckItem("read", ok=False, detail=error.message, remedy="make it, or mend path:")
            ]
        return [CheckItem("read", ok=True, detail=found)]

    def tables(self) -> Sequence[str]:
        """Name the tables."""
        return self._client.tables()

    def columns(self, table: str) -> pa.Schema:
        """Return a table's columns."""
        fields: list[pa.Field[pa.DataType]] = []
        for name, kind in self._client.columns(table).items():
            if kind not in TYPES:
                raise SchemaError(f"{table}: column {name!r} is {kind}, which has no Arrow type")
            fields.append(pa.field(name, TYPES[kind]))
        return pa.schema(fields)

    def batches(
        self, table: str, columns: Sequence[str], window: Window, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        """Return the rows, a batch for each page.

        Rows outside the window may come: they are dropped. A system that can be asked for less
        (``?updated_since=...``) is asked for the rows from ``window.low`` on.
        """
        whole = self.columns(table)
        schema = pa.schema([whole.field(name) for name in columns])
        first = 1
        for page in self._client.pages(table):
            yield build(page, schema, file=table, places=first, has_types=False)
            first += len(page)
