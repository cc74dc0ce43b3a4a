"""Which commands and processes are started while something runs in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")


@contextmanager
def starts() -> Iterator[list[str]]:
    """Note every start of a command while the block runs, and the processes that it leaves.

    Python tells of its own starts; one by a driver's C code shows as a child that is there.
    """
    seen: list[str] = []
    before = set(psutil.Process().children(recursive=True))
    on = [True]
    # A hook stays as long as the process does, so it is told when to stop.
    sys.addaudithook(lambda event, args: seen.append(event) if on and event in _STARTS else None)
    try:
        yield seen
    finally:
        on.clear()
        left = set(psutil.Process().children(recursive=True)) - before
        seen.extend(f"process {child.pid}" for child in left)
