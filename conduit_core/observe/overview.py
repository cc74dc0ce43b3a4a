"""A pipeline's report as one HTML page that needs nothing else: no network, no script. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from conduit_core.observe import figures
from conduit_core.observe.loads import rows_by_kind
from conduit_core.observe.markup import Node, el, number_cell, table
from conduit_core.observe.overtime import rejected_by_rule, rows_over_time, time_over_time
from conduit_core.observe.page import document, tile
from conduit_core.observe.timeline import timeline

if TYPE_CHECKING:
    from conduit_core.connectors.incidents import Incident
    from conduit_core.engine.pipelinereport import PipelineReport, StreamReport

_NOW = ("Stream", "Watermark", "Age", "Lag", "Freshness", "Last load", "Open letters")
_INCIDENTS = ("Began", "Stream", "What", "Error", "Exit code", "Runs", "Over")
_CHANGES = ("Published", "Stream", "Column", "Change")
_LETTERS = ("open", "resolved", "superseded", "purged")
_MOST_CHANGES = 50
_MOST_INCIDENTS = 200


def overview(report: PipelineReport, mask: Callable[[str], str] = str) -> str:
    """Return the page.

    Args:
        report: the pipeline's loads and where its streams stand.
        mask: takes secrets out of each text.
    """
    moments = [load.record.published_at for s in report.streams for load in s.loads]
    moments += [i.opened_at for i in report.incidents or ()]
    parts: list[Node | None] = [_now(report)]
    if moments:
        when = timeline(moments)
        parts += [rows_over_time(report, when), time_over_time(report, when)]
        parts += [_failures(report), rejected_by_rule(report, when)]
    else:
        parts.append(_failures(report))
    parts += [_letters(report), _changes(report)]
    foot = f"As of {report.asked_at:%Y-%m-%d %H:%M}. Times are UTC."
    return document(f"{report.pipeline}: loads", _header(report), parts, foot, mask)


# --- at a glance ----------------------------------------------------------------------------------


def _header(report: PipelineReport) -> Node:
    loads = [load for s in report.streams for load in s.loads]
    left_out = sum(s.left_out for s in report.streams)
    lead = "Nothing was published yet."
    if loads:
        times = [load.record.published_at for load in loads]
        lead = (
            f"{figures.many(len(loads), 'load')} of {figures.many(len(report.streams), 'stream')},"
            f" {min(times):%Y-%m-%d} to {max(times):%Y-%m-%d}"
        )
        lead += f"; {figures.many(left_out, 'older one')} left out" if left_out else ""
    elif left_out:
        lead = (
            f"Nothing was published in this time; {figures.many(left_out, 'older load')} left out."
        )
    return el(
        "header",
        el("p", "Pipeline report", class_="over"),
        el("h1", report.pipeline),
        el("p", lead, class_="lead"),
        el("dl", *(tile(*each) for each in _tiles(report)), class_="tiles"),
    )


def _tiles(report: PipelineReport) -> list[tuple[str, str, str, str]]:
    loads = [load for s in report.streams for load in s.loads]
    read = sum(load.record.counts.read for load in loads)
    lost = rows_by_kind(loads)["rejected"]
    tiles = [
        ("Loads", figures.count(len(loads)), "published", ""),
        ("Rows read", figures.count(read), "", ""),
        (
            "Rejected",
            figures.count(lost),
            figures.share(lost / read) if read else "",
            "bad" if lost else "",
        ),
    ]
    if report.incidents is not None:
        failures = [i for i in report.incidents if i.about == "failure"]
        lasting = sum(i.closed_at is None for i in failures)
        of = f"{lasting} not over" if lasting else ""
        tiles.append(("Failures", figures.count(len(failures)), of, "bad" if lasting else ""))
    known = [s.status for s in report.streams if s.status is not None]
    stale = sum(s.is_stale for s in known)
    if known:
        of = f"of {len(report.streams)} streams"
        tiles.append(("Stale", str(stale), of, "bad" if stale else ""))
    if any(s.letters is not None for s in report.streams):
        letters = sum((s.letters or {}).get("open", 0) for s in report.streams)
        tiles.append(("Open letters", figures.count(letters), "", "bad" if letters else ""))
    return tiles


def _now(report: PipelineReport) -> Node:
    rows = [el("tr", *_stands(report, s)) for s in report.streams]
    section = el("section", el("h2", "Now"))
    away = sorted({s.unknown for s in report.streams if s.unknown})
    if away:
        text = (
            f"Some source couldn't be asked ({', '.join(away)}): where the lag is “unknown”, the"
            " watermark is the ledger's."
        )
        section.append(el("p", text, class_="note"))
    section.append(table("Where each stream stands", _NOW, rows))
    return section


def _stands(report: PipelineReport, s: StreamReport) -> list[Node]:
    age = (report.asked_at - s.watermark_at).total_seconds() if s.watermark_at else None
    last = s.loads[-1].record.published_at if s.loads else None
    if s.status is not None:
        last = s.status.last_published_at
    letters = (s.letters or {}).get("open", 0)
    return [
        el("th", s.stream, scope="row"),
        el("td", s.watermark or "none"),
        number_cell(figures.duration(age) if age is not None and age >= 0 else ""),
        number_cell(_lag(s)),
        el("td", *_freshness(s)),
        number_cell(f"{last:%Y-%m-%d %H:%M}" if last else "never"),
        number_cell("" if s.letters is None else figures.count(letters)),
    ]


def _lag(s: StreamReport) -> str:
    if s.status is None:
        return "unknown"
    if s.status.lag_seconds:
        return figures.duration(s.status.lag_seconds)
    if s.status.is_behind:
        return "behind"
    return "none" if s.status.source_newest else ""  # without a cursor nobody knows


def _freshness(s: StreamReport) -> list[Node | str]:
    if s.status is None or s.status.freshness_seconds is None:
        return [""]
    most = figures.duration(s.status.freshness_seconds)
    kind, mark = ("failed", "✗ past") if s.status.is_stale else ("passed", "✓ within")
    return [el("span", f"{mark} {most}", class_=f"result {kind}")]


# --- failures, dead letters, columns --------------------------------------------------------------


def _failures(report: PipelineReport) -> Node:
    section = el("section", el("h2", "Failures"))
    if report.incidents is None:
        told = "Nothing here remembers failures: a load that failed isn't in the ledger. With "
        more = " in the pipeline file the destination keeps them."
        section.append(el("p", told, el("code", "notify:"), more, class_="note"))
        return section
    if not report.incidents:
        section.append(el("p", "No load failed in this time.", class_="note"))
        return section
    shown = report.incidents[::-1][:_MOST_INCIDENTS]
    rows = [
        el(
            "tr",
            el("th", f"{i.opened_at:%Y-%m-%d %H:%M}", scope="row"),
            el("td", i.stream),
            el("td", i.about),
            el("td", i.error),
            number_cell(str(i.exit_code) if i.exit_code else ""),
            number_cell(figures.count(i.times)),
            el("td", *_over(i)),
        )
        for i in shown
    ]
    section.append(table("What went wrong, the newest first", _INCIDENTS, rows))
    if len(shown) < len(report.incidents):
        count = len(report.incidents) - len(shown)
        section.append(el("p", f"{figures.many(count, 'older one')} left out.", class_="note"))
    return section


def _over(incident: Incident) -> list[Node | str]:
    if incident.closed_at is None:
        return [el("span", "✗ goes on", class_="result failed")]
    return [f"{incident.closed_at:%Y-%m-%d %H:%M}"]


def _letters(report: PipelineReport) -> Node | None:
    kept = [(s, s.letters) for s in report.streams if s.letters]
    if not kept:
        return None
    rows = [
        el(
            "tr",
            el("th", s.stream, scope="row"),
            *(number_cell(figures.count(letters.get(status, 0))) for status in _LETTERS),
        )
        for s, letters in kept
    ]
    heads = ("Stream", *(name.capitalize() for name in _LETTERS))
    shown = table("Dead letters by status", heads, rows)
    return el("section", el("h2", "Dead letters"), shown)


def _changes(report: PipelineReport) -> Node | None:
    from conduit_core.observe.facts import changes

    found = [
        (load.record.published_at, s.stream, name, text)
        for s in report.streams
        for load in s.loads
        for name, text in changes(load.record)
    ]
    if not found:
        return None
    found.sort(key=lambda change: change[0], reverse=True)
    rows = [
        el(
            "tr",
            el("th", f"{at:%Y-%m-%d %H:%M}", scope="row"),
            el("td", stream),
            el("td", el("code", name)),
            el("td", text),
        )
        for at, stream, name, text in found[:_MOST_CHANGES]
    ]
    section = el("section", el("h2", "Changes of columns"))
    section.append(table("What loads changed of their targets' columns", _CHANGES, rows))
    if len(found) > _MOST_CHANGES:
        left = figures.many(len(found) - _MOST_CHANGES, "older one")
        section.append(el("p", f"{left} left out.", class_="note"))
    return section
