"""Listeners that the environment names, for a run and for its workers in other processes."""

from __future__ import annotations

import importlib
import os

from conduit_core.errors import ConfigError
from conduit_core.events import Listener

LISTENERS = "CONDUIT_LISTENERS"
"""More listeners for a run and its workers: ``module:factory``, separated by commas."""


def listeners_from_environment() -> tuple[Listener, ...]:
    """Call each factory that ``CONDUIT_LISTENERS`` names, and return the listeners they make.

    Raises:
        ConfigError: one can't be imported or called, or makes nothing that can be called.
    """
    text = os.environ.get(LISTENERS, "")
    return tuple(_listener(item.strip()) for item in text.split(",") if item.strip())


def _listener(item: str) -> Listener:
    module, colon, name = item.partition(":")
    try:
        if not colon:
            raise ValueError("write module:factory")
        listener: Listener = getattr(importlib.import_module(module), name)()
    except Exception as error:  # whatever a factory raises, the variable is to blame
        raise ConfigError(
            f"{LISTENERS}: {item!r} makes no listener: {error}", command="conduit run --help"
        ) from error
    if not callable(listener):
        raise ConfigError(
            f"{LISTENERS}: {item!r} makes {type(listener).__name__}, which can't be called",
            command="conduit run --help",
        )
    return listener
