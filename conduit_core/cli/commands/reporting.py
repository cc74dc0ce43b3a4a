"""``conduit report``: a pipeline's loads over time, as tables or as one HTML page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session, age_of
from conduit_core.observe import figures

if TYPE_CHECKING:
    from conduit_core.connectors.incidents import Incident
    from conduit_core.engine.pipelinereport import PipelineReport, StreamReport

_COMMAND = "conduit report --since 30d"
_STREAMS = (
    ("stream", "left"),
    ("loads", "right"),
    ("read", "right"),
    ("rejected", "right"),
    ("failures", "right"),
    ("median", "right"),
    ("longest", "right"),
    ("held up by", "left"),
    ("lag", "right"),
    ("open letters", "right"),
)
_WITHOUT = {"cursor", "load_window", "request"}
"""What of a record may hold values of rows."""
_FAILURES = (
    ("began", "left"),
    ("stream", "left"),
    ("what", "left"),
    ("error", "left"),
    ("runs", "right"),
    ("over", "left"),
)


def report(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    html: Annotated[
        str | None,
        typer.Option("--html", metavar="FILE", help="Also write it to this file, as a page."),
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help="At most so many loads of each stream.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="AGE", help="Loads of this time only: 30d, 12h."),
    ] = None,
) -> Answer:
    """Show loads over time: rows, failures, lag, what held them up. Changes nothing."""
    pipeline = session.pipeline(file)
    border = datetime.now(UTC) - age_of(since, _COMMAND, "--since") if since else None
    from conduit_core.engine.pipelinereport import pipeline_report
    from conduit_core.observe.loads import unreadable

    streams = tuple(stream) if stream else None
    found = pipeline_report(pipeline, streams, last=last, since=border)
    if html is not None:
        from conduit_core.cli.writing import write_file
        from conduit_core.observe.overview import overview

        page = overview(found, session.redact).encode()
        write_file(html, page, "conduit report --html report.html")

    def show(screen: Screen) -> None:
        screen.table(_STREAMS, [_row(found, s) for s in found.streams])
        for s in found.streams:
            for load_id in unreadable(load.record for load in s.loads):
                screen.line(
                    f"{s.stream}: the ledger's record of load {load_id} has `stages` that can't be"
                    f" read: conduit runs show --load {load_id}"
                )
        if found.incidents:
            screen.line()
            screen.table(_FAILURES, _failures(found))
        elif found.incidents is None:
            screen.line("failures aren't remembered: the pipeline has no `notify:`")
        if html is not None:
            screen.line(f"wrote {html}")

    return Answer(_document(found, html), show)


def _row(found: PipelineReport, s: StreamReport) -> tuple[str, ...]:
    from statistics import median

    from conduit_core.observe.facts import seconds_of
    from conduit_core.observe.loads import held_up

    records = [load.record for load in s.loads]
    took = [seconds_of(record) for record in records]
    held = held_up(records)
    failures = [i for i in found.incidents or () if (i.stream, i.about) == (s.stream, "failure")]
    lag = s.status.lag_seconds if s.status else None
    return (
        s.stream,
        figures.count(len(records)),
        figures.count(sum(r.counts.read for r in records)),
        figures.count(sum(r.counts.rejected for r in records)),
        "" if found.incidents is None else figures.count(len(failures)),
        figures.duration(median(took)) if took else "",
        figures.duration(max(took)) if took else "",
        f"{held.name}, {held.share:.0%}" if held else "",
        "unknown" if s.unknown else "" if lag is None else figures.duration(lag),
        "" if s.letters is None else figures.count(s.letters.get("open", 0)),
    )


def _failures(found: PipelineReport) -> list[tuple[str, ...]]:
    return [
        (
            f"{i.opened_at:%Y-%m-%dT%H:%M:%SZ}",
            i.stream,
            i.about,
            i.error,
            figures.count(i.times),
            f"{i.closed_at:%Y-%m-%dT%H:%M:%SZ}" if i.closed_at else "goes on",
        )
        for i in (found.incidents or ())[::-1]
    ]


def _document(found: PipelineReport, html: str | None) -> dict[str, object]:
    from conduit_core.observe.loads import held_up, unreadable

    streams = []
    for s in found.streams:
        records = [load.record for load in s.loads]
        held = held_up(records)
        streams.append(
            {
                "stream": s.stream,
                "target": s.target,
                "watermark": s.watermark,
                "status": s.status.model_dump(mode="json") if s.status else None,
                "unknown": s.unknown or None,
                "letters": dict(s.letters) if s.letters is not None else None,
                "bottleneck": held.model_dump() if held else None,
                "left_out": s.left_out,
                "unreadable": unreadable(records),
                "loads": [r.model_dump(mode="json", exclude=_WITHOUT) for r in records],
            }
        )
    return {
        "pipeline": found.pipeline,
        "asked_at": found.asked_at.isoformat(),
        "streams": streams,
        "incidents": None if found.incidents is None else [_incident(i) for i in found.incidents],
        "html": html,
    }


def _incident(incident: Incident) -> dict[str, object]:
    return {
        "stream": incident.stream,
        "about": incident.about,
        "error": incident.error or None,
        "exit_code": incident.exit_code,
        "opened_at": incident.opened_at.isoformat(),
        "closed_at": incident.closed_at.isoformat() if incident.closed_at else None,
        "times": incident.times,
        "load_id": incident.load_id or None,
    }
