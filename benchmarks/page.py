"""Makes the tables of `docs/benchmarks.md` of the results; what people wrote around them stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from string import ascii_lowercase
from textwrap import fill

from benchmarks.results import EQUAL, Measured, Results, Side

_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
BUSY = "†"
NOTHING = "Not measured yet.\n"
Cells = Callable[[Measured, str], list[str]]


def renewed(text: str, results: Results) -> str:
    """Return the page with each of its tables made anew."""

    def table(found: re.Match[str]) -> str:
        name = found[2]
        made = TABLES[name](results) if name in TABLES else ""
        return f"{found[1]}\n{made}\n{found[3]}"

    return _TABLE.sub(table, text)


def _markdown(header: str, rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return NOTHING
    names = header.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line).strip()} |\n".replace("|  |", "| |") for line in lines)


def _section(section: str, header: str, cells: Cells) -> Callable[[Results], str]:
    """Return what makes the table of a section, a line for each of its rows."""

    def made(results: Results) -> str:
        letters = _letters(results)
        rows = [
            [_what(row), *cells(row, letters[row.run])]
            for row in results.rows.values()
            if row.section == section
        ]
        return _markdown(header, rows)

    return made


def _letters(results: Results) -> dict[str, str]:
    """Return the letter by which the tables name each run."""
    return dict(zip(results.runs, ascii_lowercase, strict=False))


def _what(row: Measured) -> str:
    return f"{row.what}{f' {BUSY}' if row.busy else ''}{f' ({row.note})' if row.note else ''}"


def _number(value: float | None) -> str:
    """Say seconds or a ratio with two or three digits that count."""
    if value is None:
        return ""
    return (
        f"{value:.3f}"
        if abs(value) < 0.2
        else f"{value:.2f}"
        if abs(value) < 20
        else f"{value:.0f}"
    )


def _memory(side: Side | None) -> str:
    return "" if side is None or side.peak_mib is None else f"{side.peak_mib:.0f}"


def _rows(sides: Sequence[Side]) -> str:
    """Say whether all sides that were compared hold the source's rows."""
    told = [side for side in sides if side.check]
    wrong = [f"{side.name}: {side.check}" for side in told if side.check != EQUAL]
    return "; ".join(wrong) or (EQUAL if told else "")


def _wanted(row: Measured) -> str:
    return ", ".join(f"{words}: {'met' if met else '**missed**'}" for words, met in row.verdict())


def _versus(row: Measured, run: str) -> list[str]:
    other = row.reference
    return [
        _number(row.ours.took),
        other.name if other else "",
        _number(other.took if other else None),
        _number(row.ratio()),
        _number(row.load_ratio()),
        _memory(row.ours),
        _memory(other),
        _rows(row.sides),
        _wanted(row),
        run,
    ]


def _more(row: Measured, run: str) -> list[str]:
    other = row.reference
    return [
        _number(row.ours.took),
        other.name if other else "",
        _number(other.took if other else None),
        _number(row.more()),
        _number(row.more_cpu()),
        _number(row.load_ratio()),
        _rows(row.sides),
        _wanted(row),
        run,
    ]


def _alone(row: Measured, run: str) -> list[str]:
    load = row.ours.load
    each = f"{row.rows / load:,.0f}" if row.rows and load else ""
    return [
        _number(row.ours.took), each, _memory(row.ours), _rows(row.sides), _wanted(row), run,
    ]  # fmt: skip


def _peers(results: Results) -> str:
    letters = _letters(results)
    rows = []
    for row in results.rows.values():
        if row.section != "peers":
            continue
        for side in row.sides:
            first = side is row.ours
            ratio = None if first else row.ratio(side)
            more = None if first else _per(side.peak_mib, row.ours.peak_mib)
            rows.append(
                [
                    _what(row) if first else "",
                    side.name,
                    _number(side.took),
                    _number(1 / ratio) if ratio else "1",
                    _number(side.cpu),
                    _memory(side),
                    _number(more) if more else "1",
                    side.check,
                    letters[row.run] if first else "",
                ]
            )
    return _markdown("work|program|s|times ours|CPU, s|peak MiB|times ours|rows|run", rows)


def _per(value: float | None, of: float | None) -> float | None:
    return value / of if value and of else None


def _runs(results: Results) -> str:
    if not results.runs:
        return NOTHING
    told = []
    for key, letter in _letters(results).items():
        run = results.runs[key]
        with_what = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        text = (
            f"- **{letter}**: `{run.command}`, {run.date} UTC, {run.turns} turns of most cases;"
            f" {run.machine}; load before {run.load_before:g}; {with_what}."
        )
        told.append(fill(text, 150, subsequent_indent="  ", break_on_hyphens=False))
    if any(row.busy for row in results.rows.values()):
        told.append(
            f"\n{BUSY} measured while other programs used more than a fifth of the processor:"
            " a ratio of turns, but a rough one, to be measured again."
        )
    return "\n".join(told) + "\n"


_VERSUS = "what|ours, s|against|its s|process ratio|load ratio|MiB|its MiB|rows|wanted|run"
_MORE = "what|ours, s|beside|its s|more, s|more CPU, s|load ratio|rows|wanted|run"
_ALONE = "what|s|rows/s of the load|peak MiB|rows|wanted|run"
TABLES: dict[str, Callable[[Results], str]] = {
    "full": _section("full", _VERSUS, _versus),
    "changes": _section("changes", _VERSUS, _versus),
    "rules": _section("rules", _VERSUS, _versus),
    "spread": _section("spread", _VERSUS, _versus),
    "memory": _section("memory", _ALONE, _alone),
    "start": _section("start", _ALONE, _alone),
    "hosts": _section("hosts", _MORE, _more),
    "peers": _peers,
    "runs": _runs,
}
