"""What every rule needs of Arrow: a column in a type that kernels take, and masks without NULLs."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute

Column: TypeAlias = "pa.Array[pa.Scalar[pa.DataType]]"
kernels: Any = pyarrow.compute
"""Arrow's kernels for columns whose type only a schema knows; the stubs want it in annotations."""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which :func:`plain` gives a column of that type."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_binary_view(kind) else kind


def plain(column: Column) -> Column:
    """Return the column in a type that Arrow's kernels take: no dictionary, run ends or views."""
    kind = plain_type(column.type)
    if kind == column.type:
        return column
    if pa.types.is_run_end_encoded(column.type):
        column = cast("Column", kernels.run_end_decode(column))
    return column if column.type == kind else column.cast(kind)


def pick(batch: pa.RecordBatch, name: str) -> Column:
    """Return a column of a batch, plain."""
    return plain(batch.column(name))


def known(flags: Column, *, null: bool) -> pa.BooleanArray:
    """Return flags with NULL as ``null``."""
    mask = cast("pa.BooleanArray", flags)
    return mask if mask.null_count == 0 else cast("pa.BooleanArray", kernels.fill_null(mask, null))


def constant(size: int, *, value: bool | None) -> pa.BooleanArray:
    """Return so many flags, all the same."""
    return pa.repeat(pa.scalar(value, pa.bool_()), size)


def flip(flags: pa.BooleanArray) -> pa.BooleanArray:
    """Return the opposite of each flag."""
    return cast("pa.BooleanArray", kernels.invert(flags))


def both(left: pa.BooleanArray, right: pa.BooleanArray) -> pa.BooleanArray:
    """Return where both are true."""
    return cast("pa.BooleanArray", kernels.and_(left, right))


def either(left: pa.BooleanArray, right: pa.BooleanArray) -> pa.BooleanArray:
    """Return where one of them is true."""
    return cast("pa.BooleanArray", kernels.or_(left, right))


def scatter(part: pa.BooleanArray, where: pa.BooleanArray | None, *, fill: bool) -> pa.BooleanArray:
    """Return flags of the rows that ``where`` picked as flags of all rows; ``fill`` elsewhere."""
    if where is None:
        return part
    rest = constant(len(where), value=fill)
    return cast("pa.BooleanArray", kernels.replace_with_mask(rest, where, part))


def filtered(batch: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    """Return the rows for which ``mask`` is true; also of views, for which Arrow has no kernel."""
    if not any(_is_view(field.type) for field in batch.schema):
        return batch.filter(mask)
    columns = [
        plain(column).filter(mask).cast(column.type)
        if _is_view(column.type)
        else column.filter(mask)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _is_view(kind: pa.DataType) -> bool:
    return pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)


def is_text(kind: pa.DataType) -> bool:
    """Say whether a plain type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_binary(kind: pa.DataType) -> bool:
    """Say whether a plain type is bytes."""
    fixed = pa.types.is_fixed_size_binary(kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or fixed


def is_number(kind: pa.DataType) -> bool:
    """Say whether a type is an integer, a float or a decimal."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def is_time(kind: pa.DataType) -> bool:
    """Say whether a type is a date, a timestamp or a time of day."""
    return pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind)
