"""One stream from plan to mirror, fused in one process, with retries of what a retry can mend."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from conduit_core.connectors.base import BATCH_BYTES, ReadRequest, ReadsRaw
from conduit_core.engine.flow import Flow
from conduit_core.engine.model import LoadPlan, LoadResult, RunRequest
from conduit_core.engine.outcome import emit_committed, mirror, result_of, state_after_failure
from conduit_core.engine.pipeline import Ends, Pipeline, stream_ref
from conduit_core.engine.plan import plan_stream
from conduit_core.engine.runtime import Runtime
from conduit_core.errors import ConduitError, PublishUnknownError, unexpected
from conduit_core.events import (
    Notice,
    PlanReady,
    Retrying,
    StreamStarted,
)
from conduit_core.spec import StreamSpec
from conduit_core.state.ledger import (
    known_files,
)
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table
from conduit_core.types.schema import schema_from_json

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0


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
    return _ended(plan, result_of(plan, found, time.perf_counter(), {}), ends, runtime)


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
        result = result_of(plan, plan.replayed, started, {"plan": planned})
        return _ended(plan, result, ends, runtime)
    flow: Flow | None = None
    try:
        flow = open_flow(plan, stream, ends, runtime)
        publishing = time.perf_counter()
        commit = ends.destination.commit(plan.publish, flow, runtime.emit)
        seconds = time.perf_counter() - publishing
    except Exception as raised:  # noqa: BLE001 - whatever it is, it gets its four lines
        error = raised if isinstance(raised, ConduitError) else unexpected(raised)
        error.at(state=state_after_failure(ends, plan))
        pipeline.at(error, plan.stream, "conduit run")
        if isinstance(error, PublishUnknownError):
            unsettled.append(plan)
        raise error from error.__cause__
    finally:
        if flow is not None:
            flow.close()
    emit_committed(commit, runtime.emit, seconds)
    stages = {"plan": planned, **flow.seconds}
    stages["commit"] = max(seconds - flow.seconds["write"] - flow.waited_seconds, 0.0)
    read = flow.bytes_read
    result = result_of(plan, commit.record, started, stages, read, replayed=commit.replayed)
    return _ended(plan, result, ends, runtime)


def _ended(plan: LoadPlan, result: LoadResult, ends: Ends, runtime: Runtime) -> LoadResult:
    if runtime.store is not None:
        fingerprint = plan.target_fingerprint
        mirror(result, plan.target, fingerprint, ends, runtime.store, runtime.emit)
    return result


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
    source = ends.source
    return Flow(
        lambda: source.read(wanted),
        schema_from_json(plan.staged_schema),
        load_id=plan.load_id,
        loaded_at=plan.loaded_at,
        identity=(plan.pipeline, plan.stream),
        emit=runtime.emit,
        queue_bytes=runtime.queue_bytes,
        cancel=runtime.cancel,
        remember_files=plan.remember_files,
        read_raw=partial(source.read_raw, wanted) if isinstance(source, ReadsRaw) else None,
    )
