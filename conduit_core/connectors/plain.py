"""Columns as they are loaded: no dictionaries, no views, no extension types; our tags instead."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.arrow import Column, Field
from conduit_core.types.schema import tagged


def plain_field(field: pa.Field[Any]) -> Field:
    """Return a field as its column is loaded: nullable, of a type that :func:`plain` gives."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.json":
            return tagged(pa.field(field.name, pa.string()), logical="json")
        if kind.extension_name == "arrow.uuid":
            return tagged(pa.field(field.name, pa.string()), logical="uuid")
        if kind.extension_name == "arrow.bool8":
            return pa.field(field.name, pa.bool_())
    return pa.field(field.name, plain_type(kind))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves, however they are laid out; in lists too."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if t.is_dictionary(kind) or isinstance(kind, pa.RunEndEncodedType):
        return plain_type(kind.value_type)
    if t.is_string_view(kind):
        return pa.large_string()
    if t.is_binary_view(kind):
        return pa.large_binary()
    if isinstance(kind, pa.StructType):
        return pa.struct([f.with_type(plain_type(f.type)) for f in kind])
    if isinstance(kind, pa.MapType):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type), kind.keys_sorted)
    return _plain_list(kind)


def _plain_list(kind: pa.DataType) -> pa.DataType:
    # Not list views: Arrow's cast of one to a list leaves out the last offset (seen with 26.0).
    if not isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return kind
    item = kind.value_field.with_type(plain_type(kind.value_type))
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(item, kind.list_size)
    return pa.large_list(item) if isinstance(kind, pa.LargeListType) else pa.list_(item)


def plain(column: pa.Array[Any], kind: pa.DataType) -> Column:
    """Take a column out of its extension type, dictionary or view.

    Raises:
        pyarrow.ArrowException: Arrow has no such conversion.
    """
    if isinstance(column, pa.ExtensionArray):
        if column.type.extension_name == "arrow.uuid":
            return _uuid_text(column.storage)
        return plain(column.storage, kind)
    if isinstance(column, pa.RunEndEncodedArray):
        return plain(cast("Column", pc.call_function("run_end_decode", [column])), kind)
    if isinstance(column, pa.DictionaryArray):
        values = plain(column.dictionary, kind)
        column = pa.DictionaryArray.from_arrays(column.indices, values)
    if pa.types.is_null(column.type):
        return cast("Column", pa.nulls(len(column)).cast(kind))
    return column if column.type == kind else cast("Column", column.cast(kind))


def _uuid_text(column: pa.FixedSizeBinaryArray) -> Column:
    """Spell 16 bytes as a UUID: one hex call for the whole buffer, dashes by regex."""
    data = column.buffers()[1]
    assert data is not None  # noqa: S101 - a fixed-size array has its data buffer
    start = column.offset * 16
    digits = data.slice(start, len(column) * 16).to_pybytes().hex().encode()
    valid = pc.is_valid(column)
    spelled = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(32), len(column), [None, pa.py_buffer(digits)]
    )
    texts = pc.replace_substring_regex(
        spelled.cast(pa.binary()).cast(pa.string()),
        r"^(.{8})(.{4})(.{4})(.{4})(.{12})$",
        r"\1-\2-\3-\4-\5",
    )
    return cast("Column", pc.if_else(valid, texts, pa.scalar(None, pa.string())))
