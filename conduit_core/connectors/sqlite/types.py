"""What a SQLite column means: declared types to Arrow and back; SQL that checks and orders them.

The encoding table is in the package's docstring. Text only; the Arrow side is in ``encoding``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from conduit_core.errors import SchemaError
from conduit_core.types.dialect import Dialect, Effort, Landing, Table
from conduit_core.types.schema import logical_type, native_type, tagged

SYSTEM = "sqlite"
Raw = Literal["integer", "real", "text", "blob"]

_Unit = Literal["s", "ms", "us", "ns"]
_UNITS: dict[int, _Unit] = {0: "s", 3: "ms", 6: "us", 9: "ns"}
_TIMES: dict[_Unit, pa.DataType] = {
    "s": pa.time32("s"),
    "ms": pa.time32("ms"),
    "us": pa.time64("us"),
    "ns": pa.time64("ns"),
}
_DIGITS = {unit: digits for digits, unit in _UNITS.items()}
_SENTINEL: dict[Raw, str] = {"integer": "0", "real": "0.0", "text": "''", "blob": "x''"}
_SPLIT = re.compile(r"\s*([^()]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\))?\s*([^()]*)")

_INTEGERS: dict[str, pa.DataType] = {
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT4": pa.int32(),
    "TINYINT UNSIGNED": pa.uint8(),
    "SMALLINT UNSIGNED": pa.uint16(),
    "INT4 UNSIGNED": pa.uint32(),
}
_INTEGER_DDL = {kind: ddl for ddl, kind in _INTEGERS.items()} | {pa.int64(): "INTEGER"}


@dataclass(frozen=True, slots=True)
class SqliteColumn:
    """A column as it is read: its Arrow field and the storage class its values must have.

    ``raw`` is what the driver hands over; other storage classes are an error that names the value.
    """

    field: pa.Field[pa.DataType]
    raw: Raw

    @property
    def sentinel(self) -> str:
        """A literal of the storage class: the first row of every read, so that the driver never
        has to guess a type.
        """
        return _SENTINEL[self.raw]

    @property
    def _may_be_number(self) -> bool:
        if self.raw != "text":
            return False
        return pa.types.is_decimal(self.field.type) or logical_type(self.field) in {
            "json",
            "numeric",
        }

    def select(self, expr: str) -> str:
        """Return the SQL that reads the column; the driver itself would round a float in text."""
        return f"CAST({expr} AS TEXT)" if self._may_be_number else expr

    def guard(self, expr: str) -> str | None:
        """Return SQL that is true for a value that would change its meaning unseen, if any could.

        Text or fractions where it reads integers it refuses itself.
        """
        kind = self.field.type
        if self.raw == "blob":
            return f"typeof({expr}) NOT IN ('blob', 'null')"
        if self._may_be_number:
            return f"typeof({expr}) = 'blob'"
        if self.raw == "text":
            return f"typeof({expr}) NOT IN ('text', 'null')"
        if self.raw == "real" and not native_type(self.field, SYSTEM):
            return f"(typeof({expr}) = 'integer' AND abs({expr}) > 9007199254740992)"
        return f"{expr} NOT IN (0, 1)" if pa.types.is_boolean(kind) else None

    def misfit(self, expr: str) -> str:
        """Return SQL that is true for a non-NULL value that doesn't fit, as near as SQL tells."""
        kind = self.field.type
        storage = f"typeof({expr})"
        if pa.types.is_boolean(kind):
            return f"({storage} <> 'integer' OR {expr} NOT IN (0, 1))"
        if pa.types.is_integer(kind) and kind != pa.int64():
            width = kind.bit_width
            signed = pa.types.is_signed_integer(kind)
            low, high = (
                (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
            )
            return f"({storage} <> 'integer' OR {expr} NOT BETWEEN {low} AND {high})"
        if self.raw == "integer":
            return f"{storage} <> 'integer'"
        if self.raw == "real":
            return f"{storage} NOT IN ('real', 'integer')"
        if self.raw == "blob":
            return f"{storage} <> 'blob'"
        if is_temporal(kind):
            forms = " OR ".join(f.format(c=expr) for f in _forms(kind))
            return f"({storage} <> 'text' OR NOT ({forms}))"
        if pa.types.is_decimal(kind) or logical_type(self.field) == "numeric":
            text = f"({expr} GLOB '*[^-+0-9.eE]*' OR {expr} NOT GLOB '*[0-9]*')"
            return f"({storage} = 'blob' OR ({storage} = 'text' AND {text}))"
        return f"{storage} = 'blob'" if self._may_be_number else f"{storage} <> 'text'"


_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


def _forms(kind: pa.DataType) -> tuple[str, ...]:
    """Return conditions that a time's text, ``{c}``, meets one of."""
    if pa.types.is_time(kind):
        return ("{c} GLOB '[0-9][0-9]:[0-9][0-9]*'",)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        offset = f"{{c}} GLOB '{_DAY}*[-+][0-9][0-9]:[0-9][0-9]' AND strftime('%s', {{c}}) NOT NULL"
        return (f"{{c}} GLOB '{_DAY}*Z'", offset)
    return (f"{{c}} GLOB '{_DAY}{'' if pa.types.is_date(kind) else '*'}'",)


def is_temporal(kind: pa.DataType) -> bool:
    """Say whether the type is kept as ISO text."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind))


def parse_declared(declared: str) -> tuple[str, tuple[int, ...]]:
    """Split ``DECIMAL TEXT(10, 2)`` into its words, in upper case, and its numbers."""
    match = _SPLIT.fullmatch(declared)
    if match is None:
        return declared.upper(), ()
    words = " ".join(f"{match[1]} {match[4]}".upper().split())
    return words, tuple(int(n) for n in (match[2], match[3]) if n is not None)


def column_of(name: str, declared: str, *, nullable: bool = True) -> SqliteColumn | None:
    """Return what a declared type means; None for none, or one that says nothing (``NUM``).

    The words decide first, then SQLite's own rule of affinity.
    """
    words, numbers = parse_declared(declared)
    kind, raw, logical = _meaning(set(words.split()), words, numbers)
    if kind is None:
        return None
    field = pa.field(name, kind, nullable=nullable)
    native = f"{SYSTEM}:{declared}"
    return SqliteColumn(tagged(field, logical=logical, native=native), raw)


_Logical = Literal["json", "uuid", "numeric"]


def _meaning(
    words: set[str], text: str, numbers: tuple[int, ...]
) -> tuple[pa.DataType | None, Raw, _Logical | None]:
    unit: _Unit = _UNITS.get(numbers[0], "us") if numbers else "us"
    if words & {"JSON", "JSONB"}:
        return pa.string(), "text", "json"
    if words & {"UUID", "GUID", "UNIQUEIDENTIFIER"}:
        return pa.string(), "text", "uuid"
    if words & {"DECIMAL", "NUMERIC", "DEC"}:
        return _decimal(numbers)
    if words & {"BOOL", "BOOLEAN"}:
        return pa.bool_(), "integer", None
    if "TIMESTAMPTZ" in words or "DATETIMEOFFSET" in words or "WITH TIME ZONE" in text:
        return pa.timestamp(unit, "UTC"), "text", None
    if words & {"TIMESTAMP", "DATETIME", "DATETIME2", "SMALLDATETIME"}:
        return pa.timestamp(unit), "text", None
    if "DATE" in words:
        return pa.date32(), "text", None
    if "TIME" in words:
        return _TIMES[unit], "text", None
    if "DURATION" in words:
        return pa.duration(unit), "integer", None
    return _by_affinity(words, text)


def _decimal(numbers: tuple[int, ...]) -> tuple[pa.DataType, Raw, _Logical | None]:
    precision, scale = (*numbers, 0)[:2] if numbers else (0, 0)
    if not 0 < precision <= 76 or not 0 <= scale <= precision:
        return pa.string(), "text", "numeric"
    return decimal_type(precision, scale), "text", None


def decimal_type(precision: int, scale: int) -> pa.DataType:
    """Return the smaller of Arrow's two wide decimals that has the digits."""
    return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)


def _by_affinity(words: set[str], text: str) -> tuple[pa.DataType | None, Raw, _Logical | None]:
    if "INT" in text:
        return _INTEGERS.get(text, pa.int64()), "integer", None
    if any(w in text for w in ("CHAR", "CLOB", "TEXT")):
        return pa.string(), "text", None
    if any(w in text for w in ("BLOB", "BINARY", "BYTEA")):
        return pa.binary(), "blob", None
    if any(w in text for w in ("REAL", "FLOA", "DOUB")):
        return (pa.float32() if "FLOAT4" in words else pa.float64()), "real", None
    return None, "text", None


def inferred(name: str, classes: frozenset[str]) -> SqliteColumn:
    """Return the column of values without a declared type, by the storage classes they have.

    Raises:
        SchemaError: text or bytes beside other storage classes.
    """
    if not classes <= {"integer", "real"} and len(classes) > 1:
        raise SchemaError(
            f"column {name!r} has no declared type and holds {' and '.join(sorted(classes))}:"
            f" give it one type in a query, as in CAST({name} AS TEXT)",
            command="conduit discover",
        )
    if "blob" in classes:
        return SqliteColumn(pa.field(name, pa.binary()), "blob")
    if "real" in classes:
        return SqliteColumn(pa.field(name, pa.float64()), "real")
    if "integer" in classes:
        return SqliteColumn(pa.field(name, pa.int64()), "integer")
    return SqliteColumn(pa.field(name, pa.string()), "text")


# --- writing --------------------------------------------------------------------------------------


class SqliteDialect(Dialect):
    """SQLite's spelling, and the declared types of the encoding table."""

    name = SYSTEM

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where the field lands in a new table; the type's name keeps what Arrow knew.

        Raises:
            SchemaError: there is no place for the type.
        """
        declared = native_type(field, SYSTEM)
        same = column_of(field.name, declared) if declared else None
        if declared and same and same.field.type == field.type and _keeps(same, declared):
            return Landing(declared, field.type)
        match logical_type(field):
            case "json":
                return Landing("JSON TEXT", pa.string())
            case "uuid":
                return Landing("UUID TEXT", pa.string())
            case "numeric":
                return Landing("NUMERIC TEXT", pa.string())
        found = _plain_landing(field.type) or _time_landing(field.type)
        if found is None:
            raise SchemaError(
                f"column {field.name!r}: SQLite has no place for {field.type}; cast it first",
                command="conduit plan",
            )
        return found

    def field_of(self, name: str, ddl: str, *, nullable: bool = True) -> pa.Field[pa.DataType]:
        """Return what a declared type means.

        Raises:
            SchemaError: it means nothing to us.
        """
        column = column_of(name, ddl, nullable=nullable)
        if column is None:
            raise SchemaError(
                f"column {name!r} is declared {ddl!r}, which names no type: give it one",
                connector=SYSTEM,
                command="conduit discover",
            )
        return column.field

    def effort(self, old: str, new: str) -> Effort:
        """SQLite has no ALTER of a column: another declared type takes a new table."""
        return "catalogue" if old == new else "rebuild"

    def alter_type(self, table: Table, column: str, ddl: str) -> str:
        """Refuse: there is no such statement.

        Raises:
            NotImplementedError: always; :meth:`effort` says that it takes a rebuild.
        """
        raise NotImplementedError("SQLite alters no column: fill a new table from `converted`")

    def drop_not_null(self, table: Table, column: str) -> str | None:
        """Return None: it takes a rebuild."""
        return None

    def converted(self, expression: str, old: str, new: str) -> str:
        """Return a value as it is stored under a wider declared type, as a load would write it.

        Text in another form than ours (a time with a ``T``) stays as it is.
        """
        a, b = column_of("", old), column_of("", new)
        if a is None or b is None:
            return expression
        if pa.types.is_decimal(b.field.type):
            return _more_digits(expression, a.field.type, b.field.type.scale)
        if logical_type(b.field) == "numeric":
            return f"CAST({expression} AS TEXT)"
        if pa.types.is_floating(b.field.type):
            return f"CAST({expression} AS REAL)"
        if pa.types.is_duration(a.field.type) and pa.types.is_duration(b.field.type):
            steps = _DIGITS[b.field.type.unit] - _DIGITS[a.field.type.unit]
            return f"{expression} * {10**steps}"
        if is_temporal(b.field.type):
            return _finer(expression, a.field.type, b.field.type)
        return expression


def _more_digits(expression: str, old: pa.DataType, scale: int) -> str:
    """Return SQL that adds zeros behind the point to digits of the old type's scale."""
    text = f"CAST({expression} AS TEXT)"
    had = old.scale if isinstance(old, pa.Decimal128Type | pa.Decimal256Type) else 0
    if scale == had:
        return text
    point = f"instr({text}, '.')"
    if had:
        ours = f"{point} > 0 AND length({text}) - {point} = {had}"
        zeros = "0" * (scale - had)
    else:
        ours, zeros = f"{point} = 0", "." + "0" * scale
    plain = f"{ours} AND {text} NOT GLOB '*[eE]*'"
    return f"CASE WHEN {plain} THEN {text} || '{zeros}' ELSE {text} END"


_TIMED = (pa.TimestampType, pa.Time32Type, pa.Time64Type)


def _finer(expression: str, old: pa.DataType, new: pa.DataType) -> str:
    """Return SQL that adds midnight to a date, or zeros to a time's text."""
    if not isinstance(new, _TIMED):
        return expression
    digits = _DIGITS[new.unit]
    if pa.types.is_date(old):
        fraction = "." + "0" * digits if digits else ""
        midnight = f"' 00:00:00{fraction}'"
        return (
            f"CASE WHEN length({expression}) = 10 THEN {expression} || {midnight} ELSE"
            f" {expression} END"
        )
    had = _DIGITS[old.unit] if isinstance(old, _TIMED) else digits
    if had == digits:
        return expression
    zone = "Z" if pa.types.is_timestamp(new) and new.tz else ""
    day = 0 if pa.types.is_time(new) else 11
    size = day + 8 + (had + 1 if had else 0) + len(zone)
    zeros = ("" if had else ".") + "0" * (digits - had)
    bare = f"rtrim({expression}, 'Z')" if zone else expression
    ours = f"length({expression}) = {size} AND {expression} NOT GLOB '*[T+]*'"
    return f"CASE WHEN {ours} THEN {bare} || '{zeros}{zone}' ELSE {expression} END"


def _keeps(column: SqliteColumn, declared: str) -> bool:
    """Say whether the declared type's affinity leaves values as they are bound."""
    numeric = is_numeric_affinity(declared)
    return column.raw != "text" or not numeric or is_temporal(column.field.type)


def is_numeric_affinity(declared: str) -> bool:
    """Say whether SQLite turns text that looks like a number into one in such a column."""
    text = declared.upper()
    if "INT" in text:
        return True
    return bool(text) and not any(w in text for w in ("CHAR", "CLOB", "TEXT", "BLOB"))


def _plain_landing(kind: pa.DataType) -> Landing | None:
    t = pa.types
    if t.is_dictionary(kind):
        return _plain_landing(kind.value_type) or _time_landing(kind.value_type)
    if t.is_boolean(kind):
        return Landing("BOOLEAN", kind)
    if t.is_nested(kind):
        return Landing("JSON TEXT", pa.string(), f"{kind} becomes JSON text")
    for texts in (t.is_string, t.is_large_string, t.is_string_view, t.is_null):
        if texts(kind):
            return Landing("TEXT", pa.string())
    for bytes_ in (t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary):
        if bytes_(kind):
            return Landing("BLOB", pa.binary())
    return _number_landing(kind)


_FLOAT_LOSS = "the sign of -0.0; NaN is refused"


def _number_landing(kind: pa.DataType) -> Landing | None:
    t = pa.types
    if t.is_uint64(kind):
        return Landing("DECIMAL TEXT(20, 0)", pa.decimal128(20, 0), "comes back as decimal(20, 0)")
    if t.is_integer(kind):
        return Landing(_INTEGER_DDL[kind], kind)
    if t.is_float16(kind):
        return Landing("FLOAT4", pa.float32(), f"comes back as float32; {_FLOAT_LOSS}")
    if t.is_floating(kind):
        return Landing("FLOAT4" if t.is_float32(kind) else "REAL", kind, _FLOAT_LOSS)
    if t.is_decimal(kind):
        scale = max(kind.scale, 0)
        precision = kind.precision - min(kind.scale, 0)
        return Landing(f"DECIMAL TEXT({precision}, {scale})", decimal_type(precision, scale))
    return None


def _time_landing(kind: pa.DataType) -> Landing | None:
    t = pa.types
    if t.is_date(kind):
        return Landing("DATE", pa.date32())
    if t.is_timestamp(kind):
        if kind.tz is None:
            return Landing(f"TIMESTAMP{_precision(kind.unit)}", kind)
        loss = (
            None
            if kind.tz == "UTC"
            else f"the zone's name ({kind.tz}); the instant is kept, in UTC"
        )
        return Landing(f"TIMESTAMPTZ{_precision(kind.unit)}", pa.timestamp(kind.unit, "UTC"), loss)
    if t.is_time(kind):
        return Landing(f"TIME{_precision(kind.unit)}", kind)
    if t.is_duration(kind):
        return Landing(f"DURATION{_precision(kind.unit)}", kind)
    return None


def _precision(unit: _Unit) -> str:
    return "" if unit == "us" else f"({_DIGITS[unit]})"
