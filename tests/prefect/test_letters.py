"""Dead letters once more, as a task: loaded once, told and shown as a load is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from conduit_core import LoadResult
from conduit_core.engine import deadletters
from conduit_core.errors import ConnectionFailedError, QualityError
from conduit_core.events import BatchRead, Event, Listener
from prefect_conduit import (
    ConduitPipeline,
    PrefectStateStore,
    areplay_letters,
    load_stream,
    news,
    replay_letters,
)
from prefect_conduit.stopping import stop_event
from tests.prefect.events import events_about, wait_for
from tests.prefect.shop import ORDERS, Shop
from tests.prefect.test_artifacts import shown
from tests.prefect.test_failures import task_runs

MADE = "prefect.asset.materialization.succeeded"
OTHERS = {"table": "others", "mode": "upsert", "unique_key": "id", "cursor": "id"}
HEARD: list[Any] = []
"""Called with each event of a task that replays."""


def hearing() -> Listener:
    """Return a listener that a test says what to do with."""

    def heard(event: Event) -> None:
        for each in HEARD:
            each(event)

    return heard


def held_to(most: int, *streams: Any) -> list[Any]:
    """Return streams whose amounts are up to a limit; a row above it is a dead letter."""
    rule = {"rule": "range", "column": "amount", "max": most, "action": "dlq", "name": "cheap"}
    return [{**each, "quality": [rule]} for each in streams or (ORDERS, OTHERS)]


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Orders and others with two dead letters each, and rules that take one of each by now."""
    HEARD.clear()
    monkeypatch.setenv("CONDUIT_LISTENERS", f"{__name__}:hearing")
    shop = Shop(tmp_path, held_to(25))
    shop.fill(0, 5)
    shop.sql(
        "CREATE TABLE others (id INTEGER PRIMARY KEY, amount INTEGER);"
        "INSERT INTO others VALUES (0, 0), (3, 30), (4, 40)"
    )

    @flow
    def loads() -> None:
        for stream in ("orders", "others"):
            load_stream(shop.mapping, stream)

    loads()
    shop.streams = held_to(35)
    return shop


@flow
def again(pipeline: Any, *args: Any, **more: Any) -> list[LoadResult]:
    return replay_letters(pipeline, *args, **more)


def told(results: Sequence[LoadResult]) -> list[tuple[str, str, int, int]]:
    """Return of each stream's replay how it ended, and its rows inserted and still rejected."""
    return [(r.stream, r.outcome, r.counts.inserted, r.counts.rejected) for r in results]


def still_open(shop: Shop) -> dict[str, str]:
    """Return the ids of open letters by their stream and key."""
    found = deadletters.letters(shop.pipeline())
    return {f"{each.stream}{each.row_key}": each.letter_id for each in found}


def test_what_passes_now_is_loaded_once_and_told_and_shown_as_a_load(letters: Shop) -> None:
    state: Any = again(letters.mapping, "orders", return_state=True)
    assert told(state.result()) == [("orders", "published", 1, 1)]
    assert list(task_runs(state, 1)) == ["replay orders"]
    assert sorted(letters.rows("SELECT id FROM raw.orders")) == [(0,), (1,), (2,), (3,)]
    assert set(still_open(letters)) == {"orders[4]", "others[3]", "others[4]"}
    assert letters.variable()["version"] == "2"
    assert letters.chain()[-1].mode == "replay"
    assert '"runner": "prefect"' in letters.chain()[-1].runner

    asset = f"duckdb://wh/{letters.schema}/orders"
    made = wait_for(asset, lambda found: len(found) == 2, MADE)
    assert [each["payload"]["mode"] for each in made] == ["upsert", "replay"]
    stream = f"conduit.stream.{letters.name}.orders"
    heard = wait_for(stream, lambda found: len(found) == 4, "conduit.load.")
    assert sorted(each["event"] for each in heard) == [
        *["conduit.load.published"] * 2,
        *["conduit.load.rejected"] * 2,
    ]
    summaries = shown(letters.name, "orders")
    assert "mode replay, window dead letters" in str(summaries[-1].data)
    assert len(shown(letters.name, "orders", "rules")) == len(summaries) == 2

    letters.streams = held_to(25)
    assert told(again(letters.mapping, "orders", rule="cheap")) == [("orders", "published", 0, 1)]
    assert letters.count() == 4


def test_without_a_stream_it_is_of_all_and_filters_choose_among_them(letters: Shop) -> None:
    ids = still_open(letters)
    chosen = again(letters.mapping, ids=[ids["others[3]"][:12]])
    assert told(chosen) == [("orders", "empty", 0, 0), ("others", "published", 1, 0)]
    assert shown(letters.name, "orders")[-1].data != shown(letters.name, "others")[-1].data
    assert len(shown(letters.name, "orders")) == 1  # nothing became of its letters
    last = letters.chain()[-1].load_id
    assert told(again(letters.mapping, load_id=last)) == [
        ("orders", "published", 1, 1),
        ("others", "empty", 0, 0),
    ]
    assert told(again(letters.mapping, "others", rule="", load_id="")) == [
        ("others", "published", 0, 1)
    ]
    letters.streams = held_to(90)
    state: Any = again(letters.mapping, return_state=True)
    assert told(state.result()) == [("orders", "published", 1, 0), ("others", "published", 1, 0)]
    assert list(task_runs(state, 1)) == ["replay all"]
    assert still_open(letters) == {}
    for table in ("orders", "others"):
        chain = letters.chain(table)
        assert letters.variable(table)["version"] == str(len(chain))
        asset = f"duckdb://wh/{letters.schema}/{table}"
        made = wait_for(asset, lambda found: len(found) == 3, MADE)
        assert {each["payload"]["stream"] for each in made} == {table}


def test_what_prefect_did_not_hear_the_next_load_tells(
    letters: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise ConnectionError("the server is away")

    with monkeypatch.context() as patched:
        patched.setattr(news, "send", broken)
        again(letters.mapping)
    assert (letters.count(), letters.count("others")) == (4, 2)
    assert letters.variable("others")["version"] == "1"
    load_stream(letters.mapping, "others")
    wait_for(f"duckdb://wh/{letters.schema}/others", lambda found: len(found) == 2, MADE)
    assert letters.variable("others")["version"] == "2"


def test_the_state_lies_where_a_block_or_the_task_says(letters: Shop) -> None:
    block = ConduitPipeline(content=letters.mapping, state_prefix=f"block_{letters.schema}")
    again(block, "orders")
    again(block, "others", state_prefix=f"task_{letters.schema}")
    for store, table in (("block", "orders"), ("task", "others")):
        name = PrefectStateStore(f"{store}_{letters.schema}").name(f"{letters.schema}.{table}")
        with get_client(sync_client=True) as client:
            found: Any = client.read_variable_by_name(name)
        assert found.value["version"] == "2"
        assert letters.variable(table)["version"] == "1"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"stream": "order"}, "no stream 'order'; did you mean 'orders'?"),
    ({"stream": 5}, "stream= is a stream's name, not 5"),
    ({"rule": "dear"}, "no rule is called 'dear'; there are cheap"),
    ({"rule": 5}, "rule= is text, not int"),
    ({"ids": ["nothing"]}, "no dead letter with an id that begins with 'nothing'"),
    ({"ids": [5]}, "ids= is a list of letters' ids, not [5]"),
    ({"ids": 5}, "ids= is a list of letters' ids, not 5"),
    ({"state_prefix": "No!"}, "state_prefix='No!'"),
    ({"pipeline": "gone.yml"}, "there is no gone.yml in "),
]


def test_what_is_wrong_is_told_and_not_tried_again(letters: Shop) -> None:
    states: list[Any] = []

    @flow
    def all_wrong() -> None:
        for given, _ in WRONG:
            more = {"pipeline": letters.mapping, **given}
            states.append(replay_letters(**more, return_state=True))

    all_wrong()
    for state, (_, said) in zip(states, WRONG, strict=True):
        assert "ConfigError: " in str(state.message)
        assert said in str(state.message)
        assert "a retry will not help" in str(state.message)
    assert len(still_open(letters)) == 4


def test_a_rule_that_fails_stops_it_and_its_end_is_told_as_a_loads(letters: Shop) -> None:
    (failing, other) = held_to(35)
    failing["quality"] = [{**failing["quality"][0], "action": "fail"}]
    letters.streams = [other, failing]
    state: Any = again(letters.mapping, return_state=True)
    assert isinstance(state.result(raise_on_failure=False), QualityError)
    assert set(still_open(letters)) == {"others[4]", "orders[3]", "orders[4]"}
    of, failed = f"conduit.stream.{letters.name}", "conduit.load.failed"
    (heard,) = wait_for(f"{of}.orders", lambda found: len(found) == 1, failed)
    assert heard["payload"]["error"] == "QualityError"
    assert events_about(f"{of}.others", failed) == []
    assert "**failed**" in str(shown(letters.name, "orders")[-1].data)
    assert letters.variable("others")["version"] == "2"


def test_what_a_retry_may_mend_is_tried_again(letters: Shop) -> None:
    place = {"type": "postgres", "url": "postgres://127.0.0.1:9/nowhere"}
    quick = replay_letters.with_options(retries=2, retry_delay_seconds=0.1)
    mapping = {**letters.mapping, "destination": place}

    @flow
    def once() -> Any:
        return quick(mapping, "orders")

    state: Any = once(return_state=True)
    assert isinstance(state.result(raise_on_failure=False), ConnectionFailedError)
    (run,) = task_runs(state, 1).values()
    assert run.run_count == 3


def test_a_twin_that_is_cancelled_has_rolled_back_when_it_ends(
    letters: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, stops = threading.Event(), list[threading.Event]()

    def watched() -> threading.Event:
        stops.append(stop_event())
        return stops[-1]

    def until_it_is_told(event: Event) -> None:
        if isinstance(event, BatchRead):
            began.set()
            assert stops[-1].wait(60)

    @flow
    async def given_up() -> list[LoadResult]:
        HEARD.append(until_it_is_told)
        replay = asyncio.create_task(areplay_letters(letters.mapping, "orders"))
        assert await asyncio.to_thread(began.wait, 60)
        replay.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replay
        HEARD.clear()
        assert len(still_open(letters)) == 4
        return await areplay_letters(letters.mapping, "orders")

    monkeypatch.setattr("prefect_conduit.letters.stop_event", watched)
    assert told(asyncio.run(given_up())) == [("orders", "published", 1, 1)]  # type: ignore[arg-type]
