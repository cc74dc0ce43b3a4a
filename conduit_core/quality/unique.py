"""``unique``: which rows have a key that no earlier row has. The first row stays.

Inside a batch this is exact. Over a whole load it needs memory of every key, so it has a bound:

* :class:`Seen` keeps a 64-bit digest of each key in an open-addressing table, which past so many
  bytes (16 to 64 per key) lies in a file. Keys of 64 bits or fewer in one column (integers, dates,
  times, floats) are digested one to one: what it says of them is exact. Other keys may collide, one
  in 2^64 pairs. Whole numbers that lie close together take a byte each instead (``dense``).
* A load in splits needs no more where it is cut by one of the key's columns; else it is refused.

NULLs never match: a row with a NULL in the key passes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import pyarrow as pa

from conduit_core.quality.arrays import Column, both, constant, kernels, scatter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words: TypeAlias = NDArray[np.uint64]

DEFAULT_BYTES = 128 * 1024 * 1024
"""Bound of a load's table: 8 million keys."""
_SLOTS = 1 << 12
_CHUNK = 1 << 20
"""Slots that move to a larger table at once."""


def first_rows(keys: Sequence[Column]) -> pa.BooleanArray:
    """Return which rows of a batch are the first with their key; exact. NULLs are always first.

    Args:
        keys: the key's columns, plain, in types that Arrow can encode; at least one.
    """
    valid = _complete(keys)
    if valid is not None:
        part = first_rows([kernels.filter(key, valid) for key in keys])
        return scatter(part, valid, fill=True)
    size = len(keys[0])
    codes, count = _codes(keys[0])
    for key in keys[1:]:
        more, width = _codes(key)
        # Both are below the batch's rows, so the product fits an int64 up to 3 billion rows.
        joined = kernels.add(kernels.multiply(codes, pa.scalar(width, pa.int64())), more)
        codes, count = _codes(joined)
    if count == size:
        return constant(size, value=True)
    # Codes are given in the order of first appearance: a first row has a code above all before.
    highest = kernels.cumulative_max(codes)
    before = pa.concat_arrays([pa.array([-1], pa.int64()), highest[:-1]])
    return cast("pa.BooleanArray", kernels.greater(codes, before))


def _codes(key: Column) -> tuple[Column, int]:
    if pa.types.is_floating(key.type):
        key = kernels.add(kernels.cast(key, pa.float64()), 0.0)  # -0.0 is 0.0
    encoded = cast("pa.DictionaryArray[Any, Any]", kernels.dictionary_encode(key))
    return encoded.indices.cast(pa.int64()), len(encoded.dictionary)


def _complete(keys: Sequence[Column]) -> pa.BooleanArray | None:
    valid: pa.BooleanArray | None = None
    for key in keys:
        if key.null_count:
            here = key.is_valid()
            valid = here if valid is None else both(valid, here)
    return valid


class Seen:
    """The keys of a load so far, as digests in a table that doubles.

    Args:
        limit_bytes: the most memory that the table takes; past it, it lies in a file without a
            name, whose pages the system may drop from memory.
    """

    def __init__(self, limit_bytes: int = DEFAULT_BYTES) -> None:
        import numpy as np

        self._limit = limit_bytes
        self._table: Words = np.zeros(_SLOTS, np.uint64)
        self._used = 0
        from conduit_core.quality.dense import Dense

        self._dense: Dense | None = Dense(limit_bytes)
        self._file: IO[bytes] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the table takes."""
        return int(self._table.nbytes) + (self._dense.nbytes if self._dense else 0)

    @property
    def is_on_disk(self) -> bool:
        """Whether the table lies in a file."""
        return self._file is not None

    def close(self) -> None:
        """Forget everything. Idempotent."""
        import numpy as np

        self._table = np.zeros(_SLOTS, np.uint64)
        if self._file is not None:
            self._file.close()
            self._file = None

    def first_rows(self, keys: Sequence[Column]) -> pa.BooleanArray:
        """Return which rows have a key not seen before, in this batch or an earlier one."""
        valid = _complete(keys)
        if valid is not None:
            part = self.first_rows([kernels.filter(key, valid) for key in keys])
            return scatter(part, valid, fill=True)
        if not len(keys[0]):
            return first_rows(keys)
        if self._dense is not None:
            found = self._look_dense(keys)
            if found is not None:
                return found
        from conduit_core.quality import digests

        words = digests.digest(keys)
        self._make_room(len(words))
        new = digests.add_to(self._table, words)
        added = int(new.sum())
        self._used += added
        if added == len(words):
            return constant(added, value=True)
        return pa.array(new)

    def _look_dense(self, keys: Sequence[Column]) -> pa.BooleanArray | None:
        """Say it of whole numbers close together; None from the batch on that isn't of those."""
        from conduit_core.quality import dense, digests

        if self._dense is None or len(keys) > 1 or not dense.is_dense_kind(keys[0].type):
            self._dense = None
            return None
        new = self._dense.add(digests.words(keys[0]).view("int64"))
        if new is None:
            known = digests.of_words(self._dense.numbers().view("uint64"))
            self._dense = None
            self._make_room(len(known))
            digests.add_to(self._table, known)
            self._used = len(known)
            return None
        if isinstance(new, bool):
            return constant(len(keys[0]), value=True)
        return both(pa.array(new), first_rows(keys))

    def add(self, keys: Sequence[Column]) -> None:
        """Remember keys, whatever is said of them: those that a target has already."""
        self.first_rows(keys)

    def _make_room(self, rows: int) -> None:

        from conduit_core.quality import digests

        needed = (self._used + rows) * 2
        if needed <= len(self._table):
            return
        size = 1 << (needed - 1).bit_length()
        if size * 2 * 8 <= self._limit:
            size *= 2  # fewer times to fill a new table; it is from an eighth to a half full
        old, former = self._table, self._file
        self._table, self._file = self._new_table(size)
        for start in range(0, len(old), _CHUNK):
            part = old[start : start + _CHUNK]
            digests.add_to(self._table, part[part != 0])
        if former is not None:
            former.close()

    def _new_table(self, size: int) -> tuple[Words, IO[bytes] | None]:
        import numpy as np

        if size * 8 <= self._limit:
            return np.zeros(size, np.uint64), None
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the table
        return np.memmap(file, np.uint64, mode="w+", shape=(size,)), file
