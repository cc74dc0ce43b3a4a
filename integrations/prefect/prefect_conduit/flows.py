"""``run_pipeline``: a ready flow that loads a pipeline's streams, and does what follows."""
# ruff: noqa: I002 - served, a flow is pickled, and text says nothing of a type in its process

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from prefect import flow
from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from conduit_core.errors import ConduitError, ConfigError, unexpected
from prefect_conduit.artifacts import never_failing, show_run
from prefect_conduit.asked import Asked, Moment, scheduled_start, slice_before
from prefect_conduit.blocks import ConduitPipeline, end_with_secret
from prefect_conduit.failures import raise_for_run, short
from prefect_conduit.hooks import check_hooks, run_after
from prefect_conduit.pipelines import opened
from prefect_conduit.state import store_of
from prefect_conduit.stopping import in_stoppable_thread
from prefect_conduit.tasks import AT_ONCE, load_stream

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture

    from conduit_core import HookResult, LoadResult, RunResult, StreamFailure

_THREADS: Any = ThreadPoolTaskRunner(max_workers=AT_ONCE)
"""``with_options(task_runner=...)`` says another number of streams at the same time."""
Given: TypeAlias = str | dict[str, Any] | ConduitPipeline
"""What a deployment's parameter ``pipeline`` may be: a path, a file's content, or a block."""


@flow(name="run-pipeline", task_runner=_THREADS)
def run_pipeline(
    pipeline: Given,
    streams: list[str] | None = None,
    window_from: Moment | None = None,
    window_to: Moment | None = None,
    window_length: str | None = None,
    full_refresh: bool = False,  # noqa: FBT001, FBT002 - a deployment's parameters have names
    state_prefix: str | None = None,
) -> "RunResult":
    """Load a pipeline's streams side by side, then do what its file says under ``after:``.

    A stream that fails doesn't stop the others, unless the file says ``on_error: stop``: then they
    run one after another, and those behind it aren't started. The flow run fails at the end,
    naming it.

    Args:
        pipeline: the pipeline's file, its content, or a ConduitPipeline block.
        streams: names of streams; all by default.
        window_from: the start of a given window, which belongs to it.
        window_to: its end, which doesn't.
        window_length: the slice of this length, such as "1 day", that ends at the run's scheduled
            start: a run that is late, or tried again, loads the same slice.
        full_refresh: replace the tables' content.
        state_prefix: what the Variables with the state begin with; default: what the block says,
            or ``conduit``.

    Returns:
        What became of each stream and hook.

    Raises:
        ConfigError: the pipeline or a parameter is wrong: nothing was started.
        LoadFailedError: streams or hooks failed.
    """
    with short():
        asked = _asked(window_from, window_to, window_length, full_refresh)
        return _ran(pipeline, streams, asked, state_prefix)


@flow(name="run-pipeline", task_runner=_THREADS)
async def arun_pipeline(
    pipeline: Given,
    streams: list[str] | None = None,
    window_from: Moment | None = None,
    window_to: Moment | None = None,
    window_length: str | None = None,
    full_refresh: bool = False,  # noqa: FBT001, FBT002 - a deployment's parameters have names
    state_prefix: str | None = None,
) -> "RunResult":
    """Do what ``run_pipeline`` does, for an asynchronous flow that awaits it."""
    with short():
        asked = _asked(window_from, window_to, window_length, full_refresh)
        return await in_stoppable_thread(partial(_ran, pipeline, streams, asked, state_prefix))


def _asked(
    start: Moment | None,
    end: Moment | None,
    length: str | None,
    full_refresh: bool,  # noqa: FBT001
) -> Asked:
    if length is not None:
        if start is not None or end is not None:
            raise ConfigError("give window_length, or window_from and window_to, not both")
        start, end = slice_before(length, scheduled_start())
    return Asked(window_from=start, window_to=end, full_refresh=full_refresh)


def _ran(
    pipeline: Given, streams: Sequence[str] | None, asked: Asked, prefix: str | None
) -> "RunResult":
    from conduit_core import RunResult

    started = time.perf_counter()
    if isinstance(pipeline, dict) and (end := end_with_secret(pipeline)):
        get_run_logger().warning(
            f"a password stands under {end}: in the parameter pipeline, which Prefect keeps and"
            f" shows: name a connection, as {end}: {{connection: shop}}, or a variable:"
            " ${SHOP_URL}"
        )
    store_of(pipeline, prefix)  # refused here, before each stream's task would
    found = opened(pipeline)
    if streams is not None and not streams:
        raise ConfigError("streams=[] names no stream: leave it out for all", pipeline=found.name)
    chosen = found.select(None if streams is None else tuple(streams))
    outline = found.outline()
    check_hooks(found, outline.hooks)
    names = [each.name for each in chosen]
    loads = _loaded(pipeline, names, asked, prefix, stops=outline.stops)
    failed = [*(each.stream for each in loads.failures), *loads.not_started]
    result = RunResult(
        pipeline=found.name,
        results=tuple(loads.results),
        failures=tuple(loads.failures),
        not_started=tuple(loads.not_started),
        hooks=_after(pipeline, outline.hooks, failed),
        seconds=time.perf_counter() - started,
    )
    with never_failing(f"the run of {found.name} can't be shown"):
        show_run(result)
    raise_for_run(result)
    return result


@dataclass
class _Loads:
    """What became of a run's streams, each in the file's order."""

    results: "list[LoadResult]" = field(default_factory=list)
    failures: "list[StreamFailure]" = field(default_factory=list)
    not_started: list[str] = field(default_factory=list)


def _loaded(
    pipeline: Given, streams: Sequence[str], asked: Asked, prefix: str | None, *, stops: bool
) -> _Loads:
    """Load streams side by side; those that stop at a failure one after another.

    A task that waits for one that failed doesn't run: Prefect leaves it NotReady, and so those that
    wait for it. A retry is over by then, as a future ends with its last.
    """
    futures: dict[str, PrefectFuture[LoadResult]] = {}
    before: list[PrefectFuture[LoadResult]] = []
    for stream in streams:
        futures[stream] = load_stream.submit(
            pipeline,
            stream,
            window_from=asked.window_from,
            window_to=asked.window_to,
            full_refresh=asked.full_refresh,
            state_prefix=prefix,
            wait_for=before,
            return_state=False,
        )
        if stops:
            before = [futures[stream]]
    loads = _Loads()
    for name, future in futures.items():
        future.wait()
        if stops and future.state.is_pending():
            loads.not_started.append(name)
        elif (error := _error_of(future.state)) is None:
            loads.results.append(future.result())
        else:
            loads.failures.append(_failure(name, error))
    return loads


def _after(
    pipeline: Given, hooks: Sequence[str], failed: Sequence[str]
) -> "tuple[HookResult, ...]":
    """Run each hook as a task; one that fails doesn't stop the others."""
    from conduit_core import HookResult

    done: list[HookResult] = []
    for hook in hooks:
        state = run_after(pipeline, hook, failed, return_state=True)
        error = _error_of(state)
        if error is None:
            done.append(_value_of(state))
            continue
        failure = _failure(f"after.{hook}", error)
        done.append(
            HookResult(
                hook=hook, outcome="failed", text=failure.lines[0], seconds=0.0, failure=failure
            )
        )
    return tuple(done)


def _error_of(state: "State[Any]") -> BaseException | None:
    if state.is_completed():
        return None
    value = _value_of(state)
    return (
        value
        if isinstance(value, BaseException)
        else ConduitError(state.message or str(state.name))
    )


def _value_of(state: "State[Any]") -> Any:
    """Return what a run returned, or why it failed; under an asynchronous flow no coroutine."""
    result: Any = state.result
    return result(raise_on_failure=False, _sync=True)


def _failure(what: str, error: BaseException) -> "StreamFailure":
    from conduit_core import StreamFailure

    known = error if isinstance(error, ConduitError) else unexpected(error)
    return StreamFailure.of(what, known)
