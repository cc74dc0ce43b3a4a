"""``on_error: stop``: a run's steps one after another, until one fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from dagster_conduit import ConduitResource
from tests.dagster.shop import ORDERS, Shop

RULED = {"quality": [{"rule": "range", "column": "amount", "max": 5000}]}
NAMES = ("first", "second", "third")


@pytest.fixture
def chain(shop: Shop) -> Shop:
    shop.streams = tuple({**ORDERS, **RULED, "name": name, "into": name} for name in NAMES)
    shop.more = {
        "on_error": "stop",
        "destination": {
            "type": "duckdb",
            "path": str(shop.folder / "wh.duckdb"),
            "schema": "raw",
            "staging": str(shop.folder / "staging"),
        },
    }
    shop.fill(5, 30)
    return shop


def spoil(chain: Shop, name: str) -> None:
    """Let a stream's rule be broken."""
    broken = [{"rule": "range", "column": "amount", "max": 100}]
    chain.streams = tuple(
        {**stream, "quality": broken} if stream["name"] == name else stream  # type: ignore[index,dict-item]
        for stream in chain.streams
    )


@pytest.mark.parametrize("fan_out", ["", "*"])
def test_one_that_fails_leaves_the_later_ones_out(chain: Shop, fan_out: str) -> None:
    spoil(chain, "second")
    told = chain.materialize(chain.assets(fan_out=fan_out))
    assert not told.success
    assert told.materialized() == ["raw/first"]
    assert told.checks() == {"raw/first:range_amount": True, "raw/second:range_amount": False}
    started = {str(e.step_key) for e in told.result.all_events if e.is_step_start}
    assert not [key for key in started if key.startswith("shop.third")]
    assert [key for key in started if key.startswith("shop.second")]


@pytest.mark.parametrize("fan_out", ["", "*", "second"])
def test_they_come_in_the_files_order(chain: Shop, fan_out: str) -> None:
    assets = chain.assets(fan_out=fan_out)
    for outcome in ("published", "empty"):  # nothing new stops nobody
        told = chain.materialize(assets)
        assert told.success
        events = told.result.get_asset_materialization_events()
        assert [e.asset_key.path[-1] for e in events if e.asset_key] == list(NAMES)
        assert told.metadata(("raw", "third"))["conduit/outcome"] == outcome


@pytest.mark.parametrize("chosen", [["third"], ["first", "third"]])
def test_some_of_them_wait_for_no_other(chain: Shop, chosen: Sequence[str]) -> None:
    spoil(chain, "second")
    called = []

    def body(context: dg.AssetExecutionContext, conduit: ConduitResource) -> Iterator[object]:
        called.append(context.op_execution_context.op_def.name)
        yield from conduit.run(context=context)

    keys = [["raw", name] for name in chosen]
    told = chain.materialize(chain.assets(body), selection=dg.AssetSelection.assets(*keys))
    assert told.success
    assert told.materialized() == [f"raw/{name}" for name in chosen]
    assert called == [f"shop__{name}" for name in chosen]


def test_checks_alone_are_made_one_after_another(chain: Shop) -> None:
    assets = chain.assets()
    chain.materialize(assets)
    told = chain.materialize(assets, selection=dg.AssetSelection.checks(*assets.check_keys))
    assert told.success
    assert told.checks() == {f"raw/{name}:range_amount": True for name in NAMES}
