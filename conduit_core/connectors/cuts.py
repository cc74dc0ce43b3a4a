"""From the values where parts of about one size begin to the cuts of a window. Pure.

A cut need not be a value that exists: a text is cut at the shortest prefix that still lies between
two neighbours, so that a plan of many splits stays small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from conduit_core.connectors.splits import WHOLE, SplitBy
from conduit_core.errors import SchemaError
from conduit_core.state.cursor import Cursor, to_text

if TYPE_CHECKING:
    import pyarrow as pa

EXACT_ROWS = 200_000
"""Up to so many rows a window is cut exactly, above it by a sample."""
SAMPLED_ROWS = 100_000
"""How many rows a random sample has: a hundred for each of a thousand parts."""
_LONG = 48
_Text = TypeVar("_Text", str, bytes)


@dataclass(frozen=True, slots=True)
class First:
    """The first row of a part, in the column's order with NULLs first.

    Args:
        value: the column's value; None is NULL.
        before: the value of the row before it; None where it is NULL or there is no such row.
    """

    value: pa.Scalar[pa.DataType] | None
    before: pa.Scalar[pa.DataType] | None = None


def range_cuts(
    column: str, kind: pa.DataType, firsts: Sequence[First], *, shorten: bool = False
) -> SplitBy:
    """Return the cuts between parts; WHOLE where there is nothing to cut between.

    Args:
        column: the column that is compared.
        kind: its Arrow type.
        firsts: the first row of each part in order, beginning with the first part's.
        shorten: whether any text (or bytes) may be a bound of the column, not only its values.

    Raises:
        SchemaError: bounds of the type can't be written down.
    """
    if str(kind).startswith("duration"):
        text = f"column {column!r} is {kind}, which can't be cut into ranges"
        raise SchemaError(text, command="conduit plan")
    found: list[pa.Scalar[pa.DataType]] = []
    last = firsts[0].value if firsts else None
    for first in firsts[1:]:
        value = first.value
        if value is None or _is_nan(value) or not _below(last, value):
            continue
        last = value
        if shorten:
            value = _shortened(found[-1] if found else None, first.before, value)
        if not found or _below(found[-1], value):
            found.append(value)
    if not found:
        return WHOLE
    cuts = tuple(to_text(value) for value in found)
    return SplitBy(kind="range", column=column, type=str(kind), cuts=cuts)


def path_cuts(files: Sequence[tuple[str, int]], count: int) -> SplitBy:
    """Return the cuts between files, given with their bytes by path; WHOLE where there is one.

    A file counts as one byte at least, so that empty ones are spread too.
    """
    total = sum(max(size, 1) for _, size in files)
    cuts: list[str] = []
    before, done, part = "", 0, 0
    for path, size in files:
        # The file belongs where its middle lies.
        mine = (2 * done + max(size, 1)) * count // (2 * total)
        if before and mine > part:
            cuts.append(separator(before, path))
        before, done, part = path, done + max(size, 1), max(mine, part)
    return SplitBy(kind="file", cuts=tuple(cuts)) if cuts else WHOLE


def separator(before: _Text, value: _Text) -> _Text:
    """Return the shortest prefix of ``value`` that lies above ``before``, which is below it."""
    for length in range(1, len(value)):
        if value[:length] > before:
            return value[:length]
    return value


def _shortened(
    cut: pa.Scalar[pa.DataType] | None,
    before: pa.Scalar[pa.DataType] | None,
    value: pa.Scalar[pa.DataType],
) -> pa.Scalar[pa.DataType]:
    import pyarrow as pa

    plain = value.as_py()
    if before is None or not _below(before, value):
        # A tie: where the values below it begin isn't known. Only a long text is worth guessing.
        if len(plain) <= _LONG:
            return value
        before = cut
    low = before.as_py() if before is not None else plain[:0]
    return pa.scalar(separator(low, plain), value.type)


def _below(low: pa.Scalar[pa.DataType] | None, value: pa.Scalar[pa.DataType]) -> bool:
    return low is None or Cursor(("value",), (low,)).compare(Cursor(("value",), (value,))) < 0


def _is_nan(value: pa.Scalar[pa.DataType]) -> bool:
    plain = value.as_py() if str(value.type) in ("halffloat", "float", "double") else 0.0
    return math.isnan(plain)
