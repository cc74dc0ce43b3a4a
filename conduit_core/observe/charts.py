"""Charts as inline SVG: columns of rows, lines of failure rates, strips of results. Pure.

They stretch to any width, so their texts stand beside them as HTML, and lines keep their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conduit_core.observe.markup import Node, el

_SLOT = 100
"""Units of the drawing per load."""
_HEIGHT = 1000
_REM = 5
"""How wide a slot of a wide chart is at most."""
_DOTS = 60
"""With more loads than this there is a line, and dots only where it is interrupted."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a chart shows of one load.

    Args:
        parts: heights, one above another; empty: nothing is known of this load.
        says: the same for people.
    """

    parts: tuple[float, ...]
    says: str

    @property
    def height(self) -> float:
        """All of it."""
        return sum(self.parts)


def columns(
    name: str, title: str, desc: str, points: Sequence[Point], kinds: Sequence[str]
) -> Node:
    """Return a chart with a column per load, of parts of these kinds (CSS classes)."""
    top = max((p.height for p in points), default=0) or 1
    drawn = []
    for slot, point in enumerate(points):
        bar, base = el("g", el("title", point.says)), 0.0
        for part, kind in zip(point.parts, kinds, strict=False):
            if part > 0:
                high = max(part / top * _HEIGHT, 12)  # what is there can be seen
                bar.append(_box(slot, len(points), base, high, kind))
                base += high
        bar.append(_box(slot, len(points), 0, _HEIGHT, "hit"))
        drawn.append(bar)
    return _svg(name, title, desc, len(points), drawn)


def stacks(name: str, title: str, desc: str, points: Sequence[Point], kinds: Sequence[str]) -> Node:
    """Return the same as :func:`columns`, in fewer bytes: for pages with many charts."""
    top = max((p.height for p in points), default=0) or 1
    bases, drawn = [0.0] * len(points), []
    for place, kind in enumerate(kinds):
        corners = []
        for slot, point in enumerate(points):
            part = point.parts[place] if place < len(point.parts) else 0.0
            if part > 0:
                high = max(part / top * _HEIGHT, 12)
                left = slot * _SLOT + _SLOT * 0.12
                floor = _HEIGHT - bases[slot]
                corners.append(
                    f"M{left:.0f} {floor:.0f}h{_SLOT * 0.76:.0f}v-{high:.0f}H{left:.0f}z"
                )
                bases[slot] += high
        if corners:
            drawn.append(el("path", class_=f"bar {kind}", d="".join(corners)))
    for slot, point in enumerate(points):
        if point.parts:
            hit = _box(slot, len(points), 0, _HEIGHT, "hit")
            hit.append(el("title", point.says))
            drawn.append(hit)
    return _svg(name, title, desc, len(points), drawn)


def framed(
    title: str,
    chart: Node,
    ends: Sequence[str],
    top: str,
    *,
    width: int = 0,
    big: str = "",
    bad: bool = False,
) -> Node:
    """Return a chart with its title, its scale, and what its ends are.

    Args:
        title: what it shows.
        chart: the drawing.
        ends: what stands below its left end and its right one.
        top: the scale's upper end.
        width: how many slots it has, where it is as wide as the page; 0 for a card.
        big: a number beside the title.
        bad: whether that is one to worry about.
    """
    caption = el("figcaption", el("span", title, class_="title"))
    if big:
        caption.append(el("b", big, class_="bad" if bad else ""))
    scale = [el("span", top), el("span", "0")] if top and top not in {"0", "0%"} else []
    plot = el(
        "div",
        el("div", *scale, class_="scale", aria_hidden="true"),
        chart,
        el("div", *(el("span", end) for end in ends), class_="ends", aria_hidden="true"),
        class_="plot",
        style=f"max-width: {max(width * _REM, 14)}rem" if width else "",
    )
    return el("figure", caption, plot, class_="wide" if width else "card")


def line(name: str, title: str, desc: str, points: Sequence[Point]) -> Node:
    """Return a chart with a line from load to load, interrupted where nothing is known."""
    top = max((p.height for p in points), default=0) or 1
    places = [
        (slot * _SLOT + _SLOT / 2, _HEIGHT - point.height / top * _HEIGHT) if point.parts else None
        for slot, point in enumerate(points)
    ]
    drawn = []
    for run in _runs(places):
        corners = " ".join(f"{x:.0f} {y:.0f}" for x, y in run)
        ends = f"M{run[0][0]:.0f} {_HEIGHT} L{corners} L{run[-1][0]:.0f} {_HEIGHT}Z"
        drawn += [el("path", class_="area", d=ends), el("path", class_="line", d=f"M{corners}")]
    for slot, (place, point) in enumerate(zip(places, points, strict=True)):
        alone = not any(places[max(slot - 1, 0) : slot] + places[slot + 1 : slot + 2])
        if place is not None and (len(points) <= _DOTS or alone):
            kind = "dot bad" if point.height > 0 else "dot"
            drawn.append(el("path", class_=kind, d=f"M{place[0]:.0f} {place[1]:.0f}h0"))
    if len(points) <= _DOTS:
        for slot, point in enumerate(points):
            hit = _box(slot, len(points), 0, _HEIGHT, "hit")
            hit.append(el("title", point.says))
            drawn.append(hit)
    return _svg(name, title, desc, len(points), drawn)


def _runs(places: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Return the places that follow one another, two at least."""
    runs: list[list[tuple[float, float]]] = [[]]
    for place in places:
        if place is None:
            runs.append([])
        else:
            runs[-1].append(place)
    return [run for run in runs if len(run) > 1]


def _box(slot: int, count: int, base: float, high: float, kind: str) -> Node:
    gap = 0 if kind == "hit" or count > 120 else _SLOT * 0.12
    return el(
        "rect",
        class_=kind,
        x=f"{slot * _SLOT + gap:.0f}",
        y=f"{_HEIGHT - base - high:.0f}",
        width=f"{_SLOT - 2 * gap:.0f}",
        height=f"{high:.0f}",
    )


def _svg(name: str, title: str, desc: str, count: int, drawn: Sequence[Node]) -> Node:
    return el(
        "svg",
        el("title", title, id=f"{name}-title"),
        el("desc", desc, id=f"{name}-desc"),
        *drawn,
        viewBox=f"0 0 {max(count, 1) * _SLOT} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
