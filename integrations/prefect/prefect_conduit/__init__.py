"""Conduit Core in Prefect: a pipeline's streams as tasks of a flow. Importing it imports no driver.

Prefect imports it by itself, for its blocks, wherever it is installed.
"""

from __future__ import annotations

from prefect_conduit.blocks import ConduitConnection, ConduitObservability, ConduitPipeline
from prefect_conduit.flows import arun_pipeline, run_pipeline
from prefect_conduit.hooks import arun_dbt, run_dbt
from prefect_conduit.letters import areplay_letters, replay_letters
from prefect_conduit.state import PrefectStateStore
from prefect_conduit.steps import (
    aaudit_load,
    aplan_stream,
    apublish_load,
    astage_split,
    audit_load,
    plan_stream,
    publish_load,
    stage_split,
)
from prefect_conduit.streams import conduit_stream
from prefect_conduit.tasks import aload_stream, load_stream

__all__ = [
    "ConduitConnection",
    "ConduitObservability",
    "ConduitPipeline",
    "PrefectStateStore",
    "__version__",
    "aaudit_load",
    "aload_stream",
    "aplan_stream",
    "apublish_load",
    "areplay_letters",
    "arun_dbt",
    "arun_pipeline",
    "astage_split",
    "audit_load",
    "conduit_stream",
    "load_stream",
    "plan_stream",
    "publish_load",
    "replay_letters",
    "run_dbt",
    "run_pipeline",
    "stage_split",
]

__version__ = "0.1.0"
