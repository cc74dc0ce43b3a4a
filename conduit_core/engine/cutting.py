"""Cutting a window into splits: by what, into how many, and whether reads keep to their split."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.base import Shape, Source, StreamRef
from conduit_core.connectors.splits import WHOLE, Split, SplitBy, refuse_kind
from conduit_core.errors import ConfigError, SchemaError, SourceDataError
from conduit_core.spec.model import StreamSpec
from conduit_core.spec.splits import SplitsSpec
from conduit_core.state.cursor import parse_point, to_text
from conduit_core.state.only import Only
from conduit_core.state.window import Window
from conduit_core.types.schema import logical_type

Field: TypeAlias = "pa.Field[pa.DataType]"
Scalar: TypeAlias = "pa.Scalar[pa.DataType]"
Array: TypeAlias = "pa.Array[Scalar]"

_COMMAND = "conduit plan"
_WIDE_DECIMAL = pa.decimal256(76, 38)
_SHOWN = 80

_CUTS_BYTES = 40 * 1024
"""What the cuts may take of a plan, which schedulers keep: they want it under 64 kB."""


def choose_splits(
    stream: StreamSpec, source: Source, ref: StreamRef, shape: Shape, window: Window
) -> SplitBy:
    """Choose how a window is cut, as the stream's ``splits:`` asks.

    Args:
        stream: the stream.
        source: asked for the cuts of ``range`` and ``file``; it reads nothing else.
        ref: the stream as the source knows it.
        shape: what the source said of the stream.
        window: what the load reads.

    Raises:
        ConfigError: the source can't be split this way, or there is no column to split by.
        SchemaError: the column doesn't exist, isn't read, or has no order.
    """
    asked = stream.splits
    if asked is None or asked.count == 1:
        return WHOLE
    claimed = source.capabilities.splits
    kind = "values" if asked.values else asked.by or ("file" if "file" in claimed else "range")
    refuse_kind(kind, claimed, source.system)
    count = asked.count or 0
    if kind == "file":
        if asked.column is not None:
            text = f"splits: {asked.column} is no way to split whole files: leave out `column`"
            raise ConfigError(text, command=_COMMAND)
        return _small(source.cut(ref, window, "file", None, count))
    field = _column(stream, asked, shape, ordered=kind == "range")
    match kind:
        case "values":
            return _by_values(stream, asked, field)
        case "hash":
            return SplitBy(kind="hash", column=field.name, type=str(field.type), buckets=count)
        case _:
            return _small(source.cut(ref, window, "range", field.name, count))


def _small(by: SplitBy) -> SplitBy:
    """Leave out every second cut until the cuts, long texts or paths, fit into a plan."""
    while len(by.model_dump_json().encode()) > _CUTS_BYTES:
        by = by.model_copy(update={"cuts": by.cuts[1::2]})
    return by


def by_unique_key(stream: StreamSpec, shape: Shape, by: SplitBy) -> bool:
    """Say whether a row can't change its split between two reads of the source.

    So where the split column is of the unique key or the primary key, or whole files are split.
    """
    if by.kind == "file":
        return True
    return by.column is not None and by.column in (*stream.unique_key, *shape.primary_key)


def _column(stream: StreamSpec, asked: SplitsSpec, shape: Shape, *, ordered: bool) -> Field:
    schema = shape.schema
    if asked.column is not None:
        if asked.column not in schema.names:
            raise SchemaError(
                f"splits: there is no column {asked.column!r} among those that are read:"
                f" {', '.join(schema.names)}",
                command=_COMMAND,
            )
        field = schema.field(asked.column)
        if ordered and not _orders(field):
            raise SchemaError(
                f"splits: column {field.name!r} is {_said(field)}, whose values have no order to"
                f" cut by; columns that have: {_listed(schema)}; or write `by: hash`",
                command=_COMMAND,
            )
        return field
    for name in _candidates(stream, shape):
        if name in schema.names and (not ordered or _orders(schema.field(name))):
            return schema.field(name)
    raise ConfigError(
        "splits: there is no unique_key, primary key or cursor to split by; name a column:"
        f" `splits: {{count: {asked.count}, column: ...}}`, one of {_listed(schema)}",
        command=_COMMAND,
    )


def _candidates(stream: StreamSpec, shape: Shape) -> Iterator[str]:
    if len(stream.unique_key) == 1:
        yield stream.unique_key[0]
    yield from shape.primary_key[:1]
    yield from stream.cursor[:1]


def _orders(field: Field) -> bool:
    t, kind = pa.types, field.type
    return logical_type(field) != "json" and bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_date(kind)
        or t.is_timestamp(kind) or t.is_time(kind) or t.is_string(kind) or t.is_large_string(kind)
        or t.is_binary(kind) or t.is_large_binary(kind)
    )  # fmt: skip


def _listed(schema: pa.Schema) -> str:
    return ", ".join(field.name for field in schema if _orders(field)) or "none"


def _said(field: Field) -> str:
    return logical_type(field) or str(field.type)


def _by_values(stream: StreamSpec, asked: SplitsSpec, field: Field) -> SplitBy:
    logical = logical_type(field)
    if logical == "json" or pa.types.is_nested(field.type):
        text = f"splits: column {field.name!r} is {_said(field)}, whose values can't be compared"
        raise SchemaError(text, command=_COMMAND)
    kind = _WIDE_DECIMAL if logical == "numeric" else field.type
    cuts = []
    for text in asked.values:
        try:
            shown = str(uuid.UUID(text)) if logical == "uuid" else text
            cuts.append(to_text(parse_point(shown, kind, stream.cursor_timezone)))
        except (ConfigError, ValueError) as error:
            raise ConfigError(
                f"splits: {text!r} in `values` is not a value of column {field.name!r}"
                f" ({_said(field)})",
                command=_COMMAND,
            ) from error
    if len(set(cuts)) < len(cuts):
        text = f"splits: `values` names the same value of column {field.name!r} twice"
        raise ConfigError(text, command=_COMMAND)
    return SplitBy(kind="values", column=field.name, type=str(kind), cuts=tuple(cuts))


class SliceCheck:
    """Watches that a read gives no row outside its slice by value: it would be there twice.

    Args:
        only: the slice.
    """

    def __init__(self, only: Only) -> None:
        self._only = only

    def check(self, batch: pa.RecordBatch) -> None:
        """Look at one batch, as the source gave it.

        Raises:
            SourceDataError: a row is outside the slice.
        """
        inside = self._only.holds(batch.column(self._only.column))
        if inside.true_count < batch.num_rows:
            raise SourceDataError(
                f"the source returned {batch.num_rows - inside.true_count} rows outside the slice"
                f" {self._only.display()}",
                retry="never",
                command=_COMMAND,
            )


class BoundsCheck:
    """Watches that a read gives no row outside its split: another split would load it again.

    Splits by hash or by file can't be checked here, as the source alone knows how.

    Args:
        split: what the read was asked for; None for all of the window.
    """

    def __init__(self, split: Split | None) -> None:
        self._split = split if split is not None and split.kind in ("range", "values") else None

    def check(self, batch: pa.RecordBatch) -> None:
        """Look at one batch, as the source gave it.

        Raises:
            SourceDataError: a row is outside the split.
        """
        split = self._split
        if split is None or split.column is None or not batch.num_rows:
            return
        column: Array = batch.column(split.column)
        if column.null_count and not _takes_null(split):
            raise _stray(split, "NULL")
        if split.kind == "range":
            bound = split.low if split.low is not None else split.high
            _check_range(split, _comparable(column, bound))
        elif split.value is not None:
            values = _comparable(column, split.value)
            _refuse(split, column, pc.not_equal(values, split.value))
        else:
            kind = split.others[0].type
            others = pa.array([other.as_py() for other in split.others], kind)
            values = _comparable(column, split.others[0])
            _refuse(split, column, pc.and_(pc.is_in(values, value_set=others), pc.is_valid(values)))


def _takes_null(split: Split) -> bool:
    return split.low is None if split.kind == "range" else split.value is None


def _check_range(split: Split, values: Array) -> None:
    if pa.types.is_floating(values.type) and split.high is not None:
        _refuse(split, values, pc.is_nan(values))  # above every number: in the last split
    ends = pc.min_max(values)
    for bound, value, outside in (
        (split.low, ends["min"], pc.less),
        (split.high, ends["max"], pc.greater_equal),
    ):
        if bound is not None and value.is_valid and outside(value, bound).as_py():
            raise _stray(split, _shown(value))


def _refuse(split: Split, column: Array, outside: pa.BooleanArray) -> None:
    if outside.true_count:
        raise _stray(split, _shown(column.filter(outside)[0]))


def _comparable(column: Array, bound: Scalar | None) -> Array:
    """Return the column in its bounds' type: an unbounded numeric travels as text."""
    if bound is None or column.type == bound.type:
        return column
    if pa.types.is_decimal(bound.type) and pa.types.is_string(column.type):
        odd = pc.is_in(column, value_set=pa.array(["NaN", "Infinity", "-Infinity"]))
        column = cast("Array", pc.if_else(odd, pa.scalar(None, pa.string()), column))
        try:
            return column.cast(bound.type)
        except pa.ArrowInvalid:  # more digits than Arrow's widest decimal has
            return pa.nulls(len(column), bound.type)
    return column.cast(bound.type)


def _shown(value: Scalar) -> str:
    text = to_text(value)
    if value.type == _WIDE_DECIMAL:
        text = f"{value.as_py():f}".rstrip("0").rstrip(".")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _stray(split: Split, value: str) -> SourceDataError:
    if split.kind == "range":
        low, high = (_shown(v) if v is not None else None for v in (split.low, split.high))
        span = f"[{low}, {high})"
        if low is None or high is None:
            span = f"below {high}" if low is None else f"from {low} on"
        holds = f"holds rows {span}{' and NULL' if _takes_null(split) else ''}"
    elif split.value is not None:
        holds = f"holds rows with {_shown(split.value)}"
    else:
        holds = f"holds all but {', '.join(_shown(v) for v in split.others[:5])}"
    return SourceDataError(
        f"the source returned a row outside split {split.id}: column {split.column!r} is {value},"
        f" but the split {holds}; another split would load the row again",
        retry="never",
        command=_COMMAND,
    )
