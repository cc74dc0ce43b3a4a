"""The pipeline file: its model, how it is read, and what is said where it is wrong.

Its modules are imported when a name of theirs is first asked for: an outline needs no model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conduit_core.spec.connections import (
        ConnectionResolver,
        FileConnections,
        resolve_connections,
    )
    from conduit_core.spec.durations import format_duration, parse_duration
    from conduit_core.spec.endpoints import ConnectionSpec
    from conduit_core.spec.jsonschema import json_schema
    from conduit_core.spec.load import DEFAULT_FILE, LoadedSpec, load_spec, spec_from_mapping
    from conduit_core.spec.model import PipelineSpec, StreamDefaults, StreamSpec
    from conduit_core.spec.names import quote_name, split_table
    from conduit_core.spec.splits import SplitsSpec

_HOMES = {
    "ConnectionResolver": "conduit_core.spec.connections",
    "ConnectionSpec": "conduit_core.spec.endpoints",
    "DEFAULT_FILE": "conduit_core.spec.load",
    "FileConnections": "conduit_core.spec.connections",
    "LoadedSpec": "conduit_core.spec.load",
    "PipelineSpec": "conduit_core.spec.model",
    "SplitsSpec": "conduit_core.spec.splits",
    "StreamDefaults": "conduit_core.spec.model",
    "StreamSpec": "conduit_core.spec.model",
    "format_duration": "conduit_core.spec.durations",
    "json_schema": "conduit_core.spec.jsonschema",
    "load_spec": "conduit_core.spec.load",
    "parse_duration": "conduit_core.spec.durations",
    "quote_name": "conduit_core.spec.names",
    "resolve_connections": "conduit_core.spec.connections",
    "spec_from_mapping": "conduit_core.spec.load",
    "split_table": "conduit_core.spec.names",
}

__all__ = [
    "DEFAULT_FILE",
    "ConnectionResolver",
    "ConnectionSpec",
    "FileConnections",
    "LoadedSpec",
    "PipelineSpec",
    "SplitsSpec",
    "StreamDefaults",
    "StreamSpec",
    "format_duration",
    "json_schema",
    "load_spec",
    "parse_duration",
    "quote_name",
    "resolve_connections",
    "spec_from_mapping",
    "split_table",
]


def __getattr__(name: str) -> object:
    """Import a name where it lives, when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
