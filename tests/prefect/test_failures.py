"""What fails: for good at once or tried again, told by its four lines, and the others loaded."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from conduit_core.errors import ConnectionFailedError, LoadFailedError, SchemaError
from conduit_core.events import Event, Listener, PlanReady, StreamFailed
from prefect_conduit import aload_stream, load_stream, run_pipeline
from tests import services
from tests.crash.proxy import Proxy, When
from tests.prefect.shop import ORDERS, Shop
from tests.waiting import wait_for

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

MENDERS: list[Any] = []
"""Called when a load fails, before its retry."""
PLANNED: list[Any] = []
"""Called when a load is planned, and not read yet."""


def mending() -> Listener:
    """Return a listener that mends what a test says, once a load has failed of it."""

    def heard(event: Event) -> None:
        if isinstance(event, StreamFailed) and MENDERS:
            MENDERS.pop()()
        if isinstance(event, PlanReady) and PLANNED:
            PLANNED.pop()()

    return heard


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("CONDUIT_LISTENERS", f"{__name__}:mending")
    MENDERS.clear()
    return MENDERS


def task_runs(state: State[Any], ended: int) -> dict[str, TaskRun]:
    """Return a flow run's task runs by name, once Prefect has heard of the end of all."""
    of = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))  # type: ignore[list-item]
    until = time.monotonic() + 120
    while True:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=of)
        if sum(bool(run.state and run.state.is_final()) for run in runs) == ended:
            return {run.name: run for run in runs}
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize("kind", ["duckdb", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_one_of_twelve_streams_fails_at_once_and_eleven_are_loaded(
    shop: Shop, kind: str, request: pytest.FixtureRequest
) -> None:
    """Four at once, into one file or one database."""
    names = [f"t{n}" for n in range(12)]
    for name in names:
        if name != "t7":
            shop.sql(f"CREATE TABLE {name} (id INTEGER); INSERT INTO {name} VALUES (1), (2)")
    shop.streams = [{"table": name, "mode": "append"} for name in names]
    spec = shop.mapping
    url = ""
    if kind == "postgres":
        url = request.getfixturevalue("postgres_database")
        spec["destination"] = {"type": "postgres", "url": url, "schema": shop.schema}
    state: State[Any] = run_pipeline(spec, return_state=True)

    assert state.is_failed()
    error = state.result(raise_on_failure=False)
    assert isinstance(error, LoadFailedError)
    assert [type(each) for each in error.errors] == [SchemaError]
    headline, what, target, retry, command = str(error).split("\n")
    assert headline == f"{shop.name}: 1 of 12 streams failed: t7"
    assert what.startswith(f"t7 ({shop.name}): ")
    assert target == "nothing published; the target has no watermark yet"
    assert retry == "a retry will not help"
    assert command.startswith("conduit ")
    assert state.message == f"Flow run encountered an exception: LoadFailedError: {error}"

    runs = task_runs(state, 12)
    assert {name for name, run in runs.items() if run.state_name == "Failed"} == {"load t7"}
    assert {run.run_count for run in runs.values()} == {1}
    of_task = runs["load t7"].state
    assert of_task is not None
    said = f"Task run encountered an exception SchemaError: {error.errors[0]}"
    assert of_task.message == said
    assert len(str(error.errors[0]).split("\n")) == 4
    count = " UNION ALL ".join(f"SELECT * FROM raw.{n}" for n in names if n != "t7")
    if url:
        count = count.replace("raw.", f"{shop.schema}.")
        assert len(services.sql(url, count)) == 22
    else:
        assert len(shop.rows(count)) == 22


@pytest.mark.postgres
@pytest.mark.parametrize("when", [When.BEFORE_COMMIT, When.AFTER_COMMIT])
def test_p12_a_database_that_goes_away_in_the_commit_and_comes_back_is_loaded_once(
    shop: Shop, postgres_database: str, when: When, mended: list[Any]
) -> None:
    with Proxy(postgres_database, when, stays_down=True) as proxy:
        mended.append(proxy.come_back)
        spec = shop.mapping | {
            "destination": {"type": "postgres", "url": proxy.url, "schema": shop.schema}
        }

        @flow
        def once() -> Any:
            return load_stream.with_options(retry_delay_seconds=0.1)(spec, "orders")

        result = once()
        assert proxy.cuts == 1
    assert mended == []
    assert result.outcome == ("replayed" if when is When.AFTER_COMMIT else "published")
    assert result.counts.inserted == 5
    found = f"SELECT count(*), count(DISTINCT id) FROM {shop.schema}.orders"
    assert services.sql(postgres_database, found) == [(5, 5)]
    ledger = f"SELECT version FROM {shop.schema}._conduit_ledger"
    assert services.sql(postgres_database, ledger) == [(1,)]
    assert shop.variable()["version"] == "1"


def test_a_flow_with_retries_of_the_users_loads_what_failed_and_nothing_twice(
    shop: Shop, mended: list[Any]
) -> None:
    shop.streams = [ORDERS, {"table": "late", "mode": "append"}]
    make = "CREATE TABLE late (id INTEGER); INSERT INTO late VALUES (1)"
    mended.append(lambda: shop.sql(make))
    # One stream at a time: the table is made once nothing reads. The test's SQLite and the driver's
    # are two in one process, and each loses the other's locks on the file.
    one = ThreadPoolTaskRunner(max_workers=1)
    done = run_pipeline.with_options(retries=1, task_runner=one)(shop.mapping)  # type: ignore[arg-type]
    assert {each.stream: each.outcome for each in done.results} == {
        "orders": "replayed",
        "late": "published",
    }
    assert (shop.count(), shop.count("late")) == (5, 1)


@pytest.mark.parametrize("load", [load_stream, aload_stream])
@pytest.mark.parametrize("retries", [0, 2])
def test_a_task_tries_as_often_as_its_user_says(
    shop: Shop, mended: list[Any], retries: int, load: Any
) -> None:
    nowhere = {"type": "postgres", "url": "postgres://127.0.0.1:9/db"}
    spec = shop.mapping | {"destination": nowhere}
    tries: list[int] = []
    mended.extend([lambda: tries.append(1)] * 4)
    task = load.with_options(retries=retries, retry_delay_seconds=0.1)

    @flow
    def once() -> None:
        task(spec, "orders")

    @flow
    async def awaited() -> None:
        await task(spec, "orders")

    state: Any = (awaited if task.isasync else once)(return_state=True)
    if task.isasync:
        state = asyncio.run(state)
    assert len(tries) == 1 + retries
    assert isinstance(state.result(raise_on_failure=False), ConnectionFailedError)


def test_a_load_that_its_flow_does_not_wait_for_is_finished(shop: Shop, mended: list[Any]) -> None:
    """Prefect tells tasks to end when a flow is cancelled, and when it just ends."""
    assert mended == []
    began = threading.Event()

    def until_the_flow_has_ended() -> None:
        began.set()
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        run = context.flow_run
        wait_for(lambda: run.state is not None and run.state.is_final(), "the flow's end")

    PLANNED.append(until_the_flow_has_ended)

    @flow
    def forgets() -> None:
        load_stream.submit(shop.mapping, "orders")
        began.wait(60)

    forgets()
    assert shop.count() == 5
