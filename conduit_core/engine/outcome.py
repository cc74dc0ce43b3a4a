"""After the commit: what became of a load, told to listeners, mirrored, and as a result."""

from __future__ import annotations

import json
import time

from conduit_core.connectors.base import Commit
from conduit_core.engine.model import ColumnChange, LoadPlan, LoadResult, Outcome
from conduit_core.engine.pipeline import Ends
from conduit_core.engine.seen import state_key, watermark_state
from conduit_core.errors import ConduitError, StateError
from conduit_core.events import (
    Committed,
    Emit,
    Notice,
    PlanReady,
    SchemaChanged,
    StateMirrored,
    StreamFailed,
    StreamFinished,
)
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import Counts, LedgerRecord, newest, watermark_record
from conduit_core.state.store import StateEntry, StateStore, make_entry, seal_of
from conduit_core.types.dialect import Table


def state_after_failure(ends: Ends, plan: LoadPlan) -> str:
    """Ask the ledger, not the error, what the target looks like."""
    try:
        chain = ends.destination.records(plan.target)
    except ConduitError:
        return "unknown: the destination can't be asked now; running again is safe"
    for record in chain:
        if record.load_id == plan.load_id:
            return f"published as version {record.version}"
    return watermark_state(chain)


def emit_committed(commit: Commit, emit: Emit, seconds: float) -> None:
    """Tell of a commit that this process made."""
    record = commit.record
    if record is None or commit.replayed:
        return
    for note in commit.notes:
        emit(Notice(pipeline=record.pipeline, stream=record.stream, level="warning", message=note))
    emit(
        Committed(
            pipeline=record.pipeline,
            stream=record.stream,
            load_id=record.load_id,
            version=record.version,
            rows_read=record.counts.read,
            rows_inserted=record.counts.inserted,
            rows_updated=record.counts.updated,
            rows_deleted=record.counts.deleted,
            rows_rejected=record.counts.rejected,
            seconds=seconds,
        )
    )
    for change in changes_of(record):
        emit(
            SchemaChanged(
                pipeline=record.pipeline,
                stream=record.stream,
                load_id=record.load_id,
                **change.model_dump(),
            )
        )


def planned_event(plan: LoadPlan, seconds: float) -> PlanReady:
    """Return the event that tells of a plan, which took so long to make."""
    return PlanReady(
        pipeline=plan.pipeline,
        stream=plan.stream,
        load_id=plan.load_id,
        target=str(plan.target),
        mode=plan.mode,
        window=plan.window_text,
        guarantee=plan.guarantee,
        rows_estimate=plan.rows_estimate,
        seconds=seconds,
        empty=plan.empty,
    )


def finished_event(result: LoadResult) -> StreamFinished:
    """Return the event that tells of a stream's good end."""
    return StreamFinished(
        pipeline=result.pipeline,
        stream=result.stream,
        load_id=result.load_id or "",
        outcome=result.outcome,
        rows_read=result.counts.read,
        counts={k: n for k, n in result.counts.model_dump().items() if n},
        bytes_read=result.bytes_read,
        watermark=result.watermark,
        watermark_at=result.watermark_at,
        seconds=result.seconds,
        stages=result.stages,
    )


def failed_event(pipeline: str, stream: str, error: ConduitError) -> StreamFailed:
    """Return the event that tells of a stream's failure; the error's place is filled in."""
    return StreamFailed(
        pipeline=pipeline,
        stream=stream,
        error=type(error).__name__,
        exit_code=error.exit_code,
        lines=tuple(error.lines()),
    )


def changes_of(record: LedgerRecord) -> tuple[ColumnChange, ...]:
    """Return what a load changed of its target's columns."""
    return tuple(ColumnChange.model_validate(item) for item in json.loads(record.schema_changes))


def mirror(
    result: LoadResult, target: Table, fingerprint: str, ends: Ends, store: StateStore, emit: Emit
) -> None:
    """Write what the ledger says now, unless someone edited the store since the plan.

    The load is committed by then, so whatever fails here is a warning, made good by the next run.
    A rewind that a person wrote stays where nothing was published: it waits for the next load.
    """
    try:
        problem = _write(result, target, fingerprint, ends, store, emit)
    except Exception as error:  # noqa: BLE001 - a store may raise whatever its runner does
        what = error.message if isinstance(error, ConduitError) else str(error)
        problem = f"could not be written ({type(error).__name__}: {what}): the next run does it"
    if problem:
        message = f"the state store {problem}"
        emit(
            Notice(pipeline=result.pipeline, stream=result.stream, level="warning", message=message)
        )


def entry_of(chain: list[LedgerRecord], fingerprint: str) -> StateEntry | None:
    """Return what a state store should hold for a target's newest record; None: it has none."""
    last, base = newest(chain), watermark_record(chain)
    if last is None:
        return None
    return make_entry(last.version, last.load_id, base.cursor if base else None, fingerprint)


def _write(
    result: LoadResult, target: Table, fingerprint: str, ends: Ends, store: StateStore, emit: Emit
) -> str:
    """Write the mirror; return why it wasn't written where a person should know."""
    chain = ends.destination.records(target)
    last, entry = newest(chain), entry_of(chain, fingerprint)
    seen = result.state_text
    if last is None or entry is None:
        return ""
    if result.outcome != "published" and _is_rewind(seen, watermark_record(chain)):
        return ""
    if entry.to_json() == seen:
        return ""
    key = state_key(target)
    if not store.set(key, entry.to_json(), seal_of(seen)):
        found = store.get(key)
        version = _version_of_ours(found, fingerprint)
        if version is None:
            return "was edited during the load: the edit is kept for the next run"
        # Another load of the table, side by side, has written: the newer entry stays.
        if version >= last.version or not store.set(key, entry.to_json(), seal_of(found)):
            return ""
    emit(StateMirrored(pipeline=result.pipeline, stream=result.stream, load_id=last.load_id))
    return ""


def _version_of_ours(stored: str | None, fingerprint: str) -> int | None:
    """Return the version of an entry as loads write it; None where a person has been at it."""
    try:
        found = StateEntry.from_json(stored or "")
        ours = not found.is_edited and found.target_fingerprint == fingerprint
        return int(found.version) if ours else None
    except (StateError, ValueError):
        return None


def _is_rewind(stored: str | None, base: LedgerRecord | None) -> bool:
    """Whether the store holds a person's rewind: it waits for the first load that writes."""
    if stored is None:
        return False
    entry = StateEntry.from_json(stored)
    cursor = base.cursor if base else None
    return entry.is_edited and entry.cursor != (cursor or "")


def result_of(
    plan: LoadPlan,
    commit: Commit,
    started: float,
    stages: dict[str, float],
    bytes_read: int = 0,
    report: str = "",
) -> LoadResult:
    """Return a load's result.

    Args:
        plan: its plan.
        commit: what it ended with, or found.
        started: ``time.perf_counter()`` at its start.
        stages: seconds by stage.
        bytes_read: Arrow bytes read from the source by this run.
        report: what the stream's rules found, as JSON.
    """
    record = commit.record
    outcome: Outcome = "empty" if record is None else "published"
    if plan.replayed is not None or commit.replayed:
        outcome = "replayed"
    watermark = plan.watermark_text if plan.empty else plan.last_watermark_text
    cursor = plan.cursor if record is None else record.cursor
    if record is not None and record.cursor is not None:
        watermark = Cursor.from_json(record.cursor).display()
    return LoadResult(
        pipeline=plan.pipeline,
        stream=plan.stream,
        target=str(plan.target),
        outcome=outcome,
        mode=plan.mode,
        load_id=record.load_id if record else plan.last_load_id,
        version=record.version if record else None,
        window=plan.window_text,
        watermark=watermark,
        watermark_at=Cursor.from_json(cursor).moment(plan.cursor_timezone) if cursor else None,
        guarantee=plan.guarantee,
        counts=record.counts if record else Counts(),
        bytes_read=bytes_read,
        seconds=time.perf_counter() - started,
        stages={name: round(value, 6) for name, value in stages.items()},
        notes=(*plan.warnings, *plan.notes, *commit.notes),
        schema_changes=changes_of(record) if record and outcome == "published" else (),
        quality=json.loads(report) if report and outcome == "published" else {},
        state_text=plan.state_text,
    )
