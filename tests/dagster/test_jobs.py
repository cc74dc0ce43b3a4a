"""Rewinds and replays by jobs, as the launchpad starts them."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest

from conduit_core.state.store import StateEntry
from dagster_conduit import ConduitResource, build_conduit_jobs
from tests.dagster.shop import ORDERS, Shop, Told


def job(shop: Shop, which: str, **config: Any) -> Told:
    jobs = {j.name: j for j in build_conduit_jobs(assets=shop.assets())}
    result = jobs[f"shop_{which}"].execute_in_process(
        run_config={"ops": {which: {"config": config}}},
        instance=shop.instance,
        resources={"conduit": ConduitResource()},
        raise_on_error=False,
    )
    return Told(result)


def test_a_rewind_is_a_record_and_an_entry(shop: Shop) -> None:
    shop.materialize()
    shop.sql("UPDATE orders SET amount = 999 WHERE id = 3")
    assert job(shop, "rewind", stream="orders", cursor="2026-01-03,2").success
    assert shop.chain()[-1].mode == "state_set"
    assert json.loads(shop.chain()[-1].runner)["job"] == "shop_rewind"
    entry = shop.entry()
    assert entry is not None
    assert entry["version"] == "2"
    assert shop.materialize().metadata()["conduit/rows_read"] == 2
    assert shop.rows("SELECT amount FROM raw.orders WHERE id = 3") == [(999,)]


def test_from_the_start(shop: Shop) -> None:
    shop.materialize()
    assert job(shop, "rewind", stream="orders", from_start=True).success
    assert shop.materialize().metadata()["conduit/rows_read"] == 5
    assert shop.count() == 5


def test_append_needs_replace_after(shop: Shop) -> None:
    shop.streams = ({**ORDERS, "mode": "append", "unique_key": None},)
    shop.materialize()
    told = job(shop, "rewind", stream="orders", from_start=True)
    assert "--replace-after" in told.failure("rewind")
    assert job(shop, "rewind", stream="orders", from_start=True, replace_after=True).success
    assert shop.count() == 0
    shop.materialize()
    assert shop.count() == 5


def test_jobs_of_two_pipelines_know_their_own_streams(shop: Shop) -> None:
    """In one code location; each form lists its streams, and a wrong one is named."""
    people = {"name": "people", "streams": ["persons", "pets"]}
    both = {
        "shop": shop.assets(),
        "people": shop.assets(pipeline={**shop.mapping, **people}, name="people"),
    }
    jobs = [job for each in both.values() for job in build_conduit_jobs(assets=each)]
    defs = dg.Definitions(
        assets=list(both.values()), jobs=jobs, resources={"conduit": ConduitResource()}
    )
    dg.Definitions.validate_loadable(defs)
    for name, stream in (("shop", "orders"), ("people", "pets")):
        job = defs.resolve_job_def(f"{name}_rewind")
        good = {"ops": {"rewind": {"config": {"stream": stream, "from_start": True}}}}
        assert dg.validate_run_config(job, good)
    bad = {"ops": {"rewind": {"config": {"stream": "orders", "from_start": True}}}}
    with pytest.raises(dg.DagsterInvalidConfigError, match="one of persons, pets got orders"):
        dg.validate_run_config(defs.resolve_job_def("people_rewind"), bad)


def test_two_ways_at_once_are_refused(shop: Shop) -> None:
    told = job(shop, "rewind", stream="orders", cursor="2026-01-03", from_start=True)
    assert "say one of" in told.failure("rewind")


def test_a_restored_destination_is_followed(shop: Shop) -> None:
    shop.materialize()
    found = shop.entry()
    assert found is not None
    lost = StateEntry(**found).model_copy(update={"version": "7"}).sealed()
    shop.report(lost.model_dump())
    assert "follow_ledger: true" in shop.materialize().failure().splitlines()[3]
    assert job(shop, "rewind", stream="orders", follow_ledger=True).success
    assert shop.entry() == found
    assert shop.materialize().metadata()["conduit/outcome"] == "empty"


def test_letters_are_replayed(shop: Shop) -> None:
    rule = {"rule": "range", "column": "amount", "max": 20, "action": "dlq"}
    shop.streams = ({**ORDERS, "quality": [rule]},)
    shop.materialize()
    assert shop.count() == 3
    shop.streams = ({**ORDERS, "quality": [{**rule, "max": 30}]},)
    told = job(shop, "replay", stream="orders")
    assert told.success
    assert shop.count() == 4
    latest = shop.instance.get_latest_materialization_event(dg.AssetKey(["raw", "orders"]))
    assert latest is not None
    assert latest.asset_materialization is not None
    tags = latest.asset_materialization.tags or {}
    assert tags["dagster/data_version"] == "2"
    entry = shop.entry()
    assert entry is not None
    assert entry["version"] == "2"
    again = job(shop, "replay")
    assert again.success
    assert shop.count() == 4


def test_letters_by_their_ids_are_found_in_whichever_stream_has_them(shop: Shop) -> None:
    rule = {"rule": "range", "column": "amount", "max": 20, "action": "dlq"}
    twice = {**ORDERS, "name": "again", "into": "again"}
    shop.streams = ({**ORDERS, "quality": [rule]}, {**twice, "quality": [rule]})
    shop.materialize()
    shop.streams = (ORDERS, twice)
    found = "SELECT target_table, min(letter_id) FROM raw._conduit_dead_letters GROUP BY 1"
    ids = dict(shop.rows(found))
    assert job(shop, "replay", ids=[ids["again"]]).success
    assert (shop.count(), shop.count("again")) == (3, 4)
    assert job(shop, "replay", ids=list(ids.values())).success
    assert (shop.count(), shop.count("again")) == (4, 4)
    told = job(shop, "replay", ids=["nowhere"])
    assert "no dead letter with an id that begins with 'nowhere'" in told.failure("replay")


def test_letters_that_still_fail_are_no_materialization(shop: Shop) -> None:
    rule = {"rule": "range", "column": "amount", "max": 20, "action": "dlq"}
    shop.streams = ({**ORDERS, "quality": [rule]},)
    shop.materialize()
    key = dg.AssetKey(["raw", "orders"])
    before = shop.instance.get_latest_materialization_event(key)
    assert job(shop, "replay", stream="orders").success
    assert shop.chain()[-1].mode == "replay"
    entry = shop.entry()
    assert entry is not None
    assert entry["version"] == str(shop.chain()[-1].version)
    after = shop.instance.get_latest_materialization_event(key)
    assert before is not None
    assert after is not None
    assert after.run_id == before.run_id


def test_an_unknown_rule_is_named(shop: Shop) -> None:
    shop.materialize()
    assert "no rule is called 'nope'" in job(shop, "replay", rule="nope").failure("replay")


def test_all_rules_are_held_to_what_is_there(shop: Shop) -> None:
    """Dagster's pages have no button for a check of a graph's asset: this job is one for all."""
    rule = {"rule": "accepted_values", "column": "region", "values": ["eu"], "action": "warn"}
    shop.streams = ({**ORDERS, "quality": [rule]}, {"table": "orders", "name": "plain"})
    assets = shop.assets()
    shop.materialize(assets)
    before = shop.chain()
    defs = dg.Definitions(
        assets=[assets],
        jobs=build_conduit_jobs(assets=assets),
        resources={"conduit": ConduitResource()},
    )
    result = defs.resolve_job_def("shop_check").execute_in_process(instance=shop.instance)
    told = Told(result)
    assert told.checks() == {"raw/orders:accepted_values_region": False}
    assert told.materialized() == []
    assert shop.chain() == before
