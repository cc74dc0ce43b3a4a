"""Runs commands as whole processes, in turn: their time, and the peak memory of their tree."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.results import Measured, Side, Wanted

MIB = 1024 * 1024
CONDUIT = str(Path(sys.executable).with_name("conduit"))
LOOK_SECONDS = 0.01
"""How often the memory of a tree is looked at; its processes are looked for every tenth time."""


@dataclass(frozen=True)
class Sample:
    """One finished command: wall and processor time, the peak MiB of all its processes, stdout."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    out: str


@dataclass(frozen=True)
class Contestant:
    """One of those that are run in turn.

    Args:
        name: what the page calls it.
        command: a command; a string goes to bash.
        before: untimed preparation of each run.
        check: called after the last run; returns what the page says of the rows: "equal", or why
            not.
        env: more environment.
    """

    name: str
    command: list[str] | str
    before: list[str] | str | None = None
    check: Callable[[], str] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class Memory(threading.Thread):
    """Looks at the resident memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._over = threading.Event()
        self._pid = pid

    def run(self) -> None:
        tree: list[psutil.Process] = []
        looks = 0
        while not self._over.is_set():
            if looks % 10 == 0:
                with suppress(psutil.Error):
                    root = psutil.Process(self._pid)
                    tree = [root, *root.children(recursive=True)]
            self.peak = max(self.peak, sum(map(_resident, tree)))
            looks += 1
            self._over.wait(LOOK_SECONDS)

    def ended(self) -> int:
        """Stop looking, and return the peak in bytes."""
        self._over.set()
        self.join()
        return self.peak


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def timed(command: list[str] | str, cwd: Path, env: Mapping[str, str] | None = None) -> Sample:
    """Run a command (a string goes to bash) and measure it.

    The peak is the largest sum of resident memory seen, so pages that two processes share count
    twice. What the kernel says of the largest single process counts where that is more; it can't
    say less than what this process has had itself.

    Raises:
        RuntimeError: it failed; the message has its stderr.
    """
    argv = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else command
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        process = subprocess.Popen(
            argv, cwd=cwd, stdout=out, stderr=err, env={**os.environ, **(env or {})}
        )
        memory = Memory(process.pid)
        memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = memory.ended() / MIB
        if usage.ru_maxrss > floor:
            peak = max(peak, usage.ru_maxrss / 1024)
        out.seek(0)
        err.seek(0)
        text = out.read().decode()
        if process.returncode:
            shown = command if isinstance(command, str) else shlex.join(command)
            raise RuntimeError(
                f"{shown} exited {process.returncode}: {text[-2000:]}{err.read().decode()[-2000:]}"
            )
    return Sample(seconds, usage.ru_utime + usage.ru_stime, peak, text)


def load_seconds(sample: Sample) -> float | None:
    """Return the load's own time from ``conduit run --json``: the run without start-up."""
    try:
        return float(json.loads(sample.out)["seconds"])
    except (ValueError, KeyError, TypeError):
        return None


def compare(
    section: str,
    what: str,
    contestants: Sequence[Contestant],
    *,
    cwd: Path,
    wanted: Wanted | None = None,
    runs: int,
    warm: bool = True,
    note: str = "",
) -> Measured:
    """Run the contestants in turn, and keep what each of them took.

    Args:
        section: the table of the page.
        what: the row's name.
        contestants: ours first, then what it is held against.
        cwd: where they run.
        wanted: what the project promises.
        runs: counted turns.
        warm: whether a turn that isn't counted comes first.
        note: what a reader must know of this row.
    """
    taken: dict[str, list[Sample]] = {one.name: [] for one in contestants}
    for turn in range(0 if warm else 1, runs + 1):
        for one in contestants:
            if one.before:
                timed(one.before, cwd, one.env)
            sample = timed(one.command, cwd, one.env)
            if turn:
                taken[one.name].append(sample)
    return Measured(
        section=section,
        what=what,
        sides=[side(one.name, taken[one.name], one.check) for one in contestants],
        wanted=wanted or Wanted(),
        note=note,
    )


def side(name: str, samples: Sequence[Sample], check: Callable[[], str] | None = None) -> Side:
    """Return one side of a row: its samples, and what became of the rows."""
    loads = [told for sample in samples if (told := load_seconds(sample)) is not None]
    return Side(
        name=name,
        seconds=[round(sample.seconds, 3) for sample in samples],
        load_seconds=[round(x, 3) for x in loads] if len(loads) == len(samples) else [],
        cpu_seconds=[round(sample.cpu_seconds, 3) for sample in samples],
        peak_mib=round(max(sample.peak_mib for sample in samples)),
        check=check() if check else "",
    )
