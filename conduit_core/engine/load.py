"""One stream from plan to mirror, fused in one process, with retries of what a retry can mend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from conduit_core.connectors.base import BATCH_BYTES, Commit, ReadRequest
from conduit_core.engine.flow import Flow
from conduit_core.engine.model import LoadPlan, LoadResult, Outcome, RunRequest
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.plan import plan_stream, state_key, watermark_state
from conduit_core.errors import ConduitError, PublishUnknownError, unexpected
from conduit_core.events import (
    Committed,
    Emit,
    Notice,
    PlanReady,
    Retrying,
    StateMirrored,
    StreamStarted,
)
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import (
    Counts,
    LedgerRecord,
    newest,
    since_emptied,
    watermark_record,
)
from conduit_core.state.store import StateEntry, StateStore, make_entry, seal_of
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table
from conduit_core.types.schema import schema_from_json

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a run gives each of its streams.

    Args:
        emit: listener of events.
        store: the runner's state store, if it has one.
        queue_bytes: bound of the batches in flight of one stream.
        attempts: how often a retryable failure is tried, the first time included.
        cancel: set to stop at the next batch.
    """

    emit: Emit
    store: StateStore | None
    queue_bytes: int
    attempts: int
    cancel: threading.Event


def load_stream(
    pipeline: Pipeline, stream: StreamSpec, ends: Ends, request: RunRequest, runtime: Runtime
) -> LoadResult:
    """Plan, read, publish and mirror one stream; a retryable failure starts again from plan.

    Raises:
        ConduitError: the last attempt's failure, with its four lines filled in.
    """
    runtime.emit(StreamStarted(pipeline=pipeline.name, stream=stream.name))
    unsettled: list[LoadPlan] = []  # attempts whose commit nobody could ask about

    def attempt() -> LoadResult:
        for earlier in unsettled:
            if settled := _settled(earlier, ends, runtime):
                return settled
        return _attempt(pipeline, stream, ends, request, runtime, unsettled)

    return _retrying(attempt, pipeline, stream, runtime)


def _settled(plan: LoadPlan, ends: Ends, runtime: Runtime) -> LoadResult | None:
    """Return the result of an earlier attempt that was published after all."""
    chain = ends.destination.records(Table(plan.target_schema, plan.target_table))
    found = next((r for r in chain if r.load_id == plan.load_id), None)
    if found is None:
        return None
    _mirror(plan, ends, runtime)
    return _result(plan, found, time.perf_counter(), {}, None)


def _retrying(
    attempt: Callable[[], LoadResult], pipeline: Pipeline, stream: StreamSpec, runtime: Runtime
) -> LoadResult:
    import stamina

    def may_help(error: Exception) -> bool:
        return (
            isinstance(error, ConduitError)
            and error.retry != "never"
            and not runtime.cancel.is_set()
        )

    caller = stamina.retry_context(
        on=may_help,
        attempts=runtime.attempts,
        timeout=None,
        wait_initial=FIRST_WAIT_SECONDS,
        wait_max=LONGEST_WAIT_SECONDS,
    )
    for tried in caller:
        with tried:
            try:
                return attempt()
            except ConduitError as error:
                if tried.num < runtime.attempts and may_help(error):
                    runtime.emit(
                        Retrying(
                            pipeline=pipeline.name,
                            stream=stream.name,
                            error=error.message,
                            attempt=tried.num,
                            wait_seconds=tried.next_wait,
                        )
                    )
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _attempt(
    pipeline: Pipeline,
    stream: StreamSpec,
    ends: Ends,
    request: RunRequest,
    runtime: Runtime,
    unsettled: list[LoadPlan],
) -> LoadResult:
    started = time.perf_counter()
    plan = plan_stream(pipeline, stream, ends, request, runtime.store)
    planned = time.perf_counter() - started
    runtime.emit(
        PlanReady(
            pipeline=plan.pipeline,
            stream=plan.stream,
            load_id=plan.load_id,
            target=f"{plan.target_schema}.{plan.target_table}",
            mode=plan.mode,
            window=plan.window_text,
            guarantee=plan.guarantee,
            rows_estimate=plan.rows_estimate,
            seconds=planned,
            empty=plan.empty,
        )
    )
    for note in plan.notes:
        runtime.emit(Notice(pipeline=plan.pipeline, stream=plan.stream, level="info", message=note))
    if plan.empty:
        _mirror(plan, ends, runtime)
        return _result(plan, plan.replayed, started, {"plan": planned}, None)
    flow: Flow | None = None
    try:
        flow = open_flow(plan, stream, ends, runtime)
        publishing = time.perf_counter()
        commit = ends.destination.commit(plan.publish, flow, runtime.emit)
        seconds = time.perf_counter() - publishing
    except Exception as raised:  # noqa: BLE001 - whatever it is, it gets its four lines
        error = raised if isinstance(raised, ConduitError) else unexpected(raised)
        error.at(state=_state_after_failure(ends, plan))
        pipeline.at(error, plan.stream, "conduit run")
        if isinstance(error, PublishUnknownError):
            unsettled.append(plan)
        raise error from error.__cause__
    finally:
        if flow is not None:
            flow.close()
    if commit.record is not None:
        _emit_committed(commit, runtime, seconds)
    _mirror(plan, ends, runtime)
    stages = {"plan": planned, **flow.seconds}
    stages["commit"] = max(seconds - flow.seconds["write"] - flow.waited_seconds, 0.0)
    return _result(plan, commit.record, started, stages, flow, replayed=commit.replayed)


def open_flow(plan: LoadPlan, stream: StreamSpec, ends: Ends, runtime: Runtime) -> Flow:
    """Return the rows of a plan's window; the source is opened when the destination asks."""
    known: frozenset[str] = frozenset()
    if plan.refuse_changed_files:
        chain = ends.destination.records(Table(plan.target_schema, plan.target_table))
        known = known_files(chain)
    wanted = ReadRequest(
        ref=stream_ref(stream),
        schema=schema_from_json(plan.source_schema),
        window=Window.from_json(plan.window),
        batch_bytes=min(BATCH_BYTES, runtime.queue_bytes),
        known_files=known,
        refuse_changed=plan.refuse_changed_files,
    )
    return Flow(
        lambda: ends.source.read(wanted),
        schema_from_json(plan.staged_schema),
        load_id=plan.load_id,
        loaded_at=plan.loaded_at,
        identity=(plan.pipeline, plan.stream),
        emit=runtime.emit,
        queue_bytes=runtime.queue_bytes,
        cancel=runtime.cancel,
        remember_files=plan.remember_files,
    )


def known_files(chain: list[LedgerRecord]) -> frozenset[str]:
    """Return the digests of every file whose rows the target can hold."""
    import json

    digests: set[str] = set()
    for record in since_emptied(chain):
        digests.update(json.loads(record.load_window).get("files", ()))
    return frozenset(digests)


def _state_after_failure(ends: Ends, plan: LoadPlan) -> str:
    """Ask the ledger, not the error, what the target looks like."""
    try:
        chain = ends.destination.records(Table(plan.target_schema, plan.target_table))
    except ConduitError:
        return "unknown: the destination can't be asked now; running again is safe"
    for record in chain:
        if record.load_id == plan.load_id:
            return f"published as version {record.version}"
    return watermark_state(chain)


def _emit_committed(commit: Commit, runtime: Runtime, seconds: float) -> None:
    record = commit.record
    if record is None or commit.replayed:
        return
    runtime.emit(
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


def _mirror(plan: LoadPlan, ends: Ends, runtime: Runtime) -> None:
    """Write what the ledger says now, unless someone edited the store since the plan.

    The load is committed by then, so whatever fails here is a warning, made good by the next run.
    """
    if runtime.store is None:
        return
    try:
        problem = _write_mirror(plan, ends, runtime.store, runtime.emit)
    except Exception as error:  # noqa: BLE001 - a store may raise whatever its runner does
        what = error.message if isinstance(error, ConduitError) else str(error)
        problem = f"could not be written ({type(error).__name__}: {what}): the next run does it"
    if problem:
        message = f"the state store {problem}"
        runtime.emit(
            Notice(pipeline=plan.pipeline, stream=plan.stream, level="warning", message=message)
        )


def _write_mirror(plan: LoadPlan, ends: Ends, store: StateStore, emit: Emit) -> str:
    """Write the mirror; return why it wasn't written where a person should know."""
    target = Table(plan.target_schema, plan.target_table)
    chain = ends.destination.records(target)
    last, base = newest(chain), watermark_record(chain)
    cursor = base.cursor if base else None
    if last is None or (plan.empty and _is_rewind(plan.state_text, cursor)):
        return ""
    entry = make_entry(last.version, last.load_id, cursor, plan.target_fingerprint).to_json()
    if entry == plan.state_text:
        return ""
    if not store.set(state_key(target), entry, seal_of(plan.state_text)):
        return "was edited during the load: the edit is kept for the next run"
    emit(StateMirrored(pipeline=plan.pipeline, stream=plan.stream, load_id=last.load_id))
    return ""


def _is_rewind(stored: str | None, cursor: str | None) -> bool:
    """Whether the store holds a person's rewind: it waits for the first load that writes."""
    if stored is None:
        return False
    entry = StateEntry.from_json(stored)
    return entry.is_edited and entry.cursor != (cursor or "")


def _result(
    plan: LoadPlan,
    record: LedgerRecord | None,
    started: float,
    stages: dict[str, float],
    flow: Flow | None,
    *,
    replayed: bool = False,
) -> LoadResult:
    outcome: Outcome = "empty" if record is None else "published"
    if plan.replayed is not None or replayed:
        outcome = "replayed"
    watermark = plan.watermark_text if plan.empty else plan.last_watermark_text
    if record is not None and record.cursor is not None:
        watermark = Cursor.from_json(record.cursor).display()
    return LoadResult(
        pipeline=plan.pipeline,
        stream=plan.stream,
        target=f"{plan.target_schema}.{plan.target_table}",
        outcome=outcome,
        mode=plan.mode,
        load_id=record.load_id if record else plan.last_load_id,
        version=record.version if record else None,
        window=plan.window_text,
        watermark=watermark,
        guarantee=plan.guarantee,
        counts=record.counts if record else Counts(),
        bytes_read=flow.bytes_read if flow else 0,
        seconds=time.perf_counter() - started,
        stages={name: round(value, 6) for name, value in stages.items()},
        notes=plan.notes,
    )
