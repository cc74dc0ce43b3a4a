"""The part of a pipeline's report that looks back: rows, seconds and rejected rows over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING

from conduit_core.observe import figures
from conduit_core.observe.charts import Point, framed, stacks
from conduit_core.observe.facts import seconds_of
from conduit_core.observe.loads import (
    KINDS,
    STAGES,
    broken_rules,
    held_up,
    rows_by_kind,
    seconds_by_stage,
)
from conduit_core.observe.markup import Node, el, number_cell, table

if TYPE_CHECKING:
    from conduit_core.engine.audit import RuleReport
    from conduit_core.engine.loadreport import AuditedLoad
    from conduit_core.engine.pipelinereport import PipelineReport, StreamReport
    from conduit_core.observe.timeline import Timeline

_TIME = ("Stream", "Loads", "Median", "Longest", "Held up by", "To try")
_SLOWEST = ("Published", "Stream", "Took", "Held up by", "Load id")
_MOST_SLOW = 10
_MOST_CARDS = 24


def rows_over_time(report: PipelineReport, when: Timeline) -> Node | None:
    """Return a chart of all rows by what became of them, and one for each stream."""
    streams = [s for s in report.streams if s.loads]
    if not streams:
        return None
    parts = []
    if len(streams) > 1:
        loads = list(chain.from_iterable(s.loads for s in streams))
        parts.append(_rows("rows", "All streams", loads, when, wide=True))
    cards = [
        _rows(f"rows{n}", s.stream, s.loads, when, wide=len(streams) == 1)
        for n, s in enumerate(streams)
    ]
    parts.append(el("div", *cards, class_="" if len(streams) == 1 else "cards"))
    note = f"By the {when.unit} in which they were published; each chart has a scale of its own."
    shown = rows_by_kind(chain.from_iterable(s.loads for s in streams))
    keys = _legend([kind for kind in KINDS if shown[kind]])
    return el("section", el("h2", "Rows over time"), el("p", note, class_="note"), keys, *parts)


def _rows(
    name: str, title: str, loads: Sequence[AuditedLoad], when: Timeline, *, wide: bool
) -> Node:
    slots = when.split((load.record.published_at, load) for load in loads)
    points = []
    for slot, found in enumerate(slots):
        kinds = rows_by_kind(found)
        told = figures.kinds(kinds) or "no rows"
        says = f"{when.label(slot)}: {figures.many(len(found), 'load')}, {told}"
        points.append(Point(tuple(kinds[k] for k in KINDS) if found else (), says))
    total = sum(rows_by_kind(loads).values())
    most = max(int(p.height) for p in points)
    told = figures.kinds(rows_by_kind(loads)) or "no rows"
    top = f"At most {figures.count(most)} in a {when.unit}."
    desc = f"{figures.many(len(loads), 'load')}: {told}. {top}"
    chart = stacks(name, f"Rows of {title}", desc, points, KINDS)
    width = len(points) if wide else 0
    big = f"{figures.count(total)} rows"
    return framed(title, chart, when.ends, figures.count(most), width=width, big=big)


def time_over_time(report: PipelineReport, when: Timeline) -> Node | None:
    """Return a chart of seconds by stage, what held each stream up, and the slowest loads."""
    streams = [s for s in report.streams if s.loads]
    if not streams:
        return None
    records = [load.record for s in streams for load in s.loads]
    points, busiest = [], 0.0
    for slot, found in enumerate(when.split((r.published_at, r) for r in records)):
        stages = seconds_by_stage(found)
        busiest = max(busiest, sum(stages.values()))
        told = ", ".join(f"{n} {figures.duration(s)}" for n, s in stages.items() if s >= 0.005)
        says = f"{when.label(slot)}: {told or 'nothing'}"
        points.append(Point(tuple(stages[s] for s in STAGES) if found else (), says))
    desc = f"At most {figures.duration(busiest)} in a {when.unit}."
    chart = stacks("seconds", "Seconds of loads by stage", desc, points, STAGES)
    figure = framed("All streams", chart, when.ends, figures.duration(busiest), width=len(points))
    rows = [el("tr", *_time(s)) for s in streams]
    note = (
        "Reading and writing overlap, so stages add up to more than the loads took. A stage counts"
        " as the bottleneck by how much sooner the loads were done without it."
    )
    return el(
        "section",
        el("h2", "Where the time goes"),
        el("p", note, class_="note"),
        _legend(STAGES),
        figure,
        table("What held each stream up", _TIME, rows),
        el("details", el("summary", "The slowest loads"), _slowest(streams)),
        class_="time",
    )


def _time(s: StreamReport) -> list[Node]:
    records = [load.record for load in s.loads]
    took = [seconds_of(record) for record in records]
    found = held_up(records)
    name = f"{found.name}, {found.share:.0%}" if found else "not known"
    return [
        el("th", s.stream, scope="row"),
        number_cell(figures.count(len(records))),
        number_cell(figures.duration(median(took))),
        number_cell(figures.duration(max(took))),
        el("td", name),
        el("td", found.setting.replace("`", "") if found else "", class_="found"),
    ]


def _slowest(streams: Sequence[StreamReport]) -> Node:
    found = [(seconds_of(load.record), s.stream, load.record) for s in streams for load in s.loads]
    found.sort(key=lambda item: item[0], reverse=True)
    rows = []
    for seconds, stream, record in found[:_MOST_SLOW]:
        held = held_up([record])
        rows.append(
            el(
                "tr",
                el("th", f"{record.published_at:%Y-%m-%d %H:%M}", scope="row"),
                el("td", stream),
                number_cell(figures.duration(seconds)),
                el("td", f"{held.name}, {held.share:.0%}" if held else "not known"),
                el("td", el("code", record.load_id)),
            )
        )
    return table("The slowest loads", _SLOWEST, rows)


def rejected_by_rule(report: PipelineReport, when: Timeline) -> Node | None:
    """Return a small chart for each rule that some row broke; None where there is none."""
    found = [
        (s.stream, name, judged)
        for s in report.streams
        for name, judged in broken_rules(s.loads).items()
    ]
    if not found:
        return None
    found.sort(key=lambda item: sum(rule.failed for _, rule in item[2]), reverse=True)
    cards = [
        _broken(f"rule{n}", f"{stream}: {name}", judged, when)
        for n, (stream, name, judged) in enumerate(found[:_MOST_CARDS])
    ]
    section = el("section", el("h2", "Broken rules over time"))
    note = "Rows that broke a rule; of rules of whole loads, loads."
    if len(found) > _MOST_CARDS:
        note += f" {figures.many(len(found) - _MOST_CARDS, 'rule')} with fewer left out."
    section.append(el("p", note, class_="note"))
    section.append(el("div", *cards, class_="cards"))
    return section


def _broken(
    name: str, title: str, judged: Sequence[tuple[AuditedLoad, RuleReport]], when: Timeline
) -> Node:
    slots = when.split((load.record.published_at, rule) for load, rule in judged)
    rows = any(rule.failed for _, rule in judged)
    what = "row" if rows else "load"
    points = []
    for slot, rules in enumerate(slots):
        failed = sum(r.failed if rows else r.result == "failed" for r in rules)
        says = f"{when.label(slot)}: {figures.many(failed, what)}"
        points.append(Point((failed,) if rules else (), says))
    total, most = (int(f(p.height for p in points)) for f in (sum, max))
    desc = f"{figures.many(total, what)} in all, at most {figures.count(most)} in a {when.unit}."
    chart = stacks(name, f"Broken: {title}", desc, points, ("rejected",))
    return framed(
        title, chart, when.ends, figures.count(most), big=figures.many(total, what), bad=True
    )


def _legend(kinds: Sequence[str]) -> Node:
    return el("ul", *(el("li", kind, class_=kind) for kind in kinds), class_="legend")
