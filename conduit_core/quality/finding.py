"""What a rule found in a batch, and the column that a wrong name may mean."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
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


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return ``, did you mean 'email'?`` where a column has nearly this name, else nothing."""
    near = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {near[0]!r}?" if near else ""
