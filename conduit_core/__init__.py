"""Conduit Core: the load step as a library. Importing it imports no driver and no Arrow.

The public API is what ``__all__`` names; everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from conduit_core.connectors.airflow import AirflowConnection, connection_from_airflow
    from conduit_core.connectors.base import CheckItem
    from conduit_core.connectors.datasets import Dataset
    from conduit_core.connectors.lake.fileset import FileSet
    from conduit_core.connectors.said import connection_from_mapping
    from conduit_core.connectors.staging import StageReceipt
    from conduit_core.engine.admin import (
        StateView,
        runs,
        state_entry,
        state_reset,
        state_set,
        state_show,
    )
    from conduit_core.engine.after import finished_versions, run_hook
    from conduit_core.engine.audit import RuleReport
    from conduit_core.engine.checks import check, check_connection
    from conduit_core.engine.deadletters import find_letters, replay
    from conduit_core.engine.facts import (
        ColumnFacts,
        DestinationFacts,
        TableFacts,
        destination_facts,
        table_facts,
    )
    from conduit_core.engine.hooks import (
        BoundHook,
        ChangedTable,
        GateFindings,
        Hook,
        HookAnswer,
        HookContext,
        HookReport,
        bound_hook,
    )
    from conduit_core.engine.lineage import (
        SourceFacts,
        StreamDatasets,
        column_lineage,
        datasets,
        source_facts,
    )
    from conduit_core.engine.listening import listeners_from_environment
    from conduit_core.engine.model import (
        AuditReport,
        HookResult,
        LoadPlan,
        LoadResult,
        RunRequest,
        RunResult,
        SliceBy,
        StreamFailure,
    )
    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.engine.read import files, read
    from conduit_core.engine.rulecheck import check_rules
    from conduit_core.engine.run import RunInterrupted, plan, raise_for_failures, run
    from conduit_core.engine.steps import after, audit, publish, stage
    from conduit_core.errors import ConduitError
    from conduit_core.observe.lineage import LoadHeard, lineage_datasets
    from conduit_core.observe.lines import PlainLines
    from conduit_core.observe.observing import Observation, Origin, observing
    from conduit_core.spec import ConnectionResolver, ConnectionSpec
    from conduit_core.spec.calling import calling_file
    from conduit_core.spec.connections import GivenConnections
    from conduit_core.spec.durations import parse_duration
    from conduit_core.spec.outline import Outline, RuleOutline, StreamOutline, outline
    from conduit_core.spec.secrets import shows_secret
    from conduit_core.state.ledger import LedgerRecord
    from conduit_core.state.store import StateStore, seal_of

_HOMES = {
    "AirflowConnection": "conduit_core.connectors.airflow",
    "AuditReport": "conduit_core.engine.model",
    "BoundHook": "conduit_core.engine.hooks",
    "ChangedTable": "conduit_core.engine.hooks",
    "CheckItem": "conduit_core.connectors.base",
    "ColumnFacts": "conduit_core.engine.facts",
    "ConduitError": "conduit_core.errors",
    "ConnectionResolver": "conduit_core.spec",
    "ConnectionSpec": "conduit_core.spec",
    "Dataset": "conduit_core.connectors.datasets",
    "DestinationFacts": "conduit_core.engine.facts",
    "FileSet": "conduit_core.connectors.lake.fileset",
    "GateFindings": "conduit_core.engine.hooks",
    "GivenConnections": "conduit_core.spec.connections",
    "Hook": "conduit_core.engine.hooks",
    "HookAnswer": "conduit_core.engine.hooks",
    "HookContext": "conduit_core.engine.hooks",
    "HookReport": "conduit_core.engine.hooks",
    "HookResult": "conduit_core.engine.model",
    "LedgerRecord": "conduit_core.state.ledger",
    "LoadHeard": "conduit_core.observe.lineage",
    "LoadPlan": "conduit_core.engine.model",
    "LoadResult": "conduit_core.engine.model",
    "Observation": "conduit_core.observe.observing",
    "Origin": "conduit_core.observe.observing",
    "Outline": "conduit_core.spec.outline",
    "Pipeline": "conduit_core.engine.pipeline",
    "PlainLines": "conduit_core.observe.lines",
    "RuleOutline": "conduit_core.spec.outline",
    "RuleReport": "conduit_core.engine.audit",
    "RunInterrupted": "conduit_core.engine.run",
    "RunRequest": "conduit_core.engine.model",
    "RunResult": "conduit_core.engine.model",
    "SliceBy": "conduit_core.engine.model",
    "SourceFacts": "conduit_core.engine.lineage",
    "StageReceipt": "conduit_core.connectors.staging",
    "StateStore": "conduit_core.state.store",
    "StateView": "conduit_core.engine.admin",
    "StreamDatasets": "conduit_core.engine.lineage",
    "StreamFailure": "conduit_core.engine.model",
    "StreamOutline": "conduit_core.spec.outline",
    "TableFacts": "conduit_core.engine.facts",
    "after": "conduit_core.engine.steps",
    "audit": "conduit_core.engine.steps",
    "bound_hook": "conduit_core.engine.hooks",
    "calling_file": "conduit_core.spec.calling",
    "check": "conduit_core.engine.checks",
    "check_connection": "conduit_core.engine.checks",
    "check_rules": "conduit_core.engine.rulecheck",
    "column_lineage": "conduit_core.engine.lineage",
    "connection_from_airflow": "conduit_core.connectors.airflow",
    "connection_from_mapping": "conduit_core.connectors.said",
    "datasets": "conduit_core.engine.lineage",
    "destination_facts": "conduit_core.engine.facts",
    "files": "conduit_core.engine.read",
    "find_letters": "conduit_core.engine.deadletters",
    "finished_versions": "conduit_core.engine.after",
    "lineage_datasets": "conduit_core.observe.lineage",
    "listeners_from_environment": "conduit_core.engine.listening",
    "observing": "conduit_core.observe.observing",
    "outline": "conduit_core.spec.outline",
    "parse_duration": "conduit_core.spec.durations",
    "plan": "conduit_core.engine.run",
    "publish": "conduit_core.engine.steps",
    "raise_for_failures": "conduit_core.engine.run",
    "read": "conduit_core.engine.read",
    "replay": "conduit_core.engine.deadletters",
    "run": "conduit_core.engine.run",
    "run_hook": "conduit_core.engine.after",
    "runs": "conduit_core.engine.admin",
    "seal_of": "conduit_core.state.store",
    "shows_secret": "conduit_core.spec.secrets",
    "source_facts": "conduit_core.engine.lineage",
    "stage": "conduit_core.engine.steps",
    "state_entry": "conduit_core.engine.admin",
    "state_reset": "conduit_core.engine.admin",
    "state_set": "conduit_core.engine.admin",
    "state_show": "conduit_core.engine.admin",
    "table_facts": "conduit_core.engine.facts",
}

__all__ = [
    "AirflowConnection",
    "AuditReport",
    "BoundHook",
    "ChangedTable",
    "CheckItem",
    "ColumnFacts",
    "ConduitError",
    "ConnectionResolver",
    "ConnectionSpec",
    "Dataset",
    "DestinationFacts",
    "FileSet",
    "GateFindings",
    "GivenConnections",
    "Hook",
    "HookAnswer",
    "HookContext",
    "HookReport",
    "HookResult",
    "LedgerRecord",
    "LoadHeard",
    "LoadPlan",
    "LoadResult",
    "Observation",
    "Origin",
    "Outline",
    "Pipeline",
    "PlainLines",
    "RuleOutline",
    "RuleReport",
    "RunInterrupted",
    "RunRequest",
    "RunResult",
    "SliceBy",
    "SourceFacts",
    "StageReceipt",
    "StateStore",
    "StateView",
    "StreamDatasets",
    "StreamFailure",
    "StreamOutline",
    "TableFacts",
    "after",
    "audit",
    "bound_hook",
    "calling_file",
    "check",
    "check_connection",
    "check_rules",
    "column_lineage",
    "connection_from_airflow",
    "connection_from_mapping",
    "datasets",
    "destination_facts",
    "files",
    "find_letters",
    "finished_versions",
    "lineage_datasets",
    "listeners_from_environment",
    "observing",
    "outline",
    "parse_duration",
    "plan",
    "publish",
    "raise_for_failures",
    "read",
    "replay",
    "run",
    "run_hook",
    "runs",
    "seal_of",
    "shows_secret",
    "source_facts",
    "stage",
    "state_entry",
    "state_reset",
    "state_set",
    "state_show",
    "table_facts",
]


def __getattr__(name: str) -> object:
    """Import a public name where it lives, when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Return the public names, those that are not imported yet too."""
    return sorted([*__all__, "__version__"])
