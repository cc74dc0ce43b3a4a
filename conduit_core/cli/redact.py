"""Takes secrets out of text before it is shown: the last line of defence, not the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_core.spec import ConnectionSpec

MASK = "***"


class Redactor:
    """Knows the secrets that were read, and masks them in any text."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._mask: Callable[[str], str] = str

    def learn(
        self, connections: Iterable[ConnectionSpec], more: frozenset[str] = frozenset()
    ) -> None:
        """Remember every secret of these connections, in each spelling a URL gives it.

        Args:
            connections: both ends of a pipeline.
            more: other texts that nothing may show.
        """
        from conduit_core.spec.secrets import masking, secrets_of

        self._secrets |= secrets_of(connections) | more
        self._mask = masking(self._secrets)

    def __call__(self, text: str) -> str:
        """Return the text with each known secret masked."""
        return self._mask(text)
