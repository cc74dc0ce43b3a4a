"""How events and numbers are told to people: one line each, the same in every listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from conduit_core import events as ev

Level = Literal["debug", "info", "warning", "error"]


def count(rows: int) -> str:
    """Return a number of rows with thousands apart: ``336,776``."""
    return f"{rows:,}"


def size(amount: float) -> str:
    """Return bytes in the largest unit that fits: ``41.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(seconds: float) -> str:
    """Return seconds as people read them: ``0.42 s``, ``3m 05s``, ``2h 03m``, ``5d 01h``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h {minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours:02d}h"


def rate(rows: int, seconds: float) -> str:
    """Return rows per second, or an empty text where there is nothing to divide."""
    return f"{rows / seconds:,.0f} rows/s" if rows and seconds > 0 else ""


def _plan_ready(e: ev.PlanReady) -> str:
    if e.empty:
        return f"nothing to read for {e.target} ({e.mode})"
    about = f", about {count(e.rows_estimate)} rows" if e.rows_estimate is not None else ""
    return f"planned {e.window} into {e.target} ({e.mode}, {e.guarantee}){about}"


def _finished(e: ev.StreamFinished) -> str:
    if e.outcome != "published":
        mark = f"; watermark {e.watermark}" if e.watermark else ""
        return {"empty": "nothing new", "replayed": "loaded before"}.get(
            e.outcome, e.outcome
        ) + mark
    parts = [f"published {count(e.rows_read)} rows", size(e.bytes_read), duration(e.seconds)]
    parts.append(rate(e.rows_read, e.seconds))
    mark = f"; watermark {e.watermark}" if e.watermark else ""
    return ", ".join(p for p in parts if p) + mark


def _run_finished(e: ev.RunFinished) -> str:
    told = [
        f"{len(names)} {word}"
        for names, word in (
            (e.published, "published"),
            (e.empty, "unchanged"),
            (e.failed, "failed"),
        )
        if names
    ]
    return f"{', '.join(told) or 'nothing done'} in {duration(e.seconds)}"


_MESSAGES: dict[type[ev.Event], Callable[..., str]] = {
    ev.RunStarted: lambda e: f"loading {', '.join(e.streams)}",
    ev.StreamStarted: lambda e: "started",
    ev.PlanReady: _plan_ready,
    ev.Retrying: lambda e: (
        f"attempt {e.attempt} failed: {e.error}; trying again in {duration(e.wait_seconds)}"
    ),
    ev.PublishStarted: lambda e: "publishing",
    ev.BatchRead: lambda e: f"read {count(e.rows)} rows, {size(e.bytes)}",
    ev.BatchWritten: lambda e: f"wrote {count(e.rows)} rows, {size(e.bytes)}",
    ev.AuditStarted: lambda e: f"read all of {count(e.rows_read)} rows",
    ev.CommitStarted: lambda e: "committing",
    ev.Committed: lambda e: f"committed version {e.version}",
    ev.StateMirrored: lambda e: "state mirrored",
    ev.StreamFinished: _finished,
    ev.StreamFailed: lambda e: f"failed: {e.lines[0] if e.lines else e.error}",
    ev.RunFinished: _run_finished,
    ev.Notice: lambda e: e.message,
}
_DEBUG = (
    ev.StreamStarted,
    ev.PublishStarted,
    ev.BatchRead,
    ev.BatchWritten,
    ev.AuditStarted,
    ev.CommitStarted,
    ev.Committed,
    ev.StateMirrored,
)


def message(event: ev.Event) -> str:
    """Return one line for an event, without pipeline and stream."""
    say = _MESSAGES.get(type(event))
    return say(event) if say else event.name.replace("_", " ")


def level(event: ev.Event) -> Level:
    """Return how loud an event is: batches and steps are ``debug``."""
    if isinstance(event, ev.StreamFailed):
        return "error"
    if isinstance(event, ev.Retrying):
        return "warning"
    if isinstance(event, ev.Notice):
        return event.level
    return "debug" if isinstance(event, _DEBUG) else "info"
