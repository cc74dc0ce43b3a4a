"""How far a time cursor can be trusted: ``settle``, open transactions, and ``lookback``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Bounds, Source, StreamRef
from conduit_core.connectors.writes import OpenWrites, SafeHigh
from conduit_core.errors import ConfigError
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.distance import is_time, is_zoneless, last_before, step_back

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Settled:
    """The bounds of what is complete.

    Args:
        bounds: where the cursor stands, rows aside that others may still come before.
        notes: what held the window up, or can't be known.
        held: whether there are rows above the bounds.
    """

    bounds: Bounds
    notes: tuple[str, ...] = ()
    held: bool = False


def settled_bounds(
    stream: StreamSpec,
    source: Source,
    ref: StreamRef,
    kinds: tuple[pa.DataType, ...],
    low: Cursor | None,
    cap: Cursor | None,
) -> Settled:
    """Return the cursor's bounds, without rows that others may still come before.

    Args:
        stream: with ``settle``, if it has.
        source: asked for its open transactions, then for the bounds.
        ref: the stream as the source knows it.
        kinds: types of the cursor columns.
        low: where reading starts.
        cap: the request's own cap, on the first column.

    Raises:
        ConfigError: ``settle`` doesn't go with the cursor or the source.
    """
    if stream.settle is not None:
        _check_settle(stream, kinds[0])
    # Before the bounds: who ends between the two is in the bounds, who begins has a later time.
    writes = _open_writes(stream, source, ref, kinds[0])
    bounds = source.bounds(ref, low, cap)
    limits = []
    if stream.settle is not None:
        if bounds.clock is None:
            raise ConfigError(
                f"`settle` needs the source's clock, and a {source.system} source has none",
                command="conduit plan",
            )
        limits.append((bounds.clock - stream.settle, "settle: rows after {} wait for a later load"))
    notes = [*writes.notes]
    if writes.unbounded and bounds.high is not None:
        return Settled(replace(bounds, high=None, rows_estimate=0), tuple(notes), held=True)
    if writes.since is not None:
        # Times may be cut to whole seconds on their way into the column.
        began = writes.since.astimezone(UTC).replace(microsecond=0)
        opened = f"a transaction open since {began:%Y-%m-%dT%H:%M:%SZ} is writing: "
        if is_zoneless(kinds[0]) and stream.cursor_timezone is None:
            notes.append(f"{opened}without `cursor_timezone` its rows can't be waited for")
        else:
            limits.append((began, opened + "rows after {} wait for it"))
    held = False
    for moment, note in limits:
        ends = last_before(moment, kinds[0], stream.cursor_timezone)
        limit = Cursor(stream.cursor[:1], (ends,))
        if _is_past(bounds, limit):
            bounds = replace(source.bounds(ref, low, limit), clock=bounds.clock)
            held = True
            notes.append(note.format(limit.display()))
    return Settled(bounds, tuple(notes), held)


def unfinished(
    stream: StreamSpec, source: Source, ref: StreamRef, kind: pa.DataType, high: Cursor | None
) -> tuple[str, ...]:
    """Return a note where a given window, up to ``high``, may still get rows from who is writing.

    It is read as it was asked for: whoever asks for a slice says that it is over.
    """
    writes = _open_writes(stream, source, ref, kind)
    if writes.since is None:
        return ()
    began = writes.since.astimezone(UTC).replace(microsecond=0)
    over = last_before(began, kind, stream.cursor_timezone)
    if high is not None:
        last = high.before() or high
        if last.compare(Cursor(last.columns, (over,))) <= 0:
            return ()
    note = (
        f"a transaction open since {began:%Y-%m-%dT%H:%M:%SZ} is writing: rows that it commits into"
        " the window later are not read; load the window again then"
    )
    return (note,)


def _open_writes(
    stream: StreamSpec, source: Source, ref: StreamRef, kind: pa.DataType
) -> OpenWrites:
    """Ask where it matters: a replace reads what came late with the next rows anyhow."""
    if stream.mode == "replace" or not is_time(kind) or not isinstance(source, SafeHigh):
        return OpenWrites()
    return source.open_writes(ref)


def _check_settle(stream: StreamSpec, kind: pa.DataType) -> None:
    first = stream.cursor[0]
    if not is_time(kind):
        raise ConfigError(
            f"`settle` needs a cursor whose first column is a time: {first!r} is {kind}",
            command="conduit plan",
        )
    if is_zoneless(kind) and stream.cursor_timezone is None:
        raise ConfigError(
            f"`settle` over {first!r} ({kind}) needs `cursor_timezone`: the column has no time zone"
            " of its own",
            command="conduit plan",
        )


def _is_past(bounds: Bounds, limit: Cursor) -> bool:
    high = bounds.high
    return high is not None and Cursor(high.columns[:1], high.values[:1]).compare(limit) > 0


def look_back(stream: StreamSpec, watermark: Cursor) -> Cursor | None:
    """Return where a load with ``lookback`` starts to read, itself included; None: the start.

    Raises:
        ConfigError: the cursor's first column has no such distance.
    """
    if stream.lookback is None:
        return watermark
    first = watermark.values[0]
    try:
        value = step_back(first, stream.lookback, stream.cursor_timezone)
    except ConfigError as error:
        shown = stream.model_dump(mode="json", include={"lookback"})["lookback"]
        raise ConfigError(
            f"`lookback: {shown}` doesn't go with the cursor column {stream.cursor[0]!r}"
            f" ({first.type}): {error.message}; dates and times need a duration, numbers a number",
            command="conduit plan",
        ) from error
    return None if value is None else Cursor(watermark.columns[:1], (value,))
