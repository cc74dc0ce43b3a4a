"""Runs as receivers hear of them: events without a load, and what is said of receivers."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

from conduit_core import Pipeline, observing
from conduit_core.events import (
    BatchRead,
    Event,
    Notice,
    RuleChecked,
    StreamFailed,
    StreamFinished,
    StreamSeen,
)

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def bare(name: str = "shop") -> Pipeline:
    """Return a pipeline that is never run."""
    return Pipeline.from_mapping(
        {
            "name": name,
            "source": "sqlite:///shop.db",
            "destination": "sqlite:///warehouse.db",
            "streams": ["orders"],
        },
        Path.cwd(),
    )


def finished(stream: str = "orders", rows: int = 10, *, pipeline: str = "shop") -> StreamFinished:
    """Return how a load ended that read so many rows, one of which was rejected."""
    return StreamFinished(
        at=MOMENT,
        pipeline=pipeline,
        stream=stream,
        load_id="a1",
        outcome="published",
        rows_read=rows,
        counts={"read": rows, "inserted": rows - 1, "rejected": 1},
        bytes_read=1000,
        watermark="x",
        watermark_at=MOMENT,
        seconds=2.0,
        stages={"read": 0.5, "write": 1.0},
    )


def failed(stream: str = "orders", *, pipeline: str = "shop") -> StreamFailed:
    """Return how a load ended whose error shows a row's value."""
    lines = ("canary-value is no number", "nothing published", "a retry will not help", "conduit")
    return StreamFailed(
        at=MOMENT,
        pipeline=pipeline,
        stream=stream,
        error="SchemaError",
        exit_code=4,
        lines=lines,
    )


def broken(rule: str = "regex(email)", rows: int = 1) -> RuleChecked:
    """Return what a rule found; its text shows a row's value."""
    return RuleChecked(
        pipeline="shop",
        stream="orders",
        load_id="a1",
        rule=rule,
        action="dlq",
        result="failed",
        checked=10,
        failed=rows,
        text="1 of 10 rows break it; for example 'canary-value'",
    )


def batch() -> BatchRead:
    """Return a batch, after which the queue is half full."""
    return BatchRead(
        pipeline="shop",
        stream="orders",
        load_id="a1",
        rows=10,
        bytes=1000,
        read_seconds=0.1,
        cast_seconds=0.1,
        queue_bytes=50,
        queue_limit=100,
    )


def seen(*, lag: float | None = 7200.0, stale: bool = True) -> StreamSeen:
    """Return where a stream stands."""
    return StreamSeen(
        pipeline="shop",
        stream="orders",
        watermark="x",
        watermark_at=MOMENT,
        lag_seconds=lag,
        freshness_seconds=3600.0,
        is_behind=True,
        is_stale=stale,
        letters_open=3,
        published_at=MOMENT,
        load_id="a1",
    )


def told(to: str, *events: Event, pipeline: str = "shop") -> list[str]:
    """Tell receivers of events, as a run does, and return the warnings that people see."""
    said: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Notice):
            said.append(event.message)

    with observing(bare(pipeline), (hear,), to=to) as observation:
        for event in events:
            for listener in observation.listeners:
                listener(event)
    return said


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
