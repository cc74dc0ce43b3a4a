"""What a load starts: what is downstream of a table that changed, nothing of one that didn't."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import dagster as dg
import pytest
from dagster import AutomationCondition as When
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time

from dagster_conduit import ConduitResource
from tests.dagster.shop import ORDERS, Shop

# Dagster's own call, in evaluate_automation_conditions
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `include_sources`")

CHANGED = When.any_deps_match(When.data_version_changed())
EAGER_ON_CHANGE = When.eager().replace("newly_updated", When.data_version_changed())
KEY = dg.AssetKey(["raw", "orders"])


def follower(name: str, condition: dg.AutomationCondition, dep: object) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=[dep], automation_condition=condition)
    def made() -> None: ...

    return made


class Daemon:
    """Dagster's daemon, tick by tick, over the shop and what follows it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.assets = [
            shop.assets(),
            follower("eager", When.eager(), KEY),
            follower("changed", CHANGED, KEY),
            follower("both", EAGER_ON_CHANGE, KEY),
            follower("behind", EAGER_ON_CHANGE, "both"),
        ]
        resources = {"conduit": ConduitResource()}
        self.defs = dg.Definitions(assets=self.assets, resources=resources)
        self.cursor: dg.AssetDaemonCursor | None = None

    def load(self) -> None:
        """Load the stream alone."""
        self.shop.materialize(*self.assets, selection=[KEY])

    def tick(self) -> set[str]:
        """Evaluate, make what is requested, and return it."""
        done = dg.evaluate_automation_conditions(
            self.defs, instance=self.shop.instance, cursor=self.cursor
        )
        self.cursor = done.cursor
        keys = [r.key for r in done.results if done.get_num_requested(r.key)]
        if keys:
            self.shop.materialize(*self.assets, selection=keys)
        return {key.to_user_string() for key in keys}


def test_a_load_with_nothing_new_starts_what_is_eager_and_not_what_waits_for_a_change(
    shop: Shop,
) -> None:
    daemon = Daemon(shop)
    assert daemon.tick() == set()
    daemon.load()
    assert daemon.tick() == {"eager", "changed", "both", "behind"}
    assert daemon.tick() == set()
    daemon.load()
    assert daemon.tick() == {"eager"}
    assert daemon.tick() == set()
    shop.fill(5, 6)
    daemon.load()
    assert daemon.tick() == {"eager", "changed", "both", "behind"}


def test_what_was_made_in_the_loads_own_run_is_not_made_again(shop: Shop) -> None:
    """As a bare `data_version_changed()` would."""
    daemon = Daemon(shop)
    daemon.load()
    daemon.tick()
    shop.fill(5, 6)
    shop.materialize(*daemon.assets)
    assert daemon.tick() == {"changed"}


def test_a_load_with_nothing_new_keeps_the_table_fresh(shop: Shop) -> None:
    shop.streams = ({**ORDERS, "freshness": "1h"},)
    defs = dg.Definitions(assets=[shop.assets()], resources={"conduit": ConduitResource()})
    node = defs.resolve_asset_graph().get(KEY)
    assert node.freshness_policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1))

    def age(seconds: int) -> FreshnessState:
        """Return the state so long after the newest materialisation."""
        newest = shop.instance.get_latest_materialization_event(KEY)
        assert newest is not None
        with freeze_time(newest.timestamp + seconds):
            context = LoadingContextForTest(shop.instance)
            return asyncio.run(
                TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(context, node)
            )

    shop.materialize()
    assert age(3590) == FreshnessState.PASS
    assert age(3610) == FreshnessState.FAIL
    told = shop.materialize()
    assert told.metadata()["conduit/outcome"] == "empty"
    assert age(3590) == FreshnessState.PASS
