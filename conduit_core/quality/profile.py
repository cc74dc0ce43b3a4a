"""A column's distribution in a few numbers that add up over batches and splits, as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime
from typing import cast

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from conduit_core.quality.arrays import Column, is_text, kernels, plain


class Profile(BaseModel):
    """How many values, how many NULLs, their mean and spread, and the newest of times.

    Of text the length counts, of booleans true is 1, of times the number in their unit. NaN and
    infinity are left out of mean and spread.
    """

    model_config = ConfigDict(frozen=True)

    rows: int = 0
    nulls: int = 0
    finite: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""
    newest: str | None = None
    """ISO 8601, as the column has it."""

    def __add__(self, other: Profile) -> Profile:
        count = self.finite + other.finite
        apart = other.mean - self.mean
        share = other.finite / count if count else 0.0
        newest = [text for text in (self.newest, other.newest) if text is not None]
        return Profile(
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            finite=count,
            mean=self.mean + apart * share,
            squares=self.squares + other.squares + apart * apart * self.finite * share,
            newest=max(newest, key=datetime.fromisoformat, default=None),
        )

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.squares / self.finite) if self.finite else 0.0

    @property
    def null_share(self) -> float:
        """Share of NULLs among the rows."""
        return self.nulls / self.rows if self.rows else 0.0


def profile(column: Column) -> Profile:
    """Return a column's profile."""
    column = plain(column)
    kind = column.type
    newest = None
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        newest_value = kernels.max(column)
        if pa.types.is_timestamp(kind):  # Python's own clock has no nanoseconds
            newest_value = newest_value.cast(pa.timestamp("us", kind.tz), safe=False)
        top = newest_value.as_py()
        if isinstance(top, datetime | date):
            newest = top.isoformat()
    numbers = _finite(_numbers(column))
    mean = kernels.mean(numbers).as_py() or 0.0
    variance = kernels.variance(numbers).as_py() or 0.0
    return Profile(
        rows=len(column),
        nulls=column.null_count,
        finite=len(numbers),
        mean=mean,
        squares=variance * len(numbers),
        newest=newest,
    )


def total(profiles: Iterable[Profile]) -> Profile:
    """Return the profile of all of them together."""
    return sum(profiles, Profile())


def _numbers(column: Column) -> Column:
    kind = column.type
    if is_text(kind):
        column = kernels.utf8_length(column)
    elif pa.types.is_boolean(kind):
        column = kernels.cast(column, pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        column = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    return cast("Column", kernels.cast(column, pa.float64(), safe=False))


def _finite(numbers: Column) -> Column:
    return numbers.filter(kernels.is_finite(numbers))
