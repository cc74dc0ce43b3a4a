"""The attempts of a load, told by events of ours and not by the library's own log lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

from stamina import Attempt, retry_context
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from stamina.typing import RetryDetails, RetryHook

_ours: ContextVar[bool] = ContextVar("conduit_retries", default=False)
"""Whether it is a load of ours that waits, not code that runs in one and retries by itself."""


class _OfOthers:
    """A hook that hears of others' retries alone: of a load's it would say ``<context block>``."""

    def __init__(self, hook: RetryHook) -> None:
        self._hook = hook

    def __call__(self, details: RetryDetails) -> AbstractContextManager[None] | None:
        return None if _ours.get() else self._hook(details)


def attempts(
    may_help: Callable[[Exception], bool],
    most: int,
    first_wait_seconds: float,
    longest_wait_seconds: float,
) -> Iterator[Attempt]:
    """Go through the attempts of a load; between two of them, wait.

    Each is entered by ``with``; one that fails is followed by the next, if that may help.

    Args:
        may_help: says of an error whether another attempt may help.
        most: how many attempts there are.
        first_wait_seconds: before the second one; it grows from then on.
        longest_wait_seconds: it never grows above that.
    """
    hooks = get_on_retry_hooks()
    if not all(isinstance(hook, _OfOthers) for hook in hooks):
        set_on_retry_hooks([h if isinstance(h, _OfOthers) else _OfOthers(h) for h in hooks])
    tries = iter(
        retry_context(
            on=may_help,
            attempts=most,
            timeout=None,
            wait_initial=first_wait_seconds,
            wait_max=longest_wait_seconds,
        )
    )
    while True:
        waits = _ours.set(True)
        try:
            tried = next(tries)
        except StopIteration:
            return
        finally:
            _ours.reset(waits)
        yield tried
