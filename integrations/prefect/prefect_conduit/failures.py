"""How a task fails: at once and for good, or to be tried again, by the error's own word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.context import TaskRunContext

from conduit_core.errors import ConduitError, LoadFailedError, number
from prefect_conduit.stopping import stop_event

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

    from conduit_core import RunResult

RETRIES = 3
WAITS_SECONDS = [2.0, 8.0, 20.0]
"""Before each retry: a lock is soon free, a database that starts again takes half a minute. A task
that waits can't be cancelled, and Prefect kills what hasn't ended after 30 s."""
ATTEMPTS = 1
"""How often a task run tries: a retry is Prefect's, where people see, count and change it."""
_SHOWN = 5
"""Failures that a flow run's message tells."""


def step_may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Say whether the same task may succeed if it runs again: a stale plan stays one."""
    return _retry_of(state) == "step"


def retry_may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Say whether a task that also plans may succeed if it runs again."""
    return _retry_of(state) in ("step", "plan")


class TaskOptions(TypedDict):
    """What each of our tasks says of its retries, and that no cached result stands for it."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]
    cache_policy: CachePolicy


PLANS: TaskOptions = {
    "retries": RETRIES,
    "retry_delay_seconds": WAITS_SECONDS,
    "retry_condition_fn": retry_may_help,
    "cache_policy": NO_CACHE,
}
"""Of a task that plans, so that another try has a new plan."""
HAS_A_PLAN: TaskOptions = {**PLANS, "retry_condition_fn": step_may_help}
"""Of a task that is given its plan."""


def is_final(error: ConduitError, *, plans: bool) -> bool:
    """Say whether the task run that fails with an error isn't tried again."""
    context = TaskRunContext.get()
    if error.retry == "never" or (error.retry == "plan" and not plans) or context is None:
        return True
    return context.task_run.run_count > context.task.retries


def bare(error: ConduitError) -> ConduitError:
    """Return an error without its traceback and cause: its text is all that a log needs of it.

    Prefect logs the traceback of whatever a task or a flow raises. That of a bug stays.
    """
    if type(error) is not ConduitError:
        error.__traceback__ = None
        error.__cause__ = None
        error.__suppress_context__ = True
    return error


def said_by(error: Exception) -> str:
    """Return the first line of what another library's error says, without a URL's user."""
    return re.sub(r"//[^/@\s]*@", "//", str(error).partition("\n")[0])


@contextmanager
def short() -> Iterator[None]:
    """Raise an error of ours without what the log doesn't need of it."""
    try:
        yield
    except ConduitError as error:
        bare(error)
        raise


def raise_for_run(result: RunResult) -> None:
    """Raise what failed in a run as one error, whose text names each stream and hook.

    Raises:
        LoadFailedError: streams or hooks failed.
    """
    failed = result.failed
    if not failed:
        return
    lines = [_headline(result), *(each.lines[0] for each in failed[:_SHOWN])]
    if len(failed) > _SHOWN:
        lines.append(f"and {len(failed) - _SHOWN} more, each in the message of its task run")
    error = LoadFailedError("\n".join(lines), errors=tuple(each.to_error() for each in failed))
    states = {each.lines[1] for each in failed}
    if len(states) > 1:
        states = {f"{each.stream}: {each.lines[1]}" for each in failed[:_SHOWN]}
    raise bare(error.at(state="; ".join(sorted(states)), command=failed[0].lines[3]))


def _headline(result: RunResult) -> str:
    said = []
    if result.failures:
        left = len(result.not_started)
        of = len(result.failures) + len(result.results) + left
        names = ", ".join(each.stream for each in result.failures)
        said.append(f"{len(result.failures)} of {number(of, 'stream', 'streams')} failed: {names}")
        if left:
            said.append(f"{left} not started")
    hooks = ", ".join(each.hook for each in result.hooks if each.failure is not None)
    if hooks:
        said.append(f"after.{hooks} failed")
    return f"{result.pipeline}: {'; '.join(said)}"


def _retry_of(state: State[Any]) -> str:
    if stop_event().is_set():  # it fails because it is to end
        return "never"
    # Not state.result(): for an asynchronous task that is a coroutine, and raises nothing.
    return state.data.retry if isinstance(state.data, ConduitError) else "never"
