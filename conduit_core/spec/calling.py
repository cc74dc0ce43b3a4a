"""Which file calls: what a wrapper's relative paths are relative to."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from types import FrameType


def calling_file(past: Collection[str]) -> Path:
    """Return the file whose code called, past all of some packages.

    Args:
        past: packages by their names: the wrapper's own, and the orchestrator's.

    Returns:
        The file; one that isn't there, in the working directory, where everything is theirs.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect reads the same, slower
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in past and name != __name__:
            return Path(frame.f_code.co_filename)
        frame = frame.f_back
    return Path("python")
