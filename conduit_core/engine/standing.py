"""Where streams stand against their sources: what ``conduit status`` says. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from conduit_core.connectors.letters import KeepsLetters
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.errors import ConduitError, ConnectionFailedError
from conduit_core.events import Emitter, Listener, StreamSeen, StreamUnseen
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.distance import seconds_between
from conduit_core.state.ledger import LedgerRecord, newest, watermark_record


class StreamStatus(BaseModel):
    """Where a stream stands against its source.

    ``lag_seconds`` is how far the watermark is behind the source's newest cursor, for cursors over
    time; ``is_behind`` says whether the source has newer rows at all. ``is_stale`` compares with
    ``freshness:``: the lag of a time cursor, else the age of the last load.
    """

    model_config = ConfigDict(frozen=True)

    stream: str
    target: str
    watermark: str | None
    watermark_at: datetime | None = None
    source_newest: str | None
    is_behind: bool
    lag_seconds: float | None
    freshness_seconds: float | None
    is_stale: bool
    letters_open: int | None = None
    last_load_id: str | None
    last_published_at: datetime | None
    last_rows_read: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Statuses:
    """What a look found: where streams stand, and why others can't be looked at."""

    streams: tuple[StreamStatus, ...]
    failed: tuple[ConduitError, ...] = ()


def status(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    *,
    listeners: tuple[Listener, ...] = (),
) -> Statuses:
    """Compare each stream's watermark with its source. Read-only.

    A stream that can't be looked at doesn't keep others from it; where an end isn't reached, the
    others aren't tried.

    Args:
        pipeline: whose streams.
        streams: their names; None for all.
        listeners: called with what is seen of each.

    Raises:
        ConduitError: the ends can't be opened.
    """
    emit = Emitter(listeners)
    found: list[StreamStatus] = []
    failed: list[ConduitError] = []
    with pipeline.open() as ends:
        look = Look(pipeline, ends)
        for stream in pipeline.select(streams):
            try:
                one = look.at(stream)
            except ConduitError as error:
                emit(_unseen(pipeline, stream, error))
                if error not in failed:
                    failed.append(error)
            else:
                emit(_seen(pipeline, one))
                found.append(one)
    return Statuses(tuple(found), tuple(failed))


@dataclass(slots=True)
class Look:
    """Looks at one stream after the other, on open ends."""

    pipeline: Pipeline
    ends: Ends
    away: ConduitError | None = None
    """With what an end couldn't be reached: to try once is enough."""

    def at(self, stream: StreamSpec) -> StreamStatus:
        """Compare a stream's watermark with its source.

        Raises:
            ConduitError: it can't be looked at.
        """
        if self.away is not None:
            raise self.away
        try:
            return _status(self.pipeline, stream, self.ends)
        except ConduitError as error:
            self.pipeline.at(error, stream.name, "conduit status")
            if isinstance(error, ConnectionFailedError):
                self.away = error
            raise


def _unseen(pipeline: Pipeline, stream: StreamSpec, error: ConduitError) -> StreamUnseen:
    return StreamUnseen(
        pipeline=pipeline.name,
        stream=stream.name,
        error=type(error).__name__,
        exit_code=error.exit_code,
        lines=tuple(error.lines()),
    )


def _seen(pipeline: Pipeline, one: StreamStatus) -> StreamSeen:
    return StreamSeen(
        pipeline=pipeline.name,
        stream=one.stream,
        watermark=one.watermark,
        watermark_at=one.watermark_at,
        lag_seconds=one.lag_seconds,
        freshness_seconds=one.freshness_seconds,
        is_behind=one.is_behind,
        is_stale=one.is_stale,
        letters_open=one.letters_open,
        published_at=one.last_published_at,
        load_id=one.last_load_id,
    )


def _status(pipeline: Pipeline, stream: StreamSpec, ends: Ends) -> StreamStatus:
    target = pipeline.target(stream, ends.destination)
    chain = ends.destination.records(target)
    last, mark = newest(chain), mark_of(chain, stream)
    high = None
    if stream.cursor:
        ref = stream_ref(stream)
        ends.source.describe(ref)
        high = ends.source.bounds(ref, None, None).high
    behind = high is not None and (mark is None or high.compare(mark) > 0)
    lag = _lag_seconds(mark, high)
    freshness = stream.freshness.total_seconds() if stream.freshness else None
    age = (datetime.now(UTC) - last.published_at).total_seconds() if last else None
    return StreamStatus(
        stream=stream.name,
        target=str(target),
        watermark=mark.display() if mark else None,
        watermark_at=mark.moment(stream.cursor_timezone) if mark else None,
        source_newest=high.display() if high else None,
        is_behind=behind,
        lag_seconds=lag,
        freshness_seconds=freshness,
        is_stale=freshness is not None
        and _past(freshness, lag, age, behind=behind, has_cursor=bool(stream.cursor)),
        letters_open=ends.destination.letter_counts(target).get("open", 0)
        if isinstance(ends.destination, KeepsLetters)
        else None,
        last_load_id=last.load_id if last else None,
        last_published_at=last.published_at if last else None,
        last_rows_read=last.counts.read if last else None,
        version=last.version if last else 0,
    )


def _past(
    freshness: float, lag: float | None, age: float | None, *, behind: bool, has_cursor: bool
) -> bool:
    if has_cursor and not behind:
        return False
    measured = lag if lag is not None else age
    return measured is None or measured > freshness


def _lag_seconds(mark: Cursor | None, high: Cursor | None) -> float | None:
    if mark is None or high is None:
        return None
    a, b = mark.values[0], high.values[0]
    if not (pa.types.is_timestamp(a.type) or pa.types.is_date(a.type)) or a.type != b.type:
        return None
    return max(seconds_between(a, b), 0.0)


def mark_of(chain: list[LedgerRecord], stream: StreamSpec) -> Cursor | None:
    """Return the watermark of a stream's target; None where it has none on the stream's cursor."""
    base = watermark_record(chain)
    if base is None or base.cursor is None:
        return None
    cursor = Cursor.from_json(base.cursor)
    return cursor if cursor.columns == stream.cursor else None
