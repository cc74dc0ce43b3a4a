"""A load as tasks: plan, a task for each split on any task runner, audit, publish."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, unmapped
from prefect.client.orchestration import get_client

from conduit_core import LoadResult
from conduit_core.events import BatchWritten, Event
from prefect_conduit import (
    aaudit_load,
    aplan_stream,
    apublish_load,
    astage_split,
    audit_load,
    plan_stream,
    publish_load,
    stage_split,
)
from tests import services
from tests.prefect.shop import ORDERS, Shop

SPLITS = 4
TRIES = 5
"""How often Ray is started: it gives itself half a minute, which a busy machine may not have."""


@flow
def fanned(pipeline: Any, stream: str = "orders") -> LoadResult:
    plan = plan_stream(pipeline, stream)
    receipts = stage_split.map(unmapped(pipeline), unmapped(plan), plan.splits.ids()).result()
    report = audit_load(pipeline, plan, receipts)
    return publish_load(pipeline, plan, receipts, report)


@pytest.fixture
def split(shop: Shop) -> Shop:
    shop.streams = (
        {
            **ORDERS,
            "splits": SPLITS,
            "quality": [{"rule": "range", "column": "amount", "max": 5000}],
        },
    )
    shop.more = {
        "destination": {
            "type": "duckdb",
            "path": str(shop.folder / "wh.duckdb"),
            "schema": shop.schema,
            "staging": str(shop.folder / "staging"),
        }
    }
    shop.fill(5, 100)
    return shop


def is_loaded(shop: Shop, rows: int) -> bool:
    """Say whether the table is the source's."""
    with closing(sqlite3.connect(shop.folder / "shop.db")) as con:
        there = con.execute("SELECT id, amount, region FROM orders ORDER BY id").fetchall()
    found = shop.rows("SELECT id, amount, region FROM raw.orders ORDER BY id")
    return len(found) == rows and found == there


# --- on each task runner --------------------------------------------------------------------------


def test_p12_splits_are_staged_on_threads_and_nothing_new_stages_nothing(split: Shop) -> None:
    result = fanned(split.mapping)
    assert (result.outcome, result.counts.read, result.version) == ("published", 100, 1)
    rules: Any = result.quality["rules"]
    assert {each["result"] for each in rules} == {"passed"}
    assert is_loaded(split, 100)
    assert split.variable()["version"] == "1"
    assert fanned(split.mapping).outcome == "empty"
    assert len(split.chain()) == 1
    assert not any((split.folder / "staging").rglob("*.arrow"))


def test_p12_a_flow_run_that_has_published_stages_nothing_when_it_runs_again(split: Shop) -> None:
    tries: list[LoadResult] = []

    @flow(retries=1, retry_delay_seconds=0)
    def dies_late() -> LoadResult:
        tries.append(fanned.fn(split.mapping))
        if len(tries) == 1:
            split.fill(100, 110)
            raise OSError("after the commit")
        return tries[-1]

    assert dies_late().outcome == "replayed"
    assert [each.version for each in tries] == [1, 1]
    assert split.count() == 100


def killed_once() -> Callable[[Event], None]:
    """Make a listener that kills a worker in the middle of a split, the first one that comes."""
    mark, main = os.environ["CONDUIT_TEST_KILLED_ONCE"].rsplit(":", 1)

    def kill(event: Event) -> None:
        if isinstance(event, BatchWritten) and os.getpid() != int(main):
            with suppress(FileExistsError), Path(mark).open("x"):
                os.kill(os.getpid(), signal.SIGKILL)

    return kill


@pytest.mark.slow
def test_p12_splits_are_staged_on_dask_one_worker_of_which_is_killed(
    split: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two processes of a cluster on this machine; Dask runs what the dead one had again."""
    from prefect_dask.task_runners import DaskTaskRunner

    killed = split.folder / "killed"
    monkeypatch.setenv("CONDUIT_TEST_KILLED_ONCE", f"{killed}:{os.getpid()}")
    monkeypatch.setenv("CONDUIT_LISTENERS", "tests.prefect.test_fan_out:killed_once")
    runner: Any = DaskTaskRunner(
        cluster_kwargs={
            "n_workers": 2,
            "threads_per_worker": 1,
            "dashboard_address": None,
            "local_directory": str(split.folder),
        }
    )
    result = fanned.with_options(task_runner=runner)(split.mapping)
    assert result.counts.read == 100
    assert is_loaded(split, 100)
    assert killed.exists()
    assert len(split.chain()) == 1


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a Ray on this machine, in a folder with a short path: its sockets are there."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home
    import ray

    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    try:
        for left in reversed(range(TRIES)):
            try:
                ray.init(
                    num_cpus=1,
                    log_to_driver=False,
                    include_dashboard=False,
                    object_store_memory=80 << 20,
                    _temp_dir=str(folder),
                    runtime_env={"env_vars": {"PYTHONPATH": path}},
                )
                break
            except Exception as error:
                ray.shutdown()
                if not left or "timed out during startup" not in str(error):
                    raise
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.filterwarnings("default")  # Ray's own, in what it imports
@pytest.mark.usefixtures("cluster")
def test_splits_are_staged_on_ray(split: Shop, postgres_database: str) -> None:
    """On the workers of a Ray, into PostgreSQL, where staging is in the database."""
    from prefect_ray import RayTaskRunner  # type: ignore[import-untyped]

    split.more = {
        "destination": {"type": "postgres", "url": postgres_database, "schema": split.schema}
    }
    runner: Any = RayTaskRunner()  # takes the Ray that is there
    result = fanned.with_options(task_runner=runner)(split.mapping)
    assert result.counts.read == 100
    query = f"SELECT count(*)::int, sum(amount)::int FROM {split.schema}.orders"
    assert services.sql(postgres_database, query) == [(100, 49500)]


# A loop that ends leaves Prefect's own connections to the collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_asynchronous_flow_awaits_its_steps_over_a_generator(split: Shop) -> None:
    @flow
    async def loads() -> LoadResult:
        plan = await aplan_stream(split.mapping, "orders")
        staging = (astage_split(split.mapping, plan, each) for each in plan.splits.ids())
        receipts = await asyncio.gather(*staging)
        report = await aaudit_load(split.mapping, plan, receipts)
        return await apublish_load(split.mapping, plan, receipts, report)

    assert asyncio.run(loads()).counts.read == 100
    assert is_loaded(split, 100)
    gc.collect()


# --- what fails -----------------------------------------------------------------------------------


def test_a_stale_plan_is_final_in_each_step_and_says_what_to_run(split: Shop) -> None:
    """Its stream changed; its staging is gone. Each step tells of it, at once."""
    mapping = split.mapping
    changed = {**mapping, "streams": [{**split.streams[0], "mode": "insert_only"}]}  # type: ignore[dict-item]
    found: list[Any] = []

    @flow
    def stale() -> None:
        plan = plan_stream(mapping, "orders")
        ids = plan.splits.ids()
        found.append(stage_split(changed, plan, ids[0], return_state=True))
        receipts = stage_split.map(unmapped(mapping), unmapped(plan), ids).result()
        shutil.rmtree(split.folder / "staging")
        found.append(audit_load(mapping, plan, receipts, return_state=True))
        found.append(publish_load(mapping, plan, receipts, return_state=True))

    stale()
    for state in found:
        assert state.is_failed()
        assert "retry the flow run, so that plan_stream runs again" in state.message
        assert "run it again: a new plan is needed" in state.message
    told = failed_events(split, 3)
    assert [event["payload"]["retry"] for event in told] == ["plan"] * 3
    assert split.chain() == []
    assert fanned(mapping).counts.read == 100


def failed_events(shop: Shop, count: int) -> list[Any]:
    """Return the events of failed loads, once Prefect has as many."""
    wanted = {
        "event": {"name": ["conduit.load.failed"]},
        "resource": {"id": [f"conduit.stream.{shop.name}.orders"]},
    }
    until = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while True:
            asked = {"filter": wanted, "limit": 50}
            found = client.request("POST", "/events/filter", json=asked).json()["events"]
            if len(found) >= count or time.monotonic() > until:
                return list(found)
            time.sleep(0.2)  # an event is in the database a moment after it was told
