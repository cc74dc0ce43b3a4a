"""``@conduit_stream``: what a function returns or yields is loaded into a table."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, cast, overload

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run, task_run

from conduit_core.errors import ConcurrentLoadError, ConduitError, ConfigError
from prefect_conduit.arguments import Call, call_of
from prefect_conduit.asked import Asked
from prefect_conduit.blocks import ConduitConnection
from prefect_conduit.connections import PrefectConnections
from prefect_conduit.failures import RETRIES, WAITS_SECONDS, retry_may_help
from prefect_conduit.made import Made
from prefect_conduit.state import store_of
from prefect_conduit.stopping import in_stoppable_thread, stop_event
from prefect_conduit.tasks import failed, load, published

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

    from conduit_core import ConnectionSpec, LoadResult, Pipeline

P = ParamSpec("P")
Destination = str | Mapping[str, object] | ConduitConnection
_ANYWHERE = "duckdb:///:memory:"
"""Stands for the destination while the other arguments are checked."""


class _OfOurErrors(int):
    """The retries of a task whose author named none: the function's own errors have none."""


class Decorator(Protocol):
    """Makes a task of a function; one of an asynchronous function is awaited."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, object]], /
    ) -> Task[P, Coroutine[Any, Any, LoadResult]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, AsyncIterator[object]], /
    ) -> Task[P, Coroutine[Any, Any, LoadResult]]: ...
    @overload
    def __call__(self, function: Callable[P, object], /) -> Task[P, LoadResult]: ...


def conduit_stream(
    *,
    into: str,
    destination: Destination,
    mode: str = "append",
    key: str | Sequence[str] | None = None,
    cursor: str | Sequence[str] | None = None,
    stream: Mapping[str, object] | None = None,
    name: str | None = None,
    full_refresh: bool = False,
    reload: bool = False,
    state_prefix: str | None = None,
) -> Decorator:
    """Make a task of a function: what it returns or yields is loaded, exactly once.

    It may be Arrow, pandas or polars, or a generator of these, which never is in memory whole. A
    retry of a task or a flow run whose load is published doesn't call the function again: a flow
    run loads each call of the function once, and two calls differ by their arguments. What the
    function itself raises is retried as ``with_options(retries=...)`` says.

    Args:
        into: the table, ``schema.table`` or ``table``.
        destination: a URL, a ConduitConnection block or its name, or what a pipeline file says of
            a destination.
        mode: how rows are published, as in a pipeline file.
        key: the stream's ``unique_key``.
        cursor: the stream's ``cursor``.
        stream: further keys of a stream, as in a file: ``quality``, ``transform``, ``deletes``.
        name: the pipeline's name in the ledger; default: the flow's.
        full_refresh: replace the table's content.
        reload: load each call, also one with the arguments of an earlier one of the flow run.
        state_prefix: what the Variable with the state begins with; default: ``conduit``.

    Raises:
        ConfigError: an argument is wrong.
    """
    said = _Said(into, destination, mode, key, cursor, dict(stream or {}), name)
    said.pipeline(None, "checked", _ANYWHERE)
    asked = partial(Asked, full_refresh=full_refresh, reload=reload)

    def made(function: Callable[..., object]) -> Task[..., Any]:
        def body(loop: asyncio.AbstractEventLoop | None, args: Any, kwargs: Any) -> LoadResult:
            data = Made(partial(function, *args, **kwargs), loop)
            pipeline = said.pipeline(data.rows, flow_run.flow_name or function.__name__)
            call = call_of(function, args, kwargs)
            return _loaded(pipeline, data, call, asked(call=call.text), state_prefix)

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> LoadResult:
            return body(None, args, kwargs)

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> LoadResult:
            loop = asyncio.get_running_loop()
            return await in_stoppable_thread(partial(body, loop, args, kwargs))

        awaits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        return Task(
            awaited if awaits else plain,
            name=function.__name__.replace("_", "-"),
            retries=_OfOurErrors(RETRIES),
            retry_delay_seconds=WAITS_SECONDS,
            retry_condition_fn=_may_help,
            cache_policy=NO_CACHE,
        )

    return cast("Decorator", made)


@dataclass(frozen=True)
class _Said:
    """What the decorator's author says of the load."""

    into: str
    destination: Destination
    mode: str
    key: str | Sequence[str] | None
    cursor: str | Sequence[str] | None
    stream: Mapping[str, object]
    name: str | None

    def pipeline(self, data: object, name: str, to: str | None = None) -> Pipeline:
        """Return the pipeline of one stream.

        Raises:
            ConfigError: an argument is wrong.
        """
        from conduit_core import Pipeline

        return Pipeline.from_data(
            data,
            name=self.name or name,
            into=self.into,
            destination=to or self._destination(),
            mode=self.mode,  # type: ignore[arg-type]
            key=self.key,
            cursor=self.cursor,
            stream=self.stream,
            connections=PrefectConnections(),
        )

    def _destination(self) -> str | Mapping[str, object] | ConnectionSpec:
        given = self.destination
        if isinstance(given, ConduitConnection):
            return given.spec()
        if isinstance(given, str) and "://" not in given:
            return {"connection": given}
        return given


def _may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Say whether another try may help: of our own errors by their word, of others by options."""
    if isinstance(state.data, ConduitError):
        return retry_may_help(task, task_run, state)
    return not isinstance(task.retries, _OfOurErrors) and not stop_event().is_set()


# --- the load -------------------------------------------------------------------------------------

_LOOK_SECONDS = 0.2
_AGAIN = 2
_turns: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)


def _loaded(
    pipeline: Pipeline, data: Made, call: Call, asked: Asked, prefix: str | None
) -> LoadResult:
    (only,) = pipeline.streams
    try:
        result = _in_turn(
            pipeline, partial(load, pipeline, only.name, asked, store_of(None, prefix))
        )
        is_first = flow_run.run_count == task_run.run_count == 1
        if result.outcome == "replayed" and is_first and call.by_type is not None:
            raise pipeline.at(_not_told_apart(call), only.name)
    except ConduitError as error:
        own = data.raised
        if own is None or isinstance(own, ConduitError) or not _is_retried():
            failed(error, pipeline.name, only.name, plans=True)
        if own is not None:
            raise own from None
        raise
    if result.outcome == "replayed" and is_first:
        get_run_logger().warning(
            "nothing was loaded: this flow run has loaded the same function with the same"
            " arguments before; give each call other arguments, or say reload=True"
        )
    published(result)
    return result


def _not_told_apart(call: Call) -> ConfigError:
    return ConfigError(
        f"nothing was loaded: this flow run has loaded a call of {call.text.partition('/')[0]}"
        f" that looks the same. The argument `{call.by_type}` counts by its type alone: give each"
        " call an argument that differs and is a plain value, or say reload=True"
    )


def _in_turn(pipeline: Pipeline, attempt: Callable[[], LoadResult]) -> LoadResult:
    """Load; where calls of this process got in each other's way, again, one after another.

    The function isn't called again for that: what it made is kept.
    """
    try:
        return attempt()
    except ConcurrentLoadError:
        (only,) = pipeline.streams
        turn, stop = _turns[pipeline.name, only.name], stop_event()
        while not turn.acquire(timeout=_LOOK_SECONDS):
            if stop.is_set():
                raise
    try:
        for _ in range(_AGAIN):
            try:
                return attempt()
            except ConcurrentLoadError:  # of a call that came first, or of another process
                continue
        return attempt()
    finally:
        turn.release()


def _is_retried() -> bool:
    """Say whether Prefect calls the function again after an error of its own."""
    context = TaskRunContext.get()
    if context is None or isinstance(context.task.retries, _OfOurErrors):
        return False
    return context.task_run.run_count <= context.task.retries
