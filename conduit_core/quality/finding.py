"""What a rule found in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class Finding(NamedTuple):
    """Which rows of a batch pass one reason of a rule."""

    column: str | None
    """The column that is to blame; None where it is the row."""
    reason: str
    """What a row that doesn't pass is told; it never holds a value of the row."""
    passes: pa.BooleanArray
    """For each row; NULL passes."""
