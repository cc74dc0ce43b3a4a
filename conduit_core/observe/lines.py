"""Plain lines: one per event that matters, for logs that people read and no terminal shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC

from conduit_core.events import Event
from conduit_core.observe import figures, words
from conduit_core.observe.tally import StreamTally, Tally

PROGRESS_SECONDS = 10.0


class Pace:
    """Says when a stream's progress is due: at most one line per ``every`` seconds and stream."""

    def __init__(self, every: float = PROGRESS_SECONDS) -> None:
        self._every = every
        self._tally = Tally()
        self._told: dict[str, float] = {}

    def due(self, event: Event) -> StreamTally | None:
        """Take an event in; return the stream's totals when it is time to tell them."""
        tally = self._tally.add(event)
        if tally is None:
            return None
        now = time.monotonic()
        if tally.rows == 0 or event.name != "batch_written":
            self._told.setdefault(event.stream, now)
            return None
        if now - self._told.get(event.stream, now) < self._every:
            return None
        self._told[event.stream] = now
        return tally


def progress_text(tally: StreamTally) -> str:
    """Return one line of progress: rows, bytes, speed, time left."""
    of = f" of about {figures.count(tally.rows_estimate)}" if tally.rows_estimate else ""
    parts = [f"{figures.count(tally.rows)}{of} rows", figures.size(tally.bytes)]
    parts.append(figures.rate(tally.rows, tally.seconds))
    if tally.seconds_left is not None:
        parts.append(f"{figures.duration(tally.seconds_left)} left")
    return ", ".join(p for p in parts if p)


class PlainLines:
    """A listener that writes a line per event and stream, and progress now and then.

    Args:
        write: takes each line, without its newline.
        debug: also tell each batch and step.
        clock: whether a line begins with the time; not where the log that takes it has its own.
        every: seconds between two lines of progress of a stream.
        warn: takes the lines of warnings, where the log that takes them has levels.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        warn: Callable[[str], object] | None = None,
        debug: bool = False,
        clock: bool = True,
        every: float = PROGRESS_SECONDS,
    ) -> None:
        self._write = write
        self._warn = warn or write
        self._debug = debug
        self._clock = clock
        self._pace = Pace(every)

    def __call__(self, event: Event) -> None:
        """Write the event's line if it is loud enough."""
        tally = self._pace.due(event)
        if self._debug or words.level(event) != "debug":
            self._line(event, words.message(event))
        elif tally is not None:
            self._line(event, progress_text(tally))

    def _line(self, event: Event, text: str) -> None:
        at = event.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ ") if self._clock else ""
        is_warning = words.level(event) == "warning"
        mark = "warning: " if is_warning else ""
        write = self._warn if is_warning else self._write
        write(f"{at}{event.stream or event.pipeline}: {mark}{text}")
