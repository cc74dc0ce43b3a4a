"""``on_error: stop``: ``run_pipeline`` loads in turn, until a stream has failed for good."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from conduit_core import Hook, HookContext, HookReport
from conduit_core.engine import hooks
from conduit_core.errors import ConnectionFailedError, LoadFailedError, SchemaError
from conduit_core.events import Event, Listener, StreamFailed, StreamFinished
from prefect_conduit import arun_pipeline, load_stream, run_pipeline
from tests.crash.proxy import Proxy, When
from tests.prefect.shop import Shop
from tests.prefect.test_artifacts import shown
from tests.prefect.test_failures import task_runs

NOWHERE = "postgres://127.0.0.1:9/nowhere"
"""A system that can't be reached: a retry may help."""
EITHER = pytest.mark.parametrize("flow", [run_pipeline, arun_pipeline])
ENDED: list[tuple[str, str]] = []
"""What the tries of all streams came to, in their order."""
MENDERS: list[Callable[[], None]] = []
"""The next is called when a try fails."""


def noting() -> Listener:
    """Return a listener that writes down how each try of a stream ends, and mends."""

    def heard(event: Event) -> None:
        if isinstance(event, StreamFailed):
            ENDED.append((event.stream, "failed"))
            if MENDERS:
                MENDERS.pop()()
        if isinstance(event, StreamFinished):
            ENDED.append((event.stream, event.outcome))

    return heard


@dataclass
class Spy:
    """A hook that writes down of which failed streams it was told."""

    failed: list[tuple[str, ...]] = field(default_factory=list)

    def run(self, options: BaseModel, context: HookContext) -> HookReport:
        self.failed.append(tuple(context.failed))
        return HookReport("looked")


class NoOptions(BaseModel):
    """It has none."""


@pytest.fixture
def spy() -> Iterator[Spy]:
    found = Spy()
    with hooks.added(Hook("spy", NoOptions, run=found.run)):
        yield found


@pytest.fixture
def stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Streams ``a`` to ``d``, of which ``b`` has no table yet; retries come at once."""
    monkeypatch.setenv("CONDUIT_LISTENERS", f"{__name__}:noting")
    monkeypatch.setattr(load_stream, "retry_delay_seconds", 0.1)
    ENDED.clear()
    MENDERS.clear()
    shop = Shop(tmp_path, ["d", "a", "b", "c"], {"on_error": "stop", "after": {"spy": {}}})
    for name in "dac":
        table(shop, name)
    return shop


def table(shop: Shop, name: str) -> None:
    shop.sql(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY); INSERT INTO {name} VALUES (1)")


def ended(flow: Any) -> Any:
    """Return a flow run's state; an asynchronous one is awaited."""
    return asyncio.run(flow) if inspect.iscoroutine(flow) else flow


def said(error: LoadFailedError) -> str:
    return str(error).partition("\n")[0]


@EITHER
def test_later_streams_are_not_started_and_who_follows_is_told(
    stops: Shop, spy: Spy, flow: Any
) -> None:
    state = ended(flow(str(stops.written()), return_state=True))
    assert state.is_failed()
    error = state.result(raise_on_failure=False)
    assert isinstance(error, LoadFailedError)
    assert [(type(each), each.stream) for each in error.errors] == [(SchemaError, "b")]
    assert said(error) == f"{stops.name}: 1 of 4 streams failed: b; 1 not started"
    assert ENDED == [("d", "published"), ("a", "published"), ("b", "failed")]
    assert spy.failed == [("b", "c")]

    runs = task_runs(state, 4)  # of three loads and the hook; the fourth load's never ends
    names = {name: run.state_name for name, run in runs.items()}
    assert names["load b"] == "Failed"
    assert names["load c"] == "NotReady"
    (run,) = shown(stops.name)
    assert str(run.description).endswith(": 2 done, 1 failed, 1 not started.")
    assert "| c | not started |" in str(run.data)


@EITHER
def test_a_stream_has_failed_when_its_retries_are_used_up(stops: Shop, flow: Any) -> None:
    """Of those that were asked for, in the file's order."""
    stops.more = {"on_error": "stop", "source": {"type": "postgres", "url": NOWHERE}}
    state = ended(flow(stops.mapping, streams=["c", "a"], return_state=True))
    error = state.result(raise_on_failure=False)
    assert said(error) == f"{stops.name}: 1 of 2 streams failed: a; 1 not started"
    assert [type(each) for each in error.errors] == [ConnectionFailedError]
    assert ENDED == [("a", "failed")] * 4


@pytest.mark.postgres
def test_a_retry_that_helps_stops_nothing(stops: Shop, postgres_database: str) -> None:
    with Proxy(postgres_database, When.BEFORE_COMMIT, stays_down=True) as proxy:
        MENDERS.append(proxy.come_back)
        place = {"type": "postgres", "url": proxy.url, "schema": stops.schema}
        stops.more = {"on_error": "stop", "destination": place}
        done = run_pipeline(stops.mapping, streams=["c", "d", "a"])
        assert proxy.cuts == 1
    assert [each.stream for each in done.results] == ["d", "a", "c"]
    assert done.not_started == ()
    tries = [("d", "failed"), ("d", "published"), ("a", "published"), ("c", "published")]
    assert tries == ENDED


def test_where_nothing_is_new_nothing_stops(stops: Shop) -> None:
    table(stops, "b")
    stops.more = {"on_error": "stop"}
    stops.streams = [{"table": name, "mode": "append", "cursor": "id"} for name in "dabc"]
    run_pipeline(stops.mapping)
    stops.sql("INSERT INTO c VALUES (2)")
    ENDED.clear()
    done = run_pipeline(stops.mapping)
    assert [each.outcome for each in done.results] == ["empty"] * 3 + ["published"]
    assert [stream for stream, _ in ENDED] == ["d", "a", "b", "c"]


def test_a_flow_with_retries_of_the_users_goes_on_where_it_stopped(stops: Shop, spy: Spy) -> None:
    MENDERS.append(lambda: table(stops, "b"))
    done = run_pipeline.with_options(retries=1)(stops.mapping)
    assert {each.stream: each.outcome for each in done.results} == {
        "d": "replayed",
        "a": "replayed",
        "b": "published",
        "c": "published",
    }
    assert spy.failed == [("b", "c"), ()]


def test_without_the_word_the_others_go_on(stops: Shop, spy: Spy) -> None:
    stops.more = {"after": {"spy": {}}}
    with pytest.raises(LoadFailedError, match=r"1 of 4 streams failed: b\n"):
        run_pipeline(stops.mapping)
    assert (stops.count("c"), spy.failed) == (1, [("b",)])
