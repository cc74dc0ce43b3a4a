"""64-bit digests of key columns, and a table of them; whole batches at a time, in numpy.

Arrow has no kernel that hashes, and a load's keys can't be Python objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa

from conduit_core.quality.arrays import Column, kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words: TypeAlias = NDArray[np.uint64]

_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_CHUNK = 1 << 16


def digest(keys: Sequence[Column]) -> Words:
    """Return a digest of each row's key, never 0; no key may be NULL.

    One key of 64 bits or fewer has a digest of its own, but for two of them that share one: 0
    stands for empty in the table.
    """
    out = of_words(words(keys[0]))
    for key in keys[1:]:
        out = of_words((out * _A + _SEED) ^ words(key))
    return out


def of_words(found: Words) -> Words:
    """Return the digest of each word, never 0."""
    out = _mixed(found)
    out[out == 0] = _SEED
    return out


def _mixed(words: Words) -> Words:
    """Return splitmix64's finaliser of each word: one to one."""
    out: Words = words + _SEED
    out ^= out >> _S30
    out *= _A
    out ^= out >> _S27
    out *= _B
    out ^= out >> _S31
    return out


def words(key: Column) -> Words:
    """Return a word for each value of a column: one to one where the type has 64 bits or fewer."""
    kind = key.type
    if pa.types.is_floating(kind):
        key = kernels.add(kernels.cast(key, pa.float64()), 0.0)
        bits: Words = key.to_numpy(zero_copy_only=False).view(np.uint64)
        return np.where(np.isnan(bits.view(np.float64)), _SEED, bits)
    if pa.types.is_boolean(kind):
        key = kernels.cast(key, pa.uint8())
    elif pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        return _fixed(key)
    elif not (pa.types.is_primitive(kind)):
        return _bytes(key)
    if not pa.types.is_integer(key.type):
        key = key.view(pa.int32() if key.type.bit_width == 32 else pa.int64())
    return (
        key.to_numpy(zero_copy_only=False)
        .astype(np.int64 if pa.types.is_signed_integer(key.type) else np.uint64, copy=False)
        .view(np.uint64)
    )


def _fixed(key: Column) -> Words:
    """Digest values of a fixed width in bytes: decimals, and binary of one size."""
    width = key.type.byte_width
    data = key.buffers()[1]
    if width == 0 or data is None:
        return np.zeros(len(key), np.uint64)
    raw = np.frombuffer(memoryview(data), np.uint8)[
        key.offset * width : (key.offset + len(key)) * width
    ]
    rows = raw.reshape(len(key), width)
    padded = np.zeros((len(key), -(-width // 8) * 8), np.uint8)
    padded[:, :width] = rows
    out = np.full(len(key), _SEED, np.uint64)
    for column in padded.view(np.uint64).T:
        out = _mixed((out * _A) ^ column)
    return out


def _bytes(key: Column) -> Words:
    """Digest text or bytes, eight bytes of every row at a time; the length is part of it."""
    if not (pa.types.is_large_string(key.type) or pa.types.is_large_binary(key.type)):
        key = kernels.cast(
            key, pa.large_string() if pa.types.is_string(key.type) else pa.large_binary()
        )
    _, ends, data = key.buffers()
    if ends is None:
        return np.full(len(key), _SEED, np.uint64)
    offsets = np.frombuffer(memoryview(ends), np.int64)[key.offset : key.offset + len(key) + 1]
    size = offsets[1:] - offsets[:-1]
    out = _mixed(size.view(np.uint64))
    low, high = int(offsets[0]), int(offsets[-1])
    if data is None or high == low:
        return out
    padded = np.zeros(high - low + 8, np.uint8)
    padded[: high - low] = np.frombuffer(memoryview(data), np.uint8)[low:high]
    eights = np.lib.stride_tricks.as_strided(padded.view(np.uint8), (high - low + 1, 8), (1, 1))
    starts = offsets[:-1] - low
    rows = np.flatnonzero(size > 0)
    at = 0
    while len(rows):
        left = size[rows] - at
        here = eights[starts[rows] + at].view(np.uint64).ravel()
        cut = left < 8
        if cut.any():
            mask = (np.uint64(1) << (left[cut].astype(np.uint64) * np.uint64(8))) - np.uint64(1)
            here[cut] &= mask
        out[rows] = _mixed((out[rows] * _A) ^ here)
        at += 8
        rows = rows[left > 8]
    return out


def add_to(table: Words, digests: Words) -> NDArray[np.bool_]:
    """Add digests to an open-addressing table; return which were not in it, the first of equals.

    The table's length is a power of two, and it has room for twice as many.
    """
    new = np.zeros(len(digests), np.bool_)
    for start in range(0, len(digests), _CHUNK):
        part = digests[start : start + _CHUNK]
        new[start : start + _CHUNK] = _add_chunk(table, part)
    return new


def _add_chunk(table: Words, digests: Words) -> NDArray[np.bool_]:
    mask = len(table) - 1
    new = np.zeros(len(digests), np.bool_)
    rows = np.arange(len(digests))
    slots = digests.view(np.int64) & mask
    while len(rows):
        found = table.take(slots)
        empty = np.flatnonzero(found == 0)
        if len(empty):
            # Rows that want one empty slot: each writes its number, last to first, so the first
            # row's is what stays; then that row's digest takes its place.
            at, mine = slots[empty], rows[empty]
            tags = mine.view(np.uint64)
            table[at[::-1]] = tags[::-1]
            won = table.take(at) == tags
            new[mine[won]] = True
            table[at[won]] = digests.take(mine[won])
            found[empty] = table.take(at)
        going = np.flatnonzero(found != digests.take(rows))
        rows = rows[going]
        slots = (slots[going] + 1) & mask
    return new
