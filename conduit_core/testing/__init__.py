"""Contract suites for connectors and state stores: subclass one and supply its fixtures.

::

    from conduit_core.testing import DestinationSuite


    class TestMyDestination(DestinationSuite):
        @pytest.fixture
        def connect(self, tmp_path): ...

The suites need pytest. ``torture`` has the values and names that break loaders, ``doubles`` the
rows and publishes that the suites are written with, ``faulty`` a source that fails on command,
``faults`` what kills a run at a named point: that one runs inside the real command, so importing
this package imports no suite.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if "pytest" in sys.modules:
    import pytest

    pytest.register_assert_rewrite(
        "conduit_core.testing.columns",
        "conduit_core.testing.deleting",
        "conduit_core.testing.destination",
        "conduit_core.testing.hooking",
        "conduit_core.testing.incidents",
        "conduit_core.testing.letters",
        "conduit_core.testing.merging",
        "conduit_core.testing.publishing",
        "conduit_core.testing.ruled",
        "conduit_core.testing.slicing",
        "conduit_core.testing.source",
        "conduit_core.testing.staging",
        "conduit_core.testing.splitting",
        "conduit_core.testing.state_store",
        "conduit_core.testing.values",
        "conduit_core.testing.versions",
    )

if TYPE_CHECKING:
    from conduit_core.testing.destination import DestinationSuite
    from conduit_core.testing.faulty import Faults, FaultySource, faulty_connector
    from conduit_core.testing.source import SourceSuite
    from conduit_core.testing.staging import StagingSuite
    from conduit_core.testing.state_store import StateStoreSuite

_HOMES = {
    "DestinationSuite": "conduit_core.testing.destination",
    "Faults": "conduit_core.testing.faulty",
    "FaultySource": "conduit_core.testing.faulty",
    "faulty_connector": "conduit_core.testing.faulty",
    "SourceSuite": "conduit_core.testing.source",
    "StagingSuite": "conduit_core.testing.staging",
    "StateStoreSuite": "conduit_core.testing.state_store",
}

__all__ = [
    "DestinationSuite",
    "Faults",
    "FaultySource",
    "SourceSuite",
    "StagingSuite",
    "StateStoreSuite",
    "faulty_connector",
]


def __getattr__(name: str) -> object:
    """Import a suite where it lives, when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
