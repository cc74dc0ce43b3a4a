"""Windows: the slice one load covers, with its bounds, frozen at plan.

A watermark window is ``(low, high]`` over the whole cursor; a given one is ``[start, end)`` on the
cursor's first column, or the rows that have given values, or both. A full window is not bounded by
what was loaded before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, Self

from conduit_core.errors import StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.only import Only

WindowKind = Literal["full", "watermark", "given"]


@dataclass(frozen=True, slots=True)
class Window:
    """What one load reads.

    Args:
        kind: ``full`` (everything, or what lies between ``initial:`` and a cap), ``watermark``
            (``(low, high]``) or ``given`` (``[low, high)`` on the first cursor column).
        low, high: bounds; None is open. A given window's cursors have one column.
        null_cursor: whether rows whose cursor is NULL belong to the window.
        closed_low: whether ``low`` itself belongs to the window: only so where ``low`` has the
            first cursor column alone, as the stream's ``initial:`` and what ``lookback`` reaches.
        only: of a given window: the values that its rows have, beside the bounds, if it has any.
    """

    kind: WindowKind
    low: Cursor | None = None
    high: Cursor | None = None
    null_cursor: bool = False
    closed_low: bool = False
    only: Only | None = None

    @property
    def is_unbounded(self) -> bool:
        """Whether the cursor doesn't say which rows are in it, so that they may be others soon."""
        by_value = self.only is not None and self.low is None and self.high is None
        return self.kind == "full" or by_value

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that say whether a row is in it."""
        bounds = [bound.columns for bound in (self.low, self.high) if bound is not None]
        # ``lookback`` has a bound of the first column alone.
        longest = max(bounds, key=len, default=())
        return tuple(dict.fromkeys((*longest, *((self.only.column,) if self.only else ()))))

    def to_json(self) -> str:
        """Return the canonical JSON text, as in the ledger's ``load_window``."""
        item: dict[str, object] = {"kind": self.kind}
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None:
                item[name] = json.loads(bound.to_json())
        for name, flag in (("null_cursor", self.null_cursor), ("closed_low", self.closed_low)):
            if flag:
                item[name] = True
        if self.only is not None:
            item["only"] = self.only.to_item()
        return json.dumps(item, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote (keys it doesn't know are left alone).

        Raises:
            StateError: the text is not such JSON.
        """
        try:
            item = json.loads(text)
            kind = item["kind"]
            if kind not in ("full", "watermark", "given"):
                raise ValueError(f"kind {kind!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"not a window: {text!r}", command="conduit runs") from error
        bounds = {
            name: Cursor.from_json(json.dumps(item[name])) if name in item else None
            for name in ("low", "high")
        }
        null_cursor, closed_low = (bool(item.get(n, False)) for n in ("null_cursor", "closed_low"))
        only = Only.from_item(item["only"]) if "only" in item else None
        return cls(kind, bounds["low"], bounds["high"], null_cursor, closed_low, only)

    def overlaps(self, other: Window) -> bool:
        """Say whether two windows may share a row, by their first cursor column; True in doubt.

        Slices by value share none where they have no value of the same column in common.
        """
        if self.only is not None and other.only is not None and self.only.is_apart(other.only):
            return False
        return _starts_in_time(self, other) and _starts_in_time(other, self)

    def display(self) -> str:
        """Return the window for people: ``(a, b]``, ``[a, b)`` or ``everything``."""
        low = self.low.display() if self.low else "start"
        high = self.high.display() if self.high else "end"
        if self.only is not None:
            span = f"[{low}, {high}), " if self.low or self.high else ""
            return f"{span}{self.only.display()}"
        if self.kind == "given":
            return f"[{low}, {high})"
        if self.kind == "watermark":
            return f"{'[' if self.closed_low else '('}{low}, {high}]"
        since = f" from {low}" if self.low else ""
        return f"everything{since}" + (f" up to {high}" if self.high else "")


def _starts_in_time(window: Window, other: Window) -> bool:
    """Say whether ``window`` starts before ``other`` ends; only a given one's end is outside it."""
    if window.low is None or other.high is None:
        return True
    low, high = (Cursor(c.columns[:1], c.values[:1]) for c in (window.low, other.high))
    return low.compare(high) < (other.kind != "given")
