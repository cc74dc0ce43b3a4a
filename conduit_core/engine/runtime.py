"""What a run gives each of its streams and splits, in this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from conduit_core.events import Emit, ignore
from conduit_core.state.store import StateStore


@dataclass(frozen=True, slots=True)
class Runtime:
    """Listeners, the state store, budgets, and the flag that stops everything.

    Args:
        emit: listener of events.
        store: the runner's state store, if it has one.
        queue_bytes: bound of the batches in flight of one stream.
        attempts: how often a retryable failure is tried, the first time included.
        cancel: set to stop at the next batch.
    """

    emit: Emit = ignore
    store: StateStore | None = None
    queue_bytes: int = 32 * 1024 * 1024
    attempts: int = 1
    cancel: threading.Event = field(default_factory=threading.Event)
