"""What Prefect hears of loads: assets and events, each once per load, before the state is kept."""

from __future__ import annotations

from prefect import flow

from prefect_conduit import load_stream
from tests.prefect.events import names_of, wait_for
from tests.prefect.shop import Shop


def test_a_load_that_changes_rows_makes_an_asset_one_that_does_not_makes_none(shop: Shop) -> None:
    @flow
    def load() -> None:
        load_stream(shop.mapping, "orders")
        load_stream(shop.mapping, "orders", reload=True)

    load()
    shop.fill(5, 7)
    load()
    asset = f"duckdb://wh/{shop.schema}/orders"
    told = wait_for(asset, lambda found: len(found) >= 2)
    assert names_of(told) == ["prefect.asset.materialization.succeeded"] * 2
    print(told[0])
