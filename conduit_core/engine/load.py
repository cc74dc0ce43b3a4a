"""One stream from plan to mirror, with retries of what a retry can mend.

Fused, rows stream straight into the publish transaction; a load in splits is staged first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from conduit_core.connectors.base import Commit
from conduit_core.engine.keys import keys_of
from conduit_core.engine.model import LoadPlan, LoadResult, RunRequest
from conduit_core.engine.outcome import (
    emit_committed,
    mirror,
    planned_event,
    result_of,
    state_after_failure,
)
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.plan import plan_stream
from conduit_core.engine.rows import open_flow
from conduit_core.engine.runtime import Runtime
from conduit_core.errors import ConduitError, PublishUnknownError, QualityError, unexpected
from conduit_core.events import (
    Notice,
    Retrying,
    StreamStarted,
)
from conduit_core.spec import StreamSpec
from conduit_core.state.ledger import Counts

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
    taken_up: list[LoadResult] = []  # loads that an earlier run had opened
    ended: set[str] = set()
    began = datetime.now(UTC)

    def attempt() -> LoadResult:
        for earlier in unsettled:
            if settled := _settled(earlier, ends, runtime):
                return settled
        while True:
            plan, result = _attempt(pipeline, stream, ends, request, runtime, unsettled)
            anothers = plan.adopted and plan.loaded_at < began
            if not anothers or plan.plan_id in ended or result.outcome == "replayed":
                return _joined(taken_up, result)
            ended.add(plan.plan_id)  # where it was planned to: once more, to the newest
            if result.outcome == "empty":
                continue
            taken_up.append(result)
            read = f"{result.counts.read:,} rows"
            told = f"published the open load {result.load_id}, {read}; plans again, for what is new"
            runtime.emit(
                Notice(pipeline=pipeline.name, stream=stream.name, level="info", message=told)
            )

    return _retrying(attempt, pipeline, stream, runtime)


def _settled(plan: LoadPlan, ends: Ends, runtime: Runtime) -> LoadResult | None:
    """Return the result of an earlier attempt that was published after all."""
    chain = ends.destination.records(plan.target)
    found = next((r for r in chain if r.load_id == plan.load_id), None)
    if found is None:
        return None
    return _ended(plan, result_of(plan, Commit(found), time.perf_counter(), {}), ends, runtime)


def _retrying(
    attempt: Callable[[], LoadResult], pipeline: Pipeline, stream: StreamSpec, runtime: Runtime
) -> LoadResult:
    def may_help(error: Exception) -> bool:
        return (
            isinstance(error, ConduitError)
            and error.retry != "never"
            and not runtime.cancel.is_set()
        )

    try:
        return attempt()
    except ConduitError as error:
        if runtime.attempts < 2 or not may_help(error):
            raise
        first: ConduitError | None = error
    from conduit_core.engine.retries import attempts  # most loads need no library for one

    def try_it() -> LoadResult:
        nonlocal first
        if first is not None:
            failed, first = first, None
            raise failed
        return attempt()

    for tried in attempts(may_help, runtime.attempts, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS):
        with tried:
            try:
                return try_it()
            except ConduitError as error:
                if tried.num < runtime.attempts and may_help(error):
                    runtime.emit(
                        Retrying(
                            pipeline=pipeline.name,
                            stream=stream.name,
                            error=error.message,
                            error_class=type(error).__name__,
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
) -> tuple[LoadPlan, LoadResult]:
    started = time.perf_counter()
    plan = plan_stream(pipeline, stream, ends, request, runtime.store, staged=runtime.staged)
    planned = time.perf_counter() - started
    runtime.emit(planned_event(plan, planned))
    name, about = plan.pipeline, plan.stream
    for note in plan.warnings:
        runtime.emit(Notice(pipeline=name, stream=about, level="warning", message=note))
    for note in plan.notes:
        runtime.emit(Notice(pipeline=name, stream=about, level="info", message=note))
    try:
        if plan.empty:
            result = result_of(plan, Commit(plan.replayed), started, {})
        elif plan.staged:
            result = _spread_out(plan, stream, pipeline, ends, runtime)
        else:
            result = _fused(plan, stream, ends, runtime)
    except Exception as raised:  # noqa: BLE001 - whatever it is, it gets its four lines
        error = raised if isinstance(raised, ConduitError) else unexpected(raised)
        error.at(state=state_after_failure(ends, plan))
        pipeline.at(error, plan.stream, "conduit run")
        if isinstance(error, PublishUnknownError):
            unsettled.append(plan)
        raise error from error.__cause__
    if plan.empty and (stream.splits or runtime.staged):
        from conduit_core.engine.steps import drop_published

        drop_published(plan, ends, runtime)
    stages = {"plan": round(planned, 6), **result.stages}
    result = result.model_copy(update={"stages": stages, "seconds": time.perf_counter() - started})
    return plan, _ended(plan, result, ends, runtime)


def _fused(plan: LoadPlan, stream: StreamSpec, ends: Ends, runtime: Runtime) -> LoadResult:
    started = time.perf_counter()
    flow = open_flow(plan, stream, ends, runtime)
    keys = keys_of(plan, stream, ends, runtime)
    try:
        commit = ends.destination.commit(plan.publish, flow, runtime.emit, keys)
    except QualityError as error:
        from conduit_core.engine.audit import with_the_others  # most loads never get here

        with_the_others(error, flow.report)
        raise
    finally:
        flow.close()
        if keys is not None:
            keys.close()
    seconds = time.perf_counter() - started
    emit_committed(commit, runtime.emit, seconds)
    stages = flow.stages()
    stages["commit"] = max(seconds - stages["write"] - stages["queue_empty"], 0.0)
    read = flow.bytes_read
    return result_of(plan, commit, started, stages, read, flow.report)


def _spread_out(
    plan: LoadPlan, stream: StreamSpec, pipeline: Pipeline, ends: Ends, runtime: Runtime
) -> LoadResult:
    from conduit_core.engine.spread import stage_all  # most loads never get here
    from conduit_core.engine.steps import publish_load

    started = time.perf_counter()
    receipts = stage_all(plan, pipeline, ends, runtime)
    seconds = round(time.perf_counter() - started, 6)
    result = publish_load(plan, stream, receipts, None, ends, runtime)
    return result.model_copy(update={"stages": {**result.stages, "stage": seconds}})


def _joined(earlier: list[LoadResult], last: LoadResult) -> LoadResult:
    """Return a stream's result where the run first published what an earlier one had opened.

    Its counts are of all the rows that are there now: of the last load, where that replaced them.
    """
    if not earlier:
        return last
    if last.outcome != "published":
        return earlier[-1]
    parts = [last] if last.mode == "replace" else [*earlier, last]
    counts = {name: sum(getattr(r.counts, name) for r in parts) for name in Counts.model_fields}
    ids = ", ".join(r.load_id or "" for r in earlier)
    return last.model_copy(
        update={
            "counts": Counts(**counts),
            "bytes_read": sum(r.bytes_read for r in parts),
            "seconds": sum(r.seconds for r in parts),
            "notes": (*last.notes, f"load {ids}, which was open, was published first"),
        }
    )


def _ended(plan: LoadPlan, result: LoadResult, ends: Ends, runtime: Runtime) -> LoadResult:
    if runtime.store is not None:
        fingerprint = plan.target_fingerprint
        mirror(result, plan.target, fingerprint, ends, runtime.store, runtime.emit)
    return result
