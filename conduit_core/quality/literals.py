"""Values that a rule writes, as scalars of the column they are compared with; exact or refused."""

from __future__ import annotations

from datetime import time
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Literal, TypeAlias

import pyarrow as pa

from conduit_core.quality.arrays import is_number, is_text, is_time

Written: TypeAlias = "bool | int | float | str | Decimal"
Value: TypeAlias = "pa.Scalar[pa.DataType]"
_DIGITS = Context(prec=400)
"""More than any decimal of Arrow's has: Python's own context would round at 28."""


class UnfitError(ValueError):
    """A value that a column of that type can't have."""


def number(value: Written) -> Decimal:
    """Return a written number, exactly as written.

    Raises:
        UnfitError: it is no finite number.
    """
    try:
        read = Decimal(str(value).strip())
    except InvalidOperation:
        raise UnfitError(f"{value!r} is no number") from None
    if isinstance(value, bool) or not read.is_finite():
        raise UnfitError(f"{value!r} is no number")
    return read


def moment(value: Written, kind: pa.DataType) -> Value:
    """Return a written date or time as the column's type.

    Raises:
        UnfitError: it can't be read as that type, exactly.
    """
    text = str(value).strip()
    if isinstance(value, str) and pa.types.is_timestamp(kind) and len(text) == len("2024-01-01"):
        text += "T00:00:00" + ("Z" if kind.tz else "")
    try:
        if pa.types.is_time(kind):  # Arrow has no cast from text for it
            return pa.scalar(time.fromisoformat(text), pa.time64("us")).cast(kind)
        return pa.scalar(text, pa.string()).cast(kind)
    except (pa.ArrowException, ValueError) as error:
        raise UnfitError(f"{value!r} can't be read as {kind}") from error


def bound(value: Written, kind: pa.DataType, side: Literal["min", "max"]) -> Value | bool:
    """Return the bound of a column as a scalar of the column's own type.

    Comparing in the column's type costs no cast of the column: a bound finer than the type is
    moved to the next value inside it, so that the same rows pass.

    Returns:
        The scalar; True where every value of the type is inside, False where none is.

    Raises:
        UnfitError: the column's type has no such bound.
    """
    if is_time(kind):
        return moment(value, kind)
    if pa.types.is_floating(kind):
        return pa.scalar(float(number(value)), pa.float64()).cast(kind, safe=False)
    if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise UnfitError(f"a column of type {kind} has no range")
    scale = kind.scale if pa.types.is_decimal(kind) else 0
    exact = number(value)
    rounding = ROUND_CEILING if side == "min" else ROUND_FLOOR
    low, high = _limits(kind)
    if exact < low or exact > high:
        return (exact < low) == (side == "min")
    return _scalar(_rounded(exact, scale, rounding), kind)


def equal(value: Written, kind: pa.DataType) -> Value | None:
    """Return a value as a scalar of the column's type; None where no value of it can be equal.

    Raises:
        UnfitError: it can't be a value of the column.
    """
    if pa.types.is_boolean(kind):
        if not isinstance(value, bool):
            raise UnfitError(f"{value!r} is no boolean")
        return pa.scalar(value, kind)
    if isinstance(value, bool):
        raise UnfitError(f"{value!r} is a boolean; as text, write it in quotes")
    if is_text(kind):
        return pa.scalar(str(value), kind)
    if is_time(kind):
        return moment(value, kind)
    if not is_number(kind):
        raise UnfitError(f"a column of type {kind} can't be compared with a value")
    if pa.types.is_floating(kind):
        return pa.scalar(float(number(value)), pa.float64()).cast(kind, safe=False)
    low, high = _limits(kind)
    exact = number(value)
    scale = kind.scale if pa.types.is_decimal(kind) else 0
    if not low <= exact <= high or exact != _rounded(exact, scale, ROUND_FLOOR):
        return None
    return _scalar(_rounded(exact, scale, ROUND_FLOOR), kind)


def _rounded(value: Decimal, scale: int, rounding: str) -> Decimal:
    return value.quantize(Decimal((0, (1,), -scale)), rounding, _DIGITS)


def _limits(kind: pa.DataType) -> tuple[Decimal, Decimal]:
    if pa.types.is_decimal(kind):
        most = Decimal(10**kind.precision - 1).scaleb(-kind.scale, _DIGITS)
        return most.copy_negate(), most
    bits = kind.bit_width
    if pa.types.is_unsigned_integer(kind):
        return Decimal(0), Decimal(2**bits - 1)
    return Decimal(-(2 ** (bits - 1))), Decimal(2 ** (bits - 1) - 1)


def _scalar(value: Decimal, kind: pa.DataType) -> Value:
    return pa.scalar(int(value), kind) if pa.types.is_integer(kind) else pa.scalar(value, kind)
