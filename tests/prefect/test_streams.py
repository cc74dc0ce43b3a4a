"""``@conduit_stream``: what a function returns or yields is loaded, once per call and flow run."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from prefect import flow, task
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from conduit_core import LoadResult, Pipeline
from conduit_core.errors import ConduitError, ConfigError
from conduit_core.state.ledger import LedgerRecord
from prefect_conduit import ConduitConnection, conduit_stream
from prefect_conduit.arguments import call_of
from tests.prefect.shop import Shop

# Prefect leaves a connection to its API to the garbage collector.


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


def records(shop: Shop, table: str = "numbers") -> list[LedgerRecord]:
    destination = {"type": "duckdb", "path": str(shop.folder / "wh.duckdb")}
    made = Pipeline.from_data(
        None, name="ours", into=f"{shop.schema}.{table}", destination=destination
    )
    with made.open() as ends:
        return ends.destination.records(made.target(made.streams[0], ends.destination))


def test_what_a_function_makes_is_loaded_and_a_retry_of_the_flow_doesnt_call_it_again(
    shop: Shop,
) -> None:
    """Tables, frames, generators and coroutines; arguments that are futures of other tasks."""
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

    @stream(shop, "bits")
    async def bits() -> AsyncIterator[object]:
        async with asyncio.timeout(60):  # which has to end in the task it began in
            calls.append("bits")
            for n in range(3):
                await asyncio.sleep(0)
                yield numbers(n)

    @task
    def how_many() -> int:
        return 3

    @flow(retries=1, retry_delay_seconds=0)
    async def all_of_them() -> list[LoadResult]:
        arrow.submit(how_many.submit()).result()
        frames()
        done = [arrow(3), await later(), await bits()]
        if len(calls) == 4 and done[1].outcome == "published":
            raise OSError("after the loads")
        return done

    done = asyncio.run(all_of_them())
    assert [each.outcome for each in done] == ["replayed"] * 3
    assert calls == ["arrow 3", "frames", "later", "bits"]
    assert loaded(shop) == loaded(shop, "bits") == [0, 1, 2]
    assert loaded(shop, "frames") == [1, 2, 3]
    assert loaded(shop, "later") == [5]


def test_mapped_calls_of_one_function_are_all_loaded_once_each(shop: Shop) -> None:
    """Into one table, at the same time; those that a first try has loaded aren't loaded again."""
    calls: list[int] = []

    @stream(shop)
    def page(number: int) -> pa.Table:
        calls.append(number)
        if number == 2 and calls.count(2) == 1:
            raise OSError("the API is down")
        return numbers(number)

    @flow(retries=1, retry_delay_seconds=0)
    def pages() -> list[LoadResult]:
        calling = page.map([0, 1, 2, 3, 3])
        calling.wait()
        return calling.result()

    done = pages()
    assert [calls.count(number) for number in (0, 1, 2)] == [1, 1, 2]
    assert loaded(shop) == [0, 1, 2, 3]
    assert [each.outcome for each in done] == [
        "replayed",
        "replayed",
        "published",
        *["replayed"] * 2,
    ]


def test_what_the_function_raises_is_its_own_and_retried_as_options_say(shop: Shop) -> None:
    calls: list[int] = []

    @stream(shop, "failing")
    def failing(step: int) -> Iterator[pa.Table]:
        calls.append(step)
        yield numbers(1)
        if calls.count(step) < 3:
            raise OSError("the API is down")

    @stream(shop, "other")
    async def other() -> AsyncIterator[pa.Table]:
        yield numbers(1)
        raise LookupError("of an asynchronous one")

    @flow
    def own() -> None:
        with pytest.raises(OSError, match="the API is down"):
            failing(1)
        assert calls == [1]
        failing.with_options(retries=2, retry_delay_seconds=0)(2)

    own()
    assert calls == [1, 2, 2, 2]
    assert loaded(shop, "failing") == [1]
    with pytest.raises(LookupError, match="of an asynchronous one"):
        asyncio.run(other())


def test_without_a_flow_each_call_is_a_load_and_rules_and_blocks_are_those_of_a_file(
    shop: Shop,
) -> None:
    block = ConduitConnection(url=f"duckdb:///{shop.folder / 'wh.duckdb'}")
    made = conduit_stream(
        destination=block,
        into=f"{shop.schema}.numbers",
        name="ours",
        stream={"quality": [{"rule": "range", "column": "n", "max": 5}]},
    )

    @made
    def some(*items: int) -> pa.Table:
        return numbers(*items)

    assert [some(1).outcome, some(1).outcome] == ["published", "published"]
    with pytest.raises(ConduitError, match="range"):
        some(6)
    assert loaded(shop) == [1, 1]
    assert {record.pipeline for record in records(shop)} == {"ours"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"mode": "upsrt"}, "upsert"),
        ({"mode": "upsert"}, "unique_key"),
        ({"into": "a.b.c.d"}, "into"),
        ({"stream": {"qualty": []}}, "quality"),
        ({"stream": {"mode": "append"}}, "argument `mode`"),
    ],
)
def test_what_is_wrong_is_told_where_it_is_decorated(arguments: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        conduit_stream(**{"destination": "nowhere", "into": "raw.numbers", **arguments})


def test_calls_are_told_apart_by_their_arguments() -> None:
    """In whatever process, and by rows; what has no value counts by its type."""

    def made(one: object = None, *more: object, **named: object) -> None: ...

    def told(*args: object, **kwargs: object) -> str:
        return call_of(made, args, kwargs).text

    assert told(1, a=[2]) == told(one=1, a=[2]) == told(1, a=[2])
    frame = pd.DataFrame({"n": [1, 2]})
    apart: list[object] = [
        None, 1, "1", 1.0, True, Decimal(1), (1,), [1], {1}, {1: 2}, b"1", date(2026, 1, 1),
        datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=1), {"a": {"b": [1]}}, frame, frame[:1],
        pl.DataFrame({"n": [1, 2]}), numbers(1, 2), numbers(1, 3), io.StringIO("1"),
    ]  # fmt: skip
    assert len({told(each) for each in apart}) == len(apart)
    assert told(io.StringIO("1")) == told(io.StringIO("2"))
    assert told({"a", "b", "c"}) == told({"c", "b", "a"})
    assert told({"a": 1, "b": 2}) == told({"b": 2, "a": 1})
    assert told(numbers(1, 2)) == told(numbers(1, 2))
    assert told(pl.Series([3])[0]) == told(3)
    assert told(pa.RecordBatchReader.from_batches(numbers(1).schema, [])).count("/") == 1


def test_calls_that_cant_be_told_apart_are_an_error_and_none_is_lost_in_silence(shop: Shop) -> None:
    class Client:
        def __init__(self, first: int) -> None:
            self.first = first

    @stream(shop)
    def rows(client: Client) -> pa.Table:
        return numbers(client.first)

    @flow
    def loads() -> str:
        first, second = rows(Client(0)), rows(Client(1), return_state=True)
        assert first.outcome == "published"
        return str(second.message)

    assert "The argument `client` counts by its type alone" in loads()
    assert loaded(shop) == [0]
