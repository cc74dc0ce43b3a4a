"""The functions of a condition: for each, the arguments it takes of sqlglot's node, and its kernel.

length, lower, upper, trim, substring, coalesce, nullif, abs, round, floor, ceil, mod (%), year,
month, day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from conduit_core.quality.arrays import kernels

Arguments: TypeAlias = Sequence[Any]


def _substring(arguments: Arguments) -> Any:
    text, start, length = arguments
    if not isinstance(start, pa.Scalar) or not (length is None or isinstance(length, pa.Scalar)):
        raise TypeError("SUBSTRING takes numbers, not columns, as its start and length")
    begin = start.as_py() - 1
    if begin < 0 or (length is not None and length.as_py() < 0):
        raise ValueError("SUBSTRING begins at 1 and has no negative length")
    stop = None if length is None else begin + length.as_py()
    return kernels.utf8_slice_codeunits(text, begin, stop)


def _round(arguments: Arguments) -> Any:
    value, digits = arguments
    count = 0 if digits is None else digits.as_py()
    return kernels.round(value, ndigits=count, round_mode="half_towards_infinity")


def _nullif(arguments: Arguments) -> Any:
    value, other = arguments
    same = kernels.coalesce(kernels.equal(value, other), pa.scalar(value=False))
    return kernels.if_else(same, pa.scalar(None, value.type), value)


FUNCTIONS: dict[str, tuple[tuple[str, ...], Callable[[Arguments], Any]]] = {
    "Length": (("this",), lambda a: kernels.utf8_length(a[0])),
    "Lower": (("this",), lambda a: kernels.utf8_lower(a[0])),
    "Upper": (("this",), lambda a: kernels.utf8_upper(a[0])),
    "Trim": (("this",), lambda a: kernels.utf8_trim(a[0], characters=" ")),
    "Substring": (("this", "start", "length"), _substring),
    "Nullif": (("this", "expression"), _nullif),
    "Abs": (("this",), lambda a: kernels.abs_checked(a[0])),
    "Round": (("this", "decimals"), _round),
    "Floor": (("this",), lambda a: kernels.floor(a[0])),
    "Ceil": (("this",), lambda a: kernels.ceil(a[0])),
    "Mod": (("this", "expression"), lambda a: kernels.remainder_checked(a[0], a[1])),
    "Year": (("this",), lambda a: kernels.year(a[0])),
    "Month": (("this",), lambda a: kernels.month(a[0])),
    "Day": (("this",), lambda a: kernels.day(a[0])),
}
