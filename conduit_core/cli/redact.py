"""Takes secrets out of text before it is shown: the last line of defence, not the first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_core.spec import ConnectionSpec

MASK = "***"


class Redactor:
    """Knows the secrets that were read, and masks them in any text."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, connections: Iterable[ConnectionSpec]) -> None:
        """Remember every secret of these connections, in each spelling a URL gives it."""
        from conduit_core.spec.secrets import secrets_of

        self._secrets |= secrets_of(connections)
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(re.escape(s) for s in longest_first)) if longest_first else None
        )

    def __call__(self, text: str) -> str:
        """Return the text with each known secret masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text
