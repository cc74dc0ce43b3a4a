"""Commands that only look: ``status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session
from conduit_core.observe import words

if TYPE_CHECKING:
    from conduit_core.engine.admin import StreamStatus
    from conduit_core.engine.pipeline import Pipeline


def status(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    stream: options.Streams = None,
) -> Answer:
    """Compare each stream's watermark with its source; exit 5 where one is past its freshness."""
    from conduit_core.engine import admin

    pipeline = session.pipeline(file)
    found = admin.status(pipeline, tuple(stream) if stream else None)
    stale = [s for s in found if s.is_stale]
    columns = (
        ("stream", "left"),
        ("target", "left"),
        ("watermark", "left"),
        ("source's newest", "left"),
        ("lag", "right"),
        ("freshness", "right"),
        ("last load", "left"),
        ("rows", "right"),
        ("load id", "left"),
    )

    def show(screen: Screen) -> None:
        screen.table(columns, [_status_row(s) for s in found])

    return Answer(
        {"pipeline": pipeline.name, "streams": [s.model_dump(mode="json") for s in found]},
        show,
        exit_code=5 if stale else 0,
        errors=(_stale(pipeline, stale),) if stale else (),
    )


def _status_row(s: StreamStatus) -> tuple[str, ...]:
    lag = words.duration(s.lag_seconds) if s.lag_seconds is not None else ""
    if s.is_behind and not s.lag_seconds:
        lag = "behind"
    return (
        s.stream,
        s.target,
        s.watermark or "",
        s.source_newest or "",
        lag,
        words.duration(s.freshness_seconds) if s.freshness_seconds is not None else "",
        s.last_published_at.strftime("%Y-%m-%dT%H:%M:%SZ") if s.last_published_at else "never",
        words.count(s.last_rows_read) if s.last_rows_read is not None else "",
        s.last_load_id or "",
    )


def _stale(pipeline: Pipeline, stale: list[StreamStatus]) -> Exception:
    from conduit_core.errors import QualityError

    told = ", ".join(
        f"{s.stream} ({words.duration(s.lag_seconds)} behind)" if s.lag_seconds else s.stream
        for s in stale
    )
    return QualityError(
        f"past its freshness: {told}",
        pipeline=pipeline.name,
        state="; ".join(f"{s.stream}: watermark {s.watermark or 'none'}" for s in stale),
        retry="plan",
        command=f"conduit run {pipeline.file}".rstrip(),
    )
