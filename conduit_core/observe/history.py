"""The part of a load's report that looks back: rows, failure rates and facts of its loads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conduit_core.observe import figures
from conduit_core.observe.charts import Point, columns, framed, line
from conduit_core.observe.facts import took
from conduit_core.observe.markup import Node, el, number_cell, table

if TYPE_CHECKING:
    from conduit_core.engine.audit import RuleReport
    from conduit_core.engine.loadreport import AuditedLoad, LoadReport

_LOADS = ("Published", "Version", "Mode", "Read", "Passed", "Rejected", "Took", "Load id")
_TALL = {"passed": 0.35, "failed": 1.0, "not_judged": 0.08}


def rows_by_load(report: LoadReport) -> Node:
    """Return charts of what was read, and of what was rejected on a scale of its own."""
    loads = report.loads
    read = [load.record.counts.read for load in loads]
    lost = [load.record.counts.rejected for load in loads]
    both = [
        Point((r - n, n), f"{_label(load)}: {_rows(r, n)}")
        for load, r, n in zip(loads, read, lost, strict=True)
    ]
    only = [
        Point((n,), f"{_label(load)}: {_rows(r, n)}")
        for load, r, n in zip(loads, read, lost, strict=True)
    ]
    chart = columns(
        "rows",
        "Rows read by load",
        f"{_loads(loads)}. Read {_span(read)}; this load {figures.count(read[-1])}.",
        both,
        ("passed", "rejected"),
    )
    figs = [_figure("Rows read", chart, loads, figures.count(max(read)), wide=True)]
    if any(lost):
        chart = columns(
            "rejected",
            "Rows rejected by load",
            f"{_loads(loads)}. Rejected {_span(lost)}; this load {figures.count(lost[-1])}.",
            only,
            ("rejected",),
        )
        figs.append(_figure("Rows rejected", chart, loads, figures.count(max(lost)), wide=True))
    keys = [el("li", kind, class_=kind) for kind in ("passed", "rejected")]
    return el("section", el("h2", "Rows by load"), el("ul", *keys, class_="legend"), *figs)


def rates(report: LoadReport) -> Node | None:
    """Return a small chart per rule of this load; None where it has no rules."""
    quality = report.load.quality
    if quality is None or not quality.rules:
        return None
    past = [
        {rule.rule: rule for rule in load.quality.rules} if load.quality else {}
        for load in report.loads
    ]
    cards = [
        _card(f"rule{n}", report.loads, [found.get(rule.rule) for found in past])
        for n, rule in enumerate(quality.rules)
    ]
    note = (
        "The share of the rows looked at that broke the rule; each chart has a scale of its own."
        " Rules of whole loads have a column per load: low passed, tall failed."
    )
    return el(
        "section",
        el("h2", "Failure rate by load"),
        el("p", note, class_="note"),
        el("div", *cards, class_="cards"),
    )


def _card(name: str, loads: Sequence[AuditedLoad], found: Sequence[RuleReport | None]) -> Node:
    now = found[-1]
    title = now.rule if now else ""
    if not any(rule and rule.checked for rule in found):
        return _strip(name, title, loads, found)
    points = [
        Point(
            (rule.rate,) if rule and rule.checked else (),
            f"{_label(load)}: {_rate(rule)}",
        )
        for load, rule in zip(loads, found, strict=True)
    ]
    known = [rule for rule in found if rule and rule.checked]
    highest = max(rule.rate for rule in known)
    broken = sum(rule.failed > 0 for rule in known)
    desc = (
        f"{_loads(loads)}. Broken in {broken} of {len(known)} that were judged; at most"
        f" {figures.share(highest)}; this load {_rate(now)}."
    )
    chart = line(name, f"Failure rate of {title}", desc, points)
    big = figures.share(now.rate) if now and now.checked else "not judged"
    bad = bool(now and now.failed)
    return _figure(title, chart, loads, figures.share(highest), big=big, bad=bad)


def _strip(
    name: str, title: str, loads: Sequence[AuditedLoad], found: Sequence[RuleReport | None]
) -> Node:
    results = [rule.result if rule else "" for rule in found]
    words = [result.replace("_", " ") or "no such rule" for result in results]
    points = [
        Point(
            tuple(_TALL.get(result, 0.0) if result == kind else 0.0 for kind in _TALL),
            f"{_label(load)}: {word}",
        )
        for load, result, word in zip(loads, results, words, strict=True)
    ]
    failed = results.count("failed")
    desc = f"{_loads(loads)}. Failed in {failed}; this load {words[-1]}."
    chart = columns(name, f"Results of {title}", desc, points, tuple(_TALL))
    return _figure(title, chart, loads, "", big=words[-1], bad=results[-1] == "failed")


def _figure(
    title: str,
    chart: Node,
    loads: Sequence[AuditedLoad],
    top: str,
    *,
    wide: bool = False,
    big: str = "",
    bad: bool = False,
) -> Node:
    """Return a chart with its title, its scale, and when its first and last load were."""
    return framed(
        title, chart, _ends(loads), top, width=len(loads) if wide else 0, big=big, bad=bad
    )


def _ends(loads: Sequence[AuditedLoad]) -> list[str]:
    """Return the days of the first and the last load, or their times on the same day."""
    first, last = (load.record.published_at for load in (loads[0], loads[-1]))
    if len(loads) == 1:
        return [f"{last:%Y-%m-%d}"]
    form = "%m-%d %H:%M" if first.date() == last.date() else "%Y-%m-%d"
    return [first.strftime(form), last.strftime(form)]


def loads_table(report: LoadReport) -> Node:
    """Return the numbers that the charts show, the newest load first."""
    rows = []
    for load in reversed(report.loads):
        record = load.record
        counts = record.counts
        rows.append(
            el(
                "tr",
                el("th", f"{record.published_at:%Y-%m-%d %H:%M:%S}", scope="row"),
                number_cell(str(record.version)),
                el("td", record.mode),
                number_cell(figures.count(counts.read)),
                number_cell(figures.count(counts.read - counts.rejected)),
                number_cell(figures.count(counts.rejected)),
                number_cell(took(record)),
                el("td", el("code", record.load_id)),
            )
        )
    shown = table("The loads of the charts, the newest first", _LOADS, rows)
    summary = el("summary", f"Numbers of {_number(report.loads)}, the newest first")
    return el("section", el("h2", "Loads"), el("details", summary, shown))


def _loads(loads: Sequence[AuditedLoad]) -> str:
    return f"{_number(loads)}{', the newest last' if len(loads) > 1 else ''}"


def _number(loads: Sequence[AuditedLoad]) -> str:
    return "1 load" if len(loads) == 1 else f"{figures.count(len(loads))} loads"


def _label(load: AuditedLoad) -> str:
    return f"version {load.record.version}, {load.record.published_at:%Y-%m-%d %H:%M}"


def _rows(read: int, rejected: int) -> str:
    passed = figures.count(read - rejected)
    return f"{figures.count(read)} read, {passed} passed, {figures.count(rejected)} rejected"


def _rate(rule: RuleReport | None) -> str:
    if rule is None or not rule.checked:
        return "not judged"
    of = f"{figures.count(rule.failed)} of {figures.count(rule.checked)} rows"
    return f"{figures.share(rule.rate)}, {of}"


def _span(values: Sequence[int]) -> str:
    return f"{figures.count(min(values))} to {figures.count(max(values))}"
