"""The widening lattice: one table of Arrow types, and the narrowest type that holds two of them.

A type is *wider* than another where each of its values is a value of the wider one, exactly, and
comes back by a cast. ``_TABLE`` says which types lie directly above which; decimals are ordered by
the digits before the point, those behind it, and their width. Where two types have a common wider
type at all, they have one narrowest, so the order in which changes arrive makes no difference.

What is not in it, on purpose:

- A number, a date or a boolean never becomes text: sums, order and equality would change.
- An integer of 64 bits, or a decimal, never becomes a float: it would be rounded.
- Nanoseconds aren't above microseconds: they end in 2262 (for times of day they are).
- A timestamp never gets or loses a time zone. Two zones meet in UTC: the instants are the same.

Dates and times are those of the years 0 to 9999; beyond, a cast fails and never wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TypeAlias, cast

import pyarrow as pa

_Type: TypeAlias = pa.DataType

_TABLE: dict[_Type, tuple[_Type, ...]] = {
    pa.int8(): (pa.int16(), pa.float16()),
    pa.int16(): (pa.int32(), pa.float32()),
    pa.int32(): (pa.int64(), pa.float64()),
    pa.int64(): (),
    pa.uint8(): (pa.uint16(), pa.int16()),
    pa.uint16(): (pa.uint32(), pa.int32()),
    pa.uint32(): (pa.uint64(), pa.int64()),
    pa.uint64(): (),
    pa.float16(): (pa.float32(),),
    pa.float32(): (pa.float64(),),
    pa.float64(): (),
    pa.bool_(): (),
    pa.date32(): (pa.date64(),),
    pa.date64(): (pa.timestamp("s"),),
    pa.timestamp("s"): (pa.timestamp("ms"),),
    pa.timestamp("ms"): (pa.timestamp("us"),),
    pa.timestamp("us"): (),
    pa.timestamp("ns"): (),
    pa.time32("s"): (pa.time32("ms"),),
    pa.time32("ms"): (pa.time64("us"),),
    pa.time64("us"): (pa.time64("ns"),),
    pa.time64("ns"): (),
    pa.duration("s"): (pa.duration("ms"),),
    pa.duration("ms"): (pa.duration("us"),),
    pa.duration("us"): (),
    pa.duration("ns"): (),
    pa.month_day_nano_interval(): (),
    pa.string_view(): (pa.string(),),
    pa.string(): (pa.large_string(),),
    pa.large_string(): (),
    pa.binary_view(): (pa.binary(),),
    pa.binary(): (pa.large_binary(),),
    pa.large_binary(): (),
}
"""Each type and the types directly above it."""

_DIGITS: dict[_Type, int] = {
    pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 19, pa.uint64(): 20,
}  # fmt: skip
"""The digits that a decimal needs to hold an integer; unsigned ones need those of the signed type
above them, so that ``uint8`` and ``int8`` meet in ``int16`` and nowhere else."""

_MAX_DIGITS = 76
_WIDTHS: tuple[tuple[int, int, Callable[[int, int], _Type]], ...] = (
    (32, 9, pa.decimal32),
    (64, 18, pa.decimal64),
    (128, 38, pa.decimal128),
    (256, _MAX_DIGITS, pa.decimal256),
)
_UTC = "UTC"


def widen(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """Return the narrowest type that holds every value of ``a`` and of ``b``; None if none does.

    >>> widen(pa.int32(), pa.uint32())
    DataType(int64)
    >>> widen(pa.decimal128(10, 2), pa.int64())
    Decimal128Type(decimal128(21, 2))
    """
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    if isinstance(a, pa.DictionaryType):
        return widen(a.value_type, b)
    if isinstance(b, pa.DictionaryType):
        return widen(a, b.value_type)
    for family in (_in_table, _decimals, _zoned, _fixed_bytes, _lists, _structs, _maps):
        if (found := family(a, b)) is not None:
            return found
    return None


def is_wider(wide: pa.DataType, narrow: pa.DataType) -> bool:
    """Say whether every value of ``narrow`` is one of ``wide`` (also where they are equal)."""
    return widen(wide, narrow) == wide


@cache
def _above(kind: _Type) -> frozenset[_Type]:
    """Return the type and all that lie above it in the table."""
    return frozenset({kind}).union(*(_above(wider) for wider in _TABLE.get(kind, ())))


def _in_table(a: _Type, b: _Type) -> _Type | None:
    if a not in _TABLE or b not in _TABLE:
        return None
    return _lowest(_above(a) & _above(b))


def _lowest(kinds: Iterable[_Type]) -> _Type | None:
    return max(kinds, key=lambda kind: len(_above(kind)), default=None)


# --- decimals: digits before the point, digits behind it, width -----------------------------------


def _decimals(a: _Type, b: _Type) -> _Type | None:
    one, other = _decimal(a), _decimal(b)
    if one is None or other is None:
        return None
    whole, scale, width = (max(x, y) for x, y in zip(one, other, strict=True))
    precision = whole + scale
    for bits, digits, make in _WIDTHS:
        if bits >= width and digits >= precision:
            return make(precision, scale)
    return None


def _decimal(kind: _Type) -> tuple[int, int, int] | None:
    if isinstance(
        kind, pa.Decimal32Type | pa.Decimal64Type | pa.Decimal128Type | pa.Decimal256Type
    ):
        return kind.precision - kind.scale, kind.scale, kind.bit_width
    digits = [_DIGITS[wider] for wider in _above(kind) if wider in _DIGITS]
    return (min(digits), 0, 0) if digits else None


# --- types with parameters ------------------------------------------------------------------------


def _zoned(a: _Type, b: _Type) -> _Type | None:
    if not isinstance(a, pa.TimestampType) or not isinstance(b, pa.TimestampType):
        return None
    if a.tz is None or b.tz is None:
        return None
    naive = _in_table(pa.timestamp(a.unit), pa.timestamp(b.unit))
    if not isinstance(naive, pa.TimestampType):
        return None
    return pa.timestamp(naive.unit, a.tz if a.tz == b.tz else _UTC)


def _fixed_bytes(a: _Type, b: _Type) -> _Type | None:
    """Take bytes of a fixed size as bytes of any size, wherever they aren't the same."""
    fixed = pa.types.is_fixed_size_binary  # not isinstance: Arrow's decimals are a subclass
    if not fixed(a) and not fixed(b):
        return None
    plain = [pa.binary() if fixed(kind) else kind for kind in (a, b)]
    return _in_table(*plain)


# --- nested types: member by member ---------------------------------------------------------------

_Field: TypeAlias = "pa.Field[pa.DataType]"


def _member(a: _Field, b: _Field) -> _Field | None:
    kind = widen(a.type, b.type)
    if kind is None:
        return None
    return pa.field(a.name, kind, nullable=a.nullable or b.nullable)


def _lists(a: _Type, b: _Type) -> _Type | None:
    lists = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)
    if not isinstance(a, lists) or not isinstance(b, lists):
        return None
    item = _member(a.value_field, b.value_field)
    if item is None:
        return None
    if isinstance(a, pa.FixedSizeListType) and isinstance(b, pa.FixedSizeListType):
        if a.list_size == b.list_size:
            return pa.list_(item, a.list_size)
        return pa.list_(item)
    large = isinstance(a, pa.LargeListType) or isinstance(b, pa.LargeListType)
    return pa.large_list(item) if large else pa.list_(item)


def _structs(a: _Type, b: _Type) -> _Type | None:
    """Widen structs of the same members in the same order; others have no common type."""
    if not isinstance(a, pa.StructType) or not isinstance(b, pa.StructType):
        return None
    left, right = _members(a), _members(b)
    if [f.name for f in left] != [f.name for f in right]:
        return None
    members = [_member(x, y) for x, y in zip(left, right, strict=True)]
    if any(m is None for m in members):
        return None
    return pa.struct(cast("list[_Field]", members))


def _members(kind: pa.StructType) -> list[_Field]:
    return [kind.field(i) for i in range(kind.num_fields)]


def _maps(a: _Type, b: _Type) -> _Type | None:
    if not isinstance(a, pa.MapType) or not isinstance(b, pa.MapType):
        return None
    key, item = widen(a.key_type, b.key_type), _member(a.item_field, b.item_field)
    if key is None or item is None:
        return None
    return pa.map_(key, item)  # type: ignore[call-overload,no-any-return]  # takes fields too
