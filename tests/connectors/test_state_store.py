from __future__ import annotations

import pytest

from conduit_core.state.store import InMemoryStateStore, StateStore
from conduit_core.testing import StateStoreSuite


class TestInMemoryStateStore(StateStoreSuite):
    @pytest.fixture
    def store(self) -> StateStore:
        return InMemoryStateStore()
