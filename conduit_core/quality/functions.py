"""The functions of a condition: for each, the arguments it takes of sqlglot's node, and its kernel.

length, lower, upper, trim, substring, coalesce, nullif, abs, round, floor, ceil, mod (%), year,
month, day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Arguments: TypeAlias = Sequence[Any]


def _substring(arguments: Arguments) -> Any:
    text, start, length = arguments
    if not isinstance(start, pa.Scalar) or not (length is None or isinstance(length, pa.Scalar)):
        raise TypeError("SUBSTRING takes numbers, not columns, as its start and length")
    begin = start.as_py() - 1
    if begin < 0 or (length is not None and length.as_py() < 0):
        raise ValueError("SUBSTRING begins at 1 and has no negative length")
    stop = None if length is None else begin + length.as_py()
    return pc.utf8_slice_codeunits(text, begin, stop)


def _round(arguments: Arguments) -> Any:
    value, digits = arguments
    count = 0 if digits is None else digits.as_py()
    return pc.round(value, ndigits=count, round_mode="half_towards_infinity")


def _nullif(arguments: Arguments) -> Any:
    value, other = arguments
    same = pc.coalesce(pc.equal(value, other), pa.scalar(value=False))
    return pc.if_else(same, pa.scalar(None, value.type), value)


FUNCTIONS: dict[str, tuple[tuple[str, ...], Callable[[Arguments], Any]]] = {
    "Length": (("this",), lambda a: pc.utf8_length(a[0])),
    "Lower": (("this",), lambda a: pc.utf8_lower(a[0])),
    "Upper": (("this",), lambda a: pc.utf8_upper(a[0])),
    "Trim": (("this",), lambda a: pc.utf8_trim(a[0], characters=" ")),
    "Substring": (("this", "start", "length"), _substring),
    "Nullif": (("this", "expression"), _nullif),
    "Abs": (("this",), lambda a: pc.abs_checked(a[0])),
    "Round": (("this", "decimals"), _round),
    "Floor": (("this",), lambda a: pc.floor(a[0])),
    "Ceil": (("this",), lambda a: pc.ceil(a[0])),
    "Mod": (("this", "expression"), lambda a: pc.remainder_checked(a[0], a[1])),
    "Year": (("this",), lambda a: pc.year(a[0])),
    "Month": (("this",), lambda a: pc.month(a[0])),
    "Day": (("this",), lambda a: pc.day(a[0])),
}
