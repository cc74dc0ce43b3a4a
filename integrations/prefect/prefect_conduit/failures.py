"""How a task fails: at once and for good, or to be tried again, by the error's own word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext

from conduit_core.errors import ConduitError

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

RETRIES = 2
WAITS_SECONDS = [5.0, 10.0]
"""Before each retry."""


def step_may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Say whether the same task may succeed if it runs again: a stale plan stays one."""
    return _retry_of(state) == "step"


def retry_may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Say whether a task that also plans may succeed if it runs again."""
    return _retry_of(state) in ("step", "plan")


def is_final(error: ConduitError, *, plans: bool) -> bool:
    """Say whether the task run that fails with an error isn't tried again."""
    context = TaskRunContext.get()
    if error.retry == "never" or (error.retry == "plan" and not plans) or context is None:
        return True
    return context.task_run.run_count > context.task.retries


def _retry_of(state: State[Any]) -> str:
    try:
        state.result()
    except ConduitError as error:
        return error.retry
    except Exception:  # noqa: BLE001 - what the task raised, if it wasn't ours: a bug
        return "never"
    return "never"
