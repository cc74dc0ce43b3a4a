"""Waiting for what another process does, by looking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

TIMEOUT_SECONDS = 240
Found = TypeVar("Found")


def wait_for(
    look: Callable[[], Found | None],
    what: str,
    *,
    seconds: float = TIMEOUT_SECONDS,
    every: float = 0.05,
) -> Found:
    """Return what a look finds, as soon as it finds any."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"waited too long for {what}"
        time.sleep(every)
    return found
