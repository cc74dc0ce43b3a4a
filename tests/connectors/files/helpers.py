"""What the tests of file sources share: a source over a folder, and a stream read whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conduit_core.connectors import registry
from conduit_core.connectors.base import Context, ReadRequest, StreamRef
from conduit_core.connectors.files import FileSource
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

FILE_CURSOR = ("_file_modified", "_file_path")


def source(kind: str, folder: Path | str, **options: Any) -> FileSource:
    connector = registry.get(kind)
    assert connector.source is not None
    made = connector.source(connector.options(path=str(folder), **options), Context(Path()))
    assert isinstance(made, FileSource)
    return made


def load(
    made: FileSource,
    path: str | None = None,
    window: Window | None = None,
    *,
    schema: pa.Schema | None = None,
    batch_bytes: int = 4 * 1024 * 1024,
    known: frozenset[str] = frozenset(),
    **ref: Any,
) -> tuple[pa.Table, list[str]]:
    """Return a stream's rows and the files they came from."""
    stream = StreamRef(path=path or ".", **ref)
    shape = schema or made.describe(stream).schema
    request = ReadRequest(
        stream,
        shape,
        window or Window("full"),
        batch_bytes=batch_bytes,
        known_files=known,
        refuse_changed=bool(known),
    )
    reading = made.read(request)
    try:
        table = reading.reader.read_all()
    finally:
        reading.close()
    assert table.schema.equals(shape, check_metadata=True)
    return table, reading.files


def rows(made: FileSource, path: str | None = None, **more: Any) -> list[dict[str, Any]]:
    return load(made, path, **more)[0].to_pylist()


def touch(path: Path, nanoseconds: int) -> None:
    os.utime(path, ns=(nanoseconds, nanoseconds))


def cursor(values: dict[str, pa.Scalar[Any]]) -> Cursor:
    return Cursor(tuple(values), tuple(values.values()))
