"""How events are told to people: one line each, the same in every listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from conduit_core import events as ev
from conduit_core.observe import figures

WITHOUT_VALUES = frozenset(
    {
        "CancelledError",
        "ConcurrentLoadError",
        "ConfigError",
        "ConnectionFailedError",
        "PublishUnknownError",
        "StagingLostError",
    }
)
"""Errors whose first line names settings and systems, and never shows a row's value."""

Level = Literal["debug", "info", "warning", "error"]


def _plan_ready(e: ev.PlanReady) -> str:
    if e.empty:
        return f"nothing to read for {e.target} ({e.mode})"
    about = f", about {figures.count(e.rows_estimate)} rows" if e.rows_estimate is not None else ""
    return f"planned {e.window} into {e.target} ({e.mode}, {e.guarantee}){about}"


def _finished(e: ev.StreamFinished) -> str:
    if e.outcome != "published":
        mark = f"; watermark {e.watermark}" if e.watermark else ""
        return {"empty": "nothing new", "replayed": "loaded before"}.get(
            e.outcome, e.outcome
        ) + mark
    became = figures.kinds(e.counts)
    parts = [
        f"published {figures.count(e.rows_read)} rows{f' ({became})' if became else ''}",
        figures.size(e.bytes_read),
        figures.duration(e.seconds),
    ]
    parts.append(figures.rate(e.rows_read, e.seconds))
    mark = f"; watermark {e.watermark}" if e.watermark else ""
    return ", ".join(p for p in parts if p) + mark


def _seen(e: ev.StreamSeen) -> str:
    lag = "nothing newer at the source"
    if e.is_behind:
        lag = "the source has newer rows"
        if e.lag_seconds:
            lag = f"{figures.duration(e.lag_seconds)} behind the source"
    mark = f"; watermark {e.watermark}" if e.watermark else ""
    return f"{'stale: ' if e.is_stale else ''}{lag}{mark}"


def _rule_checked(e: ev.RuleChecked) -> str:
    if e.result == "failed" and e.action == "fail":  # or another action above its ceiling
        return f"rule {e.rule} stops the load: {e.text}"
    if e.result == "failed":
        return f"rule {e.rule} ({e.action}): {e.text}"
    how = f" on {figures.count(e.checked)} rows" if e.checked else ""
    return f"rule {e.rule} {e.result.replace('_', ' ')}{how}"


def column_change(change: str, was: str | None, now: str | None) -> str:
    """Return what a load did to a column of its target, behind the column's name."""
    match change:
        case "added":
            return f"added as {now}"
        case "widened":
            return f"widened from {was} to {now}"
        case _:
            return "may be NULL now"


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
    return f"{', '.join(told) or 'nothing done'} in {figures.duration(e.seconds)}"


_MESSAGES: dict[type[ev.Event], Callable[..., str]] = {
    ev.RunStarted: lambda e: f"loading {', '.join(e.streams)}",
    ev.StreamStarted: lambda e: "started",
    ev.PlanReady: _plan_ready,
    ev.Retrying: lambda e: (
        f"attempt {e.attempt} failed: {e.error}; trying again in {figures.duration(e.wait_seconds)}"
    ),
    ev.PublishStarted: lambda e: "publishing",
    ev.BatchRead: lambda e: f"read {figures.count(e.rows)} rows, {figures.size(e.bytes)}",
    ev.BatchWritten: lambda e: f"wrote {figures.count(e.rows)} rows, {figures.size(e.bytes)}",
    ev.AuditStarted: lambda e: f"read all of {figures.count(e.rows_read)} rows",
    ev.RuleChecked: _rule_checked,
    ev.SchemaChanged: lambda e: f"column {e.column} {column_change(e.change, e.was, e.now)}",
    ev.SplitStaged: lambda e: (
        f"staged {figures.count(e.rows)} rows of split {e.split}, one of {figures.count(e.splits)}"
    ),
    ev.CommitStarted: lambda e: "committing",
    ev.Committed: lambda e: f"committed version {e.version}",
    ev.StateMirrored: lambda e: "state mirrored",
    ev.StreamFinished: _finished,
    ev.StreamSeen: _seen,
    ev.StreamUnseen: lambda e: f"can't be looked at: {e.lines[0] if e.lines else e.error}",
    ev.StreamFailed: lambda e: f"failed: {e.lines[0] if e.lines else e.error}",
    ev.HookStarted: lambda e: f"after.{e.hook}: begins, for {', '.join(e.tables)}",
    ev.HookFinished: lambda e: (
        f"after.{e.hook}: {'skipped: ' if e.outcome == 'skipped' else ''}{e.text}"
    ),
    ev.HookFailed: lambda e: f"failed: {e.lines[0] if e.lines else e.error}",
    ev.AlertTold: lambda e: (
        f"told {e.to} of {e.about}"
        if e.outcome == "sent"
        else f"could not tell {e.to} of {e.about}: {e.text}"
    ),
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
    if isinstance(event, ev.StreamFailed | ev.HookFailed):
        return "error"
    if isinstance(event, ev.Retrying | ev.StreamUnseen):
        return "warning"
    if isinstance(event, ev.Notice):
        return event.level
    if isinstance(event, ev.StreamSeen):
        return "warning" if event.is_stale else "info"
    if isinstance(event, ev.AlertTold):
        return "info" if event.outcome == "sent" else "warning"
    if isinstance(event, ev.RuleChecked):
        return "warning" if event.result == "failed" else "debug"
    return "debug" if isinstance(event, _DEBUG) else "info"
