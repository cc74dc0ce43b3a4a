"""The commands, each a function from a session and its options to an answer."""

from __future__ import annotations

from collections.abc import Callable

from conduit_core.cli.commands import loading, looking
from conduit_core.cli.screen import Answer


def commands() -> dict[str, Callable[..., Answer]]:
    """Return every command by its name, in the order that help lists them."""
    return {
        "plan": loading.plan,
        "run": loading.run,
        "status": looking.status,
    }
