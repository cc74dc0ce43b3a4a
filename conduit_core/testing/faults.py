"""Fault points: a listener that stops its own process, hard, where a load is most easily hurt.

It is an ordinary listener, so the real command runs with it unchanged::

    CONDUIT_LISTENERS=conduit_core.testing.faults:from_environment
    CONDUIT_FAULT=mid_stage:2:orders conduit run pipeline.yml

kills the run with SIGKILL when stream ``orders`` has handed over its second batch. With
``CONDUIT_FAULT_SIGNAL=STOP`` the process is frozen there instead, until someone sends it SIGCONT:
two runs can then be made to meet at any two points.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Self, cast, get_args

from conduit_core.errors import ConfigError
from conduit_core.events import (
    AuditStarted,
    BatchWritten,
    CommitStarted,
    Committed,
    Event,
    HookFinished,
    HookStarted,
    Listener,
    PlanReady,
    PublishStarted,
    RunFinished,
    SplitStaged,
    StateMirrored,
    StreamStarted,
    ignore,
)

POINTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        "before_plan": StreamStarted,
        "after_plan": PlanReady,
        "locked": PublishStarted,
        "mid_stage": BatchWritten,
        "after_split": SplitStaged,
        "audit": AuditStarted,
        "before_commit": CommitStarted,
        "after_commit": Committed,
        "after_mirror": StateMirrored,
        "before_hooks": HookStarted,
        "after_hook": HookFinished,
        "after_hooks": RunFinished,
    }
)
"""Each fault point and the event that says a load has come to it, in a load's order."""

SignalName = Literal["KILL", "STOP"]


class Fault:
    """A listener that sends its own process a signal at a fault point.

    Args:
        point: a name of ``POINTS``.
        count: at which of the point's events, from 1; counted over the streams that match.
        stream: only this stream's events count; None for every stream's.
        signal_name: ``KILL`` ends the process, ``STOP`` freezes it until it gets SIGCONT.

    Raises:
        ConfigError: there is no such point, or the count is below 1.
    """

    def __init__(
        self,
        point: str,
        count: int = 1,
        stream: str | None = None,
        signal_name: SignalName = "KILL",
    ) -> None:
        if point not in POINTS:
            raise ConfigError(f"no fault point {point!r}; there are {', '.join(POINTS)}")
        if count < 1:
            raise ConfigError(f"a fault's count starts at 1, not {count}")
        self._event = POINTS[point]
        self._left = count
        self._stream = stream
        self._signal = signal.SIGKILL if signal_name == "KILL" else signal.SIGSTOP

    @classmethod
    def from_text(cls, text: str, signal_name: SignalName = "KILL") -> Self:
        """Read ``POINT``, ``POINT:COUNT`` or ``POINT:COUNT:STREAM``.

        Raises:
            ConfigError: the text is not of that form, or names no point.
        """
        point, _, rest = text.partition(":")
        count, _, stream = rest.partition(":")
        if count and not count.isdigit():
            raise ConfigError(f"a fault is POINT[:COUNT[:STREAM]], not {text!r}")
        return cls(point, int(count or 1), stream or None, signal_name)

    def __call__(self, event: Event) -> None:
        """Count the event; at the last one, send the signal. SIGKILL doesn't come back."""
        if not isinstance(event, self._event):
            return
        if self._stream is not None and event.stream != self._stream:
            return
        self._left -= 1
        if self._left == 0:
            # To this thread, not to the process: another one might take it, and this one go on.
            signal.pthread_kill(threading.get_ident(), self._signal)


def from_environment() -> Listener:
    """Return the fault that ``CONDUIT_FAULT`` names, or a listener that does nothing.

    Raises:
        ConfigError: the variable, or ``CONDUIT_FAULT_SIGNAL``, says something we don't know.
    """
    text = os.environ.get("CONDUIT_FAULT")
    if not text:
        return ignore
    name = os.environ.get("CONDUIT_FAULT_SIGNAL", "KILL")
    if name not in get_args(SignalName):
        raise ConfigError(f"CONDUIT_FAULT_SIGNAL is KILL or STOP, not {name!r}")
    return Fault.from_text(text, cast("SignalName", name))
