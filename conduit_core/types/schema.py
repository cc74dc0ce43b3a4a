"""Arrow schemas as the project's one type system: tags on fields, JSON text, fingerprints.

A field says more than its Arrow type in two metadata keys:

``conduit:type``
    a logical type that Arrow carries in another one: ``json``, ``uuid`` and ``numeric`` (a decimal
    without bounds) travel as strings. Any destination may give them a native type.
``conduit:native``
    the exact type the source gave the column, as ``system:DDL`` (``postgres:varchar(20)``).
    Only a destination of the same system uses it.
``conduit:max_length``
    the most characters that a text may have, where a system holds to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pyarrow as pa

LogicalType = Literal["json", "uuid", "numeric"]

_LOGICAL = b"conduit:type"
_NATIVE = b"conduit:native"
_MAX_LENGTH = b"conduit:max_length"
_TAGS = (_LOGICAL, _NATIVE, _MAX_LENGTH)
_VARCHAR = re.compile(r"postgres:(?:(?:national )?char(?:acter)?(?: varying)?|varchar)\((\d+)\)")


def tagged(
    field: pa.Field[pa.DataType],
    *,
    logical: LogicalType | None = None,
    native: str | None = None,
    max_length: int | None = None,
) -> pa.Field[pa.DataType]:
    """Return ``field`` with its logical type, native ``system:DDL`` text or capacity set."""
    metadata = dict[bytes | str, bytes | str]((field.metadata or {}).items())
    if logical is not None:
        metadata[_LOGICAL] = logical.encode()
    if native is not None:
        metadata[_NATIVE] = native.encode()
    if max_length is not None:
        metadata[_MAX_LENGTH] = str(max_length).encode()
    return field.with_metadata(metadata)


def logical_type(field: pa.Field[pa.DataType]) -> str | None:
    """Return the field's logical type (``json``, ``uuid``, ``numeric``), if it has one."""
    value = (field.metadata or {}).get(_LOGICAL)
    return value.decode() if value else None


def native_type(field: pa.Field[pa.DataType], system: str) -> str | None:
    """Return the DDL text the field had in ``system``, if it came from there."""
    value = (field.metadata or {}).get(_NATIVE)
    if not value:
        return None
    origin, _, ddl = value.decode().partition(":")
    return ddl if origin == system else None


def max_length(field: pa.Field[pa.DataType]) -> int | None:
    """Return the most characters that the field's system lets a text have; None: any number.

    A ``varchar(20)`` counts where the system holds to it: PostgreSQL does, DuckDB and SQLite don't.
    """
    metadata = field.metadata or {}
    if value := metadata.get(_MAX_LENGTH):
        return int(value)
    found = _VARCHAR.fullmatch(metadata.get(_NATIVE, b"").decode())
    return int(found[1]) if found else None


def schema_to_json(schema: pa.Schema) -> list[dict[str, object]]:
    """Return the schema as plain JSON: name, type text, nullability and tags of each field.

    A type that its text doesn't say wholly (a map, a dictionary, a struct whose field names hold
    commas) is there as Arrow's own bytes too, under ``arrow``.
    """
    out: list[dict[str, object]] = []
    for field in schema:
        item: dict[str, object] = {"name": field.name, "type": str(field.type)}
        if not _says_it(str(field.type), field.type):
            bare = pa.schema([pa.field("", field.type)])
            item["arrow"] = base64.b64encode(bare.serialize().to_pybytes()).decode()
        if not field.nullable:
            item["nullable"] = False
        for key, value in (field.metadata or {}).items():
            if key in _TAGS:
                item[key.decode()] = value.decode()
        out.append(item)
    return out


def schema_from_json(items: Sequence[Mapping[str, object]]) -> pa.Schema:
    """Rebuild the schema that :func:`schema_to_json` wrote.

    Raises:
        ValueError: a type text is not one that this module writes.
    """
    fields = []
    for item in items:
        metadata = {key: str(item[key.decode()]).encode() for key in _TAGS if key.decode() in item}
        fields.append(
            pa.field(
                str(item["name"]),
                _type_of(item),
                nullable=bool(item.get("nullable", True)),
                metadata=metadata or None,
            )
        )
    return pa.schema(fields)


def _says_it(text: str, kind: pa.DataType) -> bool:
    try:
        return parse_type(text) == kind
    except ValueError:
        return False


def _type_of(item: Mapping[str, object]) -> pa.DataType:
    if "arrow" not in item:
        return parse_type(str(item["type"]))
    try:
        bare: pa.Schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(str(item["arrow"]))))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not an Arrow type: {item['type']!r}") from error
    kind: pa.DataType = bare.field(0).type
    return kind


def fingerprint(schema: pa.Schema) -> str:
    """Return a short digest of names, types, nullability and tags, in order."""
    text = json.dumps(schema_to_json(schema), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_SIMPLE: dict[str, pa.DataType] = {
    str(t): t
    for t in (
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(),
        pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
        pa.binary_view(), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"),
        pa.time64("us"), pa.time64("ns"), pa.duration("s"), pa.duration("ms"), pa.duration("us"),
        pa.duration("ns"), pa.month_day_nano_interval(),
    )
}  # fmt: skip
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)")
_FIXED = re.compile(r"fixed_size_binary\[(\d+)\]")
_LIST = re.compile(r"(list|large_list)<(.+?): (.+)>", re.DOTALL)
_FIXED_LIST = re.compile(r"fixed_size_list<(.+?): (.+)>\[(\d+)\]", re.DOTALL)
_STRUCT = re.compile(r"struct<(.*)>", re.DOTALL)
_DECIMALS: dict[str, Callable[[int, int], pa.DataType]] = {
    "32": pa.decimal32,
    "64": pa.decimal64,
    "128": pa.decimal128,
    "256": pa.decimal256,
}
_UNITS: dict[str, Literal["s", "ms", "us", "ns"]] = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}


def parse_type(text: str) -> pa.DataType:
    """Return the Arrow type that ``str(type)`` wrote.

    Raises:
        ValueError: the text is none of the types this project carries.
    """
    if text in _SIMPLE:
        return _SIMPLE[text]
    if m := _TIMESTAMP.fullmatch(text):
        return pa.timestamp(_UNITS[m[1]], tz=m[2])
    if m := _DECIMAL.fullmatch(text):
        return _DECIMALS[m[1]](int(m[2]), int(m[3]))
    if m := _FIXED.fullmatch(text):
        return pa.binary(int(m[1]))
    if m := _FIXED_LIST.fullmatch(text):
        return pa.list_(pa.field(m[1], *_child(m[2])), int(m[3]))
    if m := _LIST.fullmatch(text):
        make = pa.list_ if m[1] == "list" else pa.large_list
        return make(pa.field(m[2], *_child(m[3])))
    if m := _STRUCT.fullmatch(text):
        return pa.struct([pa.field(name, *_child(rest)) for name, rest in _members(m[1])])
    raise ValueError(f"not an Arrow type text: {text!r}")


def _child(text: str) -> tuple[pa.DataType, bool]:
    if text.endswith(" not null"):
        return parse_type(text.removesuffix(" not null")), False
    return parse_type(text), True


def _members(text: str) -> list[tuple[str, str]]:
    """Split ``a: int64, b: list<item: string>`` at the commas that are not inside brackets."""
    parts: list[str] = []
    depth = start = 0
    for i, char in enumerate(text):
        if char in "<[(":
            depth += 1
        elif char in ">])":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    if text[start:].strip():
        parts.append(text[start:].strip())
    return [(name, rest) for name, _, rest in (p.partition(": ") for p in parts)]
