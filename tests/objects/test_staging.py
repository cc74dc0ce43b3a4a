from __future__ import annotations

from collections.abc import Callable

import pytest

from conduit_core.connectors.objects.staging import FolderStaging
from conduit_core.connectors.staging import StageReceipt, Staging
from conduit_core.testing import StagingSuite
from tests.objects.conftest import Place


class FolderFixtures:
    """Staging in each kind of place."""

    @pytest.fixture
    def connect(self, place: Place) -> Callable[[], Staging]:
        return lambda: FolderStaging(place.open())

    @pytest.fixture
    def places(self, place: Place) -> Callable[[], list[str]]:
        store = place.open()

        def places() -> list[str]:
            assert store.unfinished() == []
            return [e.path for e in store.entries() if "/data/" in e.path]

        return places

    @pytest.fixture
    def lose_rows(self, place: Place) -> Callable[[StageReceipt], None]:
        return lambda receipt: place.open().delete(receipt.places)


class TestFolderStaging(FolderFixtures, StagingSuite):
    """The contract, in each kind of place."""
