"""What ``conduit check`` is told of a thing that isn't ok."""

from __future__ import annotations

from conduit_core.connectors.base import CheckItem
from conduit_core.errors import ConduitError


def failed(name: str, error: ConduitError, remedy: str = "") -> CheckItem:
    """Return what an error says of a thing: what was seen, and whether a retry helps.

    Args:
        name: the thing's.
        error: what was raised when it was looked at.
        remedy: what to do.
    """
    return CheckItem(name, ok=False, detail=error.message, remedy=remedy, retry=error.retry)
