"""Choosing a load's window: from the watermark, from the request, or everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conduit_core.connectors.base import Shape, Source, StreamRef
from conduit_core.engine.margins import look_back, settled_bounds, unfinished
from conduit_core.engine.model import RunRequest
from conduit_core.engine.slices import cursor_at, given_window, refuse_overlap, refuse_slices
from conduit_core.errors import ConfigError, SchemaError, SourceDataError, StateError, number
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor, compares
from conduit_core.state.ledger import LedgerRecord, watermark_record
from conduit_core.state.window import Window
from conduit_core.sync.strategies import Effective

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Choice:
    """The window and what follows from it.

    Args:
        window: what is read.
        effective: how the rows are published.
        watermark: the watermark after the load.
        rows_estimate, null_rows: as the source told.
        empty: nothing is to be read: no load.
        notes: what held the window up, for the plan.
    """

    window: Window
    effective: Effective
    watermark: Cursor | None
    rows_estimate: int | None
    null_rows: int
    empty: bool
    notes: tuple[str, ...] = ()


def choose_window(
    stream: StreamSpec,
    request: RunRequest,
    shape: Shape,
    source: Source,
    ref: StreamRef,
    chain: list[LedgerRecord],
    watermark: Cursor | None,
) -> Choice:
    """Choose the window of a load (design, section 6).

    Args:
        stream: the stream, with cursor, mode and initial value.
        request: what the runner asks for.
        shape: what the source said of the stream.
        source: asked for the cursor's bounds.
        ref: the stream as the source knows it.
        chain: the target's ledger records.
        watermark: where the target has come to, after reconciling with the state store.

    Raises:
        ConfigError: the request doesn't go with the stream.
        StateError: a watermark run of a target of slices, or over published slices.
        SchemaError: the cursor's type isn't the watermark's any more.
        SourceDataError: rows have a NULL in the cursor and ``null_cursor`` is ``fail``.
    """
    if request.window_from is not None or request.only is not None:
        return _given(stream, request, shape, source, ref, watermark)
    if not stream.cursor:
        return _everything(stream, request, shape, chain)
    kinds = shape.cursor_types
    cap = cursor_at(stream, request.window_to, kinds) if request.window_to is not None else None
    whole = request.full_refresh or stream.mode == "replace"
    if not request.full_refresh:
        refuse_slices(stream, chain, kinds)
    mark = None if request.full_refresh else watermark
    _refuse_other_types(mark, kinds)
    low = mark if whole or mark is None else look_back(stream, mark)
    settled = settled_bounds(stream, source, ref, kinds, low, cap)
    bounds, notes = settled.bounds, settled.notes
    include = stream.null_cursor == "include"
    if bounds.null_rows and not include:
        raise _null_rows(stream, bounds.null_rows)
    stands = mark is not None and (bounds.high is None or bounds.high.compare(mark) <= 0)
    is_capped = cap is not None or settled.held
    if not is_capped:
        _refuse_backwards(stream, bounds.high, mark, low, chain)
    nothing = bounds.high is None and (is_capped or not bounds.null_rows)
    looks_at_keys = stream.deletes is not None and stream.deletes.detect != "flag"
    if mark is not None and looks_at_keys and not whole:
        nothing = False  # whatever the rows, keys may be gone
    if whole:
        since = first_cursor(stream, kinds)
        window = Window("full", since, bounds.high, include, closed_low=since is not None)
        empty = stands or (is_capped and (nothing or _below_initial(window)))
        rows = shape.rows_estimate
        return Choice(window, "replace", bounds.high, rows, bounds.null_rows, empty, notes)
    again = bool(stream.lookback) or (include and bounds.null_rows > 0) or looks_at_keys
    again = again and not _is_over(cap, mark)
    high = mark if stands else bounds.high
    window = _watermark_window(stream, kinds, mark, low, high, include=include)
    empty = (stands and not again) or nothing or _below_initial(window)
    if not empty and stream.mode == "append":
        refuse_overlap(stream, chain, window)
    return Choice(window, stream.mode, high, bounds.rows_estimate, bounds.null_rows, empty, notes)


def _given(
    stream: StreamSpec,
    request: RunRequest,
    shape: Shape,
    source: Source,
    ref: StreamRef,
    watermark: Cursor | None,
) -> Choice:
    window, effective = given_window(stream, request, shape, source)
    notes: tuple[str, ...] = ()
    if window.low is not None:
        notes = unfinished(stream, source, ref, shape.cursor_types[0], window.high)
    return Choice(window, effective, watermark, None, 0, empty=False, notes=notes)


def _everything(
    stream: StreamSpec, request: RunRequest, shape: Shape, chain: list[LedgerRecord]
) -> Choice:
    """Return what a stream without a cursor reads where no window is given."""
    if request.window_to is not None:
        raise ConfigError("--to needs a stream with a cursor", command="conduit plan")
    window = Window("full")
    if stream.mode == "append" and not request.full_refresh:
        refuse_overlap(stream, chain, window)
    effective: Effective = "replace" if request.full_refresh else stream.mode
    return Choice(window, effective, None, shape.rows_estimate, 0, empty=False)


def _refuse_other_types(mark: Cursor | None, kinds: tuple[pa.DataType, ...]) -> None:
    """Refuse a cursor whose values don't compare any more with those that were loaded."""
    if mark is None:
        return
    changed = [
        f"{name!r}: the source has {kind}, the watermark {value.type}"
        for name, value, kind in zip(mark.columns, mark.values, kinds, strict=False)
        if not compares(value.type, kind)
    ]
    if changed:
        raise SchemaError(
            "the cursor changed its type, so that no row can be told to be new"
            f" ({'; '.join(changed)}): cast it in a `query:`, or load all anew",
            command="conduit run --full-refresh",
        )


def _is_over(cap: Cursor | None, mark: Cursor | None) -> bool:
    """Say whether a cap lies at or below the watermark, up to which all that is read again goes."""
    if cap is None or mark is None:
        return False
    return cap.compare(Cursor(mark.columns[:1], mark.values[:1])) <= 0


def _null_rows(stream: StreamSpec, count: int) -> SourceDataError:
    way = "set `null_cursor: include` (needs `mode: replace` or a unique_key)"
    if stream.mode == "scd2":
        way = "leave them out in a `query:` (a version begins at its cursor)"
    return SourceDataError(
        f"{number(count, 'row has', 'rows have')} a NULL in the cursor {list(stream.cursor)} and"
        f" would never load: make the column NOT NULL, choose another cursor, or {way}",
        command="conduit plan",
    )


def _refuse_backwards(
    stream: StreamSpec,
    high: Cursor | None,
    mark: Cursor | None,
    low: Cursor | None,
    chain: list[LedgerRecord],
) -> None:
    """Refuse a source whose last row lies below the watermark: nothing new would ever be seen."""
    base = watermark_record(chain)
    is_set = base is not None and base.mode.startswith("state_")  # by hand, and then on purpose
    if is_set or stream.deletes is not None:
        return
    if high is None or mark is None or high.compare(mark) >= 0:
        return
    if low is not None and Cursor(low.columns, high.values[: len(low.values)]).compare(low) >= 0:
        return  # within the lookback, which has the first column alone
    raise StateError(
        f"the cursor went backwards: the source's last row is at {high.display()}, the target was"
        f" loaded up to {mark.display()}. The source was restored, its rows were given older"
        f" values, or its last rows deleted; what comes in below {mark.display()} would never be"
        " read. To read on from there, set the watermark back; to have deletes followed, use"
        " `deletes`",
        command=f"conduit state set --cursor '{high.display()}'"
        + (" --replace-after" if stream.mode == "append" else ""),
    )


def _watermark_window(
    stream: StreamSpec,
    kinds: tuple[pa.DataType, ...],
    mark: Cursor | None,
    low: Cursor | None,
    high: Cursor | None,
    *,
    include: bool,
) -> Window:
    """Return the window that reads from ``low``: the watermark, or what lies ``lookback`` below."""
    since = first_cursor(stream, kinds)
    looks_back = mark is not None and low != mark
    if low is None or (looks_back and since is not None and since.compare(low) > 0):
        low = since
    closed = low is not None and (looks_back or mark is None)
    return Window("watermark", low, high, include, closed_low=closed)


def first_cursor(stream: StreamSpec, kinds: tuple[pa.DataType, ...]) -> Cursor | None:
    """Return ``initial`` as a cursor; None where the stream has none."""
    return cursor_at(stream, stream.initial, kinds) if stream.initial is not None else None


def _below_initial(window: Window) -> bool:
    if not window.closed_low or window.low is None or window.high is None:
        return False
    first = Cursor(window.high.columns[:1], window.high.values[:1])
    return first.compare(window.low) < 0
