"""Schemas as a pandera module, and a pandera schema as ours. Importing it imports no pandera."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol, cast

import pyarrow as pa

from conduit_core.types.schema import max_length, schema_from_json, schema_to_json

_ARROW = "conduit:arrow"

_HEAD = '''"""What {name} looks like: {count} columns. Validates pandas frames of Arrow types.

    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    schema.validate(frame, lazy=True)
"""

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa

schema = pandera.DataFrameSchema(
    {{
'''
_TAIL = """    }},
    strict=True,
    name={name!r},
)
"""


class PanderaColumn(Protocol):
    """What we look at of a pandera column."""

    dtype: object
    nullable: bool
    metadata: dict[str, object] | None


class PanderaSchema(Protocol):
    """What we look at of a pandera DataFrameSchema."""

    columns: dict[str, PanderaColumn]


def to_pandera(schema: pa.Schema, name: str) -> str:
    """Return the source of a Python module whose ``schema`` is a pandera DataFrameSchema.

    Types are Arrow's. A type that pandera doesn't know (decimals but of 128 bits, string views,
    large lists, intervals) is not checked; it is kept in the column's metadata, as are the tags.
    """
    lines = [_HEAD.format(name=_plain(name), count=len(schema.names))]
    for field, item in zip(schema, schema_to_json(schema), strict=True):
        kind = "None" if not _is_known(field.type) else f"pd.ArrowDtype({python_of(field.type)})"
        limit = max_length(field)
        arguments = [kind]
        if limit is not None:
            arguments.append(f"pandera.Check.str_length(max_value={limit})")
        arguments.append(f"nullable={field.nullable}")
        kept = {k: v for k, v in item.items() if k.startswith("conduit:")}
        if not _is_known(field.type):
            kept[_ARROW] = {k: v for k, v in item.items() if k in ("type", "arrow")}
        if kept:
            arguments.append(f"metadata={kept!r}")
        lines.append(f"        {field.name!r}: pandera.Column({', '.join(arguments)}),\n")
    return "".join([*lines, _TAIL.format(name=name)])


def from_pandera(schema: object) -> pa.Schema:
    """Return a pandera DataFrameSchema's columns as an Arrow schema.

    Raises:
        ValueError: it is none, or a column has no type, or one that Arrow can't say.
    """
    columns = getattr(schema, "columns", None)
    if not isinstance(columns, dict):
        raise ValueError("not a pandera DataFrameSchema: it has no columns")  # noqa: TRY004 - a bad value
    known = cast("PanderaSchema", schema).columns
    return pa.schema([_field(str(name), column) for name, column in known.items()])


def _field(name: str, column: PanderaColumn) -> pa.Field[pa.DataType]:
    metadata = column.metadata or {}
    kind = getattr(column.dtype, "type", None)
    arrow = getattr(kind, "pyarrow_dtype", None)
    if arrow is None:
        arrow = _of_numpy(kind) if kind is not None else _kept(metadata.get(_ARROW))
    if not isinstance(arrow, pa.DataType):
        raise ValueError(f"column {name!r}: {column.dtype} says no Arrow type")  # noqa: TRY004 - a bad value
    tags = {k: v for k, v in metadata.items() if k.startswith("conduit:") and k != _ARROW}
    (tagged,) = schema_from_json([{"name": name, "type": "null", **tags}])
    return tagged.with_type(arrow).with_nullable(column.nullable)


def _kept(item: object) -> pa.DataType | None:
    if not isinstance(item, dict):
        return None
    kept: pa.DataType = schema_from_json([{"name": "", **item}]).field(0).type
    return kept


def _of_numpy(kind: object) -> pa.DataType | None:
    """Return the Arrow type of a NumPy or pandas type: an ``Int64``, a ``datetime64[ns]``."""
    text = str(kind).lower()
    if text in ("object", "str", "string"):
        return pa.string()
    try:
        return cast("Callable[[str], pa.DataType]", pa.type_for_alias)(
            text.replace("datetime64", "timestamp")
        )
    except ValueError:
        return None


def _plain(name: str) -> str:
    """Return a name that a docstring can hold."""
    return re.sub(r"[^\w. -]", "_", name)


def _is_known(kind: pa.DataType) -> bool:
    """Say whether pandera knows the type: those it doesn't it takes for bytes, or for others."""
    if isinstance(kind, pa.ListType):
        return _is_known(kind.value_type)
    if isinstance(kind, pa.StructType):
        return all(_is_known(kind.field(i).type) for i in range(kind.num_fields))
    if isinstance(kind, pa.MapType):
        return _is_known(kind.key_type) and _is_known(kind.item_type)
    if pa.types.is_decimal(kind):
        return pa.types.is_decimal128(kind)
    views = (pa.string_view(), pa.binary_view(), pa.month_day_nano_interval())
    return kind not in views and not pa.types.is_nested(kind)


_NAMES: dict[pa.DataType, str] = {
    pa.bool_(): "bool_", pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64",
    pa.date32(): "date32", pa.date64(): "date64",
}  # fmt: skip


def python_of(kind: pa.DataType) -> str:
    """Return the Python expression that makes an Arrow type, with ``import pyarrow as pa``.

    >>> python_of(pa.timestamp("us", "UTC"))
    "pa.timestamp('us', tz='UTC')"
    """
    if isinstance(kind, pa.TimestampType):
        zone = f", tz={kind.tz!r}" if kind.tz else ""
        return f"pa.timestamp({kind.unit!r}{zone})"
    if isinstance(kind, pa.Time32Type | pa.Time64Type | pa.DurationType):
        maker = "duration" if pa.types.is_duration(kind) else str(kind).partition("[")[0]
        return f"pa.{maker}({kind.unit!r})"
    if pa.types.is_decimal(kind):
        return f"pa.{kind}"
    if pa.types.is_fixed_size_binary(kind):
        return f"pa.binary({kind.byte_width})"
    return _nested(kind) or f"pa.{_NAMES.get(kind, str(kind))}()"


def _nested(kind: pa.DataType) -> str | None:
    if isinstance(kind, pa.FixedSizeListType):
        return f"pa.list_({_member(kind.value_field)}, {kind.list_size})"
    if isinstance(kind, pa.ListType | pa.LargeListType):
        maker = "list_" if isinstance(kind, pa.ListType) else "large_list"
        return f"pa.{maker}({_member(kind.value_field)})"
    if isinstance(kind, pa.StructType):
        members = ", ".join(_member(kind.field(i)) for i in range(kind.num_fields))
        return f"pa.struct([{members}])"
    if isinstance(kind, pa.MapType):
        return f"pa.map_({python_of(kind.key_type)}, {_member(kind.item_field)})"
    if isinstance(kind, pa.DictionaryType):
        index, value = python_of(kind.index_type), python_of(kind.value_type)
        return f"pa.dictionary({index}, {value}, ordered={bool(kind.ordered)})"
    return None


def _member(field: pa.Field[pa.DataType]) -> str:
    nullable = "" if field.nullable else ", nullable=False"
    return f"pa.field({field.name!r}, {python_of(field.type)}{nullable})"
