"""What a user gets wrong, told by name; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conduit_core.errors import ConfigError
from dagster_conduit import ConduitResource, conduit_assets
from tests.dagster.shop import Shop

PIPELINE = """
name: shop
source: {connection: shop_db}
destination: {type: duckdb, path: wh.duckdb, schema: raw}
streams: [orders]
"""
VARIABLE = "CONDUIT_TEST_SHOP_DB"


@pytest.fixture
def named(shop: Shop) -> dg.AssetsDefinition:
    """The shop by a file whose source is a named connection."""
    path = shop.folder / "shop.yml"
    path.write_text(PIPELINE)
    body = conduit_assets(pipeline=path, name="shop")

    def load(context, conduit: ConduitResource):  # type: ignore[no-untyped-def]
        yield from conduit.run(context=context)

    return body(load)


def test_a_connection_by_a_variable(
    shop: Shop, named: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"sqlite:///{shop.folder / 'shop.db'}")
    resource = ConduitResource(connections={"shop_db": dg.EnvVar(VARIABLE)})
    assert shop.materialize(named, resource=resource).success
    assert shop.count() == 5


def test_a_mapping_with_a_variable_in_it(
    shop: Shop, named: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(shop.folder / "shop.db"))
    resource = ConduitResource(
        connections={"shop_db": {"type": "sqlite", "path": dg.EnvVar(VARIABLE)}}
    )
    assert shop.materialize(named, resource=resource).success


def test_a_variable_that_isnt_set(shop: Shop, named: dg.AssetsDefinition) -> None:
    assert VARIABLE not in os.environ
    resource = ConduitResource(connections={"shop_db": dg.EnvVar(VARIABLE)})
    told = shop.materialize(named, resource=resource)
    assert VARIABLE in told.failure()
    assert "a retry will not help" in told.failure()
    assert not (shop.folder / "wh.duckdb").exists()


def test_a_connection_that_nobody_knows(shop: Shop, named: dg.AssetsDefinition) -> None:
    resource = ConduitResource(connections={"shop_bd": "sqlite:///x.db"})
    told = shop.materialize(named, resource=resource)
    assert "no connection `shop_db`; did you mean `shop_bd`?" in told.failure()


def test_a_wrong_connection_doesnt_show_its_secret(
    shop: Shop, named: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "c4nary")
    resource = ConduitResource(
        connections={"shop_db": {"type": "postgres", "pasword": dg.EnvVar(VARIABLE), "port": "x"}}
    )
    told = shop.materialize(named, resource=resource)
    assert "pasword" in told.failure()
    assert "c4nary" not in str(
        [e.to_json() if hasattr(e, "to_json") else str(e) for e in told.result.all_events]
    )


def test_a_resource_shows_names_only() -> None:
    resource = ConduitResource(connections={"shop_db": "postgres://u:c4nary@db/shop"})
    assert repr(resource) == "ConduitResource(connections=[shop_db])"


def test_a_file_that_isnt_where_the_step_runs(shop: Shop, named: dg.AssetsDefinition) -> None:
    (shop.folder / "shop.yml").unlink()
    told = shop.materialize(named)
    assert "the pipeline file has to come with the code location" in told.failure()


def test_a_file_that_is_no_pipeline(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text("streams: 3\n")
    with pytest.raises(ConfigError, match=r"x\.yml: must be a mapping with `streams`"):
        conduit_assets(pipeline=tmp_path / "x.yml")


def test_a_mistake_that_only_the_whole_file_shows(shop: Shop) -> None:
    shop.streams = ({"table": "orders", "mode": "upsert"},)
    told = shop.materialize()
    assert "needs a `unique_key`" in told.failure()
    assert not (shop.folder / "wh.duckdb").exists()


def test_a_function_that_hands_nothing_on_fails(shop: Shop) -> None:
    def body(context: dg.AssetExecutionContext, conduit: ConduitResource) -> None:
        conduit.run(context=context)

    told = shop.materialize(shop.assets(body))  # type: ignore[arg-type]
    assert "yield from conduit.run(context=context)" in told.failure()
    assert told.materialized() == []


def test_a_function_that_returns_what_loads(shop: Shop) -> None:
    def body(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        return conduit.run(context=context)

    assert shop.materialize(shop.assets(body)).success
    assert shop.count() == 5


def test_no_secret_is_in_the_definitions(shop: Shop) -> None:
    shop.more = {"destination": {"type": "postgres", "url": "postgres://u:c4nary@db/wh"}}
    assets = shop.assets()
    defs = dg.Definitions(assets=[assets], resources={"conduit": ConduitResource()})
    shown = str(
        defs.get_repository_def().asset_graph.get(dg.AssetKey(["public", "orders"])).metadata
    )
    assert "c4nary" not in shown
    assert "c4nary" not in repr(assets.specs_by_key)


def test_a_resource_without_a_type_is_named(shop: Shop) -> None:
    def load(context, conduit):  # type: ignore[no-untyped-def]
        yield from conduit.run(context=context)

    with pytest.raises(ConfigError, match=r"'conduit' for an input.*`conduit: ConduitResource`"):
        conduit_assets(pipeline=shop.written(), name="shop")(load)
