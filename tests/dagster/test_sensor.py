"""The sensor that looks for news at the sources."""

from __future__ import annotations

import dagster as dg
import pytest

from conduit_core.errors import ConduitError, ConfigError
from dagster_conduit import ConduitResource, build_conduit_sensor
from tests.dagster.shop import ORDERS, Shop


def look(shop: Shop) -> dg.SensorResult | dg.SkipReason:
    sensor = build_conduit_sensor(assets=shop.assets())
    context = dg.build_sensor_context(
        instance=shop.instance,
        resources={"conduit": ConduitResource()},
        definitions=dg.Definitions(
            assets=[shop.assets()], resources={"conduit": ConduitResource()}
        ),
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


def test_a_source_that_isnt_there_fails_the_look(shop: Shop) -> None:
    (shop.folder / "shop.db").unlink()
    with pytest.raises(ConduitError, match=r"shop\.db"):
        look(shop)


def test_it_takes_our_assets_only() -> None:
    @dg.asset
    def other() -> None: ...

    with pytest.raises(ConfigError, match="what conduit_assets made"):
        build_conduit_sensor(assets=other)
