"""A load's report as one HTML page that needs nothing else: no network, no script. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from conduit_core.observe import figures
from conduit_core.observe.facts import facts, took
from conduit_core.observe.history import loads_table, rates, rows_by_load
from conduit_core.observe.markup import Node, el, number_cell, table, write

if TYPE_CHECKING:
    from conduit_core.engine.audit import RuleReport
    from conduit_core.engine.loadreport import LoadReport
    from conduit_core.state.ledger import LedgerRecord

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STATUSES = {
    "open": "wait to be corrected or replayed",
    "resolved": "a later load or a replay brought the row",
    "superseded": "a newer row took its place",
    "purged": "the payload was forgotten",
}
_RULES = ("Rule", "Action", "Result", "Checked", "Failed", "Rate", "Found")
_MARKS = {"passed": "✓", "failed": "✗", "not_judged": "–"}


def page(report: LoadReport, mask: Callable[[str], str] = str) -> str:
    """Return the page.

    Args:
        report: the load, the ones before it, its dead letters.
        mask: takes secrets out of each text.
    """
    record = report.load.record
    sections = [
        _rules(report),
        rows_by_load(report),
        rates(report),
        _letters(report),
        _facts(record),
        loads_table(report),
    ]
    title = f"{record.stream}, version {record.version}: audit report"
    foot = f"Dead letters as of {_minute(report)}. Times are UTC."
    return document(title, _header(report), sections, foot, mask)


def document(
    title: str,
    header: Node,
    sections: Sequence[Node | None],
    foot: str,
    mask: Callable[[str], str],
) -> str:
    """Return a page of these sections in the one look that reports have."""
    css = files("conduit_core.observe").joinpath("page.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", css),
    )
    main = el("main", *(s for s in sections if s is not None))
    body = el("body", header, main, el("footer", el("p", foot)))
    return write(el("html", head, body, lang="en"), mask)


def _minute(report: LoadReport) -> str:
    return report.asked_at.strftime("%Y-%m-%d %H:%M")


# --- at a glance ----------------------------------------------------------------------------------


def _header(report: LoadReport) -> Node:
    record = report.load.record
    when = record.published_at.strftime("%Y-%m-%d %H:%M:%S")
    return el(
        "header",
        el("p", f"{record.pipeline} · audit report", class_="over"),
        el("h1", record.stream),
        el(
            "p",
            "Version ",
            el("b", str(record.version)),
            " of ",
            el("code", str(record.target)),
            f", published {when} by load ",
            el("code", record.load_id),
            class_="lead",
        ),
        el("dl", *(tile(*each) for each in _tiles(report)), class_="tiles"),
    )


def _tiles(report: LoadReport) -> list[tuple[str, str, str, str]]:
    """Return heading, number, what it is of, and CSS class."""
    record, quality = report.load.record, report.load.quality
    counts = record.counts
    passed = counts.read - counts.rejected
    share = counts.rejected / counts.read if counts.read else 0.0
    tiles = [
        ("Read", figures.count(counts.read), "rows", ""),
        ("Passed", figures.count(passed), figures.share(1 - share) if counts.read else "", ""),
        (
            "Rejected",
            figures.count(counts.rejected),
            figures.share(share) if counts.read else "",
            "bad" if counts.rejected else "",
        ),
    ]
    if quality is not None:
        broken = sum(r.result == "failed" or r.failed > 0 for r in quality.rules)
        of = f"of {len(quality.rules)}"
        tiles.append(("Rules broken", str(broken), of, "bad" if broken else ""))
    return [*tiles, ("Took", took(record), "", "")]


def tile(heading: str, number: str, of: str, kind: str) -> Node:
    """Return a number at a glance: heading, number, what it is of, and CSS class."""
    parts = [el("dt", heading), el("dd", number, class_=kind)]
    return el("div", *parts, *([el("dd", of, class_="of")] if of else []))


# --- rules ----------------------------------------------------------------------------------------


def _rules(report: LoadReport) -> Node:
    quality = report.load.quality
    if quality is None or not quality.rules:
        none = el("p", "The stream had no rules when this load was published.", class_="note")
        return el("section", el("h2", "Rules"), none)
    rows = [el("tr", *_rule(rule)) for rule in quality.rules]
    return el("section", el("h2", "Rules"), table("What each rule found", _RULES, rows))


def _rule(rule: RuleReport) -> list[Node]:
    counted = rule.checked > 0
    name = el("th", rule.rule, scope="row")
    if rule.description:
        name.append(el("span", rule.description, class_="description"))
    found = el("td", class_="found")
    if counted and rule.sample:
        found.extend(_sample(value, times) for value, times in Counter(rule.sample).items())
    elif rule.result != "passed" or not counted:
        found.text = rule.text
    mark = f"{_MARKS.get(rule.result, '')} {rule.result.replace('_', ' ')}"
    return [
        name,
        el("td", rule.action),
        el("td", el("span", mark, class_=f"result {_word(rule.result)}")),
        number_cell(figures.count(rule.checked) if counted else ""),
        number_cell(figures.count(rule.failed) if counted else ""),
        number_cell(figures.share(rule.rate) if counted else ""),
        found,
    ]


def _sample(value: str, times: int) -> Node:
    code = el("code", value)
    return el("span", code, f" ×{times}" if times > 1 else "", class_="sample")


def _word(result: str) -> str:
    return result if result in _MARKS else "not_judged"


# --- dead letters and facts -----------------------------------------------------------------------


def _letters(report: LoadReport) -> Node | None:
    ours, all_ = report.letters, report.target_letters
    if ours is None or all_ is None:
        return None
    if not all_:
        none = el("p", "No row of this stream's was ever rejected.", class_="note")
        return el("section", el("h2", "Dead letters"), none)
    names = [*_STATUSES, *(s for s in all_ if s not in _STATUSES)]
    rows = [
        el(
            "tr",
            el("th", name, scope="row"),
            number_cell(figures.count(ours.get(name, 0))),
            number_cell(figures.count(all_.get(name, 0))),
            el("td", _STATUSES.get(name, ""), class_="found"),
        )
        for name in names
    ]
    note = "A letter is counted with the load that rejected it last."
    heads = ("Status", "This load's", "The stream's", "Meaning")
    shown = table("Dead letters by status", heads, rows)
    return el("section", el("h2", "Dead letters"), shown, el("p", note, class_="note"))


def _facts(record: LedgerRecord) -> Node:
    told = el("dl", class_="facts")
    for name, text in facts(record):
        told.append(el("div", el("dt", name), el("dd", text)))
    return el("section", el("h2", "Facts"), told)
