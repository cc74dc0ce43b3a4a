"""PostgreSQL's types: how each is read as Arrow, how Arrow lands in a new table, what COPY takes.

Types are known by the text that ``format_type`` gives (``character varying(20)``), which is DDL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Dialect, Effort, Landing
from conduit_core.types.schema import LogicalType, logical_type, native_type, tagged

SYSTEM = "postgres"
MAX_IDENTIFIER_BYTES = 63
MAX_COLUMNS = 1600
_UTC = pa.timestamp("us", tz="UTC")

DURATION = "interval day to second(6)"
"""What a duration is declared as: an interval without months, told apart from all others."""

# Types whose values ADBC reads by COPY as this Arrow type, and writes by COPY from it.
_DIRECT: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "character varying": pa.string(),
    "character": pa.string(),
    "bpchar": pa.string(),
    "name": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": _UTC,
    "interval": pa.month_day_nano_interval(),
    "duration": pa.duration("us"),
    "json": pa.string(),
}
_LOGICAL: dict[str, LogicalType] = {"json": "json", "jsonb": "json", "uuid": "uuid"}
# Types that order the same here, in Arrow and in Python: what a cursor may have.
_ORDERED = frozenset(_DIRECT) - {"boolean", "interval", "duration", "json"} | {
    "numeric",
    "uuid",
    "oid",
    "money",
}
_TEXTS = frozenset({"text", "character varying", "character", "bpchar", "name"})
WIDE_DECIMAL = pa.decimal256(76, 38)
"""What the cursor values of a numeric without bounds are compared as."""


@dataclass(frozen=True, slots=True)
class PgType:
    """A type's text, taken apart: ``timestamp(3) without time zone`` has base and one modifier."""

    base: str
    modifiers: tuple[int, ...] = ()
    is_array: bool = False

    @classmethod
    def parse(cls, ddl: str) -> PgType:
        """Read what ``format_type`` wrote."""
        if ddl.startswith("interval"):
            return cls("duration" if ddl == DURATION else "interval", (), ddl.endswith("[]"))
        is_array = ddl.endswith("[]")
        text = ddl.removesuffix("[]")
        found = re.search(r"\((-?\d+(?:,-?\d+)?)\)", text)
        if found is None:
            return cls(text, (), is_array)
        base = text[: found.start()] + text[found.end() :]
        return cls(base, tuple(int(m) for m in found[1].split(",")), is_array)

    @property
    def element(self) -> PgType:
        """The type of an array's elements."""
        return PgType(self.base, self.modifiers)

    @property
    def decimal(self) -> pa.DataType | None:
        """A numeric's Arrow type, None where it has no bounds or Arrow can't say them."""
        if self.base != "numeric" or not self.modifiers:
            return None
        precision, scale = self.modifiers
        if not 0 <= scale <= precision or precision > 76:
            return None
        return _decimal(precision, scale)


def _decimal(precision: int, scale: int) -> pa.DataType:
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """How a column is read: the field it becomes and the expression that selects it."""

    field: pa.Field[pa.DataType]
    expression: str
    note: str = ""


def read_type(kind: PgType) -> pa.DataType:
    """Return the Arrow type a column of that type is read as."""
    if kind.is_array:
        inner = kind.element.decimal or _DIRECT.get(kind.base, pa.string())
        return pa.list_(inner)
    if kind.base == "oid":
        return pa.int64()
    if kind.base == "money":
        return pa.decimal128(19, 2)
    return kind.decimal or _DIRECT.get(kind.base, pa.string())


def read_column(name: str, quoted: str, ddl: str, *, nullable: bool) -> ReadColumn:
    """Return how to read a column; ``quoted`` is its name in SQL."""
    kind = PgType.parse(ddl)
    arrow = read_type(kind)
    logical: LogicalType | None = None if kind.is_array else _LOGICAL.get(kind.base)
    if kind.base == "numeric" and arrow == pa.string():
        logical = "numeric"
    field = tagged(pa.field(name, arrow, nullable), logical=logical, native=f"{SYSTEM}:{ddl}")
    note = ""
    if kind.is_array:
        value = quoted if kind.base in _DIRECT and kind.base != "json" else f"{quoted}::text[]"
        element = f"{kind.base}[]" if value == quoted else "text[]"
        # A list can't say dimensions and the driver would flatten them in silence: fail instead.
        where = "'..in column " + name.replace("'", "''").replace('"', "'") + "'"
        value = (
            f"CASE WHEN array_ndims({quoted}) > 1 THEN (array_dims({quoted}) || {where})::{element}"
            f" ELSE {value} END"
        )
    elif kind.base == "oid":
        value = f"{quoted}::int8"
    elif kind.base == "money":
        value = f"{quoted}::numeric(19,2)"
    elif kind.base == "duration":
        value = f"(extract(epoch FROM {quoted}) * 1000000)::int8"
    elif kind.base in _DIRECT or kind.base == "jsonb":
        value = quoted
    else:
        # Decimals too: the server writes them as text four times as fast as the driver would.
        value = f"{quoted}::text"
        if logical is None and kind.decimal is None:
            note = f"{name}: {ddl} is read as text"
    return ReadColumn(field, value, note)


def is_ordered(ddl: str) -> bool:
    """Say whether a cursor column may have the type."""
    kind = PgType.parse(ddl)
    return not kind.is_array and kind.base in _ORDERED


def is_text(ddl: str) -> bool:
    """Say whether the type's order depends on a collation."""
    kind = PgType.parse(ddl)
    return not kind.is_array and kind.base in _TEXTS


def cursor_type(ddl: str) -> pa.DataType:
    """Return the Arrow type of a cursor column's values."""
    arrow = read_type(PgType.parse(ddl))
    return WIDE_DECIMAL if PgType.parse(ddl).base == "numeric" and arrow == pa.string() else arrow


def hand_over_type(ddl: str) -> pa.DataType:
    """Return the Arrow type in which a target column wants its values.

    A cast to it fails where a value wouldn't fit, so that the server never rounds in silence.
    """
    kind = PgType.parse(ddl)
    if kind.base.startswith("timestamp") and kind.modifiers and not kind.is_array:
        zone = "UTC" if kind.base == "timestamp with time zone" else None
        digits = kind.modifiers[0]
        return pa.timestamp("s" if digits == 0 else "ms" if digits <= 3 else "us", tz=zone)
    return read_type(kind)


def exact_type(ddl: str) -> str | None:
    """Return the type that tells whether the server rounds, or cuts, a value to fit the column.

    None where it never does: a value that doesn't fit is an error then.
    """
    kind = PgType.parse(ddl)
    brackets = "[]" if kind.is_array else ""
    if kind.base in ("bit", "bit varying"):
        return f"text{brackets}"
    if kind.base == "interval" and ddl.removesuffix("[]") != "interval":
        return f"interval{brackets}"
    if kind.base.startswith("time") and kind.modifiers:
        checked_by_arrow = kind.base.startswith("timestamp") and not kind.is_array
        if kind.modifiers[0] not in ((0, 3, 6) if checked_by_arrow else (6,)):
            return f"{kind.base}{brackets}"
    return None


def copies(ddl: str, arrow: pa.DataType) -> bool:
    """Say whether COPY writes that Arrow type into a column of that type, exactly."""
    if exact_type(ddl) is not None:
        return False
    kind = PgType.parse(ddl)
    if kind.is_array:
        inner = kind.element.decimal or _DIRECT.get(kind.base)
        return inner is not None and pa.types.is_list(arrow) and arrow.value_type == inner
    if pa.types.is_timestamp(arrow):
        want = _DIRECT.get(kind.base)
        return want is not None and pa.types.is_timestamp(want) and bool(want.tz) == bool(arrow.tz)
    if kind.base == "numeric":
        return pa.types.is_decimal128(arrow) or pa.types.is_decimal256(arrow)
    return _DIRECT.get(kind.base) == arrow


class PostgresDialect(Dialect):
    """PostgreSQL's spelling."""

    name = SYSTEM
    max_identifier_bytes = MAX_IDENTIFIER_BYTES

    def param(self, position: int) -> str:
        """Return ``$1``, ``$2`` ..."""
        return f"${position}"

    def quote(self, identifier: str) -> str:
        """Return the identifier quoted.

        Raises:
            SchemaError: it is longer than the 63 bytes that PostgreSQL keeps.
        """
        if len(identifier.encode()) > MAX_IDENTIFIER_BYTES:
            raise SchemaError(
                f"{identifier!r} is longer than the {MAX_IDENTIFIER_BYTES} bytes PostgreSQL keeps"
                " of a name: give it a shorter one",
                connector=SYSTEM,
                command="conduit plan",
            )
        return super().quote(identifier)

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where the field lands in a new table; a server's own types are the caller's."""
        self.quote(field.name)
        native = native_type(field, SYSTEM)
        if (
            native is not None
            and is_builtin(native)
            and read_type(PgType.parse(native)) == field.type
        ):
            return Landing(native, hand_over_type(native))
        ddl = {"json": "json", "uuid": "uuid", "numeric": "numeric"}.get(logical_type(field) or "")
        if ddl is not None and _is_string(field.type):
            return Landing(ddl, pa.string())
        return _landing(field.name, field.type)

    def field_of(self, name: str, ddl: str, *, nullable: bool = True) -> pa.Field[pa.DataType]:
        """Return what a column of a DDL type holds: never more than the column itself."""
        kind = hand_over_type(ddl)
        return read_column(name, self.quote(name), ddl, nullable=nullable).field.with_type(kind)

    def effort(self, old: str, new: str) -> Effort:
        """Say whether the server reads old rows as the new type: then it leaves them as they are.

        So it does where only a bound grows: characters, digits before the point, digits of a time.
        """
        a, b = PgType.parse(old), PgType.parse(new)
        if a == b:
            return "catalogue"
        if a.is_array or b.is_array:
            return "rewrite"
        same = {_VARYING.get(k.base, k.base) for k in (a, b)}
        if len(same) > 1 or not same <= _BOUNDED:
            return "rewrite"
        if not b.modifiers or same != {"numeric"}:
            return "catalogue"
        return "catalogue" if a.modifiers[1:] == b.modifiers[1:] else "rewrite"


_VARYING = {"character varying": "text"}
_BOUNDED = frozenset({
    "text", "numeric", "time without time zone", "time with time zone", "bit varying",
    "timestamp without time zone", "timestamp with time zone",
})  # fmt: skip
"""Types whose values have one form, whatever bound the column has."""


_BUILTIN = frozenset(_DIRECT) | {
    "numeric", "uuid", "jsonb", "oid", "money", "inet", "cidr", "macaddr", "macaddr8", "bit",
    "bit varying", "time with time zone", "xml", "point", "line", "lseg", "box", "path", "polygon",
    "circle", "tsvector", "tsquery", "pg_lsn", "int4range", "int8range", "numrange", "daterange",
    "tsrange", "tstzrange",
}  # fmt: skip


_OWN_BYTES = _BUILTIN - {"money", "xml"}
"""Types whose binary form means the same on every server: no locale, no encoding, no numbers that a
database gives its own types."""


def has_own_bytes(ddl: str) -> bool:
    """Say whether COPY's bytes of such a column are right in a column of that type anywhere."""
    return PgType.parse(ddl).base in _OWN_BYTES


def is_builtin(ddl: str) -> bool:
    """Say whether every server has the type."""
    return PgType.parse(ddl).base in _BUILTIN


def _is_string(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _is_binary(kind: pa.DataType) -> bool:
    plain = kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    return plain or pa.types.is_fixed_size_binary(kind)


_PLAIN: dict[pa.DataType, tuple[str, pa.DataType]] = {
    pa.null(): ("text", pa.string()),
    pa.bool_(): ("boolean", pa.bool_()),
    pa.int8(): ("smallint", pa.int16()),
    pa.int16(): ("smallint", pa.int16()),
    pa.int32(): ("integer", pa.int32()),
    pa.int64(): ("bigint", pa.int64()),
    pa.uint8(): ("smallint", pa.int16()),
    pa.uint16(): ("integer", pa.int32()),
    pa.uint32(): ("bigint", pa.int64()),
    pa.uint64(): ("numeric(20,0)", pa.decimal128(20, 0)),
    pa.float16(): ("real", pa.float32()),
    pa.float32(): ("real", pa.float32()),
    pa.float64(): ("double precision", pa.float64()),
    pa.date32(): ("date", pa.date32()),
    pa.date64(): ("date", pa.date32()),
    pa.month_day_nano_interval(): ("interval", pa.month_day_nano_interval()),
}


def _landing(name: str, kind: pa.DataType) -> Landing:
    if kind in _PLAIN:
        return Landing(*_PLAIN[kind])
    if _is_string(kind):
        return Landing("text", pa.string())
    if _is_binary(kind):
        return Landing("bytea", pa.binary())
    if isinstance(
        kind, pa.Decimal32Type | pa.Decimal64Type | pa.Decimal128Type | pa.Decimal256Type
    ):
        return _decimal_landing(kind.precision, kind.scale)
    if pa.types.is_temporal(kind):
        return _temporal_landing(kind)
    if isinstance(kind, pa.DictionaryType):
        return _landing(name, kind.value_type)
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        inner = _landing(name, kind.value_type)
        if copies(f"{inner.ddl}[]", pa.list_(inner.arrow)):
            return Landing(f"{inner.ddl}[]", pa.list_(inner.arrow), inner.loss)
        return Landing("json", pa.string(), f"a {kind} is kept as JSON")
    if isinstance(kind, pa.StructType | pa.MapType):
        return Landing("json", pa.string(), f"a {kind} is kept as JSON")
    raise SchemaError(
        f"column {name!r}: PostgreSQL has no place for {kind}; cast it in a `query:`"
        " or leave it out",
        connector=SYSTEM,
        command="conduit plan",
    )


def _decimal_landing(precision: int, scale: int) -> Landing:
    if scale < 0:
        precision, scale = precision - scale, 0
    return Landing(f"numeric({precision},{scale})", _decimal(precision, scale))


def _temporal_landing(kind: pa.DataType) -> Landing:
    if isinstance(kind, pa.TimestampType):
        ddl = f"timestamp {'with' if kind.tz else 'without'} time zone"
        return Landing(ddl, _DIRECT[ddl])
    if isinstance(kind, pa.DurationType):
        return Landing(DURATION, pa.duration("us"))
    return Landing("time without time zone", pa.time64("us"))
