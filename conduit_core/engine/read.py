"""Reading what was published: a target as Arrow batches, or as the files it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conduit_core.errors import ConduitError, ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from conduit_core.connectors.lake.fileset import FileSet
    from conduit_core.engine.pipeline import Pipeline


@contextmanager
def read(
    pipeline: Pipeline, stream: str, columns: tuple[str, ...] | None = None
) -> Iterator[pa.RecordBatchReader]:
    """Open a stream's target for reading, in batches; closed with the ``with`` block.

    Args:
        pipeline: whose stream.
        stream: its name.
        columns: which of the target's; None for all.

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


def files(pipeline: Pipeline, stream: str) -> FileSet:
    """Return the published data files of a stream's target, where the destination is files.

    A newer version may replace them: they are kept until `conduit clean` finds them old enough.

    Args:
        pipeline: whose stream.
        stream: its name.

    Raises:
        ConfigError: no such stream, or the destination isn't files.
        SchemaError: the target doesn't exist yet.
    """
    from conduit_core.connectors.lake.fileset import HasFileSets

    (chosen,) = pipeline.select((stream,))
    with pipeline.open() as ends:
        try:
            if not isinstance(ends.destination, HasFileSets):
                raise ConfigError(
                    f"a {ends.destination.system} destination has tables, not files: read them"
                    " there, or with conduit_core.read",
                    command="conduit status",
                )
            return ends.destination.files(pipeline.target(chosen, ends.destination))
        except ConduitError as error:
            raise pipeline.at(error, stream) from error.__cause__
