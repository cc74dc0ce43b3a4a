"""Rules as asset checks: what a load tells of them, and a check run alone."""

from __future__ import annotations

import dagster as dg
import pytest

from conduit_core.errors import ConfigError
from dagster_conduit import CheckData, DagsterConduitTranslator
from tests.dagster.shop import ORDERS, Shop, Told

RULES: list[dict[str, object]] = [
    {"rule": "not_null", "column": "id", "description": "An order has an id."},
    {"rule": "range", "column": "amount", "max": 20, "action": "dlq"},
    {"rule": "accepted_values", "column": "region", "values": ["eu"], "action": "warn"},
]


@pytest.fixture
def ruled(shop: Shop) -> Shop:
    shop.streams = ({**ORDERS, "quality": RULES},)
    return shop


def evaluation(told: Told, name: str) -> dg.AssetCheckEvaluation:
    (found,) = [e for e in told.result.get_asset_check_evaluations() if e.check_name == name]
    return found


def alone(shop: Shop, *names: str) -> Told:
    keys = [dg.AssetCheckKey(dg.AssetKey(["raw", "orders"]), name) for name in names]
    return shop.materialize(shop.assets(), selection=dg.AssetSelection.checks(*keys))


def test_each_rule_is_a_check(ruled: Shop) -> None:
    specs = {spec.name: spec for spec in ruled.assets().check_specs}
    assert set(specs) == {"not_null_id", "range_amount", "accepted_values_region"}
    assert specs["not_null_id"].description == "An order has an id."
    assert [s.blocking for s in specs.values()] == [True, False, False]


def test_a_load_tells_what_each_found(ruled: Shop) -> None:
    told = ruled.materialize()
    assert told.success
    assert told.checks() == {
        "raw/orders:not_null_id": True,
        "raw/orders:range_amount": False,
        "raw/orders:accepted_values_region": False,
    }
    found = evaluation(told, "range_amount")
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description is not None
    assert found.description.startswith("2 of 5 rows break it")
    facts = {name: value.value for name, value in found.metadata.items()}
    assert facts["conduit/rows_checked"] == 5
    assert facts["conduit/rows_failed"] == 2
    assert facts["conduit/sample"] == ["30", "40"]
    assert evaluation(told, "not_null_id").severity is dg.AssetCheckSeverity.ERROR
    assert told.metadata()["conduit/rows_rejected"] == 2


def test_samples_are_redacted(ruled: Shop) -> None:
    ruled.sql("UPDATE orders SET region = 'canary' WHERE id = 1")
    ruled.streams = ({**ORDERS, "quality": RULES, "redact": ["region"]},)
    told = ruled.materialize()
    found = evaluation(told, "accepted_values_region")
    assert not found.passed
    assert "canary" not in str(found)


def test_a_check_alone_looks_at_the_target_and_publishes_nothing(ruled: Shop) -> None:
    ruled.materialize()
    ruled.fill(5, 9)
    before = ruled.chain()
    told = alone(ruled, "accepted_values_region")
    assert told.success
    assert told.materialized() == []
    assert told.checks() == {"raw/orders:accepted_values_region": False}
    found = evaluation(told, "accepted_values_region")
    assert found.metadata["conduit/rows_checked"].value == 3  # two are dead letters
    assert ruled.chain() == before
    assert ruled.count() == 3


def test_a_check_alone_of_a_table_that_isnt_there(ruled: Shop) -> None:
    told = alone(ruled, "not_null_id")
    assert "nothing was loaded" in told.failure()


def test_a_load_without_its_checks(ruled: Shop) -> None:
    selection = dg.AssetSelection.assets(dg.AssetKey(["raw", "orders"])).without_checks()
    told = ruled.materialize(ruled.assets(), selection=selection)
    assert told.materialized() == ["raw/orders"]
    assert told.checks() == {}


def test_a_stopped_load_tells_its_passed_rules_too(ruled: Shop) -> None:
    ruled.streams = ({**ORDERS, "quality": [*RULES, {"rule": "row_count", "min": 100}]},)
    told = ruled.materialize()
    assert not told.success
    assert told.materialized() == []
    assert told.checks()["raw/orders:not_null_id"]
    assert not told.checks()["raw/orders:row_count"]
    assert evaluation(told, "row_count").severity is dg.AssetCheckSeverity.ERROR
    assert "a retry will not help" in told.failure()


def test_nothing_new_says_nothing_of_the_rules(ruled: Shop) -> None:
    ruled.materialize()
    told = ruled.materialize()
    assert told.success
    assert told.checks() == {}


def test_a_pandera_models_own_unique_counts_with_it(shop: Shop) -> None:
    (shop.folder / "dagster_orders_rules.py").write_text(
        "import pandera.pandas as pa\n"
        "Orders = pa.DataFrameSchema({'region': pa.Column(str, unique=True)})\n"
    )
    rule = {"rule": "pandera", "model": "dagster_orders_rules:Orders", "action": "warn"}
    shop.streams = ({**ORDERS, "quality": [rule]},)
    told = shop.materialize(shop.assets(pipeline=shop.written()))
    assert told.checks() == {"raw/orders:pandera": False}


def test_a_translator_names_checks(ruled: Shop) -> None:
    class Ours(DagsterConduitTranslator):
        def get_check_spec(self, data: CheckData) -> dg.AssetCheckSpec:
            spec = super().get_check_spec(data)
            return spec._replace(name=f"conduit_{spec.name}")

    told = ruled.materialize(ruled.assets(translator=Ours()))
    assert told.checks()["raw/orders:conduit_not_null_id"]


def test_two_rules_with_one_check_name_are_named(shop: Shop) -> None:
    rules = [
        {"rule": "not_null", "column": "a-b"},
        {"rule": "not_null", "column": "a_b"},
    ]
    shop.streams = ({**ORDERS, "quality": rules},)
    with pytest.raises(ConfigError, match="are both the check 'not_null_a_b'"):
        shop.assets()


def test_names_that_run_together(shop: Shop) -> None:
    """A stream `a` with a rule `b__c`, a stream `a__b` with a rule `c`."""
    rule = {"rule": "not_null", "column": "amount"}
    shop.streams = (
        {"table": "orders", "name": "a", "into": "a", "quality": [{**rule, "name": "b__c"}]},
        {"table": "orders", "name": "a__b", "into": "a__b", "quality": [{**rule, "name": "c"}]},
    )
    told = shop.materialize()
    assert told.checks() == {"raw/a:b__c": True, "raw/a__b:c": True}
