"""What a target's loads have covered, by the cursor's first column, and the gaps between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cmp_to_key

from conduit_core.errors import StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord, since_emptied
from conduit_core.state.window import Window


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the cursor's first column.

    Args:
        low, high: its bounds; None is open.
        with_low, with_high: whether the bound itself belongs to it.
    """

    low: Cursor | None
    high: Cursor | None
    with_low: bool = True
    with_high: bool = False

    def display(self) -> str:
        """Return it for people: ``[a, b)``."""
        low = self.low.display() if self.low else "start"
        high = self.high.display() if self.high else "end"
        return f"{'[' if self.with_low else '('}{low}, {high}{']' if self.with_high else ')'}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is covered, as few stretches as can be, and the gaps between them; both in order."""

    covered: tuple[Stretch, ...] = ()
    gaps: tuple[Stretch, ...] = ()


def coverage(chain: list[LedgerRecord]) -> Coverage:
    """Return what a target's chain covers, where given windows are part of it; else nothing.

    Loads before the newest that emptied the target don't count. What lies before the first stretch
    and behind the last is no gap: it may not have been asked for yet. Windows over another column,
    or of another type, than the newest record's don't count either; nor do slices by value, which
    cover no stretch whole.
    """
    live = [r for r in since_emptied(chain) if not r.is_aside]
    found = [Window.from_json(r.load_window) for r in live]
    windows = [window for window in found if window.only is None]
    if not any(window.kind == "given" for window in windows):
        return Coverage()
    stretches = _alike([_stretch(w) for w in windows])
    stretches.sort(key=cmp_to_key(_by_start))
    covered: list[Stretch] = []
    gaps: list[Stretch] = []
    for stretch in stretches:
        if not covered:
            covered.append(stretch)
            continue
        last = covered[-1]
        if _reaches(last, stretch):
            covered[-1] = _longer(last, stretch)
        else:
            gap = Stretch(last.high, stretch.low, not last.with_high, not stretch.with_low)
            gaps.append(gap)
            covered.append(stretch)
    return Coverage(tuple(covered), tuple(gaps))


def _stretch(window: Window) -> Stretch:
    """Return the window over its first column alone, where ties of several columns count as in."""
    low, high = (_first(window.low), _first(window.high))
    if window.kind == "given":
        return Stretch(low, high)
    ties = window.low is not None and len(window.low.columns) > 1
    return Stretch(low, high, with_low=window.closed_low or ties, with_high=True)


def _first(bound: Cursor | None) -> Cursor | None:
    return Cursor(bound.columns[:1], bound.values[:1]) if bound is not None else None


def _alike(stretches: list[Stretch]) -> list[Stretch]:
    """Return those whose bounds compare with the newest record's."""
    bounds = [bound for s in reversed(stretches) for bound in (s.low, s.high) if bound is not None]
    return [s for s in stretches if all(_compares(b, bounds[0]) for b in (s.low, s.high) if b)]


def _compares(one: Cursor, other: Cursor) -> bool:
    try:
        one.compare(other)
    except StateError:
        return False
    return True


def _by_start(one: Stretch, other: Stretch) -> int:
    if one.low is None or other.low is None:
        return (one.low is not None) - (other.low is not None)
    return one.low.compare(other.low) or (not one.with_low) - (not other.with_low)


def _reaches(one: Stretch, other: Stretch) -> bool:
    """Say whether nothing lies between the end of one and the start of another, a later one."""
    if one.high is None or other.low is None:
        return True
    order = one.high.compare(other.low)
    if order == 0:
        return one.with_high or other.with_low
    if order > 0:
        return True
    before = other.low.before() if other.with_low else None
    return one.with_high and before is not None and one.high.compare(before) >= 0


def _longer(one: Stretch, other: Stretch) -> Stretch:
    """Return both as one; ``one`` starts first."""
    end = one
    if one.high is not None:
        order = -1 if other.high is None else one.high.compare(other.high)
        end = other if order < 0 or (order == 0 and other.with_high) else one
    return Stretch(one.low, end.high, one.with_low, end.with_high)
