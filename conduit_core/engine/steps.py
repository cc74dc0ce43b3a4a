"""The steps of a spread-out load, each a task of its own: stage, audit, publish, after.

Each takes and gives small JSON, runs anywhere with the pipeline file and the connections alone, and
is idempotent. ``conduit_core.engine.run.plan`` is the first step; ``run`` does all of them.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from conduit_core.connectors.base import Commit, Snapshots
from conduit_core.connectors.chain import find_load
from conduit_core.connectors.staging import Attempt, StageReceipt, Staging, stages_of
from conduit_core.engine.budget import budgets
from conduit_core.engine.identity import stream_fingerprint, target_fingerprint
from conduit_core.engine.keys import keys_of
from conduit_core.engine.model import AuditReport, HookResult, LoadPlan, LoadResult
from conduit_core.engine.opening import open_load
from conduit_core.engine.outcome import (
    emit_committed,
    failed_event,
    finished_event,
    mirror,
    result_of,
    state_after_failure,
)
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.rows import open_split
from conduit_core.engine.runtime import Runtime
from conduit_core.engine.shaping import needs_screen
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    ConfigError,
    PublishError,
    QualityError,
    StagingLostError,
    StateError,
    unexpected,
)
from conduit_core.events import AuditStarted, Emit, Emitter, Listener, Notice, SplitStaged
from conduit_core.spec import StreamSpec
from conduit_core.state.ledger import Counts, LedgerRecord, known_files
from conduit_core.state.store import StateStore
from conduit_core.types.schema import schema_from_json

_SHOWN = 5  # splits that a message names


def stage(
    pipeline: Pipeline,
    plan: LoadPlan,
    split: str | None = None,
    *,
    listeners: tuple[Listener, ...] = (),
    cancel: threading.Event | None = None,
) -> StageReceipt:
    """Read one split of a plan and stage its rows; a split that is staged is not read again.

    Args:
        pipeline: the plan's pipeline.
        plan: from ``plan(..., staged=True)``, or of a stream with ``splits``.
        split: the split's id, one of ``plan.splits.ids()``; None for a plan of one split.
        listeners: called with every event.
        cancel: set from outside to end the read: nothing of this attempt is staged.

    Returns:
        The receipt that holds: of this attempt, or of the one that was first.

    Raises:
        ConcurrentLoadError: another plan of the same load is open: plan again.
        StagingLostError: the load was published, superseded or swept meanwhile: plan again.
        ConfigError: the place of staging isn't the one that the plan saw.
        ConduitError: what broke the read, or the staging refused.
    """
    runtime = Runtime(
        Emitter(listeners), queue_bytes=budgets(1)[0], cancel=cancel or threading.Event()
    )
    with _step(pipeline, plan, runtime.emit) as (stream, ends):
        return stage_split(plan, split or _only(plan), stream, ends, runtime)


def audit(
    pipeline: Pipeline,
    plan: LoadPlan,
    receipts: Iterable[StageReceipt] | None = None,
    *,
    listeners: tuple[Listener, ...] = (),
) -> AuditReport:
    """Check that every split is staged, and that the receipts are those beside the staging.

    Args:
        pipeline: the plan's pipeline.
        plan: the plan.
        receipts: what ``stage`` returned; None: those beside the staging.
        listeners: called with every event.

    Raises:
        StagingLostError: a receipt is missing, or not what was written.
        QualityError: a rule stops the load; its staging is dropped.
    """
    emit = Emitter(listeners)
    with _step(pipeline, plan, emit) as (stream, ends):
        given = None if receipts is None else list(receipts)
        return audit_load(plan, stream, given, ends, Runtime(emit))


def publish(
    pipeline: Pipeline,
    plan: LoadPlan,
    receipts: Iterable[StageReceipt] | None = None,
    report: AuditReport | None = None,
    *,
    listeners: tuple[Listener, ...] = (),
) -> LoadResult:
    """Publish the staged rows in one transaction, and drop the staging.

    Args:
        pipeline: the plan's pipeline.
        plan: the plan; one that is empty or replayed is returned as a result.
        receipts: what ``stage`` returned; None: those beside the staging.
        report: what ``audit`` returned; None: it is made here.
        listeners: called with every event.

    Raises:
        ConcurrentLoadError: the target went on since the plan: nothing can be published from it.
        StagingLostError: staged rows are gone, or not as many as their receipt says.
        ConduitError: the destination refused; nothing was published.
    """
    emit = Emitter(listeners)
    with _step(pipeline, plan, emit) as (stream, ends):
        given = None if receipts is None else list(receipts)
        result = publish_load(plan, stream, given, report, ends, Runtime(emit))
        emit(finished_event(result))
        return result


def after(
    pipeline: Pipeline,
    results: Sequence[LoadResult],
    *,
    store: StateStore | None = None,
    failed: Sequence[str] = (),
    hooks: bool = True,
    listeners: tuple[Listener, ...] = (),
) -> tuple[HookResult, ...]:
    """Do what follows the commits: mirror the watermarks, then the hooks of ``after:``.

    A mirror that fails is a warning: the loads are committed, and the next run makes it good.

    Args:
        pipeline: the results' pipeline.
        results: what ``publish`` returned.
        store: the runner's state store.
        failed: streams of this run that failed; a hook may not run after them.
        hooks: whether ``after:`` is done; False where the runner does it in a way of its own.
        listeners: called with every event.

    Returns:
        What became of each hook.

    Raises:
        ConfigError: a result is of another pipeline; a hook isn't installed, or can't be done.
        HookError: a hook failed, once all were tried.
    """
    emit = Emitter(listeners)
    if store is not None:
        with pipeline.open() as ends:
            for result in results:
                (stream,) = pipeline.select((result.stream,))
                target = pipeline.target(stream, ends.destination)
                fingerprint = target_fingerprint(ends.destination.identity, target)
                mirror(result, target, fingerprint, ends, store, emit)
    if not (hooks and pipeline.loaded.spec.after):
        return ()
    from conduit_core.engine.after import run_hooks
    from conduit_core.engine.hooks import bound_hooks, check_hooks

    bound = bound_hooks(pipeline)
    check_hooks(pipeline, bound)
    done = run_hooks(pipeline, bound, tuple(failed), emit)
    for hook in done:
        if hook.failure is not None:
            raise hook.failure.to_error()
    return done


# --- the same, on open ends -----------------------------------------------------------------------


def stage_split(
    plan: LoadPlan,
    split_id: str,
    stream: StreamSpec,
    ends: Ends,
    runtime: Runtime,
    snapshot: str | None = None,
) -> StageReceipt:
    """Stage one split; see :func:`stage`."""
    split = plan.splits.split(split_id)
    staging = ends.staging()
    _check_place(plan, staging)
    held = staging.open(open_load(plan), plan.supersedes)
    if held.plan_id != plan.plan_id:
        raise ConcurrentLoadError(
            f"load {plan.load_id} is open with another plan, of {held.opened_at:%H:%M:%S} UTC: a"
            " new plan takes it up",
            command="conduit run",
        )
    known = staging.receipt(plan.plan_id, plan.target_fingerprint, split_id)
    if known is not None:
        return known
    attempt = Attempt(
        load=held,
        split=split_id,
        attempt=uuid.uuid4().hex[:12],
        columns=plan.staged_columns,
        worker=f"{platform.node()}:{os.getpid()}",
        wire=plan.publish.wire,
    )
    flow = open_split(plan, split, stream, ends, runtime, snapshot)
    try:
        receipt = staging.stage(attempt, flow, runtime.emit)
    except Exception as raised:  # noqa: BLE001 - whatever it is, it gets its four lines
        error = raised if isinstance(raised, ConduitError) else unexpected(raised)
        raise error from error.__cause__
    finally:
        flow.close()
    if receipt.attempt == attempt.attempt:
        runtime.emit(staged_event(plan, receipt))
    return receipt


def staged_event(plan: LoadPlan, receipt: StageReceipt) -> SplitStaged:
    """Return the event that tells of a receipt."""
    return SplitStaged(
        pipeline=plan.pipeline,
        stream=plan.stream,
        load_id=plan.load_id,
        split=receipt.split,
        splits=plan.splits.count,
        rows=receipt.rows,
        bytes=receipt.bytes,
        seconds=receipt.seconds,
        worker=receipt.worker,
    )


def audit_load(
    plan: LoadPlan,
    stream: StreamSpec,
    given: list[StageReceipt] | None,
    ends: Ends,
    runtime: Runtime,
) -> AuditReport:
    """Check a load's receipts, and judge its rows; see :func:`audit`."""
    if plan.empty:
        return AuditReport(
            load_id=plan.load_id,
            plan_id=plan.plan_id,
            splits=0,
            counts=Counts(),
            bytes=0,
            seconds=0.0,
        )
    return _report(plan, stream, _receipts(plan, given, ends.staging()), ends, runtime)


def _report(
    plan: LoadPlan, stream: StreamSpec, receipts: list[StageReceipt], ends: Ends, runtime: Runtime
) -> AuditReport:
    counts = _sum(receipts)
    runtime.emit(
        AuditStarted(
            pipeline=plan.pipeline,
            stream=plan.stream,
            load_id=plan.load_id,
            rows_read=counts.read,
        )
    )
    return AuditReport(
        load_id=plan.load_id,
        plan_id=plan.plan_id,
        splits=len(receipts),
        counts=counts,
        bytes=sum(r.bytes for r in receipts),
        seconds=round(sum(r.seconds for r in receipts), 6),
        quality=_judged(plan, stream, receipts, ends, runtime),
    )


def _judged(
    plan: LoadPlan, stream: StreamSpec, receipts: list[StageReceipt], ends: Ends, runtime: Runtime
) -> str:
    """Return what the stream's rules say of all splits together.

    What they stop is over: the same rows would be stopped again. Its staging is dropped, or kept
    to be looked at.
    """
    if not needs_screen(stream, ends):
        return ""
    from conduit_core.engine.screen import audit_splits  # most loads never get here

    try:
        return audit_splits(plan, stream, [r.quality for r in receipts], ends, runtime.emit)
    except QualityError as error:
        staging = ends.staging()
        if stream.keep_rejected_staging:
            looked_at = staging.release(plan.plan_id, plan.target_fingerprint)
            error.message += f"; the rows are kept until `conduit clean`: {looked_at}"
        else:
            drop_published(plan, ends, runtime, is_over=True)
        raise


def publish_load(
    plan: LoadPlan,
    stream: StreamSpec,
    given: list[StageReceipt] | None,
    report: AuditReport | None,
    ends: Ends,
    runtime: Runtime,
) -> LoadResult:
    """Publish what is staged; see :func:`publish`."""
    started = time.perf_counter()
    if plan.empty:
        return result_of(plan, Commit(plan.replayed), started, {})
    chain = ends.destination.records(plan.target)
    staging = ends.staging()
    if found := find_load(chain, plan.publish.record):
        drop_published(plan, ends, runtime)
        return result_of(plan, Commit(found, replayed=True), started, {})
    if report is not None and report.plan_id != plan.plan_id:
        raise StateError("the audit report is of another plan", retry="plan")
    receipts = _receipts(plan, given, staging)
    if report is None:
        report = _report(plan, stream, receipts, ends, runtime)
    rows = staging.rows(receipts, schema_from_json(plan.staged_schema), report.quality)
    publishing = time.perf_counter()
    keys = keys_of(plan, stream, ends, runtime)
    try:
        _refuse_changed_files(plan, receipts, chain)
        commit = ends.destination.commit(plan.publish, rows, runtime.emit, keys)
    except ConduitError as error:
        if isinstance(error, QualityError):
            from conduit_core.engine.audit import with_the_others

            with_the_others(error, report.quality)
        if isinstance(error, PublishError | StateError) and error.retry == "never":
            drop_published(plan, ends, runtime, is_over=True)  # the same rows fail again
        raise error.at(state=state_after_failure(ends, plan)) from error.__cause__
    finally:
        if keys is not None:
            keys.close()
    seconds = time.perf_counter() - publishing
    emit_committed(commit, runtime.emit, seconds)
    drop_published(plan, ends, runtime, is_over=True)  # without a record too: there were no rows
    stages = {**stages_of(receipts), "commit": seconds}
    read = report.bytes
    return result_of(plan, commit, started, stages, read, report.quality)


def drop_published(plan: LoadPlan, ends: Ends, runtime: Runtime, *, is_over: bool = False) -> None:
    """Remove the staging of the target's loads that are published, this one's or an earlier one's.

    With ``is_over`` the plan's own too, published or not: no later run is to take it up.

    What was killed between its commit and here left its own; what fails here is swept later.
    """
    try:
        staging = ends.staging()
        opened = staging.opened(plan.target_fingerprint)
        if not opened:
            return
        published = {r.load_id for r in ends.destination.records(plan.target)}
        for held in opened:
            if held.load_id in published or (is_over and held.plan_id == plan.plan_id):
                staging.drop(held.plan_id, held.target_fingerprint)
    except Exception as error:  # noqa: BLE001 - the load is committed by now
        what = error.message if isinstance(error, ConduitError) else str(error)
        message = f"the load's staging could not be removed, `conduit clean` will: {what}"
        runtime.emit(
            Notice(pipeline=plan.pipeline, stream=plan.stream, level="warning", message=message)
        )


def _receipts(
    plan: LoadPlan, given: list[StageReceipt] | None, staging: Staging
) -> list[StageReceipt]:
    """Return the receipts of every split in order, as they are beside the staging."""
    held = {r.split: r for r in staging.receipts(plan.plan_id, plan.target_fingerprint)}
    wanted = plan.splits.ids()
    missing = [s for s in wanted if s not in held]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        raise StagingLostError(
            f"{len(missing)} of {len(wanted)} splits of load {plan.load_id} have no receipt"
            f" ({shown}): they were not staged, or the staging was lost",
            command="conduit run",
        )
    for receipt in given or ():
        if held.get(receipt.split) != receipt:
            raise StagingLostError(
                f"the receipt of split {receipt.split} is not the one beside the staging: it was"
                " altered, or is of another attempt or plan",
                command="conduit run",
            )
    if strangers := set(held) - set(wanted):
        raise StagingLostError(
            f"the staging of load {plan.load_id} has receipts of splits that its plan doesn't have"
            f" ({', '.join(sorted(strangers)[:_SHOWN])})",
            command="conduit run",
        )
    return [held[s] for s in wanted]


def _sum(receipts: list[StageReceipt]) -> Counts:
    names = Counts.model_fields
    return Counts(**{n: sum(getattr(r.counts, n) for r in receipts) for n in names})


def _refuse_changed_files(
    plan: LoadPlan, receipts: list[StageReceipt], chain: list[LedgerRecord]
) -> None:
    """Refuse files that an append loaded before: the stages can't ask the destination's ledger."""
    if not plan.refuse_changed_files:
        return
    known = known_files(chain)
    again = {digest for r in receipts for digest in r.files if digest in known}
    if again:
        raise StateError(
            f"{len(again)} files changed since they were loaded, and append would load their rows"
            " again: set `metadata: [load, file]` (their old rows are then replaced), or"
            " `mode: replace`",
            command="conduit run --full-refresh",
        )


# --- where a step runs ----------------------------------------------------------------------------


def _only(plan: LoadPlan) -> str:
    ids = plan.splits.ids()
    if len(ids) > 1:
        raise ConfigError(
            f"the plan of {plan.stream} has {len(ids)} splits: name one of plan.splits.ids()"
        )
    return ids[0]


@contextmanager
def _step(pipeline: Pipeline, plan: LoadPlan, emit: Emit) -> Iterator[tuple[StreamSpec, Ends]]:
    """Open the ends of a step, check that the plan is this pipeline's; place and tell a failure."""
    try:
        with pipeline.open() as ends:
            yield plan_stream_of(pipeline, plan, ends), ends
    except ConduitError as error:
        if error.retry == "plan" and "clear the" not in error.message:
            error.message += "; a scheduler has to clear the plan step and those after it"
        pipeline.at(error, plan.stream, "conduit run")
        emit(failed_event(pipeline.name, plan.stream, error))
        raise error from error.__cause__


def plan_stream_of(pipeline: Pipeline, plan: LoadPlan, ends: Ends) -> StreamSpec:
    """Return the stream of a plan.

    Raises:
        ConfigError: the plan is of another pipeline, or has nothing to stage.
        StateError: the pipeline changed since the plan.
    """
    if plan.pipeline != pipeline.name:
        raise ConfigError(f"the plan is of pipeline {plan.pipeline!r}, not {pipeline.name!r}")
    if not plan.staged and not plan.empty:
        raise ConfigError(
            f"the plan of {plan.stream} is for one process: plan with staged=True, or give the"
            " stream `splits:`"
        )
    (stream,) = pipeline.select((plan.stream,))
    target = pipeline.target(stream, ends.destination)
    now = (
        stream_fingerprint(stream, ends.source.identity, ends.base_dir),
        target_fingerprint(ends.destination.identity, target),
    )
    if now != (plan.publish.record.spec_fingerprint, plan.target_fingerprint):
        raise StateError(
            "the pipeline's stream, source or destination isn't what it was when the load was"
            " planned",
            retry="plan",
            command="conduit run",
        )
    return stream


def _check_place(plan: LoadPlan, staging: Staging) -> None:
    if plan.probe != staging.probe(write=False):
        raise ConfigError(
            f"the destination's `staging:` on {platform.node()} is another place than the one that"
            " the load was planned with: every worker must reach the same folder or URL",
            command="conduit check",
        )


@contextmanager
def one_moment(plan: LoadPlan, ends: Ends) -> Iterator[str | None]:
    """Hold a snapshot of the source while a load's splits are read, where the source has them."""
    if plan.splits.count > 1 and isinstance(ends.source, Snapshots):
        with ends.source.snapshot() as token:
            yield token
    else:
        yield None
