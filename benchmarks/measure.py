"""Runs commands as whole processes, in turn, and turns their times into ratios."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
CONDUIT = str(Path(sys.executable).with_name("conduit"))


@dataclass(frozen=True)
class Sample:
    """One finished process: seconds of wall time, peak MiB of its largest process, its stdout."""

    seconds: float
    peak_mib: float
    out: str


@dataclass(frozen=True)
class Row:
    """One line of the result: medians over the runs, and the ratio pair by pair."""

    name: str
    ours: float
    load: float | None
    reference: float | None
    ratio: float | None
    load_ratio: float | None
    peak_mib: float
    limit: str


def timed(command: list[str] | str, cwd: Path, env: dict[str, str] | None = None) -> Sample:
    """Run a command (a string goes to bash) and measure it.

    Raises:
        RuntimeError: it failed; the message has its stderr.
    """
    argv = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else command
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=cwd, stdout=out, stderr=err, env={**os.environ, **(env or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text = out.read().decode()
        if process.returncode:
            shown = command if isinstance(command, str) else shlex.join(command)
            raise RuntimeError(
                f"{shown} exited {process.returncode}: {err.read().decode()[-2000:]}"
            )
    return Sample(seconds, usage.ru_maxrss / 1024, text)


def load_seconds(sample: Sample) -> float | None:
    """Return the load's own time from ``conduit run --json``: the run without start-up."""
    try:
        return float(json.loads(sample.out)["seconds"])
    except (ValueError, KeyError, TypeError):
        return None


def compare(
    name: str,
    ours: list[str],
    reference: list[str] | str | None,
    *,
    cwd: Path,
    limit: str,
    runs: int = 5,
    env: dict[str, str] | None = None,
    before: list[str] | str | None = None,
    before_reference: list[str] | str | None = None,
) -> Row:
    """Run ours and the reference in turn (one warm-up each) and compare them pair by pair.

    Args:
        name: the row's name.
        ours: the command under test.
        reference: what it is held against, or None.
        cwd: where both run.
        limit: what the project promises, as text. A reference that tells its load's own time, as
            ``conduit run --json`` does, is held against ours by that, and by the whole process.
        runs: counted pairs.
        env: more environment.
        before: untimed preparation of each run of ours.
        before_reference: the same for the reference.
    """
    pairs: list[tuple[Sample, Sample | None]] = []
    for turn in range(runs + 1):
        if before:
            timed(before, cwd, env)
        mine = timed(ours, cwd, env)
        theirs = None
        if reference is not None:
            if before_reference:
                timed(before_reference, cwd, env)
            theirs = timed(reference, cwd, env)
        if turn:
            pairs.append((mine, theirs))
    loads = [load_seconds(mine) for mine, _ in pairs]
    median = statistics.median
    load = (
        median([x for x in loads if x is not None]) if all(x is not None for x in loads) else None
    )
    return Row(
        name=name,
        ours=median([a.seconds for a, _ in pairs]),
        load=load,
        reference=median([b.seconds for _, b in pairs if b]) if reference else None,
        ratio=median([a.seconds / b.seconds for a, b in pairs if b]) if reference else None,
        load_ratio=median(
            [
                x / (load_seconds(b) or b.seconds)
                for x, (_, b) in zip(loads, pairs, strict=True)
                if x and b
            ]
        )
        if reference and load is not None
        else None,
        peak_mib=max(a.peak_mib for a, _ in pairs),
        limit=limit,
    )


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    names = ("what", "process s", "load s", "reference s", "process ratio", "load ratio")
    lines = [f"| {' | '.join(names)} | peak MiB | limit |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            f"{value:.2f}" if isinstance(value, float) else "-"
            for value in (row.ours, row.load, row.reference, row.ratio, row.load_ratio)
        ]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {row.peak_mib:.0f} | {row.limit} |")
    return "\n".join(lines)
