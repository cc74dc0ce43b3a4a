"""What the batches of each stream add up to so far: rows, bytes, speed, time left."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from conduit_core.events import (
    BatchRead,
    BatchWritten,
    Event,
    PlanReady,
    SplitStaged,
    StreamFinished,
)

_COUNTED = (BatchRead, BatchWritten, SplitStaged, StreamFinished)
_HERE = f"{platform.node()}:{os.getpid()}"


@dataclass(slots=True)
class StreamTally:
    """One stream's running totals; a retry starts them again.

    Args:
        rows: rows that the destination has taken; ``rows_read`` may be ahead.
        rows_estimate: what the plan expects, None where unknown.
        started: when reading began, on the clock of the :class:`Tally`.
    """

    started: float
    rows_estimate: int | None = None
    rows: int = 0
    rows_read: int = 0
    bytes: int = 0
    seconds: float = 0.0

    @property
    def rows_per_second(self) -> float:
        """Rows taken per second since the plan was ready."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The time the rest takes at this speed; None where the rest isn't known."""
        speed = self.rows_per_second
        if self.rows_estimate is None or not speed:
            return None
        return max(self.rows_estimate - self.rows, 0) / speed


@dataclass(slots=True)
class Tally:
    """Adds up events by stream; feed it every event."""

    clock: Callable[[], float] = time.monotonic
    streams: dict[str, StreamTally] = field(default_factory=dict)

    def add(self, event: Event) -> StreamTally | None:
        """Take an event in; return its stream's totals if it changed them."""
        if isinstance(event, PlanReady):
            tally = StreamTally(self.clock(), event.rows_estimate)
            self.streams[event.stream] = tally
            return tally
        known = self.streams.get(event.stream)
        if known is None or not isinstance(event, _COUNTED):
            return None
        if isinstance(event, BatchRead):
            known.rows_read += event.rows
        elif isinstance(event, BatchWritten):
            known.rows += event.rows
            known.bytes += event.bytes
        elif isinstance(event, SplitStaged):
            if event.worker != _HERE:  # a worker of this process has told of each batch
                known.rows += event.rows
                known.bytes += event.bytes
        elif event.outcome == "published":
            known.rows, known.bytes = event.rows_read, event.bytes_read
        known.seconds = self.clock() - known.started
        return known
