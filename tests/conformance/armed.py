"""The listener that kills its own process where a schedule says: once, whoever comes there first.

A schedule is a folder with a file for each kill, named by its turn and by where it hits. Who comes
to the first one that is left takes it away, and dies. So one environment does for all attempts of a
load, however a runner starts them, and what is left in the end was never reached.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from conduit_core.events import CommitStarted, Event, HookFinished, Listener, ignore
from conduit_core.testing.faults import POINTS

FOLDER = "CONDUIT_TEST_KILLS"
"""Names the folder of the schedules: one folder each, by the pipelines' names."""
SPENT = "spent"


def listener() -> Listener:
    """Return what kills this process, if the environment names schedules."""
    folder = os.environ.get(FOLDER)
    return Armed(Path(folder)) if folder else ignore


class Armed:
    """Hears one load's events, or one hook's, and counts them.

    A kill is ``WHERE:NUMBER`` or ``WHERE:NUMBER:STREAM``. Where: a fault point, at its event of
    that number; ``event``, at the event of that number, whichever it is; ``commit``, so many
    microseconds after a commit has begun; ``moment``, so many milliseconds after the first event;
    ``within``, the same, if the load isn't over by then;
    ``hook_left``, as soon as a hook's work is written down, and nobody knows yet. With an
    exclamation mark at its end, the parent process dies, too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: Counter[tuple[str, str]] = Counter()
        self._begun: set[str] = set()
        self._last = ""

    def __call__(self, event: Event) -> None:
        """Count the event, and look whether the next kill is here."""
        self._last = type(event).__name__
        for stream in {event.stream, ""}:
            self._seen[type(event).__name__, stream] += 1
            self._seen["event", stream] += 1
        due = next(iter(sorted((self._folder / event.pipeline).glob("[0-9]*"))), None)
        if due is None:
            return
        where, number, stream = [*due.name.partition(" ")[2].rstrip("!").split(":"), "", ""][:3]
        if stream in ("", event.stream):
            self._at(event, due, where, int(number), stream)

    def _at(self, event: Event, due: Path, where: str, number: int, stream: str) -> None:
        told = type(event).__name__
        if where == "commit" and isinstance(event, CommitStarted):
            self._soon(due, lambda: time.sleep(number / 1_000_000))
        elif where in ("moment", "within"):
            self._soon(due, lambda: time.sleep(number / 1_000), at_work=where == "within")
        elif where == "hook_left" and isinstance(event, HookFinished):
            self._when_left("run_hook", due)
        elif where == "event" or (where in POINTS and isinstance(event, POINTS[where])):
            counted = "event" if where == "event" else told
            if self._seen[counted, stream] >= number:
                _die(due, told)

    def _soon(self, due: Path, wait: Callable[[], None], *, at_work: bool = False) -> None:
        if due.name in self._begun:
            return
        self._begun.add(due.name)

        def then() -> None:
            wait()
            if not at_work or _is_at_work():
                _die(due, f"{self._last}+")

        threading.Thread(target=then, daemon=True).start()

    def _when_left(self, function: str, due: Path) -> None:
        """Die as soon as this thread has left a function of this name that it is in."""

        def look(frame: FrameType, what: str, _: object) -> None:
            if what == "return" and frame.f_code.co_name == function:
                _die(due, f"{self._last}+")

        sys.setprofile(look)


def _is_at_work() -> bool:
    """Say whether a thread of this process is in the library's own code."""
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = top
        while frame is not None and thread != threading.get_ident():
            if frame.f_globals.get("__name__", "").startswith("conduit_core."):
                return True
            frame = frame.f_back
    return False


def _die(due: Path, last: str) -> None:
    """Take a kill away, and die of it; `last` is the last event, with a plus if some time ago."""
    spent = due.parent / SPENT
    spent.mkdir(exist_ok=True)
    try:
        due.rename(spent / f"{due.name} {last}")
    except FileNotFoundError:
        return  # another process was first
    if due.name.endswith("!"):
        os.kill(os.getppid(), signal.SIGKILL)
    # To this thread, not to the process: another one might take it, and this one go on.
    signal.pthread_kill(threading.get_ident(), signal.SIGKILL)
