"""dbt after the loads: exactly what they changed is built.

``after: {dbt: {project_dir: dbt}}`` in a pipeline file is all that the command line needs. The
public API is what ``__all__`` names; importing it imports no dbt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from conduit_dbt.following import run_after
    from conduit_dbt.options import DbtOptions
    from conduit_dbt.results import DbtNode, DbtResult, SourceFreshness

_HOMES = {
    "DbtNode": "conduit_dbt.results",
    "DbtOptions": "conduit_dbt.options",
    "DbtResult": "conduit_dbt.results",
    "SourceFreshness": "conduit_dbt.results",
    "run_after": "conduit_dbt.following",
}

__all__ = ["DbtNode", "DbtOptions", "DbtResult", "SourceFreshness", "__version__", "run_after"]


def __getattr__(name: str) -> object:
    """Import a public name where it lives, when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
