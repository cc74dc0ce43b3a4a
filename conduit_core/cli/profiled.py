"""``conduit run --profile``: a file for speedscope, also of a run that failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def profiled(file: str | None, name: str) -> Iterator[None]:
    """Write what the block's threads did, however it ends; without a file do nothing.

    Raises:
        ConfigError: the file can't be written: told before anything is loaded.
    """
    if file is None:
        yield
        return
    from conduit_core.cli.writing import write_file
    from conduit_core.errors import ConduitError
    from conduit_core.observe.profiling import Profiler

    def write() -> None:
        text = json.dumps(profiler.document(name), separators=(",", ":"))
        write_file(file, text.encode(), "conduit run --profile profile.json")

    profiler = Profiler()
    write()
    try:
        with profiler:
            yield
    finally:
        try:
            write()
        except ConduitError as error:  # the loads are what they are
            sys.stderr.write(f"no profile: {error.message}\n")
