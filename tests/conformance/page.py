"""The tables of ``docs/conformance.md``, written from what the tests of this folder recorded.

A test that went well says what it did by ``record_property``; the names are here. A table is made
anew when a session had all of it: its part of the page lies between two comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
CONFORMANCE = "conformance"
"""A case in a runner: ``case``, ``runner``, ``about``, and counts: ``scenes``, ``rows``,
``records``, ``letters``."""
HANDOVER = "handover"
"""A pipeline that went from runner to runner: ``runners`` (a list), and the counts."""
KILLS = "kills"
"""A pipeline killed in a runner: ``runner``, ``point``, ``pipeline``; ``schedules`` is a count."""
RUNNERS = ("command line", "Airflow", "Prefect", "Dagster")
POINTS = (
    "before plan", "mid-stage", "after a split's commit", "during audit",
    "mid-publish before commit", "during commit", "after commit before mirror",
    "after mirror before hooks", "after hooks",
)  # fmt: skip
"""Fault points in the order of a load; others come behind them."""


def renew(
    told: Mapping[str, Sequence[Mapping[str, Any]]], cases: Sequence[str], handovers: int
) -> None:
    """Write the tables whose tests all went well in this session.

    Args:
        told: what was recorded, by the property's name.
        cases: the names of all cases, in the order of the table.
        handovers: how many there are.
    """
    text = PAGE.read_text(encoding="utf-8")
    done = {(each["case"], each["runner"]) for each in told.get(CONFORMANCE, ())}
    if done >= {(case, runner) for case in cases for runner in RUNNERS}:
        text = put(text, CONFORMANCE, cases_table(told[CONFORMANCE], cases))
    if len(told.get(HANDOVER, ())) == handovers:
        text = put(text, HANDOVER, handovers_table(told[HANDOVER]))
    if told.get(KILLS):
        text = put(text, KILLS, kills_table(told[KILLS]))
    PAGE.write_text(text, encoding="utf-8")


def cases_table(told: Iterable[Mapping[str, Any]], order: Sequence[str]) -> str:
    """Return the table of cases and runners: in each cell the scenes that were equal.

    Args:
        told: what the tests recorded under `CONFORMANCE`.
        order: the cases' names, in the order of the table.
    """
    by: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in told:
        by.setdefault(each["case"], {})[each["runner"]] = each
    rows = []
    for name in order:
        one = by[name]
        some = next(iter(one.values()))
        cells = [str(one[runner]["scenes"]) if runner in one else "" for runner in RUNNERS]
        counts = [f"{some[what]:,}" for what in ("rows", "records", "letters")]
        rows.append([f"`{name}`", some["about"], *cells, *counts])
    heads = ["case", "what it is", *RUNNERS, "rows", "records", "dead letters"]
    return _table(heads, rows)


def handovers_table(told: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of pipelines that went from runner to runner."""
    heads = ["who played each scene", "scenes", "rows", "records"]
    rows = [
        [" → ".join(each["runners"])]
        + [f"{each[what]:,}" for what in ("scenes", "rows", "records")]
        for each in sorted(told, key=lambda each: [RUNNERS.index(r) for r in each["runners"]])
    ]
    return _table(heads, rows)


def kills_table(told: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of fault points and runners: in each cell the schedules that were tried."""
    sums: dict[str, dict[str, int]] = {}
    for each in told:
        row = sums.setdefault(each["point"], {})
        row[each["runner"]] = row.get(each["runner"], 0) + int(each["schedules"])
    points = [p for p in POINTS if p in sums] + sorted(sums.keys() - set(POINTS))
    rows = [[p, *(f"{sums[p].get(r, 0):,}" for r in RUNNERS)] for p in points]
    total = [sum(sums[p].get(r, 0) for p in points) for r in RUNNERS]
    rows.append(["all", *(f"{n:,}" for n in total)])
    return _table(["killed", *RUNNERS], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def put(page: str, part: str, table: str) -> str:
    """Return the page with another table in a part of it.

    Raises:
        ValueError: the page has no such part.
    """
    begin, end = f"<!-- generated: {part} -->", f"<!-- end of {part} -->"
    made, count = re.subn(
        rf"{begin}\n.*?{end}", lambda _: f"{begin}\n{table}\n{end}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"the page has no part {part!r}, or two")
    return made
