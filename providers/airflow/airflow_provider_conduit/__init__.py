"""Conduit Core in Airflow: a pipeline's streams as tasks, its tables as assets.

Importing it imports neither Airflow nor Arrow: a name is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_conduit.provider_info import __version__, get_provider_info

if TYPE_CHECKING:
    from airflow_provider_conduit.assets import conduit_asset
    from airflow_provider_conduit.dbt import ConduitDbtOperator, ConduitHookOperator
    from airflow_provider_conduit.groups import ConduitDag, ConduitTaskGroup
    from airflow_provider_conduit.hook import ConduitHook
    from airflow_provider_conduit.load import ConduitLoadOperator
    from airflow_provider_conduit.replay import ConduitReplayOperator
    from airflow_provider_conduit.sensor import ConduitCursorSensor
    from airflow_provider_conduit.steps import (
        ConduitAuditOperator,
        ConduitPlanOperator,
        ConduitPublishOperator,
        ConduitStageOperator,
    )
    from airflow_provider_conduit.trigger import ConduitCursorTrigger

_HOMES = {
    "ConduitAuditOperator": "airflow_provider_conduit.steps",
    "ConduitCursorSensor": "airflow_provider_conduit.sensor",
    "ConduitCursorTrigger": "airflow_provider_conduit.trigger",
    "ConduitDag": "airflow_provider_conduit.groups",
    "ConduitDbtOperator": "airflow_provider_conduit.dbt",
    "ConduitHook": "airflow_provider_conduit.hook",
    "ConduitHookOperator": "airflow_provider_conduit.dbt",
    "ConduitLoadOperator": "airflow_provider_conduit.load",
    "ConduitPlanOperator": "airflow_provider_conduit.steps",
    "ConduitPublishOperator": "airflow_provider_conduit.steps",
    "ConduitReplayOperator": "airflow_provider_conduit.replay",
    "ConduitStageOperator": "airflow_provider_conduit.steps",
    "ConduitTaskGroup": "airflow_provider_conduit.groups",
    "conduit_asset": "airflow_provider_conduit.assets",
}

__all__ = [
    "ConduitAuditOperator",
    "ConduitCursorSensor",
    "ConduitCursorTrigger",
    "ConduitDag",
    "ConduitDbtOperator",
    "ConduitHook",
    "ConduitHookOperator",
    "ConduitLoadOperator",
    "ConduitPlanOperator",
    "ConduitPublishOperator",
    "ConduitReplayOperator",
    "ConduitStageOperator",
    "ConduitTaskGroup",
    "__version__",
    "conduit_asset",
    "get_provider_info",
]


def __getattr__(name: str) -> object:
    """Import a public name where it lives, when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """Return the public names, those that are not imported yet too."""
    return sorted(__all__)
