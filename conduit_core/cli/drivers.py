"""Which drivers an extra of ``conduit-load`` brings, and which of them aren't installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*;.*extra\s*==\s*['\"]([^'\"]+)['\"]")


def missing_drivers(extra: str) -> list[str]:
    """Return the distributions that the extra asks for and this environment lacks."""
    if not extra:
        return []
    try:
        requirements = distribution("conduit-load").requires or []
    except PackageNotFoundError:  # a checkout that was never installed
        return []
    wanted = [m[1] for r in requirements if (m := _REQUIREMENT.match(r)) and m[2] == extra]
    return [name for name in wanted if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
