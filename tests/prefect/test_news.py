"""What Prefect hears of loads: assets and events, each once per load, before the state is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.assets import Asset, materialize
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL

from conduit_core import Dataset, run
from prefect_conduit import load_stream, news
from prefect_conduit.assets import asset_key
from tests.prefect.events import events_about, names_of, roles_of, wait_for
from tests.prefect.shop import ORDERS, Shop

MADE = "prefect.asset.materialization.succeeded"


def test_a_change_is_an_assets_event_with_its_facts_and_no_change_is_none(shop: Shop) -> None:
    @flow(name=f"load {shop.name}")
    def load() -> None:
        load_stream(shop.mapping, "orders")
        load_stream(shop.mapping, "orders", reload=True)

    load()
    run(shop.pipeline())  # nothing is new: no version
    shop.fill(5, 7)
    run(shop.pipeline())  # two versions that Prefect knows nothing of
    shop.sql("ALTER TABLE orders ADD COLUMN note TEXT; UPDATE orders SET note = '-'")
    shop.fill_with_note(7, 8)
    run(shop.pipeline())
    load()

    asset = f"duckdb://wh/{shop.schema}/orders"
    made = wait_for(asset, lambda found: len(found) == 3, MADE)
    stream = wait_for(
        f"conduit.stream.{shop.name}.orders", lambda found: len(found) == 4, "conduit.load."
    )
    assert sorted(each["payload"]["version"] for each in made) == [1, 2, 3]
    assert sorted(names_of(stream)) == [
        *["conduit.load.published"] * 3,
        "conduit.load.schema-changed",
    ]
    first = next(each for each in made if each["payload"]["version"] == 1)
    facts = first["payload"]
    assert facts["rows"]["inserted"] == 5
    assert facts["target"] == f"{shop.schema}.orders"
    assert facts["watermark"].startswith("2026-01-05")
    assert facts["window"].startswith("(start, 2026-01-05")
    assert facts["load_id"] == shop.chain()[0].load_id
    assert facts["seconds"] >= 0
    assert {"name": "amount", "type": "BIGINT", "nullable": True} in facts["columns"]
    assert facts["dataset"]["namespace"] == f"duckdb://{shop.folder}/wh.duckdb"
    newest = next(each for each in made if each["payload"]["version"] == 3)
    assert [each["column"] for each in newest["payload"]["changes"]] == ["note"]
    assert {"asset", "asset-materialized-by", "flow", "flow-run", "task-run"} == set(
        roles_of(first)
    )
    refers = {each["prefect.resource.id"] for each in first["related"]}
    assert "sqlite://shop/main/orders" in refers
    assert events_about("sqlite://shop/main/orders", "prefect.asset.referenced")
    _as_prefects_own(first, asset, shop)


def _as_prefects_own(ours: Mapping[str, Any], key: str, shop: Shop) -> None:
    """Compare with what Prefect itself makes of ``@materialize``: a new version may change it."""
    other = f"{key}-by-prefect"

    @materialize(
        Asset(key=other), asset_deps=[Asset(key="sqlite://shop/main/orders")], by="conduit"
    )
    def make() -> None:
        Asset(key=other).add_metadata({"rows": 1})

    @flow
    def made_by_prefect() -> None:
        make()

    made_by_prefect()
    (theirs,) = wait_for(other, lambda found: len(found) == 1)
    assert theirs["event"] == ours["event"]
    assert set(theirs["resource"]) <= set(ours["resource"])
    assert set(roles_of(theirs)) == set(roles_of(ours))
    labels = {each["prefect.resource.role"]: set(each) for each in theirs["related"]}
    own = {each["prefect.resource.role"]: set(each) for each in ours["related"]}
    assert {role: labels[role] - own[role] for role in labels} == {role: set() for role in labels}
    by = {"prefect.resource.id": "conduit", "prefect.resource.role": "asset-materialized-by"}
    assert by in theirs["related"]
    assert by in ours["related"]


KILLED = """
import sys, json
from prefect import flow
from prefect.flow_engine import run_flow
from prefect.client.orchestration import get_client
from tests.prefect.test_news import flow_of
given = json.loads(sys.argv[1])
with get_client(sync_client=True) as client:
    own = client.read_flow_run(sys.argv[2])
run_flow(flow_of(given), flow_run=own)
"""


def flow_of(mapping: Mapping[str, Any]) -> Any:
    """Return the flow that the killed process runs, and the test runs again."""

    @flow(name=f"load {mapping['name']}")
    def load() -> None:
        load_stream(mapping, "orders")

    return load


def test_p22_one_asset_event_per_load_also_where_the_process_died_after_the_commit(
    shop: Shop,
) -> None:
    load = flow_of(shop.mapping)
    asset = f"duckdb://wh/{shop.schema}/orders"

    def killed() -> UUID:
        with get_client(sync_client=True) as client:
            own = client.create_flow_run(load)
        _killed_at("after_commit", shop, own.id)
        assert shop.variable() is None or shop.variable()["version"] != str(len(shop.chain()))
        return own.id

    died = killed()
    assert [record.version for record in shop.chain()] == [1]
    assert events_about(asset) == []
    with get_client(sync_client=True) as client:  # the same flow run again
        run_flow(load, flow_run=client.read_flow_run(died))
    wait_for(asset, lambda found: len(found) == 1)
    assert shop.variable()["version"] == "1"

    shop.fill(5, 7)
    died = killed()
    load()  # the next flow run, with nothing new to load
    wait_for(asset, lambda found: len(found) == 2)
    with get_client(sync_client=True) as client:
        run_flow(load, flow_run=client.read_flow_run(died))
    shop.delete_variable()  # whatever the state says, Prefect is asked
    load()
    shop.fill(7, 8)
    load()  # told by now, if anything was told twice
    told = wait_for(asset, lambda found: len(found) >= 3)
    assert sorted(each["payload"]["version"] for each in told) == [1, 2, 3]
    assert names_of(told) == [MADE] * 3


def _killed_at(point: str, shop: Shop, flow_run: UUID) -> None:
    found = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(shop.mapping), str(flow_run)],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "CONDUIT_LISTENERS": "conduit_core.testing.faults:from_environment",
            "CONDUIT_FAULT": point,
        },
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert found.returncode == -9, found.stderr.decode()[-2000:]


def test_what_prefect_did_not_hear_the_next_run_tells(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = flow_of(shop.mapping)
    with monkeypatch.context() as patched:
        patched.setattr(news, "send", _broken)
        load()  # it is loaded all the same
    assert shop.count() == 5
    assert shop.variable() is None
    load()
    wait_for(f"duckdb://wh/{shop.schema}/orders", lambda found: len(found) == 1)
    assert shop.variable()["version"] == "1"


def _broken(*given: object) -> None:
    raise ConnectionError("the server is away")


REJECTING: Mapping[str, object] = {
    **ORDERS,
    "redact": ["region"],
    "quality": [
        {"rule": "range", "column": "amount", "max": 35, "action": "dlq", "name": "cheap"},
        {"rule": "accepted_values", "column": "region", "values": ["eu"], "action": "warn"},
    ],
}
FAILING: Mapping[str, object] = {
    **ORDERS,
    "quality": [{"rule": "range", "column": "amount", "max": 35, "name": "cheap"}],
}


def test_a_failure_is_told_once_when_it_is_final_without_a_rows_values(shop: Shop) -> None:
    away = Shop(shop.folder, schema=f"{shop.schema}_away")
    mapping = {**away.mapping, "source": "postgres://u:s3cr3t@127.0.0.1:1/nothing"}
    bad = Shop(shop.folder, streams=[FAILING], schema=f"{shop.schema}_bad")
    patient = load_stream.with_options(retries=1, retry_delay_seconds=0)

    @flow
    def failing() -> None:
        states = [
            patient(mapping, "orders", return_state=True),
            patient(bad.mapping, "orders", return_state=True),
        ]
        assert [state.is_failed() for state in states] == [True, True]

    failing()
    (of_bad,) = wait_for(f"conduit.stream.{bad.name}.orders", lambda found: len(found) > 0)
    (of_away,) = wait_for(f"conduit.stream.{away.name}.orders", lambda found: len(found) > 0)
    assert of_bad["event"] == of_away["event"] == "conduit.load.failed"
    said = of_bad["payload"]
    assert (said["error"], said["exit_code"], said["retry"]) == ("QualityError", 5, "never")
    assert said["state"].startswith("nothing published")
    (rule,) = said["rules"]
    assert (rule["rule"], rule["failed"]) == ("cheap", 1)
    assert "40" not in str(said).replace(bad.schema, "")  # whose name is made at random
    assert of_away["payload"]["error"] == "ConnectionFailedError"
    assert "s3cr3t" not in str(of_away)


def test_an_automation_starts_a_deployment_when_a_load_is_published_or_rejects(
    shop: Shop,
) -> None:
    shop.streams = [REJECTING]

    @flow(name=f"build {shop.name}")
    def build() -> None: ...

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(build)
        deployments = {}
        made = []
        for kind in ("published", "rejected"):
            deployments[kind] = client.create_deployment(flow_id, f"{shop.name}-{kind}")
            wanted = AutomationCore(
                name=f"{shop.name} {kind}",
                trigger=EventTrigger(
                    expect={f"conduit.load.{kind}"},
                    match={"prefect.resource.id": f"conduit.stream.{shop.name}.*"},
                ),
                actions=[RunDeployment(source="selected", deployment_id=deployments[kind])],
            )
            made.append(client.create_automation(wanted))
        try:
            flow_of(shop.mapping)()
            for each in made:
                wait_for(f"prefect.automation.{each}", bool, "prefect.automation.triggered")
            _started(list(deployments.values()))
        finally:
            for each in made:
                client.delete_automation(each)
    told = wait_for(f"conduit.stream.{shop.name}.orders", lambda found: len(found) == 2)
    (rejected,) = [each for each in told if each["event"] == "conduit.load.rejected"]
    assert rejected["payload"]["rows"]["rejected"] == 1
    rules = {each["rule"]: each["failed"] for each in rejected["payload"]["rules"]}
    assert rules["cheap"] == 1
    assert "us" not in str(rejected["payload"]["rules"])


def _started(deployments: list[UUID]) -> None:
    """Wait for a run of any: a server that has much to do leaves one out, and says so."""
    wanted = DeploymentFilter(id=DeploymentFilterId(any_=deployments))
    end = time.monotonic() + 90
    with get_client(sync_client=True) as client:
        while not client.read_flow_runs(deployment_filter=wanted):
            assert time.monotonic() < end, "the automations started nothing"
            time.sleep(0.5)


@pytest.mark.parametrize(
    ("namespace", "name", "key"),
    [
        ("postgres://db.example:5432", "shop.raw.orders", "postgres://shop/raw/orders"),
        ("duckdb:///data/wh.duckdb", "wh.raw.orders", "duckdb://wh/raw/orders"),
        ("duckdb:///data/my wh.duckdb", r"my wh.raw.a\.b", "duckdb://mywh/raw/a/b"),
        ("sqlite:///data/shop.db", "main.orders", "sqlite://shop/main/orders"),
        ("s3://bucket", "lake/orders", "s3://bucket/lake/orders"),
        ("abfss://box@account.example", "orders", "abfss://box@account.example/orders"),
        ("file", "/data/orders/*.csv", "file:///data/orders/*.csv"),
        ("s3://bucket", "/", "s3://bucket/"),
        ("postgres://h", f"db.s.{'x' * 600}", f"postgres://db/s/{'x' * 496}"),
    ],
)
def test_a_tables_key_is_one_that_prefect_takes(namespace: str, name: str, key: str) -> None:
    assert asset_key(Dataset(namespace, name)) == key
    assert Asset(key=key).key == key


def test_a_tables_key_is_the_one_that_prefect_dbt_makes_of_it() -> None:
    utilities = pytest.importorskip("prefect_dbt.utilities")
    theirs = utilities.format_resource_id("duckdb", '"my wh"."raw"."odd name"')
    assert asset_key(Dataset("duckdb:///x/my wh.duckdb", "my wh.raw.odd name")) == theirs
    theirs = utilities.format_resource_id("postgres", '"shop"."raw"."orders"')
    assert asset_key(Dataset("postgres://h:5432", "shop.raw.orders")) == theirs
