"""Delete flags: which rows of a batch their own source calls deleted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.errors import ConfigError, SchemaError
from conduit_core.spec import StreamSpec
from conduit_core.spec.deletes import FlagValue

if TYPE_CHECKING:
    from conduit_core.engine.flow import Flag


def flag_of(stream: StreamSpec) -> Flag | None:
    """Return what tells a stream's deleted rows by their flag; None where it has no flag."""
    deletes = stream.deletes
    if deletes is None or deletes.column is None:
        return None
    column, values = deletes.column, deletes.values
    return lambda batch: is_flagged(batch.column(column), values)


def is_flagged(
    column: pa.Array[pa.Scalar[pa.DataType]], values: tuple[FlagValue, ...]
) -> pa.BooleanArray:
    """Return which values say that their row is deleted; NULL never does.

    Args:
        column: the flag's column.
        values: the values that say so; none: true, a number that isn't 0, any time.
    """
    kind = column.type
    if values:
        return pc.is_in(column, value_set=_values(kind, values))
    if pa.types.is_boolean(kind):
        return _known(column)
    if _is_number(kind):
        return _known(pc.not_equal(column, _values(kind, (0,))[0]))
    return pc.is_valid(column)


def check_flag(stream: StreamSpec, source: pa.Schema) -> None:
    """Refuse a flag that the source's schema can't have.

    Raises:
        SchemaError: the column doesn't exist.
        ConfigError: its type has not the values, or needs them said.
    """
    deletes = stream.deletes
    if deletes is None or deletes.column is None:
        return
    if deletes.column not in source.names:
        raise SchemaError(
            f"`deletes` looks at column {deletes.column!r}, which the stream doesn't have; it has"
            f" {', '.join(source.names)}",
            command="conduit plan",
        )
    kind = source.field(deletes.column).type
    if deletes.values:
        try:
            _values(kind, deletes.values)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise ConfigError(
                f"`deletes`: {', '.join(map(repr, deletes.values))} can't be values of column"
                f" {deletes.column!r} ({kind})",
                command="conduit plan",
            ) from error
    elif not (pa.types.is_boolean(kind) or _is_number(kind) or pa.types.is_temporal(kind)):
        raise ConfigError(
            f"`deletes` needs `values`: which of column {deletes.column!r} ({kind}) say that a row"
            " is deleted, for example values: [D]",
            command="conduit plan",
        )


def _known(flags: pa.Array[pa.Scalar[pa.DataType]]) -> pa.BooleanArray:
    """Return flags with NULL as false."""
    return cast("pa.BooleanArray", pc.coalesce(flags, pa.scalar(value=False)))


def _values(kind: pa.DataType, values: tuple[FlagValue, ...]) -> pa.Array[pa.Scalar[pa.DataType]]:
    texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]
    return pa.array(texts, pa.string()).cast(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
