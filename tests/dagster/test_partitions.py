"""Partitions: windows of time, values of a column, both; mixed with streams that have none."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from dagster_conduit import ConduitResource, DagsterConduitTranslator, StreamData
from tests.dagster.shop import ORDERS as _ORDERS
from tests.dagster.shop import Shop

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01")
REGIONS = dg.StaticPartitionsDefinition(["eu", "us"])
KEY = dg.AssetKey(["raw", "orders"])
ORDERS = {**_ORDERS, "cursor_timezone": "UTC"}


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.streams = (ORDERS,)
    return shop


def backfill(shop: Shop, assets: dg.AssetsDefinition, first: str, last: str) -> Any:
    tags = {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }
    return shop.materialize(assets, tags=tags)


def ids(shop: Shop) -> list[int]:
    return [row[0] for row in shop.rows("SELECT id FROM raw.orders ORDER BY id")]


def test_a_day_is_a_window(shop: Shop) -> None:
    assets = shop.assets(partitions_def=DAYS)
    told = shop.materialize(assets, partition_key="2026-01-02")
    assert told.success
    assert told.metadata()["conduit/window"].startswith("[2026-01-02T00:00:00")
    assert ids(shop) == [1]
    assert shop.chain()[-1].is_given
    assert shop.instance.get_materialized_partitions(KEY) == {"2026-01-02"}


def test_a_range_is_one_load_and_again_the_same(shop: Shop) -> None:
    assets = shop.assets(partitions_def=DAYS)
    assert assets.backfill_policy == dg.BackfillPolicy.single_run()
    for times in (1, 2):
        told = backfill(shop, assets, "2026-01-02", "2026-01-04")
        assert told.success
        assert ids(shop) == [1, 2, 3]
        assert len(shop.chain()) == times
    days = {"2026-01-02", "2026-01-03", "2026-01-04"}
    assert shop.instance.get_materialized_partitions(KEY) == days


def test_the_file_decides_the_mode(shop: Shop) -> None:
    shop.streams = ({**ORDERS, "mode": "replace_window", "unique_key": None},)
    assets = shop.assets(partitions_def=DAYS)
    shop.materialize(assets, partition_key="2026-01-02")
    shop.sql("UPDATE orders SET id = 11 WHERE id = 1")
    told = shop.materialize(assets, partition_key="2026-01-02")
    assert told.success
    assert ids(shop) == [11]


def test_a_cursor_that_is_no_time_is_named(shop: Shop) -> None:
    shop.streams = ({**ORDERS, "cursor": "id"},)
    told = shop.materialize(shop.assets(partitions_def=DAYS), partition_key="2026-01-02")
    assert not told.success
    assert "2026-01-02" in told.failure()
    assert shop.chain() == []


def test_a_cursor_of_text_is_named(shop: Shop) -> None:
    shop.sql("CREATE TABLE notes AS SELECT id, CAST(updated_at AS TEXT) AS at FROM orders")
    shop.streams = ({"table": "notes", "mode": "append", "cursor": "at"},)
    told = shop.materialize(shop.assets(partitions_def=DAYS), partition_key="2026-01-02")
    assert "which is text" in told.failure("shop.notes")


def test_a_stream_without_a_cursor_is_named(shop: Shop) -> None:
    shop.streams = ({"table": "orders", "mode": "upsert", "unique_key": "id"},)
    told = shop.materialize(shop.assets(partitions_def=DAYS), partition_key="2026-01-02")
    assert "cursor" in told.failure()
    assert shop.chain() == []


def test_a_key_is_a_columns_value(shop: Shop) -> None:
    assets = shop.assets(partitions_def=REGIONS, partition_expr="region")
    told = shop.materialize(assets, partition_key="us")
    assert told.success
    assert ids(shop) == [1, 3]
    shop.sql("UPDATE orders SET amount = 7 WHERE region = 'eu'")
    shop.materialize(assets, partition_key="eu")
    shop.materialize(assets, partition_key="eu")
    assert ids(shop) == [0, 1, 2, 3, 4]
    both = backfill(shop, assets, "eu", "us")
    assert both.success
    assert both.metadata_of_all()[0]["conduit/rows_read"] == 5


def test_keys_that_come_later(shop: Shop) -> None:
    regions = dg.DynamicPartitionsDefinition(name="regions")
    shop.instance.add_dynamic_partitions("regions", ["eu"])
    assets = shop.assets(partitions_def=regions, partition_expr="region")
    assert shop.materialize(assets, partition_key="eu").success
    assert ids(shop) == [0, 2, 4]


def test_without_a_column_a_key_says_nothing(shop: Shop) -> None:
    told = shop.materialize(shop.assets(partitions_def=REGIONS), partition_key="eu")
    assert "which column are the partitions' keys values of" in told.failure()
    assert shop.chain() == []


def test_a_column_that_isnt_there_is_named(shop: Shop) -> None:
    assets = shop.assets(partitions_def=REGIONS, partition_expr="continent")
    told = shop.materialize(assets, partition_key="eu")
    assert "continent" in told.failure()
    assert shop.chain() == []


def test_a_day_and_a_region(shop: Shop) -> None:
    both = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})
    assets = shop.assets(partitions_def=both, partition_expr={"region": "region"})
    key = dg.MultiPartitionKey({"day": "2026-01-02", "region": "us"})
    assert shop.materialize(assets, partition_key=key).success
    assert ids(shop) == [1]
    other = dg.MultiPartitionKey({"day": "2026-01-02", "region": "eu"})
    assert shop.materialize(assets, partition_key=other).success
    assert ids(shop) == [1]


def test_facts_with_partitions_and_dimensions_without(shop: Shop) -> None:
    class Mixed(DagsterConduitTranslator):
        def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
            spec = super().get_asset_spec(data)
            has_days = data.stream.name == "orders"
            return spec.replace_attributes(partitions_def=DAYS) if has_days else spec

    shop.streams = (ORDERS, {"table": "orders", "name": "regions"})
    told = shop.materialize(shop.assets(translator=Mixed()), partition_key="2026-01-02")
    assert told.success
    assert (shop.count("orders"), shop.count("regions")) == (1, 5)


def test_two_selections_of_one_file(shop: Shop) -> None:
    shop.streams = (ORDERS, {"table": "orders", "name": "regions"})
    facts = shop.assets(select="orders", partitions_def=DAYS, name="facts")
    dimensions = shop.assets(select="regions", name="dimensions")
    resources = {"conduit": ConduitResource()}
    both = dg.Definitions(assets=[facts, dimensions], resources=resources)
    dg.Definitions.validate_loadable(both)
    assert shop.materialize(facts, partition_key="2026-01-02").success
    assert shop.materialize(dimensions).success
