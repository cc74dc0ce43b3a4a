"""When a task is to end early: its flow run is cancelled, its process is told to end, or Ctrl-C.

Prefect raises such an end in the main thread alone. A load that runs there ends by itself: the core
rolls it back. A task in a thread of its own has to be told, and Prefect waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import TypeVar

from prefect.context import FlowRunContext, TaskRunContext

R = TypeVar("R")
_told: ContextVar[threading.Event | None] = ContextVar("conduit_stop", default=None)


class _RunnersStop(threading.Event):
    """Set when the flow's task runner ends its tasks while the flow still runs.

    The runner sets an event for each task whenever it closes: also after a flow that has ended
    without waiting for its tasks. Those that load by then are left to finish.
    """

    def __init__(self, theirs: threading.Event, flow: FlowRunContext) -> None:
        super().__init__()
        self._theirs = theirs
        self._flow = flow

    def is_set(self) -> bool:
        return super().is_set() or (self._theirs.is_set() and not self._has_ended())

    def _has_ended(self) -> bool:
        run = self._flow.flow_run
        return run is not None and run.state is not None and run.state.is_final()


def stop_event() -> threading.Event:
    """Return what is set when the task that runs here is to end: its load is then rolled back."""
    if (given := _told.get()) is not None:
        return given
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is None or flow is None:
        return threading.Event()
    # Prefect gives a task no public way to its event. A task that calls ours has one, ours hasn't;
    # all of a runner's are set together.
    events: dict[object, threading.Event] = getattr(flow.task_runner, "_cancel_events", {})
    theirs = events.get(task.task_run.id) or next(iter(tuple(events.values())), None)
    if not isinstance(theirs, threading.Event):  # of a runner of processes
        return threading.Event()
    return _RunnersStop(theirs, flow)


async def in_stoppable_thread(body: Callable[[], R]) -> R:
    """Run a body in a thread. If who awaits it is cancelled, it is told, and waited for."""
    stop = threading.Event()
    context = copy_context()
    context.run(_told.set, stop)
    running = asyncio.get_running_loop().run_in_executor(None, context.run, body)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])  # nothing may be left behind that still writes
        if not running.cancelled():
            running.exception()  # it has been looked at
        raise
