"""From the driver's batches to the schema a plan promised: casts, and values Arrow can't say."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.errors import SourceDataError

# PostgreSQL's calendar begins in 4713 BC; the driver's numbers below that are infinities, or years
# past Arrow's last.
_FIRST_MICROSECOND = -210_866_803_200_000_000
_FIRST_DAY = -2_440_588
_MIDNIGHT = 86_400_000_000


def decoded(
    reader: pa.RecordBatchReader, schema: pa.Schema, relation: str
) -> Iterator[pa.RecordBatch]:
    """Yield each batch in ``schema``.

    Raises:
        SourceDataError: a value has no place in its Arrow type; the column is named.
    """
    for batch in reader:
        if batch.num_rows:
            yield pa.RecordBatch.from_arrays(
                [decode(a, f, relation) for a, f in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )


def decode(array: pa.Array, field: pa.Field, relation: str) -> pa.Array:
    """Return one column in its field's type."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_temporal(array.type):
        _check_time(array, field.name, relation)
    if array.type == field.type:
        return array
    try:
        return pc.cast(array, field.type)
    except pa.ArrowInvalid as error:
        raise _not_a_value(array, field, relation, str(error)) from None


def _check_time(array: pa.Array, name: str, relation: str) -> None:
    kind = array.type
    if pa.types.is_timestamp(kind):
        numbers, first = array.view(pa.int64()), _FIRST_MICROSECOND
    elif pa.types.is_date32(kind):
        numbers, first = array.view(pa.int32()), _FIRST_DAY
    elif pa.types.is_time64(kind):
        highest = pc.max(array.view(pa.int64())).as_py()
        if highest is not None and highest >= _MIDNIGHT:
            raise _unsayable(name, relation, "the time 24:00:00")
        return
    else:
        return
    lowest = pc.min(numbers).as_py()
    if lowest is not None and lowest < first:
        raise _unsayable(name, relation, "infinity, or a date beyond Arrow's range")


def _not_a_value(array: pa.Array, field: pa.Field, relation: str, said: str) -> SourceDataError:
    if pa.types.is_string(array.type):
        odd = pc.is_in(array, value_set=pa.array(["nan", "inf", "-inf"]))
        if pc.any(odd).as_py():
            return _unsayable(field.name, relation, "NaN or infinity as a numeric")
    return SourceDataError(
        f"column {field.name!r} of {relation}: a value isn't a {field.type}: {said}",
        connector="postgres",
        command="conduit plan",
    )


def _unsayable(name: str, relation: str, what: str) -> SourceDataError:
    return SourceDataError(
        f"column {name!r} of {relation} holds {what}, which the column's Arrow type can't say: select"
        " it in a query with a CASE, or as text (column::text)",
        connector="postgres",
        command="conduit plan",
    )
