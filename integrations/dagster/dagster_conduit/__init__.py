"""Conduit Core in Dagster: a pipeline's streams as assets. Importing it imports no driver."""

from __future__ import annotations

from dagster_conduit.assets import conduit_assets
from dagster_conduit.component import ConduitComponent
from dagster_conduit.jobs import build_conduit_jobs
from dagster_conduit.resource import ConduitResource
from dagster_conduit.sensor import build_conduit_sensor
from dagster_conduit.specs import build_conduit_asset_specs, get_asset_key_for_stream
from dagster_conduit.translator import CheckData, DagsterConduitTranslator, StreamData

__all__ = [
    "CheckData",
    "ConduitComponent",
    "ConduitResource",
    "DagsterConduitTranslator",
    "StreamData",
    "__version__",
    "build_conduit_asset_specs",
    "build_conduit_jobs",
    "build_conduit_sensor",
    "conduit_assets",
    "get_asset_key_for_stream",
]

__version__ = "0.1.0"
