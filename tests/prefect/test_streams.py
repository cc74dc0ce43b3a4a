"""``@conduit_stream``: what a function returns or yields is loaded, once per call and flow run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from prefect import flow, task
from prefect.flow_engine import run_flow
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from conduit_core import LoadResult
from conduit_core.errors import ConduitError, ConfigError
from prefect_conduit import ConduitConnection, conduit_stream
from tests.prefect.shop import Shop


def numbers(*items: int) -> pa.Table:
    return pa.table({"n": list(items)})


def stream(shop: Shop, table: str = "numbers", **arguments: Any) -> Any:
    return conduit_stream(
        destination={"type": "duckdb", "path": str(shop.folder / "wh.duckdb")},
        into=f"{shop.schema}.{table}",
        **arguments,
    )


def loaded(shop: Shop, table: str = "numbers") -> list[int]:
    return [n for (n,) in shop.rows(f"SELECT n FROM raw.{table} ORDER BY n")]


def test_what_a_function_makes_is_loaded_and_a_retry_of_the_flow_doesnt_call_it_again(
    shop: Shop,
) -> None:
    calls: list[str] = []

    @stream(shop)
    def arrow(count: int) -> pa.Table:
        calls.append(f"arrow {count}")
        return numbers(*range(count))

    @stream(shop, "frames", mode="upsert", key="n")
    def frames() -> Iterator[object]:
        calls.append("frames")
        get_run_logger().info("in the task's own context")
        assert task_run.id
        yield pd.DataFrame({"n": [1, 2]})
        yield pl.DataFrame({"n": [2, 3]})

    @stream(shop, "later", mode="replace", name="mine")
    async def later() -> pl.DataFrame:
        await asyncio.sleep(0)
        calls.append("later")
        return pl.DataFrame({"n": [5]})

    @task
    def how_many() -> int:
        return 3

    @flow(retries=1, retry_delay_seconds=0)
    async def all_of_them() -> list[LoadResult]:
        done = [
            arrow(how_many()),
            frames(),
            await later(),
            arrow.submit(how_many.submit()).result(),
        ]
        if len(calls) < 4:
            raise OSError("after three loads")
        return done

    with pytest.raises(OSError, match="after three"):
        asyncio.run(all_of_them())
    assert calls == ["arrow 3", "frames", "later"]
    assert loaded(shop) == [0, 1, 2]
    assert loaded(shop, "frames") == [1, 2, 3]
    assert loaded(shop, "later") == [5]
