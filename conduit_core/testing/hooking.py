"""What a destination must do with the marks of hooks, where it keeps them."""

from __future__ import annotations

import threading

import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.hooks import KeepsHooks
from conduit_core.testing.fixtures import DestinationFixtures
from conduit_core.types.dialect import Table

_ORDERS, _ITEMS = Table("s", 'od"ers'), Table("s", "Items")


class HookContract(DestinationFixtures):
    """Marks of hooks: written whole, read back, each pipeline's and hook's its own."""

    @pytest.fixture
    def memory(self, destination: Destination) -> KeepsHooks:
        """Return the destination, if it keeps marks."""
        if not isinstance(destination, KeepsHooks):
            pytest.skip(f"{destination.system} keeps no hooks")
        return destination

    def test_before_the_first_hook_there_are_no_marks(self, memory: KeepsHooks) -> None:
        assert memory.hook_marks("shop", "dbt") == {}

    def test_marks_are_each_pipelines_and_hooks_own(self, memory: KeepsHooks) -> None:
        memory.keep_hook_marks("shop", "dbt", {_ORDERS: 1, _ITEMS: 7})
        memory.keep_hook_marks("shop", "other", {_ORDERS: 3})
        memory.keep_hook_marks("it's", "dbt", {_ORDERS: 4})
        memory.keep_hook_marks("shop", "dbt", {_ORDERS: 2})
        assert memory.hook_marks("shop", "dbt") == {_ORDERS: 2, _ITEMS: 7}
        assert memory.hook_marks("shop", "other") == {_ORDERS: 3}
        assert memory.hook_marks("it's", "dbt") == {_ORDERS: 4}
        assert memory.hook_marks("nobody", "dbt") == {}

    def test_marks_outlive_the_connection(self, memory: KeepsHooks, other: Destination) -> None:
        memory.keep_hook_marks("shop", "dbt", {_ORDERS: 1})
        if isinstance(memory, Destination):
            memory.close()
        assert isinstance(other, KeepsHooks)
        assert other.hook_marks("shop", "dbt") == {_ORDERS: 1}

    def test_two_first_hooks_at_once(self, memory: KeepsHooks) -> None:
        failures: list[Exception] = []

        def keep(name: str) -> None:
            try:
                memory.keep_hook_marks(name, "dbt", {_ORDERS: 1})
            except Exception as error:  # noqa: BLE001 - told by the test
                failures.append(error)

        names = [f"p{n}" for n in range(4)]
        threads = [threading.Thread(target=keep, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert [memory.hook_marks(name, "dbt") for name in names] == [{_ORDERS: 1}] * 4
