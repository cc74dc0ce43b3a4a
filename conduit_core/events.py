"""The typed events of a load: what happened, as data.

Progress, logs, metrics, alerts and the crash harness are all listeners on these; the engine knows
none of them. A listener that raises never aborts a load: :class:`Emitter` records it once.

The order of one stream's load (fused)::

    StreamStarted -> PlanReady -> [PublishStarted -> BatchRead* / BatchWritten* -> AuditStarted
    -> CommitStarted -> Committed] -> StateMirrored -> StreamFinished | StreamFailed

and around all streams ``RunStarted`` ... ``RunFinished``; before the latter, for each hook of
``after:``, ``HookStarted`` -> ``HookFinished`` | ``HookFailed``. A load in splits has
``SplitStaged`` for each, between ``PlanReady`` and ``AuditStarted``, and is published after that.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal, TextIO

StageName = Literal["plan", "read", "cast", "write", "commit"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, when (UTC) and to which pipeline and stream."""

    at: datetime = field(default_factory=_now)
    pipeline: str = ""
    stream: str = ""

    @property
    def name(self) -> str:
        """The event's stable name in logs: the class name in snake case."""
        text = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in text).lstrip("_")

    def facts(self) -> dict[str, object]:
        """Return every field as plain data (dates as ISO text), for logs and reports."""
        out: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            out[f.name] = value.isoformat() if isinstance(value, datetime) else value
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run begins over these streams."""

    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStarted(Event):
    """A stream's turn has come; nothing was read yet (fault point: before plan)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReady(Event):
    """The window is frozen. ``rows_estimate`` is None where the source can't tell cheaply."""

    load_id: str
    target: str
    mode: str
    window: str
    guarantee: str
    rows_estimate: int | None
    seconds: float
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """A retryable error; the next attempt starts after ``wait_seconds``."""

    error: str
    error_class: str
    attempt: int
    wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishStarted(Event):
    """The publish transaction is open and holds the target's lock."""

    load_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRead(Event):
    """A batch was read and cast; seconds are this batch's own. ``bytes`` is its Arrow size.

    ``queue_bytes`` wait for the destination by now, of ``queue_limit`` at most. ``split`` is the
    one that is staged; "" where the load isn't in splits.
    """

    load_id: str
    rows: int
    bytes: int
    read_seconds: float
    cast_seconds: float
    queue_bytes: int
    queue_limit: int
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWritten(Event):
    """The destination has taken a batch and asked for the next one (fault point: mid-stage)."""

    load_id: str
    rows: int
    bytes: int
    write_seconds: float
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStarted(Event):
    """Every row was read; whole-load checks begin (fault point: during audit)."""

    load_id: str
    rows_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChecked(Event):
    """What a rule found in a whole load, before it is published; ``failed`` counts rows.

    ``result`` is passed, failed or not_judged; ``text`` may show values of the rows.
    """

    load_id: str
    rule: str
    action: Literal["fail", "dlq", "warn"]
    result: Literal["passed", "failed", "not_judged"]
    checked: int
    failed: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChanged(Event):
    """A load changed a column of its target; ``change`` is added, widened or nullable."""

    load_id: str
    column: str
    change: Literal["added", "widened", "nullable"]
    was: str | None
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitStaged(Event):
    """A split's rows and receipt are committed to staging (fault point: after a split's commit).

    ``splits`` is how many the load has; ``worker`` is the host and process that staged it.
    """

    load_id: str
    split: str
    splits: int
    rows: int
    bytes: int
    seconds: float
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStarted(Event):
    """Everything is written; COMMIT comes next (fault point: before commit)."""

    load_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """The destination has committed (fault point: after commit before mirror)."""

    load_id: str
    version: int
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    rows_rejected: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMirrored(Event):
    """The runner's state store holds the new entry (fault point: after mirror before hooks)."""

    load_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFinished(Event):
    """A stream ended well: ``outcome`` is published, replayed or empty. Stage times in seconds.

    ``counts`` are rows by what became of them, kinds without rows left out; ``watermark_at`` is the
    watermark's moment, for cursors over time.
    """

    load_id: str
    outcome: str
    rows_read: int
    counts: dict[str, int]
    bytes_read: int
    watermark: str | None
    watermark_at: datetime | None
    seconds: float
    stages: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen(Event):
    """Where a stream stands, looked at without loading it (``conduit status``).

    ``lag_seconds`` is how far the watermark is behind the source's newest row, for cursors over
    time; ``letters_open`` is None where the destination keeps no dead letters.
    """

    watermark: str | None
    watermark_at: datetime | None
    lag_seconds: float | None
    freshness_seconds: float | None
    is_behind: bool
    is_stale: bool
    letters_open: int | None
    published_at: datetime | None
    load_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUnseen(Event):
    """A stream couldn't be looked at (``conduit status``); the error's lines are in ``lines``."""

    error: str
    exit_code: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFailed(Event):
    """A stream failed; the four lines of its error are in ``lines``."""

    error: str
    exit_code: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookStarted(Event):
    """A hook of ``after:`` begins; ``tables`` changed since it last finished."""

    hook: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFinished(Event):
    """A hook is done, or had nothing to do (``skipped``); ``text`` says what, or why not.

    What it has finished with is written to the destination next (fault point: before that).
    """

    hook: str
    outcome: Literal["succeeded", "skipped"]
    text: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFailed(Event):
    """A hook failed; the loads are published. The four lines of its error are in ``lines``."""

    hook: str
    error: str
    exit_code: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTold(Event):
    """An alert was sent to one receiver, or couldn't be (``failed``, with the reason in ``text``).

    ``about`` is what it tells: failure, success, recovered, rejected, schema_change or stale;
    ``to`` names the receiver without its secrets.
    """

    about: str
    to: str
    outcome: Literal["sent", "failed"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """All streams are done, and what follows them (fault point: after hooks)."""

    published: tuple[str, ...]
    empty: tuple[str, ...]
    failed: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something the user should know that is no failure (a rolled-forward state, a lossy type)."""

    level: Literal["info", "warning"]
    message: str


Listener = Callable[[Event], None]
Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Drop the event: the ``emit`` of a call nobody listens to."""


class Emitter:
    """Hands each event to every listener, from any thread, and never raises.

    Args:
        listeners: called in order; one at a time.
        complain: where the first failure of a listener is told, one line.
    """

    def __init__(
        self, listeners: tuple[Listener, ...] = (), complain: TextIO | None = None
    ) -> None:
        self._listeners = listeners
        self._lock = threading.RLock()
        self._broken: set[int] = set()
        self._complain = complain

    def __call__(self, event: Event) -> None:
        """Hand the event to every listener that still works."""
        with self._lock:
            for position, listener in enumerate(self._listeners):
                if position in self._broken:
                    continue
                try:
                    listener(event)
                except Exception as error:  # noqa: BLE001 - a listener must never abort a load
                    self._broken.add(position)
                    out = self._complain or sys.stderr
                    out.write(f"listener {listener!r} failed and is off: {error!r}\n")
