"""Reading what was published: a target as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from conduit_core.engine.pipeline import Pipeline


@contextmanager
def read(
    pipeline: Pipeline, stream: str, columns: tuple[str, ...] | None = None
) -> Iterator[pa.RecordBatchReader]:
    """Open a stream's target for reading, in batches; closed with the ``with`` block.

    Raises:
        ConfigError: no such stream.
        SchemaError: the target doesn't exist yet.
    """
    (chosen,) = pipeline.select((stream,))
    with pipeline.open() as ends:
        reader = ends.destination.scan(pipeline.target(chosen, ends.destination), columns)
        try:
            yield reader
        finally:
            reader.close()
