"""The pipeline file: its model, how it is read, and what is said where it is wrong."""

from __future__ import annotations

from conduit_core.spec.connections import ConnectionResolver, FileConnections, resolve_connections
from conduit_core.spec.durations import format_duration, parse_duration
from conduit_core.spec.endpoints import ConnectionSpec
from conduit_core.spec.fingerprint import fingerprint
from conduit_core.spec.jsonschema import json_schema
from conduit_core.spec.load import DEFAULT_FILE, LoadedSpec, load_spec, spec_from_mapping
from conduit_core.spec.model import PipelineSpec, StreamDefaults, StreamSpec
from conduit_core.spec.names import quote_name, split_table
from conduit_core.spec.splits import SplitsSpec
from conduit_core.spec.template import render, template

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
    "fingerprint",
    "format_duration",
    "json_schema",
    "load_spec",
    "parse_duration",
    "quote_name",
    "render",
    "resolve_connections",
    "spec_from_mapping",
    "split_table",
    "template",
]
