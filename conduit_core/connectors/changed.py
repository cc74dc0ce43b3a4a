"""Files that an append has loaded before, and that changed since: their rows would come twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from conduit_core.connectors.base import StreamRef, file_digest
from conduit_core.errors import StateError
from conduit_core.state.window import Window


@runtime_checkable
class ListsFiles(Protocol):
    """Trait: a source that can say which files a window has, without reading them."""

    def files_of(self, ref: StreamRef, window: Window) -> list[str]:
        """Return the paths of a window's files, as digests are made of."""
        ...


def refuse_changed(paths: Sequence[str], known: frozenset[str]) -> None:
    """Refuse files that were loaded before.

    Args:
        paths: the files to load.
        known: digests of those that the target holds rows of.

    Raises:
        StateError: it names some, and both ways on.
    """
    again = [path for path in paths if file_digest(path) in known]
    if again:
        raise StateError(
            f"{', '.join(again[:3])}{' ...' if len(again) > 3 else ''}: changed since loaded, and"
            " append would load the file's rows again. Remedy: metadata: [load, file] (its old rows"
            " are replaced) or mode: replace",
            command="conduit run --full-refresh",
        )
