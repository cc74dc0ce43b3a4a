"""Fields in the lattice: logical types, the capacity of a text, nullability; fields as text."""

from __future__ import annotations

from typing import TypeAlias

import pyarrow as pa

from conduit_core.types.lattice import widen
from conduit_core.types.schema import logical_type, max_length, tagged

Field: TypeAlias = "pa.Field[pa.DataType]"
_NUMERIC = "numeric"


def widen_field(a: pa.Field[pa.DataType], b: pa.Field[pa.DataType]) -> Field | None:
    """Return the narrowest field that holds both; None if none does. It is named as ``a`` is.

    Above the types' own lattice: a ``uuid`` and a ``json`` become plain text, a text of at most n
    characters one of more or of any number, decimals and integers a ``numeric`` without bounds (so
    do those that no decimal holds together), NOT NULL becomes NULL. A native type stays where the
    result is just that of ``a`` or of ``b``.
    """
    nullable = a.nullable or b.nullable
    for field, other in ((a, b), (b, a)):
        if pa.types.is_null(field.type):
            return other.with_name(a.name).with_nullable(nullable=True)
    found = _joined(a, b)
    if found is None:
        return None
    for field in (a, b):
        if same_type(field, found):
            return field.with_name(a.name).with_nullable(nullable)
    return found.with_name(a.name).with_nullable(nullable)


def same_type(a: pa.Field[pa.DataType], b: pa.Field[pa.DataType]) -> bool:
    """Say whether two fields hold the same values: type, logical type and capacity."""
    return _says(a) == _says(b)


def _says(field: Field) -> tuple[object, ...]:
    return field.type, logical_type(field), max_length(field)


def shown(field: pa.Field[pa.DataType]) -> str:
    """Return a field's type for people: its native DDL where it has one, else what it says."""
    native = (field.metadata or {}).get(b"conduit:native")
    if native:
        text = native.decode().partition(":")[2]
    else:
        limit = max_length(field)
        text = logical_type(field) or str(field.type)
        text += f" of at most {limit} characters" if limit is not None else ""
    return text if field.nullable else f"{text} NOT NULL"


def _joined(a: Field, b: Field) -> Field | None:
    if logical_type(a) == _NUMERIC or logical_type(b) == _NUMERIC:
        return _numeric() if _is_number(a) and _is_number(b) else None
    kind = widen(a.type, b.type)
    if kind is None:
        return _numeric() if _is_number(a) and _is_number(b) else None
    logical = logical_type(a)
    if logical == logical_type(b) and logical in ("json", "uuid"):
        return tagged(pa.field("", kind), logical="json" if logical == "json" else "uuid")
    limits = [_capacity(f) for f in (a, b)]
    known = [limit for limit in limits if limit is not None]
    longest = max(known) if len(known) == len(limits) else None
    return tagged(pa.field("", kind), max_length=longest)


def _numeric() -> Field:
    return tagged(pa.field("", pa.string()), logical="numeric")


def _is_number(field: Field) -> bool:
    exact = pa.types.is_integer(field.type) or pa.types.is_decimal(field.type)
    return exact or logical_type(field) == _NUMERIC


def _capacity(field: Field) -> int | None:
    return 36 if logical_type(field) == "uuid" else max_length(field)
