"""Conduit Core in Airflow: a pipeline's streams as tasks, its tables as assets.

Importing it imports neither Airflow nor Arrow: a name is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_conduit.provider_info import __version__, get_provider_info

if TYPE_CHECKING:
    from airflow_provider_conduit.assets import conduit_asset
    from airflow_provider_conduit.hook import ConduitHook
    from airflow_provider_conduit.load import ConduitLoadOperator
    from airflow_provider_conduit.sensor import ConduitCursorSensor
    from airflow_provider_conduit.trigger import ConduitCursorTrigger

_HOMES = {
    "ConduitCursorSensor": "airflow_provider_conduit.sensor",
    "ConduitCursorTrigger": "airflow_provider_conduit.trigger",
    "ConduitHook": "airflow_provider_conduit.hook",
    "ConduitLoadOperator": "airflow_provider_conduit.load",
    "conduit_asset": "airflow_provider_conduit.assets",
}

__all__ = [
    "ConduitCursorSensor",
    "ConduitCursorTrigger",
    "ConduitHook",
    "ConduitLoadOperator",
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
