"""Asynchronous flows: twins of the tasks side by side, and what their cancellation leaves."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from prefect import flow
from prefect.settings import (
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    PREFECT_TASKS_DEFAULT_PERSIST_RESULT,
    temporary_settings,
)
from prefect.transactions import transaction

from conduit_core import LoadResult
from prefect_conduit import aload_stream, arun_pipeline, load_stream
from tests import services
from tests.dagster.crashing import GATE, HELD, POSTGRES_SOURCE
from tests.prefect.shop import ORDERS, Shop
from tests.starts import starts

# A loop that ends leaves Prefect's own connections to the collector.


def test_p19_twins_side_by_side_give_typed_results_in_process(shop: Shop) -> None:
    shop.sql("CREATE TABLE customers (id INTEGER PRIMARY KEY); INSERT INTO customers VALUES (1)")
    shop.streams = ["customers", ORDERS]

    started: list[list[str]] = []

    @flow
    async def both() -> list[LoadResult]:
        with starts() as seen:
            started.append(seen)
            return await loads()

    async def loads() -> list[LoadResult]:
        done = await asyncio.gather(
            aload_stream(shop.mapping, "customers"), aload_stream(shop.mapping, "orders")
        )
        shop.fill(5, 7)
        again = load_stream(shop.mapping, "orders", reload=True)  # on the loop's own thread
        whole = await arun_pipeline(shop.mapping, streams=["orders"])
        return [*done, again, *whole.results]

    done = asyncio.run(both())  # type: ignore[arg-type]
    assert started == [[]]
    assert all(isinstance(each, LoadResult) for each in done)
    assert [(each.stream, each.outcome, each.counts.inserted) for each in done] == [
        ("customers", "published", 1),
        ("orders", "published", 5),
        ("orders", "published", 2),
        ("orders", "empty", 0),
    ]
    assert shop.variable()["version"] == "2"


def test_p12_neither_transactions_nor_kept_results_decide_whether_a_load_happens(
    shop: Shop,
) -> None:
    fails = [True, False, False]

    @flow(persist_result=True)
    def careful() -> int:
        with transaction(key=f"load-{shop.name}"):
            task = load_stream.with_options(persist_result=True)
            loaded = task(shop.mapping, "orders").counts.inserted
            if fails.pop(0):
                raise ValueError("after the load, in the transaction")
        return loaded

    kept = {PREFECT_RESULTS_PERSIST_BY_DEFAULT: True, PREFECT_TASKS_DEFAULT_PERSIST_RESULT: True}
    with temporary_settings(kept):
        with pytest.raises(ValueError, match="after the load"):
            careful()
        assert shop.count() == 5
        shop.fill(5, 8)
        assert careful() == 3
        shop.fill(8, 9)
        assert careful() == 1
    assert shop.count() == 9


@pytest.mark.postgres
def test_a_twin_that_is_cancelled_has_rolled_back_when_it_ends(
    shop: Shop, postgres_database: str
) -> None:
    services.sql(postgres_database, POSTGRES_SOURCE + HELD)
    place = {"type": "postgres", "url": postgres_database}
    spec: dict[str, Any] = {
        "name": shop.name,
        "source": place,
        "destination": {**place, "schema": shop.schema},
        "streams": [{"table": "src.held", "name": "whole", "into": "whole", "mode": "append"}],
    }
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE '%held%' AND datname = current_database() AND pid <> pg_backend_pid()"
    )

    @flow
    async def given_up() -> LoadResult:
        with closing(psycopg.connect(postgres_database, autocommit=True)) as gate:
            gate.execute("SELECT pg_advisory_lock(%s)", [GATE])
            load = asyncio.create_task(aload_stream(spec, "whole"))
            while gate.execute(waiting).fetchone() != (1,):
                await asyncio.sleep(0.05)
                assert not load.done(), load
            load.cancel()
            with suppress(asyncio.CancelledError):
                await load
            assert load.cancelled()
            assert gate.execute(waiting).fetchone() == (0,)
        assert services.sql(postgres_database, f"SELECT to_regclass('{shop.schema}.whole')") == [
            (None,)
        ]
        return await aload_stream(spec, "whole")

    assert asyncio.run(given_up()).counts.inserted == 2000  # type: ignore[arg-type]
