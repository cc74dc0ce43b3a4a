"""Files that a command writes for people: whole, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write_file(name: str, data: bytes, command: str) -> None:
    """Write a file in one step: whoever opens it sees the old content or the new one.

    Args:
        name: where; a link is followed.
        data: all of it.
        command: what to run instead where that isn't possible.

    Raises:
        ConfigError: it is a folder or a device, or may not be written.
    """
    from conduit_core.errors import ConfigError

    try:
        place = Path(name).resolve()
        if place.is_dir():
            raise ConfigError(f"{name} is a folder: name a file in it", command=command)
        if place.exists() and not place.is_file():
            raise ConfigError(f"{name} is no file that can be replaced", command=command)
        if place.exists() and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _replace(place, data)
    except (OSError, ValueError, RuntimeError) as error:  # a NUL byte; links in a circle
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{name} can't be written: {why}", command=command) from None


def _replace(place: Path, data: bytes) -> None:
    beside = place.with_name(f".conduit-{os.getpid()}.tmp")
    try:
        with beside.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
