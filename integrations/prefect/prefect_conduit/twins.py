"""The asynchronous twin of a task: the same body, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(twin: Task[P, R]) -> Task[P, Coroutine[Any, Any, R]]:
    """Return a task that an asynchronous flow awaits."""
    body: Callable[P, R] = twin.fn

    @functools.wraps(body)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(body, *args, **kwargs)

    return Task(
        run,
        name=twin.name,
        task_run_name=twin.task_run_name,
        retries=twin.retries,
        retry_delay_seconds=twin.retry_delay_seconds,
        retry_condition_fn=twin.retry_condition_fn,
        cache_policy=twin.cache_policy,
    )
