"""Whole numbers that lie close together, as most keys do: a byte for each number, not a digest.

Exact, and a tenth of the time and memory of the table of digests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.int64]

_BYTES_PER_KEY = 16
"""What the table of digests takes at least: a sparser set is better off there."""
_ROOM = 1 << 16
_ALWAYS = 8 * 1024 * 1024
"""A span so short is taken however few its numbers are: more may fill it."""


class Dense:
    """A set of numbers as flags over the span they lie in.

    Args:
        limit_bytes: the longest span.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._flags: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._base = 0
        self._used = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the flags take."""
        return int(self._flags.nbytes)

    def add(self, numbers: Numbers) -> NDArray[np.bool_] | bool | None:
        """Add numbers, at least one.

        Returns:
            True: none of them was there, and no two are equal. Else which were not there before,
            equal ones all alike. None: they lie too far apart, and nothing was added.
        """
        low, high = int(numbers.min()), int(numbers.max())
        if not self._reach(low, high, len(numbers)):
            return None
        places = numbers - self._base
        part = self._flags[low - self._base : high - self._base + 1]
        before = int(np.count_nonzero(part))
        new = ~self._flags.take(places)
        self._flags[places] = True
        added = int(np.count_nonzero(part)) - before
        self._used += added
        return True if added == len(numbers) else new

    def numbers(self) -> Numbers:
        """Return all of them."""
        return cast("Numbers", np.flatnonzero(self._flags) + self._base)

    def _reach(self, low: int, high: int, rows: int) -> bool:
        """Widen the span to these bounds, with room above; False where it would be too long."""
        size = len(self._flags)
        if size and low >= self._base and high < self._base + size:
            return True
        base = min(low, self._base) if size else low
        end = max(high + 1, self._base + size) if size else high + 1
        most = min(self._limit, max(_BYTES_PER_KEY * (self._used + rows), _ALWAYS))
        if end - base > most:
            return False
        room = min(end - base + max((end - base) // 2, _ROOM), self._limit)
        flags = np.zeros(room, np.bool_)
        flags[self._base - base : self._base - base + size] = self._flags
        self._flags, self._base = flags, base
        return True


def is_dense_kind(kind: pa.DataType) -> bool:
    """Say whether keys of a type may be such numbers."""
    return pa.types.is_integer(kind) or pa.types.is_date32(kind)
