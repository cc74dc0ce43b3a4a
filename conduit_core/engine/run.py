"""A run: the chosen streams of a pipeline, side by side, each published alone; then its hooks."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING

from conduit_core.engine.budget import budgets
from conduit_core.engine.flow import CancelledError
from conduit_core.engine.load import load_stream
from conduit_core.engine.model import (
    HookResult,
    LoadPlan,
    LoadResult,
    RunRequest,
    RunResult,
    StreamFailure,
)
from conduit_core.engine.outcome import failed_event, finished_event, planned_event
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.plan import plan_stream
from conduit_core.engine.runtime import Runtime, Workers, cores
from conduit_core.errors import ConduitError, LoadFailedError, unexpected
from conduit_core.events import (
    Emitter,
    Listener,
    RunFinished,
    RunStarted,
)
from conduit_core.spec import StreamSpec
from conduit_core.state.store import StateStore

if TYPE_CHECKING:
    from conduit_core.engine.hooks import BoundHook

ATTEMPTS = 3
_log = logging.getLogger(__name__)


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during a run; ``result`` says what was and wasn't published.

    Args:
        result: the run's, so far.
    """

    def __init__(self, result: RunResult) -> None:
        super().__init__()
        self.result = result


def plan(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    *,
    request: RunRequest | None = None,
    store: StateStore | None = None,
    staged: bool | None = None,
    listeners: tuple[Listener, ...] = (),
) -> list[LoadPlan]:
    """Plan streams (all by default) without changing anything.

    Args:
        pipeline: what to plan.
        streams: names of streams; None for all.
        request: window, full refresh, request key.
        store: the runner's state store.
        staged: whether the plans are for ``stage``, ``audit`` and ``publish`` as steps of their
            own; an open load is then taken up. None: those of streams with ``splits``.
        listeners: called with what is planned, and with what can't be.

    Raises:
        ConduitError: the first stream's that can't be planned.
    """
    request = request or RunRequest()
    if request.after:
        checked_hooks(pipeline)
    emit, plans = Emitter(listeners), []
    with pipeline.open() as ends:
        for stream in pipeline.select(streams):
            started = time.perf_counter()
            try:
                found = plan_stream(pipeline, stream, ends, request, store, staged=staged)
            except ConduitError as error:
                pipeline.at(error, stream.name, "conduit plan")
                emit(failed_event(pipeline.name, stream.name, error))
                raise
            emit(planned_event(found, time.perf_counter() - started))
            plans.append(found)
    return plans


def run(
    pipeline: Pipeline,
    streams: tuple[str, ...] | None = None,
    *,
    request: RunRequest | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
    workers: int | None = None,
    store: StateStore | None = None,
    listeners: tuple[Listener, ...] = (),
    attempts: int = ATTEMPTS,
    cancel: threading.Event | None = None,
) -> RunResult:
    """Load streams, each in its own transaction; siblings of a failed stream go on.

    Args:
        pipeline: what to run.
        streams: names of streams; None for all.
        request: window, full refresh, request key.
        jobs: how many streams run side by side.
        executor: where rows are staged before they are published, split by split: any
            ``concurrent.futures.Executor``. None: streams with ``splits`` are staged by threads of
            this process, all others aren't staged at all.
        workers: how many splits are staged at once by those threads; the cores by default.
        store: the runner's state store; None leaves the ledger as the only state.
        listeners: called with every event.
        attempts: how often a failure that a retry may mend is tried.
        cancel: set from outside to end the run: streams in flight are rolled back, and fail.

    Returns:
        Results and failures; ``raise_for_failures`` turns the latter into an exception.

    Raises:
        ConfigError: the file, a connector's or hook's options or a name is wrong, or a hook can't
            be done: nothing was started.
        RunInterrupted: Ctrl-C, after the streams in flight were rolled back or published.
    """
    chosen = pipeline.select(streams)
    started = time.perf_counter()
    request = request or RunRequest()
    emit = Emitter(listeners)
    hooks = checked_hooks(pipeline) if request.after else ()
    with ExitStack() as stack:
        crew_size = _workers(chosen, executor, workers, stack)
        queue_bytes, _ = budgets(max(jobs, crew_size.count))
        runtime = Runtime(
            emit,
            store,
            queue_bytes,
            attempts,
            cancel or threading.Event(),
            staged=True if executor is not None else None,
            workers=crew_size,
        )
        ends = stack.enter_context(pipeline.open(jobs))
        emit(RunStarted(pipeline=pipeline.name, streams=tuple(s.name for s in chosen)))
        crew = _Crew(pipeline, ends, request, runtime)
        interrupted = crew.work(chosen, jobs)
        result = RunResult(
            pipeline=pipeline.name,
            results=tuple(crew.results[s.name] for s in chosen if s.name in crew.results),
            failures=tuple(crew.failures[s.name] for s in chosen if s.name in crew.failures),
            not_started=tuple(s.name for s in chosen if s.name not in crew.started),
            interrupted=interrupted,
            seconds=time.perf_counter() - started,
        )
    if hooks and not interrupted:
        result = _followed(pipeline, hooks, result, emit)
        interrupted = result.interrupted
        result = result.model_copy(update={"seconds": time.perf_counter() - started})
    emit(_finished(result))
    if interrupted:
        raise RunInterrupted(result)
    return result


def _finished(result: RunResult) -> RunFinished:
    return RunFinished(
        pipeline=result.pipeline,
        published=tuple(r.stream for r in result.results if r.outcome == "published"),
        empty=tuple(r.stream for r in result.results if r.outcome != "published"),
        failed=tuple(f.stream for f in result.failures),
        seconds=result.seconds,
    )


def checked_hooks(pipeline: Pipeline) -> tuple[BoundHook, ...]:
    """Return the hooks of ``after:``, looked at before anything is loaded.

    Raises:
        ConfigError: one isn't installed, its options are wrong, or it can't be done.
    """
    if not pipeline.loaded.spec.after:
        return ()
    from conduit_core.engine.hooks import bound_hooks, check_hooks

    hooks = bound_hooks(pipeline)
    check_hooks(pipeline, hooks)
    return hooks


def _followed(
    pipeline: Pipeline, hooks: tuple[BoundHook, ...], result: RunResult, emit: Emitter
) -> RunResult:
    """Return a run's result with what became of its hooks. Ctrl-C leaves them to the next run."""
    from conduit_core.engine.after import run_hook

    failed = (*(f.stream for f in result.failures), *result.not_started)
    done: list[HookResult] = []
    try:
        for bound in hooks:
            done.append(run_hook(pipeline, bound, failed, emit))  # noqa: PERF401 - Ctrl-C between
    except KeyboardInterrupt:
        return result.model_copy(update={"hooks": tuple(done), "interrupted": True})
    return result.model_copy(update={"hooks": tuple(done)})


def _workers(
    streams: tuple[StreamSpec, ...],
    executor: Executor | None,
    count: int | None,
    stack: ExitStack,
) -> Workers:
    """Return where splits are staged; threads are started when the first split is."""
    if executor is not None:
        return Workers(executor, count or cores())
    count = count or cores()
    if count == 1 or not any(s.splits for s in streams):
        return Workers()
    pool = ThreadPoolExecutor(count, thread_name_prefix="split")
    return Workers(stack.enter_context(pool), count)


class _Crew:
    """The threads that work through a run's streams, and what they came back with.

    Streams run in threads even when there is one at a time: Ctrl-C then reaches the main thread
    alone, and a commit under way is never torn from its answer.
    """

    def __init__(
        self, pipeline: Pipeline, ends: Ends, request: RunRequest, runtime: Runtime
    ) -> None:
        self._pipeline = pipeline
        self._ends = ends
        self._request = request
        self._runtime = runtime
        self._stop = threading.Event()
        self.started: set[str] = set()
        self.results: dict[str, LoadResult] = {}
        self.failures: dict[str, StreamFailure] = {}

    def work(self, streams: tuple[StreamSpec, ...], jobs: int) -> bool:
        """Run the streams; return whether Ctrl-C ended it."""
        pool = ThreadPoolExecutor(max_workers=max(jobs, 1), thread_name_prefix="stream")
        # A runner's settings and its log are in context variables: each stream gets them, too.
        pending: set[Future[None]] = {
            pool.submit(copy_context().run, self._one, s) for s in streams
        }
        interrupted = False
        try:
            while pending:
                try:
                    done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                except KeyboardInterrupt:
                    if interrupted:
                        raise
                    interrupted = True
                    self._stop.set()
                    self._runtime.cancel.set()
        except BaseException:  # a runner's timeout, raised in this thread: end what others do
            self._runtime.cancel.set()
            raise
        finally:
            self._stop.set()
            pool.shutdown(wait=not interrupted or not pending, cancel_futures=True)
        return interrupted

    def _one(self, stream: StreamSpec) -> None:
        if self._stop.is_set() or self._runtime.cancel.is_set():
            return
        self.started.add(stream.name)
        try:
            result = load_stream(self._pipeline, stream, self._ends, self._request, self._runtime)
        except ConduitError as error:
            self._failed(stream, error)
            return
        except Exception as error:  # noqa: BLE001 - a bug in one stream must not end its siblings
            _log.debug("unexpected in stream %s", stream.name, exc_info=True)
            self._failed(stream, unexpected(error))
            return
        self.results[stream.name] = result
        self._runtime.emit(finished_event(result))

    def _failed(self, stream: StreamSpec, error: ConduitError) -> None:
        self._pipeline.at(error, stream.name, "conduit plan")
        _release(error)
        self.failures[stream.name] = StreamFailure.of(stream.name, error)
        self._runtime.emit(failed_event(self._pipeline.name, stream.name, error))
        if self._pipeline.loaded.spec.on_error == "stop" and not isinstance(error, CancelledError):
            self._stop.set()


def _release(error: BaseException | None) -> None:
    """Empty the frames that a failure went through: they'd keep readers and connections alive."""
    seen: set[int] = set()  # an error may be its own cause: raise e from e
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def raise_for_failures(result: RunResult) -> None:
    """Raise a run's failures as one error: of one its own four lines, of several each one's first.

    Args:
        result: what ``run`` returned.

    Raises:
        LoadFailedError: one or more streams, or hooks, failed.
    """
    failed = result.failed
    if not failed:
        return
    first, *others = errors = tuple(f.to_error() for f in failed)
    if not others:
        error = LoadFailedError(first.message, errors=errors)
        raise error.at(
            pipeline=first.pipeline, stream=first.stream, state=first.state, command=first.command
        )
    names = ", ".join(f.stream for f in failed)
    text = "\n".join((f"failed: {names}", *(f.lines[0] for f in failed)))
    states = {f.lines[1] for f in failed}
    if len(states) > 1:
        states = {f"{f.stream}: {f.lines[1]}" for f in failed}
    error = LoadFailedError(text, errors=errors)
    raise error.at(pipeline=result.pipeline, state="; ".join(sorted(states)), command=first.command)
