"""Which rows a delete takes: of a window, or with values that arrive again. Vectorised, pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.lake.manifest import DataFile, Range
from conduit_core.connectors.publish import FILE
from conduit_core.connectors.windowing import after, up_to
from conduit_core.errors import StateError
from conduit_core.state.cursor import from_text
from conduit_core.state.window import Window
from conduit_core.types.schema import parse_type

Verdict = Literal["none", "all", "some"]
_STRICTEST: tuple[Verdict, ...] = ("none", "some", "all")
Column: TypeAlias = "pa.Array[Any]"
Mask: TypeAlias = "pa.BooleanArray"


class Delete(ABC):
    """Says which rows go."""

    columns: tuple[str, ...]
    """What it looks at; none: every row goes."""

    @abstractmethod
    def verdict(self, file: DataFile) -> Verdict:
        """Say by the file's entry whether no row of it goes, all do, or it must be looked at."""

    @abstractmethod
    def mask(self, batch: pa.RecordBatch) -> Mask:
        """Return which rows go; never NULL."""


class WindowDelete(Delete):
    """The rows of a window: as SQL would compare, NULL is in no window and NaN is the greatest."""

    def __init__(self, window: Window) -> None:
        self._window = window
        bound = window.low or window.high
        self._bounded = bound.columns if bound is not None else ()
        self.columns = window.columns

    def verdict(self, file: DataFile) -> Verdict:
        """Compare the window's bounds and values with the file's least and greatest value."""
        both = {self._by_bounds(file), self._by_value(file)}
        return next(verdict for verdict in _STRICTEST if verdict in both)

    def _by_value(self, file: DataFile) -> Verdict:
        only = self._window.only
        if only is None:
            return "all"
        known = _known(file, only.column)
        if known is None:
            return "some"
        low, high = known
        if all(_says(pc.less, high, v) or _says(pc.greater, low, v) for v in only.values):
            return "none"
        one = _says(pc.equal, low, high) and any(_says(pc.equal, low, v) for v in only.values)
        return "all" if one else "some"

    def _by_bounds(self, file: DataFile) -> Verdict:
        window = self._window
        if not self._bounded:
            return "all"
        known = _known(file, self._bounded[0])
        if known is None or window.kind != "given":
            return "some"
        (low, high), starts, ends = known, window.low, window.high
        if starts is not None and _says(pc.less, high, starts.values[0]):
            return "none"
        if ends is not None and _says(pc.greater_equal, low, ends.values[0]):
            return "none"
        within = (starts is None or _says(pc.greater_equal, low, starts.values[0])) and (
            ends is None or _says(pc.less, high, ends.values[0])
        )
        return "all" if within else "some"

    def mask(self, batch: pa.RecordBatch) -> Mask:
        """Return the rows inside."""
        mask = self._within(batch)
        only = self._window.only
        return mask if only is None else pc.and_(mask, only.holds(batch.column(only.column)))

    def _within(self, batch: pa.RecordBatch) -> Mask:
        """Return the rows inside its bounds."""
        window = self._window
        columns = [batch.column(name) for name in self._bounded]
        if not columns:
            return pc.is_null(pa.nulls(batch.num_rows))
        mask = pc.is_valid(columns[0])
        if window.kind == "given":
            mask = self._given(columns[0], mask)
        else:
            if window.low is not None:
                mask = pc.and_(mask, after(columns, window.low, closed=window.closed_low))
            if window.high is not None:
                mask = pc.and_(mask, up_to(columns, window.high))
        mask = cast("Mask", pc.fill_null(mask, pa.scalar(False)))  # noqa: FBT003
        if window.null_cursor:
            for column in columns:
                mask = pc.or_(mask, pc.is_null(column))
        return mask

    def _given(self, column: Column, mask: Mask) -> Mask:
        window = self._window
        if window.low is not None:
            at_least = _compared(pc.greater_equal, column, window.low.values[0])
            if pa.types.is_floating(column.type):
                at_least = pc.or_(at_least, pc.is_nan(column))
            mask = pc.and_(mask, at_least)
        if window.high is not None:
            mask = pc.and_(mask, _compared(pc.less, column, window.high.values[0]))
        return mask


class MatchingDelete(Delete):
    """The rows whose value of one column is among those that arrive."""

    def __init__(self, column: str, values: Column) -> None:
        self.columns = (column,)
        self._values = values
        both = pc.min_max(values)
        self._low, self._high = both["min"], both["max"]

    def verdict(self, file: DataFile) -> Verdict:
        """Compare the values' extremes with the file's."""
        if not self._low.is_valid:
            return "none"
        found = next((r for r in file.ranges if r.column == self.columns[0]), None)
        known = None if found is None or found.others else _ends(found)
        if known is None:
            return "some"
        low, high = known
        apart = _says(pc.less, high, self._low) or _says(pc.greater, low, self._high)
        return "none" if apart else "some"

    def mask(self, batch: pa.RecordBatch) -> Mask:
        """Return the rows with such a value; NULL matches nothing."""
        column = batch.column(self.columns[0])
        return pc.is_in(column, value_set=self._values.cast(column.type), skip_nulls=True)


class Keys:
    """The distinct values of a column, gathered batch by batch."""

    def __init__(self, column: str) -> None:
        self.column = column
        self._found: Column | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Look at a batch."""
        mine = pc.unique(batch.column(self.column)).drop_null()
        if self._found is not None:
            mine = pc.unique(pa.concat_arrays([self._found, mine]))
        self._found = mine

    def add_all(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Look at batches."""
        for batch in batches:
            self.add(batch)

    def delete(self, kind: pa.DataType) -> MatchingDelete:
        """Return the delete of rows with one of the values."""
        found = self._found if self._found is not None else pa.nulls(0).cast(kind)
        return MatchingDelete(self.column, cast("Column", found))


def _known(file: DataFile, column: str) -> tuple[pa.Scalar[Any], pa.Scalar[Any]] | None:
    """Return a column's least and greatest value in a file, where every row lies between them."""
    found = next((r for r in file.ranges if r.column == column), None)
    return None if found is None or found.others else _ends(found)


def _ends(found: Range) -> tuple[pa.Scalar[Any], pa.Scalar[Any]] | None:
    """Return a range's values; None where they can't be read, so that the file must be."""
    if found.low is None or found.high is None:
        return None
    try:
        kind = parse_type(found.type)
        return from_text(kind, found.low), from_text(kind, found.high)
    except (ValueError, ArithmeticError, NotImplementedError, pa.ArrowException):
        return None


def _says(how: Callable[..., Any], left: pa.Scalar[Any], right: pa.Scalar[Any]) -> bool:
    return bool(_compared(how, left, right).as_py())


def _compared(how: Callable[..., Any], left: Any, right: pa.Scalar[Any]) -> Any:
    try:
        return how(left, right)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        raise StateError(
            f"a window over {right.type} can't be compared with a column of type {left.type}",
            command="conduit runs",
        ) from error


def range_columns(*texts: str | None) -> tuple[str, ...]:
    """Return the first column of each cursor or window (as JSON), a slice's, and the file's."""
    import json

    names: list[str] = []
    for text in texts:
        found = json.loads(text) if text else None
        bounds = [found] if isinstance(found, list) else []
        if isinstance(found, dict):
            bounds = [found[side] for side in ("low", "high") if side in found]
            names += [str(found["only"]["column"])] if "only" in found else []
        names += [str(bound[0]["column"]) for bound in bounds if bound]
    return tuple(dict.fromkeys([*names, FILE]))
