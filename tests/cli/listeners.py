"""Listeners that tests name in ``CONDUIT_LISTENERS``: they act from inside the running command."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable

from conduit_core.events import Event


def interrupt_second_stream() -> Callable[[Event], None]:
    """Press Ctrl-C, once, when rows of the stream ``second`` were written; wait for its effect."""
    pressed = False

    def listen(event: Event) -> None:
        nonlocal pressed
        if event.name == "batch_written" and event.stream == "second" and not pressed:
            from conduit_core.engine.runtime import Runtime

            pressed = True
            (runtime,) = [o for o in gc.get_objects() if isinstance(o, Runtime)]
            os.kill(os.getpid(), signal.SIGINT)
            runtime.cancel.wait(30)

    return listen


def chatter() -> Callable[[Event], None]:
    """Say something in every way a library can."""

    def listen(event: Event) -> None:
        if event.name != "plan_ready":
            return
        import structlog

        logging.getLogger("some.library").warning("it's logging: %s", "a\nsecond line")
        structlog.get_logger("other").warning("structlog", answer=42)
        warnings.warn("a warning", UserWarning, stacklevel=1)
        sys.stderr.write("plain words\nand more")
        try:
            raise ValueError("inside")
        except ValueError:
            logging.getLogger("some.library").exception("with a traceback")

    return listen


def broken() -> Callable[[Event], None]:
    """Raise at the first event: the load goes on without it."""

    def listen(event: Event) -> None:
        raise RuntimeError(f"not today: {event.name}")

    return listen


def crash_engine() -> Callable[[Event], None]:
    """Break something inside the engine that nobody foresaw, with a secret in its message."""
    from conduit_core.engine import plan

    def explode(*_: object) -> None:
        raise LookupError(f"no key for {os.environ['CANARY']}")

    plan._freeze = explode  # type: ignore[assignment]
    return lambda _: None


def not_a_listener() -> int:
    """Make something that can't be called."""
    return 42


def crash_plan() -> Callable[[Event], None]:
    """Break planning at its first step, with a secret in the message."""
    from conduit_core.engine import plan

    def explode(*_: object) -> None:
        raise LookupError(f"no key for {os.environ['CANARY']}")

    plan.refuse_unsupported = explode  # type: ignore[assignment]
    return lambda _: None
