"""What a task asks for: windows by a schedule, slices by value, and a key for its retries."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from conduit_core import LoadResult
from conduit_core.errors import ConfigError
from prefect_conduit import load_stream, run_pipeline
from prefect_conduit.asked import Asked, request_of, slice_before
from tests.prefect.shop import ORDERS, Shop

WINDOWED = {**ORDERS, "cursor": "updated_at", "cursor_timezone": "Europe/Berlin"}
NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)


def scheduled(made: Any, parameters: dict[str, Any], at: datetime) -> Any:
    """Return a flow run that was to start at a time, as a schedule makes it."""
    with get_client(sync_client=True) as client:
        return client.create_flow_run(
            made, parameters=parameters, state=Scheduled(scheduled_time=at)
        )


def again(run: Any) -> Any:
    """Return a flow run as Prefect starts it once more, after it ended."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Scheduled(scheduled_time=datetime.now(UTC)), force=True)
        return client.read_flow_run(run.id)


def test_p12_a_late_run_and_its_retry_load_the_slice_of_their_schedule(shop: Shop) -> None:
    shop.streams = (WINDOWED,)
    asked = {"pipeline": shop.mapping, "window_length": "2 days"}
    run = scheduled(run_pipeline, asked, NOON)
    state: Any = run_flow(run_pipeline, flow_run=run, parameters=asked, return_type="state")
    assert state.is_completed()
    (result,) = state.result().results
    # the column is of Berlin, an hour ahead: from the 2nd at 13:00 to the 4th at 13:00
    assert shop.rows("SELECT id FROM raw.orders ORDER BY id") == [(2,), (3,)]
    assert "2026-01-02T13:00:00" in result.window.replace(" ", "T")
    shop.sql("UPDATE orders SET amount = 999")
    once_more: Any = run_flow(
        run_pipeline, flow_run=again(run), parameters=asked, return_type="state"
    )
    (repeated,) = once_more.result().results
    assert (repeated.outcome, repeated.window) == ("replayed", result.window)
    assert [record.version for record in shop.chain()] == [1]


@flow
def _outer(pipeline: dict[str, Any], fails: list[str]) -> Any:
    done = run_pipeline(pipeline, window_length="1 day")
    if fails:
        raise ValueError(fails[0])
    return done.results[0].window


def test_a_flow_that_another_calls_has_its_schedule(shop: Shop) -> None:
    shop.streams = (WINDOWED,)
    asked = {"pipeline": shop.mapping, "fails": []}
    run = scheduled(_outer, asked, NOON)
    window = run_flow(_outer, flow_run=run, parameters=asked)
    assert "2026-01-03T13:00:00" in str(window).replace(" ", "T")
    assert shop.rows("SELECT id FROM raw.orders ORDER BY id") == [(3,)]


def test_what_has_no_times_can_t_be_cut_by_a_schedule(shop: Shop) -> None:
    """Numbers, and no cursor at all; each stream says so itself."""
    shop.sql("CREATE TABLE plain (id INTEGER PRIMARY KEY)")
    upsert = {"mode": "upsert", "unique_key": "id"}
    shop.streams = (
        {**ORDERS, "cursor": "id"},
        {"table": "plain", **upsert},
    )
    state: Any = run_pipeline(shop.mapping, window_length="1 day", return_state=True)
    assert state.is_failed()
    assert "needs a stream with a cursor" in state.message
    assert "int64" in state.message
    wrong: Any = run_pipeline(shop.mapping, window_length="1 fortnight", return_state=True)
    assert "window_length='1 fortnight' must be a duration such as" in wrong.message


def test_a_slice_by_value_and_each_of_a_flows_requests(shop: Shop) -> None:
    """One flow run: slices, a repeat of one, which is loaded once, and a reload."""

    @flow
    def loads() -> list[LoadResult]:
        one = load_stream.with_options(retries=0)
        given = (shop.mapping, "orders")
        return [
            one(*given, only={"region": "eu"}),
            one(*given, only={"region": ["us"]}),
            one(*given, only={"region": ["eu"]}),
            one(*given, only={"region": ["eu"]}, reload=True),
            one(
                *given,
                only={"region": ["eu"]},
                window_from=date(2026, 1, 2),
                window_to="2026-01-09",
            ),
            one(*given, window_from=date(2026, 1, 2), window_to="2026-01-09"),
        ]

    shop.streams = ({**ORDERS, "cursor_timezone": "UTC"},)
    done = loads()
    assert [each.outcome for each in done] == [
        "published", "published", "replayed", "published", "published", "published",
    ]  # fmt: skip
    assert [each.counts.read for each in done] == [3, 2, 3, 3, 2, 4]
    assert shop.count() == 5
    assert len(shop.chain()) == 5
    later = loads()
    assert [each.outcome for each in later] == [each.outcome for each in done]
    assert len(shop.chain()) == 10


def test_p12_a_task_of_no_flow_is_one_request_through_its_retries(shop: Shop) -> None:
    """It dies after the commit, and is tried again: an append without a cursor, loaded once."""
    shop.streams = ({"table": "orders", "mode": "append"},)
    keys: list[str | None] = []

    def then_fail(*_: object) -> None:
        keys.append(shop.chain()[-1].request_key)
        if len(keys) == 1:
            raise OSError("gone")

    from prefect import task

    @task(retries=1, retry_delay_seconds=0)
    def load() -> LoadResult:
        result = load_stream.fn(shop.mapping, "orders")
        then_fail()
        return result

    assert load().outcome == "replayed"
    assert keys[0] is not None
    assert keys == keys[:1] * 2
    assert shop.count() == 5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(window_from=5), "window_from= is text, a date or a time, not int"),  # type: ignore[arg-type]
        (Asked(full_refresh="some"), "full_refresh"),  # type: ignore[arg-type]
        (Asked(only={}), "one column with its values"),
        (Asked(only={"a": 1, "b": 2}), "one column with its values"),
        (Asked(only={"a": []}), "'a' has 0 values: it needs a column, and 1 to 1,000 values"),
        (Asked(only={"a": [*range(1001)]}), "has 1001 values"),
        (Asked(only={"a": 1.5}), "a value is text, a whole number, a decimal, or a date or time"),
        (Asked(only={"a": [1.5]}), "a float has no exact text: write it as text or Decimal"),
        (Asked(only="region"), "one column with its values"),  # type: ignore[arg-type]
    ],
)
def test_an_argument_of_the_wrong_type_is_named(asked: Asked, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        request_of("orders", asked)


def test_values_are_written_as_in_a_file() -> None:
    only = {"a": [True, 2, date(2026, 1, 2), "x"]}
    found = request_of("orders", Asked(only=only)).only
    assert found is not None
    assert found.values == ("2", "2026-01-02", "true", "x")


@pytest.mark.parametrize(
    ("length", "start"),
    [("1 day", NOON - timedelta(days=1)), ("90m", NOON - timedelta(minutes=90))],
)
def test_a_slice_ends_at_the_schedule(length: str, start: datetime) -> None:
    assert slice_before(length, NOON) == (start.isoformat(), NOON.isoformat())


@pytest.mark.parametrize("length", ["", "0 days", "-1 day", "soon", 5, None])
def test_a_length_that_is_none_is_refused(length: object) -> None:
    with pytest.raises(ConfigError, match="window_length="):
        slice_before(length, NOON)
