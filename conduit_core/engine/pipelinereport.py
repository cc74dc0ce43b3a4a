"""All that a pipeline's ledger knows of its loads, and where its streams stand now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from conduit_core.connectors.incidents import LASTING, Incident, KeepsIncidents
from conduit_core.connectors.letters import KeepsLetters
from conduit_core.engine.loadreport import AuditedLoad, audited, moves_rows
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.standing import Look, StreamStatus
from conduit_core.errors import ConduitError
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord, watermark_record


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream's loads, and where it stands.

    Args:
        stream, target: which.
        loads: those that are looked at, the oldest first.
        left_out: how many older ones there are.
        watermark, watermark_at: the ledger's; None where it has none, or may not be shown.
        status: the same against the source; None where that couldn't be asked.
        unknown: why it couldn't: the error's class.
        letters: dead letters by status; None where the destination keeps none.
    """

    stream: str
    target: str
    loads: tuple[AuditedLoad, ...]
    left_out: int
    watermark: str | None
    watermark_at: datetime | None
    status: StreamStatus | None
    unknown: str
    letters: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """A pipeline's loads.

    Args:
        pipeline: its name.
        streams: in the file's order.
        incidents: failures and the like, the oldest first; None where nobody remembers them: the
            pipeline has no ``notify:``, or its destination keeps none.
        asked_at: when.
    """

    pipeline: str
    streams: tuple[StreamReport, ...]
    incidents: tuple[Incident, ...] | None
    asked_at: datetime


def pipeline_report(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    *,
    last: int | None = None,
    since: datetime | None = None,
) -> PipelineReport:
    """Return what is known of a pipeline's loads. Read-only.

    A source that can't be asked is no error: its streams then have no ``status``.

    Args:
        pipeline: whose loads.
        streams: of which streams; None for all.
        last: how many loads of each at most.
        since: only those published from then on.

    Raises:
        ConfigError: there is no such stream.
        ConduitError: the destination can't be asked.
    """
    with pipeline.open() as ends:
        asking = _Asking(pipeline, ends, last, since, Look(pipeline, ends))
        chosen = pipeline.select(streams)
        names = {s.name for s in chosen}
        incidents = _incidents(pipeline, ends, since)
        return PipelineReport(
            pipeline=pipeline.name,
            streams=tuple(asking.report(stream) for stream in chosen),
            incidents=None
            if incidents is None
            else tuple(i for i in incidents if streams is None or i.stream in names),
            asked_at=datetime.now(UTC),
        )


def _incidents(pipeline: Pipeline, ends: Ends, since: datetime | None) -> list[Incident] | None:
    """Return what went wrong; None where nothing would be remembered."""
    if not isinstance(ends.destination, KeepsIncidents):
        return None
    found = ends.destination.incidents(pipeline.name, since)
    notifies = bool(pipeline.loaded.spec.notify)
    return [i for i in found if i.about in LASTING] if found or notifies else None


@dataclass(slots=True)
class _Asking:
    pipeline: Pipeline
    ends: Ends
    last: int | None
    since: datetime | None
    look: Look

    def report(self, stream: StreamSpec) -> StreamReport:
        destination = self.ends.destination
        target = self.pipeline.target(stream, destination)
        chain = destination.records(target)
        moved = sorted((r for r in chain if moves_rows(r)), key=lambda r: r.version)
        wanted = [r for r in moved if self.since is None or r.published_at >= self.since]
        if self.last is not None:
            wanted = wanted[-self.last :]
        hidden = bool(set(stream.cursor) & set(stream.redact))
        mark = None if hidden else _watermark(chain)
        status, unknown = self._status(stream)
        if hidden and status is not None:
            nothing = {"watermark": None, "watermark_at": None, "source_newest": None}
            status = status.model_copy(update=nothing)
        keeper = destination if isinstance(destination, KeepsLetters) else None
        return StreamReport(
            stream=stream.name,
            target=str(target),
            loads=audited(destination, chain, wanted) if wanted else (),
            left_out=len(moved) - len(wanted),
            watermark=mark.display() if mark else None,
            watermark_at=mark.moment(stream.cursor_timezone) if mark else None,
            status=status,
            unknown=unknown,
            letters=keeper.letter_counts(target) if keeper else None,
        )

    def _status(self, stream: StreamSpec) -> tuple[StreamStatus | None, str]:
        try:
            return self.look.at(stream), ""
        except ConduitError as error:
            return None, type(error).__name__


def _watermark(chain: list[LedgerRecord]) -> Cursor | None:
    base = watermark_record(chain)
    return Cursor.from_json(base.cursor) if base and base.cursor else None
