"""What a source knows of transactions that may still write rows behind a time cursor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from conduit_core.connectors.base import StreamRef


@dataclass(frozen=True, slots=True)
class OpenWrites:
    """What a source knows of transactions that may still commit rows with older times.

    Args:
        since: when the oldest of them began: its rows may carry that time, and none before it.
        unbounded: one of them began at a time that can't be known, so nothing is safe to pass.
        notes: what isn't known, and who holds up the window, for the plan.
    """

    since: datetime | None = None
    unbounded: bool = False
    notes: tuple[str, ...] = ()


@runtime_checkable
class SafeHigh(Protocol):
    """Trait: a source that knows how far a time cursor is complete."""

    def open_writes(self, ref: StreamRef) -> OpenWrites:
        """Look at the transactions that may still write rows of a stream. Called before bounds."""
        ...
