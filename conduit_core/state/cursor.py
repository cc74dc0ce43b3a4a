"""Cursor values: typed, exact, comparable, and as type-tagged JSON text.

A cursor is compared column by column (lexicographically). Values keep the source's full precision:
a timestamp is its integer of ticks, a decimal its digits.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import Self, TypeAlias, cast
from zoneinfo import ZoneInfo

import pyarrow as pa

from conduit_core.errors import ConfigError, StateError
from conduit_core.types.schema import parse_type

Value: TypeAlias = "pa.Scalar[pa.DataType]"

_TICKS = re.compile(r"-?[0-9]{11,}")
_DAYS = re.compile(r"-?[0-9]{6,}")


def to_text(value: pa.Scalar[pa.DataType]) -> str:
    """Return a value at its full precision, as :func:`from_text` reads it."""
    kind = value.type
    if pa.types.is_timestamp(kind):
        # ISO text at the unit's precision; Arrow's own cast keeps every digit. Beyond the years
        # that Arrow reads back, the number of units since 1970.
        text = str(value.cast(pa.timestamp(kind.unit)).cast(pa.string()).as_py())
        return text.replace(" ", "T") if _is_iso(text) else str(value.cast(pa.int64()).as_py())
    if pa.types.is_date32(kind):
        text = str(value.cast(pa.string()).as_py())
        return text if _is_iso(text) else str(value.cast(pa.int32()).as_py())  # days since 1970
    if _is_bytes(kind):
        return bytes(value.as_py()).hex()
    if pa.types.is_floating(kind):
        return repr(value.as_py())
    return str(value.cast(pa.string()).as_py())


def _is_iso(text: str) -> bool:
    return len(text.partition("-")[0]) == 4


def from_text(kind: pa.DataType, text: str) -> pa.Scalar[pa.DataType]:
    """Read what :func:`to_text` wrote.

    Raises:
        ValueError, ArithmeticError, pyarrow.ArrowException: it isn't a value of that type.
    """
    if pa.types.is_timestamp(kind):
        if _TICKS.fullmatch(text):
            return pa.scalar(int(text), pa.int64()).cast(kind)
        try:
            return pa.scalar(text).cast(pa.timestamp(kind.unit)).cast(kind)
        except pa.ArrowInvalid:  # its whole second lies before the first nanosecond there is
            second, _, fraction = text.partition(".")
            whole = pa.scalar(second).cast(pa.timestamp("s")).cast(pa.int64()).as_py()
            if kind.unit != "ns" or not fraction or whole is None:
                raise
            ticks = whole * 10**9 + int(fraction.ljust(9, "0"))
            return pa.scalar(ticks, pa.int64()).cast(kind)
    if pa.types.is_date32(kind) and _DAYS.fullmatch(text):
        return pa.scalar(int(text), pa.int32()).cast(kind)
    if _is_bytes(kind):
        return pa.scalar(bytes.fromhex(text), kind)
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(text), kind)
    if pa.types.is_time(kind):
        # As a moment of the first day: Arrow reads no times, Python no nanoseconds.
        moment = pa.scalar(f"1970-01-01T{text}").cast(pa.timestamp(kind.unit))
        return moment.cast(kind)
    return pa.scalar(text).cast(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _family(kind: pa.DataType) -> str:
    """Name the types whose values compare with one another."""
    t = pa.types
    if t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind):
        return "number"
    if t.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp"
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return "text"
    if _is_bytes(kind):
        return "binary"
    if t.is_date(kind):
        return "date"
    return "time" if t.is_time(kind) else str(kind)


def compares(one: pa.DataType, other: pa.DataType) -> bool:
    """Say whether values of the two types compare with one another."""
    return _family(one) == _family(other)


def _key(value: pa.Scalar[pa.DataType]) -> object:
    """Return a Python value that orders like the column does."""
    kind = value.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        if pa.types.is_date(kind):
            return value.cast(pa.date32()).cast(pa.int32()).as_py()
        width: pa.DataType = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
        return int(value.cast(width).as_py()) * scale[kind.unit]
    return value.as_py()


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a stream: the cursor columns and one non-NULL value for each."""

    columns: tuple[str, ...]
    values: tuple[pa.Scalar[pa.DataType], ...]

    def to_json(self) -> str:
        """Return the canonical type-tagged JSON text."""
        items = [
            {"column": c, "type": str(v.type), "value": to_text(v)}
            for c, v in zip(self.columns, self.values, strict=True)
        ]
        return json.dumps(items, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            StateError: the text is not such JSON, or a value is not of its type.
        """
        try:
            items = json.loads(text)
            columns = tuple(str(i["column"]) for i in items)
            values = tuple(from_text(parse_type(str(i["type"])), str(i["value"])) for i in items)
            if not columns:
                raise ValueError("no columns")
        except (ValueError, KeyError, TypeError, ArithmeticError, pa.ArrowException) as error:
            raise StateError(
                f"not a cursor: {text!r} ({error})", command="conduit state show"
            ) from error
        return cls(columns, values)

    def compare(self, other: Cursor) -> int:
        """Return -1, 0 or 1.

        Raises:
            StateError: the two don't have the same columns or comparable types.
        """
        if self.columns != other.columns:
            raise StateError(
                f"cursor columns differ: {list(self.columns)} and {list(other.columns)}",
                command="conduit state show",
            )
        for a, b in zip(self.values, other.values, strict=True):
            if not compares(a.type, b.type):
                raise StateError(
                    f"cursor types differ: {a.type} and {b.type}", command="conduit state show"
                )
            x, y = _key(a), _key(b)
            if x < y:  # type: ignore[operator]
                return -1
            if x > y:  # type: ignore[operator]
                return 1
        return 0

    def before(self) -> Cursor | None:
        """Return the value just below, for one column of a type that has one (not text, floats)."""
        (value,) = self.values
        t, kind = pa.types, value.type
        lower: pa.Scalar[pa.DataType] | None = None
        try:
            if t.is_integer(kind):
                lower = pa.scalar(value.as_py() - 1, kind)
            elif t.is_decimal(kind):
                with localcontext(prec=100):
                    lower = pa.scalar(value.as_py() - Decimal(1).scaleb(-kind.scale), kind)
            elif t.is_timestamp(kind):
                ticks = value.cast(pa.int64()).as_py()
                lower = pa.scalar(ticks - 1, pa.int64()).cast(kind)
            elif t.is_date(kind):
                days = value.cast(pa.date32()).cast(pa.int32()).as_py()
                lower = pa.scalar(days - 1, pa.int32()).cast(pa.date32()).cast(kind)
        except (OverflowError, ValueError):
            return None
        return Cursor(self.columns, (lower,)) if lower is not None else None

    def moment(self, timezone: str | None) -> datetime | None:
        """Return the first value as a moment in UTC; None: it is no time.

        Args:
            timezone: what a naive time or a date is in; None for UTC.
        """
        value = self.values[0]
        if not (pa.types.is_timestamp(value.type) or pa.types.is_date(value.type)):
            return None
        try:
            is_finer = getattr(value.type, "unit", "") == "ns"  # else what is lost is the year
            utc = pa.timestamp("us", getattr(value.type, "tz", None))
            found = value.cast(utc, safe=not is_finer)
            moment = cast("datetime", found.as_py())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=ZoneInfo(timezone or "UTC"))
            return moment.astimezone(UTC)
        except (ValueError, OverflowError, pa.ArrowException):  # years that Python doesn't know
            return None

    def display(self) -> str:
        """Return the values for people: ISO text with Z for times in UTC."""
        parts = []
        for value in self.values:
            text = to_text(value)
            if pa.types.is_timestamp(value.type) and value.type.tz:
                text += "Z"
            parts.append(text)
        return ", ".join(parts)


def parse_point(text: str, kind: pa.DataType, timezone: str | None) -> pa.Scalar[pa.DataType]:
    """Read a value that a person typed (``--from``, ``--to``, ``--cursor``, ``initial:``).

    Args:
        text: ``2013-07-01``, ``2013-07-01T00:00:00Z``, ``42`` ...
        kind: the cursor column's Arrow type.
        timezone: the stream's ``cursor_timezone``; says what a text without an offset means, and
            what a naive column holds when the text has one.

    Raises:
        ConfigError: the text is not a value of that type, or needs a timezone that is not given.
    """
    try:
        if pa.types.is_timestamp(kind):
            return _parse_timestamp(text, kind, timezone)
        if pa.types.is_date(kind):
            if len(text) > 10:
                moment = datetime.fromisoformat(text)
                if moment.tzinfo is not None:
                    moment = moment.astimezone(_zone(timezone, text))
                return pa.scalar(moment.date(), kind)
            return pa.scalar(date.fromisoformat(text), kind)
        return from_text(kind, text)
    except (ValueError, ArithmeticError, pa.ArrowException) as error:
        raise ConfigError(
            f"{text!r} is not a value of the cursor's type {kind}: {error}"
        ) from error


def _zone(timezone: str | None, text: str) -> ZoneInfo:
    if timezone is None:
        raise ConfigError(
            f"{text!r} has a UTC offset but the cursor column has none: set cursor_timezone, or"
            " give the value without an offset"
        )
    return ZoneInfo(timezone)


def _parse_timestamp(
    text: str, kind: pa.TimestampType, timezone: str | None
) -> pa.Scalar[pa.DataType]:
    head, _, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    moment = datetime.fromisoformat(head + rest[len(digits) :])
    if kind.tz is None:
        if moment.tzinfo is not None:
            moment = moment.astimezone(_zone(timezone, text)).replace(tzinfo=None)
    elif moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(timezone or "UTC"))
    if moment.tzinfo is not None:
        moment = moment.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
    iso = moment.isoformat() + (f".{digits}" if digits else "")
    return pa.scalar(iso).cast(pa.timestamp("ns" if len(digits) > 6 else "us")).cast(kind)
