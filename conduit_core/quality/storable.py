"""The built-in rule: what the destination would choke on, found before it is sent.

A driver's error aborts a whole load for one row; here that row is rejected, or the error names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pyarrow as pa

from conduit_core.quality.arrays import flip, is_text, kernels, pick, plain_type
from conduit_core.quality.checks import Check

NAME = "storable"


@dataclass(frozen=True)
class Capacity:
    """What a target's text column takes.

    Attributes:
        max_chars: the most characters; None: any number.
        takes_nul: whether a NUL character may be in it.
    """

    max_chars: int | None = None
    takes_nul: bool = True


def storable_checks(
    schema: pa.Schema, capacities: Mapping[str, Capacity]
) -> list[tuple[str, str, Check]]:
    """Return column, reason and check of all that the destination's text columns don't take."""
    found: list[tuple[str, str, Check]] = []
    for field in schema:
        capacity = capacities.get(field.name)
        if capacity is None or not is_text(plain_type(field.type)):
            continue
        if not capacity.takes_nul:
            found.append((field.name, "has a NUL character", _no_nul(field.name)))
        if capacity.max_chars is not None:
            reason = f"has more than {capacity.max_chars} characters"
            found.append((field.name, reason, _fits(field.name, capacity.max_chars)))
    return found


def _no_nul(name: str) -> Check:
    def check(batch: pa.RecordBatch) -> pa.BooleanArray:
        column = pick(batch, name)
        if not _has_nul(column):
            return cast("pa.BooleanArray", kernels.true_unless_null(column))
        return flip(kernels.match_substring(column, "\0"))

    return check


def _has_nul(column: pa.Array[pa.Scalar[pa.DataType]]) -> bool:
    """Look at the column's bytes as one: a kernel would look at each value."""
    if len(column) == 0:
        return False
    _, offsets, data = column.buffers()
    if offsets is None or data is None:
        return False
    wide = pa.types.is_large_string(column.type)
    ends = memoryview(offsets).cast("q" if wide else "i")
    first, last = ends[column.offset], ends[column.offset + len(column)]
    return b"\0" in data.slice(first, last - first).to_pybytes()


def _fits(name: str, most: int) -> Check:
    def check(batch: pa.RecordBatch) -> pa.BooleanArray:
        length = kernels.utf8_length(pick(batch, name))
        return cast("pa.BooleanArray", kernels.less_equal(length, most))

    return check
