"""The sensor that looks for news at the sources."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from conduit_core.errors import ConduitError, ConfigError
from dagster_conduit import ConduitResource, build_conduit_sensor
from tests.dagster.shop import ORDERS, Shop


def look(shop: Shop, **arguments: Any) -> dg.SensorResult | dg.SkipReason:
    assets = shop.assets(**arguments)
    sensor = build_conduit_sensor(assets=assets)
    context = dg.build_sensor_context(
        instance=shop.instance,
        resources={"conduit": ConduitResource()},
        definitions=dg.Definitions(assets=[assets], resources={"conduit": ConduitResource()}),
    )
    found = sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def requested(found: dg.SensorResult | dg.SkipReason) -> dg.RunRequest:
    assert isinstance(found, dg.SensorResult)
    assert found.run_requests is not None
    (request,) = found.run_requests
    return request


def test_news_start_a_run_of_the_streams_that_have_some(shop: Shop) -> None:
    shop.sql("CREATE TABLE people (id INTEGER PRIMARY KEY, at TIMESTAMP)")
    shop.streams = (
        ORDERS,
        {"table": "people", "cursor": "at", "mode": "append"},
        {"table": "orders", "name": "all"},
    )
    request = requested(look(shop))
    assert request.asset_selection == [dg.AssetKey(["raw", "orders"])]
    assert requested(look(shop)).run_key == request.run_key
    shop.fill(5, 6)
    assert requested(look(shop)).run_key != request.run_key
    shop.materialize()
    assert isinstance(look(shop), dg.SkipReason)


def test_what_follows_the_loads_is_in_the_run(shop: Shop) -> None:
    shop.more = {"after": {"dbt": {"project_dir": "dbt"}}}
    request = requested(look(shop, after=True))
    assert request.asset_selection is not None
    assert {k.to_user_string() for k in request.asset_selection} == {
        "raw/orders",
        "shop/after/dbt",
    }


def test_a_source_that_isnt_there_fails_the_look(shop: Shop) -> None:
    (shop.folder / "shop.db").unlink()
    with pytest.raises(ConduitError, match=r"shop\.db"):
        look(shop)


def test_it_takes_our_assets_only() -> None:
    @dg.asset
    def other() -> None: ...

    with pytest.raises(ConfigError, match="what conduit_assets made"):
        build_conduit_sensor(assets=other)
