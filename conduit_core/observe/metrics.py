"""The metrics of loads, in one table, and what each event says of them. Pure.

Names and units are Prometheus' conventions; every receiver has the same. Label values are bounded:
names of the pipeline file, and words of a fixed list.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from conduit_core import events as ev

Kind = Literal["counter", "gauge", "histogram"]
_LOOK_EACH = timedelta(seconds=1)
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Args:
        name: as Prometheus has it, unit and ``_total`` included.
        kind: counters only grow; a histogram counts values by ``buckets``.
        unit: seconds, bytes, rows ...; "" for a pure number.
        labels: names of its labels, ``pipeline`` first.
        help: what it says, in one line.
        buckets: upper bounds, ascending.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value of a metric: to be added to a counter, set, or observed."""

    metric: Metric
    value: float
    labels: tuple[str, ...]


_STREAM = ("pipeline", "stream")


def _counter(name: str, unit: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(f"conduit_{name}_total", "counter", unit, labels, text)


def _gauge(name: str, unit: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(f"conduit_{name}", "gauge", unit, labels, text)


def _histogram(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(f"conduit_{name}_seconds", "histogram", "seconds", labels, text, _SECONDS)


ROWS = _counter(
    "rows", "rows", (*_STREAM, "kind"), "Rows of published loads, by what became of them."
)
BYTES = _counter(
    "read_bytes", "bytes", _STREAM, "Arrow bytes read from the source by loads that ended well."
)
LOADS = _counter(
    "loads",
    "loads",
    (*_STREAM, "outcome"),
    "Loads by outcome: published, empty, replayed or failed.",
)
ERRORS = _counter("errors", "errors", (*_STREAM, "error"), "Failures by the class of the error.")
RETRIES = _counter(
    "retries", "retries", (*_STREAM, "error"), "Attempts that failed and were tried again."
)
REJECTED = _counter(
    "rejected_rows", "rows", (*_STREAM, "rule", "action"), "Rows that broke a rule, by rule."
)
COLUMNS = _counter(
    "schema_changes", "columns", (*_STREAM, "change"), "Columns of targets that loads changed."
)
LOAD_SECONDS = _histogram("load_duration", (*_STREAM, "outcome"), "How long loads took.")
STAGE_SECONDS = _histogram(
    "stage_duration", (*_STREAM, "stage"), "How long stages of loads took; they overlap."
)
FINISHED = _gauge(
    "last_finish_timestamp_seconds", "seconds", (*_STREAM, "outcome"), "When a load last ended so."
)
MARK = _gauge(
    "watermark_timestamp_seconds",
    "seconds",
    _STREAM,
    "The watermark's moment, for cursors over time.",
)
AGE = _gauge(
    "watermark_age_seconds",
    "seconds",
    _STREAM,
    "How old the watermark was when it was last looked at.",
)
LAG = _gauge(
    "source_lag_seconds",
    "seconds",
    _STREAM,
    "How far the watermark is behind the source's newest row.",
)
LOOKED = _gauge(
    "last_look_timestamp_seconds",
    "seconds",
    _STREAM,
    "When the stream was last looked at by conduit status: how old lag, staleness and letters are.",
)
STALE = _gauge("stale", "", _STREAM, "1 where a stream is past its freshness, else 0.")
LETTERS = _gauge("dead_letters_open", "rows", _STREAM, "Open dead letters.")
QUEUE = _gauge(
    "queue_fill_ratio", "", _STREAM, "How full the queue between source and destination is, 0 to 1."
)
MEMORY = _gauge(
    "peak_memory_bytes", "bytes", ("pipeline",), "The most memory that the process has had."
)
HOOKS = _counter("hooks", "hooks", ("pipeline", "hook", "outcome"), "Hooks of after: by outcome.")
HOOK_SECONDS = _histogram("hook_duration", ("pipeline", "hook"), "How long hooks of after: took.")
ALERTS = _counter(
    "alerts", "alerts", ("pipeline", "about", "outcome"), "Alerts sent, and those that couldn't be."
)

METRICS = (
    ROWS, BYTES, LOADS, ERRORS, RETRIES, REJECTED, COLUMNS, LOAD_SECONDS, STAGE_SECONDS, FINISHED,
    MARK, AGE, LAG, LOOKED, STALE, LETTERS, QUEUE, MEMORY, HOOKS, HOOK_SECONDS, ALERTS,
)  # fmt: skip
"""Every metric there is."""


class FewBatches:
    """Leaves out batches that come right behind one of their stream: a look at each costs."""

    def __init__(self) -> None:
        self._looked: dict[str, datetime] = {}

    def skips(self, event: ev.Event) -> bool:
        """Say whether an event is a batch that nobody has to look at."""
        if not isinstance(event, ev.BatchRead | ev.BatchWritten):
            return False
        last = self._looked.get(event.stream)
        if isinstance(event, ev.BatchWritten) or (last and event.at - last < _LOOK_EACH):
            return True
        self._looked[event.stream] = event.at
        return False


def measure(event: ev.Event) -> Iterator[Measurement]:
    """Yield what an event says."""
    where = (event.pipeline, event.stream)
    match event:
        case ev.BatchRead():
            yield Measurement(QUEUE, min(event.queue_bytes / max(event.queue_limit, 1), 1.0), where)
        case ev.StreamFinished():
            yield from _finished(event, where)
        case ev.StreamFailed():
            yield Measurement(LOADS, 1, (*where, "failed"))
            yield Measurement(ERRORS, 1, (*where, event.error))
            yield Measurement(FINISHED, event.at.timestamp(), (*where, "failed"))
            yield Measurement(QUEUE, 0.0, where)
            yield from _memory(event)
        case ev.Retrying():
            yield Measurement(RETRIES, 1, (*where, event.error_class))
        case ev.RuleChecked() if event.failed:
            yield Measurement(REJECTED, event.failed, (*where, event.rule, event.action))
        case ev.SchemaChanged():
            yield Measurement(COLUMNS, 1, (*where, event.change))
        case ev.StreamSeen():
            yield from _seen(event, where)
        case ev.StreamUnseen():
            yield Measurement(ERRORS, 1, (*where, event.error))
        case _:
            yield from _of_pipelines(event)


def _of_pipelines(event: ev.Event) -> Iterator[Measurement]:
    match event:
        case ev.HookFinished():
            yield Measurement(HOOKS, 1, (event.pipeline, event.hook, event.outcome))
            yield Measurement(HOOK_SECONDS, event.seconds, (event.pipeline, event.hook))
        case ev.HookFailed():
            yield Measurement(HOOKS, 1, (event.pipeline, event.hook, "failed"))
        case ev.AlertTold():
            yield Measurement(ALERTS, 1, (event.pipeline, event.about, event.outcome))
        case _:
            pass


def _finished(event: ev.StreamFinished, where: tuple[str, str]) -> Iterator[Measurement]:
    yield Measurement(LOADS, 1, (*where, event.outcome))
    yield Measurement(LOAD_SECONDS, event.seconds, (*where, event.outcome))
    yield Measurement(FINISHED, event.at.timestamp(), (*where, event.outcome))
    if event.outcome == "published":
        for kind, rows in event.counts.items():
            yield Measurement(ROWS, rows, (*where, kind))
        yield Measurement(BYTES, event.bytes_read, where)
    for stage, seconds in event.stages.items():
        yield Measurement(STAGE_SECONDS, seconds, (*where, stage))
    yield Measurement(QUEUE, 0.0, where)
    yield from _mark(event.watermark_at, event.at, where)
    yield from _memory(event)


def _seen(event: ev.StreamSeen, where: tuple[str, str]) -> Iterator[Measurement]:
    yield Measurement(LOOKED, event.at.timestamp(), where)
    yield from _mark(event.watermark_at, event.at, where)
    if event.lag_seconds is not None:
        yield Measurement(LAG, event.lag_seconds, where)
    yield Measurement(STALE, float(event.is_stale), where)
    if event.letters_open is not None:
        yield Measurement(LETTERS, event.letters_open, where)


def _mark(moment: datetime | None, now: datetime, where: tuple[str, str]) -> Iterator[Measurement]:
    if moment is not None:
        yield Measurement(MARK, moment.timestamp(), where)
        yield Measurement(AGE, (now - moment).total_seconds(), where)


def _memory(event: ev.Event) -> Iterator[Measurement]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1 if sys.platform == "darwin" else 1024
    yield Measurement(MEMORY, peak * scale, (event.pipeline,))
