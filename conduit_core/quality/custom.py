"""``custom``: a function of the user's that judges record batches.

The contract: ``function(batch: pyarrow.RecordBatch) -> pyarrow.BooleanArray``, of the batch's
length. True: the row passes; false: it breaks the rule; NULL: it passes, as with every rule. It is
called once for each batch, after ``transform``, with the rows that ``where`` picks (never none), in
the thread or the process that reads. It judges each row by itself and keeps nothing between calls:
how rows are cut into batches and splits may differ from load to load. With an error, the load
fails and nothing is published.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyarrow as pa

from conduit_core.errors import ConfigError, QualityError
from conduit_core.quality.checks import Check
from conduit_core.quality.imports import import_object


def compile_custom(path: str, folder: Path | None) -> Check:
    """Return what calls a function and holds it to the contract.

    Raises:
        ConfigError: it doesn't import, or can't be called.
    """
    found = import_object(path, "function", folder)
    if not callable(found):
        raise ConfigError(
            f"function {path!r} can't be called: it is a {type(found).__name__}",
            command="conduit check",
        )
    function = cast("Callable[[pa.RecordBatch], object]", found)

    def check(batch: pa.RecordBatch) -> pa.BooleanArray:
        try:
            result = function(batch)
        except Exception as error:
            text = f"raised {type(error).__name__}: {error}"
            raise _broken(path, text, batch) from error
        if isinstance(result, pa.ChunkedArray):
            result = result.combine_chunks()
        if not isinstance(result, pa.BooleanArray):
            kind = result.type if isinstance(result, pa.Array) else type(result).__name__
            raise _broken(path, f"returned {kind}, not a BooleanArray", batch)
        if len(result) != batch.num_rows:
            raise _broken(path, f"returned {len(result)} values", batch)
        return result

    return check


def _broken(path: str, text: str, batch: pa.RecordBatch) -> QualityError:
    return QualityError(
        f"function {path!r} {text}, for a batch of {batch.num_rows} rows", command="conduit check"
    )
