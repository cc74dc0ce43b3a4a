"""The ``conduit`` command. Importing this imports nothing heavy: ``conduit --help`` is quick."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        args: what stands behind ``conduit``; default the process's own arguments, and then the
            process belongs to the command.
    """
    if args is None:
        gc.disable()  # imports make much and drop little; on again as soon as a pipeline is read
        # Pydantic would read the metadata of every package installed, for plugins to itself.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        # Arrow's allocator would keep what a large load has freed: 50 MiB more at the peak.
        os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")
    try:
        from conduit_core.cli.app import dispatch

        return dispatch(list(sys.argv[1:] if args is None else args))
    except KeyboardInterrupt:  # before a command has begun
        return INTERRUPTED
    finally:
        gc.enable()
