"""DuckDB's types: how each is read as Arrow, and where Arrow's types land. Text only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Dialect, Effort, Landing
from conduit_core.types.schema import LogicalType, logical_type, native_type, tagged

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

SYSTEM = "duckdb"
_DIGITS = 38
_UTC = "UTC"

_PLAIN: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(), "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(),
    "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(), "BLOB": pa.binary(), "UUID": pa.string(), "JSON": pa.string(),
    "DATE": pa.date32(), "TIME": pa.time64("us"), "TIME_NS": pa.time64("ns"),
    "TIMESTAMP_S": pa.timestamp("s"), "TIMESTAMP_MS": pa.timestamp("ms"),
    "TIMESTAMP": pa.timestamp("us"), "TIMESTAMP_NS": pa.timestamp("ns"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz=_UTC),
    "TIMESTAMPTZ_NS": pa.timestamp("ns", tz=_UTC),
    "INTERVAL": pa.month_day_nano_interval(),
}  # fmt: skip
_LOGICAL: dict[str, LogicalType] = {
    "JSON": "json", "UUID": "uuid", "UHUGEINT": "numeric", "BIGNUM": "numeric",
}  # fmt: skip
_NOTES = {
    "HUGEINT": "is read as decimal(38, 0); a value of 39 digits stops the load",
    "UNION": "is a UNION, read as text: which member a value was is lost",
    "VARIANT": "is a VARIANT, read as text",
    "GEOMETRY": "is a GEOMETRY, read as text",
}
_UNORDERED = (
    pa.types.is_nested, pa.types.is_interval, pa.types.is_null, pa.types.is_boolean,
)  # fmt: skip


class DuckDBDialect(Dialect):
    """DuckDB's text rules: standard quoting, ``?`` placeholders."""

    name = SYSTEM

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source column lands in a new table."""
        native = native_type(field, SYSTEM)
        if native is not None:
            return Landing(native, field.type)
        text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        logical = logical_type(field) if text else None
        if logical in ("json", "uuid"):
            return Landing(logical.upper(), field.type)
        if logical == "numeric":
            return Landing("VARCHAR", field.type, "numbers of any precision are kept as text")
        return _land(field.type, field.name)

    def field_of(self, name: str, ddl: str, *, nullable: bool = True) -> pa.Field[pa.DataType]:
        """Return what a column of a DDL type is read as."""
        from duckdb.sqltypes import DuckDBPyType

        return read_as(name, DuckDBPyType(ddl)).field.with_nullable(nullable)

    def effort(self, old: str, new: str) -> Effort:
        """Every change of type writes the column again; DuckDB refuses it beside an index."""
        return "catalogue" if old == new else "rewrite"


@dataclass(frozen=True, slots=True)
class Read:
    """How a column is read: ``cast`` is the DDL to cast to in the SELECT, None for none."""

    field: pa.Field[pa.DataType]
    cast: str | None
    note: str | None


def read_as(name: str, kind: DuckDBPyType) -> Read:
    """Return how a column of a DuckDB type is read, exactly or with a note of what it loses."""
    native = str(kind)
    ddl, arrow = _plain(kind)
    base = "UNION" if kind.id == "union" else native
    field = tagged(pa.field(name, arrow), logical=_LOGICAL.get(native))
    if base not in ("UNION", "VARIANT", "GEOMETRY", '"NULL"') and _SAME.get(arrow) != native:
        field = tagged(field, native=f"{SYSTEM}:{native}")
    note = _NOTES.get(base)
    return Read(field, None if ddl == native else ddl, f"{name} {note}" if note else None)


def can_order(kind: DuckDBPyType, arrow: pa.DataType) -> bool:
    """Say whether a cursor may be of this type: read values must order as the column does."""
    if kind.id in ("enum", "bit", "time with time zone", "uhugeint", "bignum", "union", "variant"):
        return False
    return str(kind) != "JSON" and not any(test(arrow) for test in _UNORDERED)


def _plain(kind: DuckDBPyType) -> tuple[str, pa.DataType]:
    """Return the nearest type without DuckDB's specials, as DDL and as Arrow."""
    text = str(kind)
    if text in _PLAIN:
        return text, _PLAIN[text]
    if text == "HUGEINT":
        return "DECIMAL(38,0)", pa.decimal128(_DIGITS, 0)
    if kind.id == "decimal":
        size = dict(kind.children)
        return text, pa.decimal128(int(str(size["precision"])), int(str(size["scale"])))
    return _plain_nested(kind) or ("VARCHAR", pa.string())


def _plain_nested(kind: DuckDBPyType) -> tuple[str, pa.DataType] | None:
    if kind.id not in ("list", "array", "struct", "map"):
        return None
    children = dict(kind.children)
    size = children.pop("size", None)
    parts = {name: _plain(_as_type(child)) for name, child in children.items()}
    if kind.id == "struct":
        members = ", ".join(f"{_quote(name)} {ddl}" for name, (ddl, _) in parts.items())
        return f"STRUCT({members})", pa.struct(
            [(name, arrow) for name, (_, arrow) in parts.items()]
        )
    if kind.id == "map":
        (key_ddl, key), (value_ddl, value) = parts["key"], parts["value"]
        return f"MAP({key_ddl}, {value_ddl})", pa.map_(key, value)
    ddl, child = parts["child"]
    if kind.id == "list":
        return f"{ddl}[]", pa.list_(child)
    return f"{ddl}[{size}]", pa.list_(child, int(str(size)))


def _as_type(child: object) -> DuckDBPyType:
    from duckdb.sqltypes import DuckDBPyType

    if not isinstance(child, DuckDBPyType):
        raise TypeError(f"not a DuckDB type: {child!r}")
    return child


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- Arrow types in DuckDB ------------------------------------------------------------------------

_SAME: dict[pa.DataType, str] = {
    arrow: ddl for ddl, arrow in _PLAIN.items() if ddl not in ("UUID", "JSON", "INTERVAL")
}
_OTHER: dict[pa.DataType, Landing] = {
    pa.null(): Landing("VARCHAR", pa.string()),
    pa.float16(): Landing("FLOAT", pa.float32()),
    pa.large_string(): Landing("VARCHAR", pa.large_string()),
    pa.string_view(): Landing("VARCHAR", pa.string_view()),
    pa.large_binary(): Landing("BLOB", pa.large_binary()),
    pa.binary_view(): Landing("BLOB", pa.binary_view()),
    pa.date64(): Landing("DATE", pa.date32()),
    pa.time32("s"): Landing("TIME", pa.time64("us")),
    pa.time32("ms"): Landing("TIME", pa.time64("us")),
    pa.month_day_nano_interval(): Landing(
        "INTERVAL",
        pa.month_day_nano_interval(),
        "an interval's nanoseconds: DuckDB keeps microseconds",
    ),
}


def _land(kind: pa.DataType, name: str) -> Landing:
    if kind in _SAME:
        return Landing(_SAME[kind], kind)
    if kind in _OTHER:
        return _OTHER[kind]
    if pa.types.is_decimal(kind):
        return _land_decimal(kind, kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return _land_timestamp(kind.unit, kind.tz)
    if pa.types.is_duration(kind):
        return Landing("BIGINT", pa.int64(), f"a duration is kept as its number of {kind.unit}")
    if pa.types.is_dictionary(kind):
        return _land(kind.value_type, name)
    if pa.types.is_fixed_size_binary(kind):
        return Landing("BLOB", kind)
    return _land_nested(kind, name)


def _land_decimal(kind: pa.DataType, precision: int, scale: int) -> Landing:
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision > _DIGITS:
        loss = f"{kind} is kept as text: DuckDB has {_DIGITS} digits at most"
        return Landing("VARCHAR", pa.string(), loss)
    return Landing(f"DECIMAL({precision},{scale})", pa.decimal128(precision, scale))


def _land_timestamp(unit: str, zone: str | None) -> Landing:
    """Land what isn't there as it is: a zone that isn't UTC, or a coarser unit with a zone."""
    known = zone in (_UTC, "Etc/UTC", "+00:00")
    loss = None if known else f"the zone's name {zone}: instants are kept, in UTC"
    if unit == "ns":
        return Landing("TIMESTAMPTZ_NS", pa.timestamp("ns", tz=_UTC), loss)
    return Landing("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", tz=_UTC), loss)


def _land_nested(kind: pa.DataType, name: str) -> Landing:
    if pa.types.is_fixed_size_list(kind):
        child = _land(kind.value_type, name)
        arrow: pa.DataType = pa.list_(child.arrow, kind.list_size)
        return Landing(f"{child.ddl}[{kind.list_size}]", arrow, child.loss)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        child = _land(kind.value_type, name)
        make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
        return Landing(f"{child.ddl}[]", make(child.arrow), child.loss)
    if pa.types.is_map(kind):
        key, value = _land(kind.key_type, name), _land(kind.item_type, name)
        arrow = pa.map_(key.arrow, value.arrow)
        return Landing(f"MAP({key.ddl}, {value.ddl})", arrow, _losses(key, value))
    if pa.types.is_struct(kind) and kind.num_fields > 0:
        members = [kind.field(i) for i in range(kind.num_fields)]
        parts = [_land(member.type, f"{name}.{member.name}") for member in members]
        pairs = list(zip([member.name for member in members], parts, strict=True))
        ddl = ", ".join(f"{_quote(member)} {part.ddl}" for member, part in pairs)
        arrow = pa.struct([(member, part.arrow) for member, part in pairs])
        return Landing(f"STRUCT({ddl})", arrow, _losses(*parts))
    raise SchemaError(
        f"column {name!r}: DuckDB has no place for the type {kind}; leave it out by `columns:`,"
        " or cast it at the source",
        command="conduit discover",
    )


def _losses(*parts: Landing) -> str | None:
    return "; ".join(part.loss for part in parts if part.loss) or None
