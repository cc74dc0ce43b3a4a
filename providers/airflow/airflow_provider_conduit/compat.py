"""The one place that knows Airflow's versions, 3.1 and later: what moved, and what may be missing.

Every other module imports Airflow's names from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from airflow.sdk import (  # noqa: TID253 - operators are classes of Airflow's
    DAG,
    Asset,
    BaseHook,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    Context,
    Param,
    PokeReturnValue,
    TaskGroup,
    Variable,
    XComArg,
)
from airflow.sdk.definitions.context import context_merge  # noqa: TID253
from airflow.sdk.definitions.mappedoperator import OperatorPartial  # noqa: TID253

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import (
        DecoratedOperator,
        TaskDecorator,
        determine_kwargs,
        task_decorator_factory,
    )
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSkipException,
    )
    from airflow.triggers.base import BaseEventTrigger, TriggerEvent
else:
    try:
        from airflow.sdk.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSkipException,
        )
    except ImportError:  # before 3.2 they lived with the scheduler's
        from airflow.exceptions import (
            AirflowException,
            AirflowFailException,
            AirflowNotFoundException,
            AirflowSkipException,
        )

try:
    from airflow.sdk.log import mask_secret
except ImportError:
    from airflow.sdk.execution_time.secrets_masker import (  # type: ignore[no-redef]
        mask_secret,
    )

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSkipException",
    "Asset",
    "BaseEventTrigger",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "DecoratedOperator",
    "OperatorPartial",
    "Param",
    "PokeReturnValue",
    "TaskDecorator",
    "TaskGroup",
    "TriggerEvent",
    "Variable",
    "XComArg",
    "context_merge",
    "deferrable_by_default",
    "determine_kwargs",
    "mask_secret",
    "setting",
    "task_decorator_factory",
]


_DECORATING = "airflow.sdk.bases.decorator"
_TRIGGERS = "airflow.triggers.base"
_HOMES = {
    "BaseEventTrigger": (_TRIGGERS,),
    "DecoratedOperator": (_DECORATING,),
    "TaskDecorator": (_DECORATING,),
    "TriggerEvent": (_TRIGGERS,),
    "determine_kwargs": (_DECORATING, "airflow.utils.operator_helpers"),  # the last before 3.2
    "task_decorator_factory": (_DECORATING,),
}
"""Names of modules that few DAGs need, and that cost a parse as much as all that is ours."""


def __getattr__(name: str) -> object:
    """Import a name that not every DAG needs, when it is first asked for."""
    for home in _HOMES.get(name, ()):
        found: object = getattr(import_module(home), name, None)
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class AssetState(Protocol):
    """What an Asset's state store can do, as far as it is used here."""

    def get(self, key: str, default: object = None) -> object:
        """Return a value."""
        ...

    def set(self, key: str, value: object) -> None:
        """Write a value."""
        ...


def has_asset_state(context: Mapping[str, object]) -> bool:
    """Tell whether this Airflow keeps state with Assets (3.3 and later)."""
    return "asset_state_store" in context


def asset_state(context: Mapping[str, object], asset: Asset) -> AssetState:
    """Return the state of one of the task's Assets."""
    stores = context["asset_state_store"]
    found: AssetState = stores[asset]  # type: ignore[index]
    return found


def _configuration() -> _Configuration:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # before 3.2
        from airflow.configuration import conf
    found: _Configuration = conf
    return found


class _Configuration(Protocol):
    """What is used of Airflow's configuration."""

    def get(self, section: str, key: str, *, fallback: str) -> str | None:
        """Return a setting."""
        ...

    def getboolean(self, section: str, key: str, *, fallback: bool) -> bool:
        """Return a setting that is a yes or no."""
        ...


def deferrable_by_default() -> bool:
    """Return Airflow's setting ``[operators] default_deferrable``."""
    return bool(_configuration().getboolean("operators", "default_deferrable", fallback=False))


def setting(section: str, key: str) -> str:
    """Return one of Airflow's settings, "" where there is none."""
    return str(_configuration().get(section, key, fallback="") or "")
