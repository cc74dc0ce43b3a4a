"""A stream whose splits are ops of their own."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests import services
from tests.dagster.crashing import POSTGRES_SOURCE, at_home, job
from tests.dagster.shop import ORDERS, Shop


@pytest.fixture
def split(shop: Shop) -> Shop:
    shop.streams = (
        {**ORDERS, "splits": 4, "quality": [{"rule": "range", "column": "amount", "max": 5000}]},
    )
    shop.more = {
        "destination": {
            "type": "duckdb",
            "path": str(shop.folder / "wh.duckdb"),
            "schema": "raw",
            "staging": str(shop.folder / "staging"),
        }
    }
    shop.fill(5, 100)
    return shop


def test_each_split_is_an_op(split: Shop) -> None:
    told = split.materialize(split.assets(fan_out="orders"))
    assert told.success
    steps = [e.step_key for e in told.result.get_step_success_events()]
    assert sum(str(key).startswith("shop.orders.stage_split[") for key in steps) == 4
    assert told.metadata()["conduit/rows_read"] == 100
    assert told.checks() == {"raw/orders:range_amount": True}
    assert told.data_version() == "1"
    assert split.count() == 100
    assert split.entry() is not None


def test_nothing_new_stages_nothing(split: Shop) -> None:
    assets = split.assets(fan_out="*")
    split.materialize(assets)
    told = split.materialize(assets)
    assert told.success
    assert told.metadata()["conduit/outcome"] == "empty"
    assert told.data_version() == "1"


def test_a_rule_that_stops_the_load_is_told(split: Shop) -> None:
    split.sql("INSERT INTO orders VALUES (1000, 9999, 'eu', '2027-01-01')")
    told = split.materialize(split.assets(fan_out="orders"))
    assert not told.success
    assert told.checks() == {"raw/orders:range_amount": False}
    assert told.materialized() == []
    assert "1 of 101 rows break it" in told.failure("shop.orders.publish")


def test_a_check_alone_stages_nothing(split: Shop) -> None:
    assets = split.assets(fan_out="orders")
    split.materialize(assets)
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "orders"]), "range_amount")
    told = split.materialize(assets, selection=dg.AssetSelection.checks(key))
    assert told.success
    assert told.checks() == {"raw/orders:range_amount": True}
    assert told.materialized() == []


def test_streams_of_one_name_are_ops_of_one_code_location(split: Shop) -> None:
    """Of two functions, one of which has a stream's name; two whose splits are ops."""
    twice = {"name": "twice", "into": "twice", **ORDERS}
    split.streams = (*split.streams, {**twice, "splits": 2})
    spread = split.assets(fan_out="*", name="orders")
    split.more = {**split.more, "name": "others"}
    split.streams = ({**ORDERS, "into": "other"},)
    told = split.materialize(spread, split.assets(name="others"))
    assert told.success
    assert told.materialized() == ["raw/orders", "raw/other", "raw/twice"]


@pytest.mark.slow
def test_splits_are_staged_by_processes(tmp_path: Path, postgres_database: str) -> None:
    """The multiprocess executor: plans, receipts and staged rows pass between processes."""
    services.sql(postgres_database, POSTGRES_SOURCE)
    with at_home(str(tmp_path)) as instance:
        with dg.execute_job(job("fanned", str(tmp_path), postgres_database), instance) as result:
            assert result.success
            run = result.run_id
        starts = instance.all_logs(run, of_type=dg.DagsterEventType.STEP_START)
        pids = {str(log.step_key): log.get_dagster_event().pid for log in starts}
    staged = [pid for step, pid in pids.items() if ".stage_split[" in step]
    assert len(staged) == 4
    assert len(set(pids.values())) == 6
    counted = services.sql(postgres_database, "SELECT count(*), sum(id)::int FROM raw.split")
    assert counted == [(2000, 1999000)]
    assert services.sql(postgres_database, "SELECT count(*) FROM raw._conduit_ledger") == [(1,)]
