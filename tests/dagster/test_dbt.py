"""Beside dagster-dbt: one key for a table, models once and behind their loads, rules once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings

from dagster_conduit import get_asset_key_for_stream
from dagster_conduit.after import doubt
from tests.dagster.models import RULED, STREAMS, Models
from tests.dbt.lab import quick_dbt, stream

__all__ = ["quick_dbt"]
pytestmark = pytest.mark.xdist_group("dagster-dbt")

ORDERS, ITEMS = dg.AssetKey(["raw", "orders"]), dg.AssetKey(["raw", "items"])
LOADS = {"raw/items", "raw/orders"}
MODELS = {"alone", "stg_items", "stg_orders", "totals"}
AS_CHECKS = DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True)


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory, quick_dbt: None) -> Models:
    return Models(tmp_path_factory.mktemp("models") / "lab")


@pytest.fixture
def shop(parsed: Models) -> Models:
    """As it was parsed, with nothing loaded."""
    parsed.nodes.clear()
    for left in (*parsed.lab.folder.glob("warehouse.duckdb*"), *parsed.lab.folder.glob("data/*")):
        left.unlink()
    parsed.lab.rows("orders", (1, 10), (2, 20))
    parsed.lab.rows("items", (1, 1))
    return parsed


class Ours(DagsterDbtTranslator):
    """Tests of the sources that are loaded here are no checks: the load's own rules are."""

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: Any,
    ) -> dg.AssetCheckSpec | None:
        if asset_spec.key in {ORDERS, ITEMS}:
            return None
        return super().get_asset_check_spec(asset_spec, manifest, unique_id, project)


def checks(*assets: dg.AssetsDefinition) -> set[str]:
    return {key.to_user_string() for made in assets for key in made.check_keys}


def test_p20_a_stream_has_the_key_of_its_dbt_source_and_models_are_downstream(
    shop: Models,
) -> None:
    streams, models = shop.streams(), shop.models()
    assert get_asset_key_for_stream([streams], "orders") == ORDERS
    deps = {s.key.path[-1]: {d.asset_key for d in s.deps} for s in models.specs}
    assert deps["stg_orders"] == {ORDERS}
    assert deps["stg_items"] == {ITEMS}
    assert deps["totals"] == {dg.AssetKey("stg_orders")}
    defs = dg.Definitions(assets=[streams, models], resources=shop.resources())
    graph = defs.resolve_asset_graph()
    assert graph.get(ORDERS).child_keys == {dg.AssetKey("stg_orders")}
    assert graph.get(ORDERS).is_materializable


@pytest.mark.filterwarnings("ignore:.*AssetExecutionContext:DeprecationWarning")  # dagster-dbt's
def test_p22_one_run_loads_then_builds_each_model_once(
    shop: Models, instance: dg.DagsterInstance
) -> None:
    """And each rule is judged once: by the load."""
    told = shop.materialize(instance, shop.streams(), shop.models(exclude="source:*"))
    assert told.success, [e.message for e in told.result.all_events if e.is_failure]
    order = [
        e.asset_key.to_user_string()
        for e in told.result.get_asset_materialization_events()
        if e.asset_key
    ]
    assert set(order[:2]) == LOADS
    assert sorted(order[2:]) == sorted(MODELS)
    assert Counter(shop.nodes) == {("model", name): 1 for name in MODELS}
    assert shop.lab.select("select amount from raw.totals") == [(30,)]
    assert told.checks() == {"raw/orders:not_null_amount": True, "raw/items:not_null_amount": True}
    logs = instance.all_logs(told.result.run_id)
    assert [e.user_message for e in logs if e.level >= 30] == []


def test_a_rule_appears_once_and_other_sources_keep_their_tests(shop: Models) -> None:
    ours = {"raw/orders:not_null_amount", "raw/items:not_null_amount"}
    streams = shop.streams()
    assert checks(streams, shop.models()) == ours
    twice = checks(streams, shop.models(DagsterDbtTranslator(settings=AS_CHECKS)))
    assert twice - ours == {
        "raw/orders:source_not_null_raw_orders_amount",
        "raw/items:source_not_null_raw_items_amount",
    }
    assert checks(streams, shop.models(Ours(settings=AS_CHECKS))) == ours


def test_one_name_for_a_rule_and_a_test_is_refused_by_its_name(shop: Models) -> None:
    name = "source_not_null_raw_orders_amount"
    ruled = stream("orders", quality=[{**RULED[0], "name": name}])
    file, shop.file = shop.file, shop.lab.file(ruled, stream("items"))
    try:
        models = shop.models(DagsterDbtTranslator(settings=AS_CHECKS))
        with pytest.raises(dg.DagsterInvalidDefinitionError, match=name):
            dg.Definitions.validate_loadable(
                dg.Definitions(assets=[shop.streams(), models], resources=shop.resources())
            )
        dg.Definitions.validate_loadable(
            dg.Definitions(
                assets=[shop.streams(), shop.models(Ours(settings=AS_CHECKS))],
                resources=shop.resources(),
            )
        )
    finally:
        assert shop.lab.file(*STREAMS) == file
        shop.file = file


@pytest.mark.filterwarnings("ignore:Parameter `include_sources`")  # Dagster's own call
def test_behind_a_failed_stream_the_one_step_of_all_models_is_not_run(
    shop: Models, instance: dg.DagsterInstance
) -> None:
    """In one run. Models that are requested by themselves are those of the siblings."""
    shop.lab.rows("items", (2, ""))
    requested = dg.AutomationCondition.eager().replace(
        "newly_updated", dg.AutomationCondition.data_version_changed()
    )
    models = shop.models().map_asset_specs(
        lambda spec: spec.replace_attributes(automation_condition=requested)
    )
    streams = shop.streams()
    defs = dg.Definitions(assets=[streams, models], resources=shop.resources())
    before = dg.evaluate_automation_conditions(defs, instance=instance)
    told = shop.materialize(instance, streams, models)
    assert not told.success
    assert told.materialized() == ["raw/orders"]
    assert told.checks() == {"raw/orders:not_null_amount": True, "raw/items:not_null_amount": False}
    assert shop.nodes == []

    after = dg.evaluate_automation_conditions(defs, instance=instance, cursor=before.cursor)
    keys = {r.key.to_user_string() for r in after.results if after.get_num_requested(r.key)}
    assert keys == {"stg_orders", "totals"}


def test_models_of_both_are_told(shop: Models) -> None:
    text = doubt("shop", [*shop.streams(after=True).specs, *shop.models().specs])
    assert text is not None
    assert text.startswith("models are built twice: by after.dbt of shop")
    assert "stg_items, stg_orders;" in text
    assert doubt("shop", [*shop.streams().specs, *shop.models().specs]) is None


def test_dbt_as_the_asset_behind_the_loads(shop: Models, instance: dg.DagsterInstance) -> None:
    """Only what is behind the tables that changed; the counts are in the materialisation."""
    key = ("shop", "after", "dbt")
    streams = shop.streams(after=True)
    assert streams.specs_by_key[dg.AssetKey(list(key))].kinds == {"dbt"}
    told = shop.materialize(instance, streams)
    assert told.metadata(key)["conduit/nodes"] == {"pass": 2, "success": 3}
    again = shop.materialize(instance, streams)
    assert again.metadata(key)["conduit/outcome"] == "skipped"
    assert again.data_version(key) == told.data_version(key)
    shop.lab.rows("items", (2, 1))
    third = shop.materialize(instance, streams)
    assert third.metadata(key)["conduit/tables"] == ["raw.items"]
    assert third.metadata(key)["conduit/nodes"] == {"pass": 1, "success": 1}
    assert third.data_version(key) != told.data_version(key)
