"""How far what follows a load has come, kept in the destination."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from conduit_core.types.dialect import Table


@runtime_checkable
class KeepsHooks(Protocol):
    """Trait: a destination that remembers which version of a target a hook has finished with."""

    def hook_marks(self, pipeline: str, hook: str) -> dict[Table, int]:
        """Return the version that a pipeline's hook last finished with, by target. Read-only."""
        ...

    def keep_hook_marks(self, pipeline: str, hook: str, marks: Mapping[Table, int]) -> None:
        """Write these versions, all or none; those of other targets stay.

        Raises:
            ConduitError: the destination can't be reached, or refuses it.
        """
        ...
