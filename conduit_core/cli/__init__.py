"""The ``conduit`` command. Importing this imports nothing heavy: ``conduit --help`` is quick."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

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

        code = dispatch(list(sys.argv[1:] if args is None else args))
    except KeyboardInterrupt:  # before a command has begun
        return INTERRUPTED
    finally:
        gc.enable()
    if args is None:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """End here and now where somebody who was told too slowly is still being told.

    Python ends by cutting such threads off. One that is in a driver's or gRPC's own code then takes
    the process down, with another exit code.
    """
    names = ("alert", "close-")
    if not any(t.name.startswith(names) for t in threading.enumerate()):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
