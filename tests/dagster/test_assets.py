"""One asset per stream, each in a step of its own; what they tell."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from conduit_core.errors import ConfigError
from dagster_conduit import (
    ConduitResource,
    DagsterConduitTranslator,
    StreamData,
    build_conduit_asset_specs,
    conduit_assets,
    get_asset_key_for_stream,
)
from tests.dagster.shop import ORDERS, Shop
from tests.starts import starts


class Bell(dg.ConfigurableResource):  # type: ignore[type-arg]
    tone: str


def downstream(name: str) -> dg.AssetsDefinition:
    @dg.asset(name=f"after_{name}", deps=[dg.AssetKey(["raw", name])])
    def made() -> None: ...

    return made


def test_p19_a_load_is_a_materialisation_with_its_facts(shop: Shop) -> None:
    """It is loaded in the step's own process: no command is started."""
    with starts() as started:
        told = shop.materialize()
    assert told.success
    assert started == []
    facts = told.metadata()
    assert facts["conduit/outcome"] == "published"
    assert (facts["conduit/rows_read"], facts["conduit/rows_inserted"]) == (5, 5)
    assert facts["conduit/watermark"].startswith("2026-01-05")
    assert facts["conduit/guarantee"] == "exactly-once"
    assert set(facts["conduit/stages"]) >= {"plan", "commit"}
    schema = facts["dagster/column_schema"]
    assert [c.name for c in schema.columns][:2] == ["id", "amount"]
    lineage = facts["dagster/column_lineage"].deps_by_column
    assert lineage["amount"][0].asset_key == dg.AssetKey(["sqlite", "orders"])
    assert lineage["amount"][0].column_name == "amount"
    assert told.data_version() == "1"
    assert shop.count() == 5


def test_the_relation_is_known_before_anything_ran(shop: Shop) -> None:
    spec = shop.assets().specs_by_key[dg.AssetKey(["raw", "orders"])]
    assert spec.metadata["dagster/table_name"] == "raw.orders"
    assert spec.kinds == {"conduit", "duckdb"}
    assert [d.asset_key for d in spec.deps] == [dg.AssetKey(["sqlite", "orders"])]


def test_nothing_new_is_a_materialisation_of_no_rows_with_the_same_data_version(shop: Shop) -> None:
    shop.materialize()
    told = shop.materialize()
    assert told.metadata()["conduit/outcome"] == "empty"
    assert told.metadata()["conduit/rows_read"] == 0
    assert told.data_version() == "1"
    shop.fill(5, 6)
    assert shop.materialize().data_version() == "2"


def test_a_replaced_table_tells_its_row_count(shop: Shop) -> None:
    shop.streams = ("orders",)
    assert shop.materialize().metadata()["dagster/row_count"] == 5


def test_one_stream_that_fails_leaves_its_siblings_and_what_follows_them_alone(shop: Shop) -> None:
    """Three streams, of which one breaks a rule."""
    shop.sql("CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1); CREATE TABLE b (x INTEGER);")
    shop.sql("INSERT INTO b VALUES (NULL)")
    rules = [{"rule": "not_null", "column": "x"}]
    shop.streams = (ORDERS, {"table": "a", "quality": rules}, {"table": "b", "quality": rules})
    after = [downstream(name) for name in ("orders", "a", "b")]
    told = shop.materialize(shop.assets(), *after)
    assert not told.success
    assert told.materialized() == ["after_a", "after_orders", "raw/a", "raw/orders"]
    assert told.checks() == {"raw/a:not_null_x": True, "raw/b:not_null_x": False}
    assert "rule 'not_null(x)': 1 of 1 rows break it" in told.failure("shop.b")
    assert shop.chain("b") == []


def test_a_stream_alone(shop: Shop) -> None:
    shop.streams = (ORDERS, {"table": "orders", "name": "again"})
    told = shop.materialize(shop.assets(), selection=[dg.AssetKey(["raw", "again"])])
    assert told.materialized() == ["raw/again"]
    assert shop.chain("orders") == []


def test_streams_are_selected_by_name_or_pattern(shop: Shop) -> None:
    shop.streams = (
        ORDERS,
        {"table": "orders", "name": "dim_a"},
        {"table": "orders", "name": "dim_b"},
    )
    assert {k.path[-1] for k in shop.assets(select="dim_*").keys} == {"dim_a", "dim_b"}
    assert {k.path[-1] for k in shop.assets(exclude="dim_a, orders").keys} == {"dim_b"}
    with pytest.raises(ConfigError, match="did you mean 'orders'"):
        shop.assets(select="order")
    with pytest.raises(ConfigError, match="leave no stream"):
        shop.assets(exclude="*")


def test_two_streams_with_one_key_are_named(shop: Shop) -> None:
    shop.streams = (ORDERS, {"table": "orders", "name": "twin"})

    class Same(DagsterConduitTranslator):
        def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
            return super().get_asset_spec(data).replace_attributes(key=["raw", "same"])

    with pytest.raises(ConfigError, match="streams 'orders' and 'twin' have one asset key"):
        shop.assets(translator=Same())


def test_names_that_dagster_wouldnt_take(shop: Shop) -> None:
    shop.streams = (
        {"table": "orders", "name": "a-b", "into": "x"},
        {"table": "orders", "name": "a_b", "into": "y"},
        {"table": "orders", "name": "ü", "into": "z"},
    )
    told = shop.materialize()
    assert told.success
    assert told.materialized() == ["raw/x", "raw/y", "raw/z"]


def test_a_translator_changes_the_spec(shop: Shop) -> None:
    class Ours(DagsterConduitTranslator):
        def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
            spec = super().get_asset_spec(data)
            return spec.replace_attributes(key=["lake", data.stream.table], owners=["team:shop"])

    assets = shop.assets(translator=Ours())
    assert get_asset_key_for_stream([assets], "orders") == dg.AssetKey(["lake", "orders"])
    assert shop.materialize(assets).materialized() == ["lake/orders"]
    assert shop.entry(("lake", "orders")) is not None


def test_the_function_may_do_more(shop: Shop) -> None:
    seen: list[str] = []

    def body(
        context: dg.AssetExecutionContext, conduit: ConduitResource, bell: Bell
    ) -> Iterator[object]:
        for told in conduit.run(context=context):
            seen.append(f"{bell.tone} {type(told).__name__}")
            yield told

    result = dg.materialize(
        [shop.assets(body)],
        instance=shop.instance,
        resources={"conduit": ConduitResource(), "bell": Bell(tone="c")},
    )
    assert result.success
    assert seen == ["c MaterializeResult"]


def test_a_context_without_a_type(shop: Shop) -> None:
    def body(context, conduit: ConduitResource):  # type: ignore[no-untyped-def]
        yield from conduit.run(context=context)

    assert shop.materialize(shop.assets(body)).success


def test_external_specs_have_the_same_keys(shop: Shop) -> None:
    (spec,) = build_conduit_asset_specs(pipeline=shop.mapping)
    assert spec.key in shop.assets().keys
    assert get_asset_key_for_stream([spec], "orders", "shop") == spec.key
    with pytest.raises(ConfigError, match="no asset is of stream 'order'"):
        get_asset_key_for_stream([spec], "order")


def test_a_path_is_relative_to_the_file_that_names_it(shop: Shop) -> None:
    with pytest.raises(ConfigError, match=r"tests/dagster/nowhere\.yml: No such file"):
        conduit_assets(pipeline="nowhere.yml")


def test_run_outside_of_our_steps_is_named(shop: Shop) -> None:
    @dg.asset
    def other(context, conduit: ConduitResource) -> None:  # type: ignore[no-untyped-def]
        list(conduit.run(context=context))

    told = shop.materialize(other)
    assert "is for the steps of @conduit_assets" in told.failure("other")
