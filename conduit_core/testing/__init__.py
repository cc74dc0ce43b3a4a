"""Contract suites for connectors and state stores: subclass one and supply its fixtures.

::

    from conduit_core.testing import DestinationSuite


    class TestMyDestination(DestinationSuite):
        @pytest.fixture
        def connect(self, tmp_path): ...

Needs pytest. ``torture`` has the values and names that break loaders, ``doubles`` the rows and
publishes that the suites are written with, ``faulty`` a source that fails on command.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "conduit_core.testing.destination",
    "conduit_core.testing.publishing",
    "conduit_core.testing.source",
    "conduit_core.testing.state_store",
    "conduit_core.testing.values",
)

from conduit_core.testing.destination import DestinationSuite  # noqa: E402 - rewritten first
from conduit_core.testing.faulty import FaultySource  # noqa: E402
from conduit_core.testing.source import SourceSuite  # noqa: E402
from conduit_core.testing.state_store import StateStoreSuite  # noqa: E402

__all__ = ["DestinationSuite", "FaultySource", "SourceSuite", "StateStoreSuite"]
