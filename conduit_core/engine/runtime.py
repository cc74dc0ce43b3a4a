"""What a run gives each of its streams and splits, in this process."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from conduit_core.events import Emit, ignore
from conduit_core.state.store import StateStore


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Workers:
    """Where the splits of a load are staged.

    Args:
        executor: an executor, or None: one after the other, here.
        count: how many work at once, to share the memory budget of this process.
    """

    executor: Executor | None = None
    count: int = 1

    @property
    def share_this_process(self) -> bool:
        """Whether workers see this process's connections, listeners and Ctrl-C."""
        return self.executor is None or isinstance(self.executor, ThreadPoolExecutor)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Listeners, the state store, budgets, and the flag that stops everything.

    Args:
        emit: listener of events.
        store: the runner's state store, if it has one.
        queue_bytes: bound of the batches in flight of one stream.
        attempts: how often a retryable failure is tried, the first time included.
        cancel: set to stop at the next batch.
        staged: whether loads are staged before they are published; None: those with splits.
        workers: where splits are staged.
    """

    emit: Emit = ignore
    store: StateStore | None = None
    queue_bytes: int = 32 * 1024 * 1024
    attempts: int = 1
    cancel: threading.Event = field(default_factory=threading.Event)
    staged: bool | None = None
    workers: Workers = Workers()
