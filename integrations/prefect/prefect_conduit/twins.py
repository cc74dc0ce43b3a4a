"""The asynchronous twin of a task: the same body, in a thread of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import Task

from prefect_conduit.stopping import in_stoppable_thread

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(twin: Task[P, R]) -> Task[P, Coroutine[Any, Any, R]]:
    """Return a task that an asynchronous flow awaits; cancelled, it ends its load first."""
    body: Callable[P, R] = twin.fn

    @functools.wraps(body)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await in_stoppable_thread(functools.partial(body, *args, **kwargs))

    return Task(
        run,
        name=twin.name,
        task_run_name=twin.task_run_name,
        retries=twin.retries,
        retry_delay_seconds=twin.retry_delay_seconds,
        retry_condition_fn=twin.retry_condition_fn,
        cache_policy=twin.cache_policy,
    )
