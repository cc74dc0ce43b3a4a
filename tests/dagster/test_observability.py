"""Who is told of loads, by the resource; and of which failures nobody is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from conduit_core.observe.observing import Observation
from dagster_conduit import ConduitResource, failures
from tests.dagster.shop import Shop
from tests.dagster.watched import FOLDER, RECEIVER, anew
from tests.observe.lineage import Collected, collecting

CANARY = "hunter2canary"


@pytest.fixture
def receiver() -> Iterator[Collected]:
    with collecting() as collected:
        yield collected


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each run that was watched says of another try."""
    found: list[bool] = []
    close = Observation.close

    def closing(self: Observation) -> None:
        found.append(self.will_retry)
        close(self)

    monkeypatch.setattr(Observation, "close", closing)
    monkeypatch.setattr(failures, "WAIT_SECONDS", 0.001)
    return found


def test_the_resource_names_the_receivers_and_shows_none(
    shop: Shop, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUIT_OBSERVE", "prometheus://nowhere.invalid:1")  # the resource's hold
    monkeypatch.setenv("WATCH", f"openlineage+http://:{CANARY}@{receiver.url.partition('//')[2]}")
    resource = ConduitResource(observe=[dg.EnvVar("WATCH")])
    told = shop.materialize(resource=resource)
    assert told.result.success
    assert receiver.runs() == [("shop.orders", "START"), ("shop.orders", "COMPLETE")]
    assert set(receiver.keys) == {f"Bearer {CANARY}"}
    parent = receiver.events[-1]["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == told.result.run_id
    assert (parent["job"]["namespace"], parent["job"]["name"]) == (
        "dagster",
        told.result.dagster_run.job_name,
    )
    assert CANARY not in repr(resource)
    assert CANARY not in json.dumps([r.run_config for r in shop.instance.get_runs()])
    logs = shop.instance.all_logs(told.result.run_id)
    assert all(CANARY not in entry.to_json() for entry in logs)


def test_without_any_the_environment_names_them(
    shop: Shop, receiver: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDUIT_OBSERVE", f"openlineage+{receiver.url}")
    assert shop.materialize().result.success
    assert ("shop.orders", "COMPLETE") in receiver.runs()


@pytest.mark.slow
@pytest.mark.xdist_group("dagster-forks")
def test_steps_in_other_processes_tell_the_receivers(
    shop: Shop, receiver: Collected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.written()
    monkeypatch.setenv(FOLDER, str(shop.folder))
    monkeypatch.setenv(RECEIVER, f"openlineage+{receiver.url}")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        done = dg.execute_job(anew(), instance=instance)
    assert done.success
    assert receiver.runs() == [("shop.orders", "START"), ("shop.orders", "COMPLETE")]
    assert receiver.events[0]["run"]["facets"]["parent"]["run"]["runId"] == done.run_id


@pytest.mark.slow
@pytest.mark.xdist_group("dagster-forks")
def test_steps_in_other_processes_add_to_one_file(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("conduit_core.observe.textfile")
    shop.sql("CREATE TABLE lines AS SELECT id FROM orders")
    Shop(shop.folder, shop.instance, streams=["orders", "lines"]).written()
    monkeypatch.setenv(FOLDER, str(shop.folder))
    monkeypatch.setenv(RECEIVER, f"textfile://{tmp_path}/conduit.prom")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert dg.execute_job(anew(), instance=instance).success
    text = (tmp_path / "conduit.prom").read_text()
    for stream in ("orders", "lines"):
        labels = f'outcome="published",pipeline="shop",stream="{stream}"'
        (line,) = (
            each
            for each in text.splitlines()
            if each.startswith("conduit_loads_total{") and f'stream="{stream}"' in each
        )
        assert set(line.partition("{")[2].partition("}")[0].split(",")) == set(labels.split(","))
        assert float(line.rpartition(" ")[2]) == 1


def test_of_a_step_that_is_tried_again_nobody_is_told(shop: Shop, retried: list[bool]) -> None:
    (shop.folder / "wh.duckdb").write_text("no database")
    assert not shop.materialize().result.success
    assert retried[-1] is False
    assert set(retried[:-1]) <= {True}


def test_of_a_run_that_is_tried_again_nobody_is_told(
    shop: Shop, retried: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"rule": "range", "column": "amount", "min": 40}
    Shop(shop.folder, shop.instance, streams=[{"table": "orders", "quality": [rule]}]).written()
    monkeypatch.setenv(FOLDER, str(shop.folder))
    monkeypatch.setenv(RECEIVER, " ")
    with dg.DagsterInstance.local_temp(
        str(tmp_path), overrides={"run_retries": {"enabled": True, "max_retries": 1}}
    ) as instance:

        def ended(**more: Any) -> str:
            done = dg.execute_job(
                anew(),
                instance=instance,
                run_config={"execution": {"config": {"in_process": {}}}},
                **more,
            )
            assert not done.success
            return done.run_id

        first = ended()
        assert retried == [True]
        as_the_daemon = {"dagster/root_run_id": first, "dagster/parent_run_id": first}
        ended(reexecution_options=dg.ReexecutionOptions(first), tags=as_the_daemon)
        assert retried == [True, False]
        ended(tags={"dagster/retry_on_asset_or_op_failure": "false"})
        assert retried == [True, False, False]
