"""JSON lines on stderr: every event, and every line that a library says, in one published form.

The form is ``log.schema.json`` beside this file (JSON Schema, draft 2020-12). Each line is an
object with ``at`` (UTC, ISO 8601), ``level``, ``event`` (its name) and ``message`` (one line for
people); what belongs to a stream also has ``pipeline`` and ``stream``, then the event's own facts.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import TextIO

from conduit_core.events import Event
from conduit_core.observe import words
from conduit_core.observe.lines import PROGRESS_SECONDS, Pace, progress_text

_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning"}


def log_schema() -> dict[str, object]:
    """Return the JSON Schema of one line."""
    text = files("conduit_core.observe").joinpath("log.schema.json").read_text(encoding="utf-8")
    schema: dict[str, object] = json.loads(text)
    return schema


def _tells(key: str, value: object) -> bool:
    return value is not None and not (key in {"pipeline", "stream", "split"} and not value)


def redacted(value: object, redact: Callable[[str], str]) -> object:
    """Return plain data with ``redact`` applied to each text in it, and seconds without noise."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, redact) for item in value]
    return value


class JsonLog:
    """Writes records as JSON lines; as a listener, events.

    Args:
        out: where lines go.
        redact: applied to every text before it is written.
        debug: also write each batch and step; without, progress now and then.
        every: seconds between two lines of progress of a stream.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        redact: Callable[[str], str] = str,
        debug: bool = False,
        every: float = PROGRESS_SECONDS,
    ) -> None:
        self._out = out
        self._redact = redact
        self._debug = debug
        self._pace = Pace(every)
        self._lock = threading.RLock()

    def __call__(self, event: Event) -> None:
        """Write the event if it is loud enough."""
        tally = self._pace.due(event)
        level = words.level(event)
        where = {"pipeline": event.pipeline, "stream": event.stream}
        if self._debug or level != "debug":
            facts = {k: v for k, v in event.facts().items() if k not in {"at", "level", "message"}}
            self.write(level, event.name, words.message(event), facts, at=event.at)
        elif tally is not None:
            left = tally.seconds_left
            facts = {
                **where,
                "rows": tally.rows,
                "bytes": tally.bytes,
                "rows_per_second": round(tally.rows_per_second, 1),
                "rows_estimate": tally.rows_estimate,
                "seconds_left": None if left is None else round(left, 1),
            }
            self.write("info", "progress", progress_text(tally), facts, at=event.at)

    def write(
        self,
        level: str,
        event: str,
        message: str,
        facts: Mapping[str, object] | None = None,
        *,
        at: datetime | None = None,
    ) -> None:
        """Write one record."""
        moment = (at or datetime.now(UTC)).astimezone(UTC).isoformat()
        head = {"at": moment, "level": level, "event": event, "message": message}
        rest = {k: v for k, v in (facts or {}).items() if _tells(k, v)}
        record = redacted({**head, **rest}, self._redact)
        line = json.dumps(record, ensure_ascii=True, separators=(",", ":"), default=str)
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()


class _Handler(logging.Handler):
    """Hands records of the standard library's logging to the log."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            facts: dict[str, object] = {"logger": record.name}
            if record.exc_info:
                facts["traceback"] = logging.Formatter().formatException(record.exc_info)
            at = datetime.fromtimestamp(record.created, UTC)
            level = _LEVELS.get(record.levelname, "error")
            self._log.write(level, "log", record.getMessage(), facts, at=at)
        except Exception:  # noqa: BLE001 - the contract of logging.Handler
            self.handleError(record)


class _Stderr(io.TextIOBase):
    """Takes the place of ``sys.stderr``: whatever is written to it becomes a record per line."""

    encoding = "utf-8"

    def __init__(self, log: JsonLog, real: TextIO) -> None:
        super().__init__()
        self._log = log
        self._real = real
        self._rest = ""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._real.fileno()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                if line.strip():
                    self._log.write("warning", "stderr", line.rstrip())
        return len(text)

    def finish(self) -> None:
        """Write what stands behind the last newline."""
        if self._rest:
            self.write("\n")


@contextmanager
def route_everything(log: JsonLog) -> Iterator[None]:
    """Send logging, warnings, structlog and ``sys.stderr`` to the log until the block ends."""
    root, real = logging.getLogger(), sys.stderr
    before, threshold = root.handlers[:], root.level
    wrapped = _Stderr(log, real)
    root.handlers[:] = [_Handler(log)]
    logging.captureWarnings(True)  # noqa: FBT003 - the standard library's signature
    sys.stderr = wrapped
    try:
        _route_structlog()
        yield
    finally:
        wrapped.finish()
        sys.stderr = real
        logging.captureWarnings(False)  # noqa: FBT003
        root.handlers[:] = before
        root.setLevel(threshold)


def _route_structlog() -> None:
    """Let libraries that log through structlog end in the standard library's logging."""
    import structlog

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
