"""The state in Variables: the reconcile table row by row, as a person edits it in Prefect."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.settings import PREFECT_API_URL, temporary_settings

from conduit_core import ConduitError, LoadResult, run
from conduit_core.engine.seen import state_key
from conduit_core.errors import ConfigError, StateDivergedError, StateError
from conduit_core.events import Committed, Event, Notice
from conduit_core.state.store import StateEntry, make_entry
from conduit_core.testing.state_store import StateStoreSuite
from conduit_core.types.dialect import Table
from prefect_conduit import ConduitPipeline, load_stream, run_pipeline
from prefect_conduit.state import PrefectStateStore, variable_name
from tests.prefect.proxy import Proxy
from tests.prefect.shop import ORDERS, Shop


class Anywhere(PrefectStateStore):
    """The store with this test's settings in threads that have none of their own."""

    def __init__(self) -> None:
        super().__init__(f"t{uuid.uuid4().hex[:8]}")
        self._context = copy_context()

    def get(self, key: str) -> str | None:
        return self._context.copy().run(super().get, key)

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        return self._context.copy().run(super().set, key, entry, expect)


class TestVariables(StateStoreSuite):
    """The contract, over Prefect's API; a Variable has no compare-and-set."""

    atomic = False

    @pytest.fixture
    def store(self) -> PrefectStateStore:
        return Anywhere()


def load(shop: Shop, *listeners: Callable[[Event], None], prefix: str = "conduit") -> LoadResult:
    """Load the orders with the state in Prefect, as a task does."""
    done = run(shop.pipeline(), store=PrefectStateStore(prefix), listeners=listeners)
    if done.failures:
        raise done.failures[0].to_error()
    return done.results[0]


def edit(shop: Shop, value: Any) -> None:
    """Write a Variable as people do in Prefect's UI."""
    name = f"conduit-{shop.schema}-orders"
    with get_client(sync_client=True) as client:
        if client.read_variable_by_name(name) is None:
            client.create_variable(VariableCreate(name=name, value=value))
        else:
            client.update_variable(VariableUpdate(name=name, value=value))


def edited(shop: Shop, **fields: str) -> dict[str, str]:
    """Return the entry with some fields changed, its seal left as it was."""
    return {**shop.variable(), **fields}


def sealed(shop: Shop, **fields: str) -> dict[str, str]:
    """Return the entry as a load of another story would have written it."""
    return StateEntry(**shop.variable()).model_copy(update=fields).sealed().model_dump()


def cursor(day: int, key: int) -> str:
    return (
        f'[{{"column":"updated_at","type":"timestamp[us]","value":"2026-01-{day:02d}T00:00:00"}},'
        f'{{"column":"id","type":"int64","value":"{key}"}}]'
    )


# --- row by row -----------------------------------------------------------------------------------


def test_p11_a_load_leaves_a_sealed_entry_and_the_next_goes_on_from_it(shop: Shop) -> None:
    load(shop)
    entry = StateEntry(**shop.variable())
    (record,) = shop.chain()
    assert (entry.version, entry.load_id, entry.cursor) == ("1", record.load_id, record.cursor)
    assert not entry.is_edited
    shop.fill(5, 7)
    assert load(shop).counts.read == 2
    assert shop.variable()["version"] == "2"


def test_p11_a_deleted_variable_is_rolled_forward(shop: Shop) -> None:
    load(shop)
    with get_client(sync_client=True) as client:
        client.delete_variable_by_name(f"conduit-{shop.schema}-orders")
    result = load(shop)
    assert result.outcome == "empty"
    assert "rolled forward from the ledger" in " ".join(result.notes)
    assert shop.variable()["version"] == "1"
    assert shop.count() == len(shop.chain()) * 5 == 5


def test_p11_of_two_writers_the_ledger_decides(shop: Shop) -> None:
    """The slower one has written an older version over the newer."""
    load(shop)
    older = shop.variable()
    shop.fill(5, 7)
    load(shop)
    edit(shop, older)
    result = load(shop)
    assert result.outcome == "empty"
    assert "at version 1, the ledger at 2" in " ".join(result.notes)
    assert shop.variable()["version"] == "2"
    assert shop.count() == 7


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"version": "7"}, "the state store is at version 7"),
        ({"load_id": "feedfeedfeedfeed"}, "is load feedfeedfeedfeed in the state store"),
        ({"target_fingerprint": "0" * 16}, "belongs to another target"),
    ],
)
def test_another_story_ends_with_what_to_do_in_prefect(
    shop: Shop, fields: dict[str, str], said: str
) -> None:
    load(shop)
    kept = sealed(shop, **fields)
    edit(shop, kept)
    shop.fill(5, 7)
    store = PrefectStateStore()
    with pytest.raises(StateDivergedError, match=said) as caught:
        run_with(shop, store)
    store.explain(caught.value)
    last = caught.value.lines()[3]
    assert f"prefect variable unset conduit-{shop.schema}-orders" in last
    assert "state_prefix=" in last
    assert shop.variable() == kept
    assert len(shop.chain()) == 1


def run_with(shop: Shop, store: PrefectStateStore) -> None:
    raise run(shop.pipeline(), store=store).failures[0].to_error()


@pytest.mark.parametrize("form", ["object", "text"])
@pytest.mark.parametrize(("to", "read"), [(cursor(3, 2), 2), ("initial", 5)])
def test_p11_an_edit_to_a_lower_cursor_is_a_rewind(
    shop: Shop, form: str, to: str, read: int
) -> None:
    load(shop)
    shop.sql("UPDATE orders SET amount = 999 WHERE id = 4")
    value = edited(shop, cursor=to)
    edit(shop, value if form == "object" else json.dumps(value, indent=2))
    result = load(shop)
    assert result.counts.read == read
    assert "rewound by hand" in " ".join(result.notes)
    assert shop.rows("SELECT count(*), max(amount) FROM raw.orders") == [(5, 999)]
    entry = StateEntry(**shop.variable())
    assert (entry.version, entry.is_edited) == ("2", False)
    assert shop.chain()[-1].version == 2


def test_a_rewind_of_append_is_refused(shop: Shop) -> None:
    shop.streams = ({**ORDERS, "mode": "append", "unique_key": None},)
    load(shop)
    edit(shop, edited(shop, cursor=cursor(3, 2)))
    with pytest.raises(StateError, match="replace-after"):
        load(shop)
    assert shop.count() == 5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nonsense", "holds something that is not a state entry: 'nonsense'"),
        (7, "'7'"),
        ([1, 2], "[1,2]"),
        ({"a": 1}, '{"a":1}'),
        ({"cursor": cursor(9, 9)}, "moved forward by hand"),
        ({"cursor": "2026-01-03"}, "not a cursor"),
        (
            {"cursor": '[{"column":"id","type":"int64","value":"2"}]'},
            "has ['id'], the stream's cursor is ['updated_at', 'id']",
        ),
    ],
)
def test_nonsense_is_named_and_nothing_is_lost(shop: Shop, value: Any, said: str) -> None:
    load(shop)
    is_entry = isinstance(value, dict) and "cursor" in value
    written = edited(shop, **value) if is_entry else value
    edit(shop, written)
    shop.fill(5, 7)
    store = PrefectStateStore()
    with pytest.raises(StateError) as caught:
        run_with(shop, store)
    assert said in str(caught.value)
    store.explain(caught.value)
    if "moved forward" not in said:
        assert f"prefect variable unset conduit-{shop.schema}-orders" in caught.value.lines()[3]
    assert shop.variable() == written
    assert shop.count() == len(shop.chain()) * 5 == 5


def test_an_edit_during_a_load_stays_for_the_next(shop: Shop) -> None:
    load(shop)
    shop.fill(5, 6)
    value = edited(shop, cursor=cursor(3, 2))
    told: list[str] = []

    def at_commit(event: Event) -> None:
        if isinstance(event, Committed):
            edit(shop, value)
        if isinstance(event, Notice):
            told.append(event.message)

    assert load(shop, at_commit).counts.read == 1
    assert "edited during the load: the edit is kept for the next run" in " ".join(told)
    assert shop.variable() == value
    assert load(shop).counts.read == 3
    assert shop.count() == 6


# --- in the run's state ---------------------------------------------------------------------------


def test_two_destinations_with_one_table_name_share_prefect_by_a_prefix(shop: Shop) -> None:
    """The second one's run is stopped, saying how; with a prefix of its own it loads."""
    load(shop)
    shop.more = {
        "destination": {
            "type": "duckdb",
            "path": str(shop.folder / "second.duckdb"),
            "schema": shop.schema,
        }
    }
    state: Any = run_pipeline(shop.mapping, return_state=True)
    assert state.is_failed()
    assert "belongs to another target" in str(state.message)
    (failed,) = task_states(state)
    assert f"prefect variable unset conduit-{shop.schema}-orders" in failed.message
    assert "another state_prefix=" in failed.message
    block = ConduitPipeline(content=shop.mapping, state_prefix="second")
    done = run_pipeline(block)
    assert done.results[0].counts.inserted == 5
    third = str(shop.folder / "third.duckdb")
    shop.more = {"destination": {"type": "duckdb", "path": third, "schema": shop.schema}}
    done = run_pipeline(shop.mapping, state_prefix="third")
    assert done.results[0].counts.inserted == 5
    with get_client(sync_client=True) as client:
        for prefix in ("second", "third"):
            assert client.read_variable_by_name(f"{prefix}-{shop.schema}-orders") is not None


def test_a_wrong_prefix_starts_no_task(shop: Shop) -> None:
    state: Any = run_pipeline(shop.mapping, state_prefix="No!", return_state=True)
    assert state.is_failed()
    assert "state_prefix='No!'" in str(state.message)
    assert task_states(state) == []


def test_a_deleted_warehouse_is_refused_with_one_advice_and_loads_anew_once_it_is_followed(
    shop: Shop,
) -> None:
    """What the error says first names no command that a later line takes back."""
    gone = str(shop.folder / "gone.duckdb")
    shop.more = {"destination": {"type": "duckdb", "path": gone, "schema": shop.schema}}
    assert run_pipeline(shop.mapping).results[0].counts.inserted == 5
    Path(gone).unlink()
    state: Any = run_pipeline(shop.mapping, return_state=True)
    (failed,) = task_states(state)
    assert "was restored or emptied, or is another one" in failed.message
    assert "conduit state" not in failed.message
    name = f"conduit-{shop.schema}-orders"
    assert f"prefect variable unset {name}" in failed.message
    with get_client(sync_client=True) as client:
        client.delete_variable_by_name(name)
    assert run_pipeline(shop.mapping).results[0].counts.inserted == 5


def task_states(state: Any) -> list[Any]:
    """Return the states of a flow run's failed tasks."""
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        runs = client.read_task_runs(
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=[state.state_details.flow_run_id])
            )
        )
    return [run.state for run in runs if run.state and run.state.is_failed()]


@task
def _nothing() -> None:
    return None


@flow
def _first() -> None:
    _nothing()


def test_an_api_that_fails_for_a_while_loses_nothing(shop: Shop) -> None:
    _first()  # what tells of events and logs has its connection, which isn't the proxy's
    quick = load_stream.with_options(retry_delay_seconds=0)

    @flow
    def loads() -> LoadResult:
        return quick(shop.mapping, "orders")

    @flow
    def once() -> LoadResult:
        return load_stream.with_options(retries=0)(shop.mapping, "orders")

    with (
        Proxy(str(PREFECT_API_URL.value())) as proxy,
        temporary_settings({PREFECT_API_URL: proxy.url}),
    ):
        proxy.refused = {"GET /api/variables": 1, "POST /api/variables": 1}
        assert loads().counts.inserted == 5
        assert proxy.refused == {"GET /api/variables": 0, "POST /api/variables": 0}
        proxy.refused = {"GET /api/variables": 9}
        shop.fill(5, 6)
        failed: Any = once(return_state=True)
    assert failed.is_failed()
    text = failed.message
    assert f"the variable conduit-{shop.schema}-orders can't be read" in text
    assert "HTTPStatusError" in text
    assert "a retry may help" in text
    assert shop.variable() is None
    assert loads().counts.inserted == 1
    assert shop.variable()["version"] == "2"
    assert shop.count() == 6


def test_a_mirror_that_nobody_answers_is_a_warning(shop: Shop) -> None:
    told: list[str] = []

    def then(event: Event) -> None:
        if isinstance(event, Notice):
            told.append(event.message)

    class Gone(PrefectStateStore):
        def set(self, key: str, entry: str, expect: str | None) -> bool:
            with temporary_settings({PREFECT_API_URL: "http://me:secret@127.0.0.1:9/api"}):
                return super().set(key, entry, expect)

    (result,) = run(shop.pipeline(), store=Gone(), listeners=(then,)).results
    assert result.outcome == "published"
    assert "the next run does it" in " ".join(told)
    assert "secret" not in " ".join(told)
    assert load(shop).outcome == "empty"
    assert shop.variable()["version"] == "1"


# --- names and sizes ------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=300) | st.sampled_from(["a", "a-b", "A", "a.b", "b", "."])


@given(names, names, names, names)
def test_a_tables_variable_is_its_own_and_valid(a: str, b: str, c: str, d: str) -> None:
    one, two = Table(a, b), Table(c, d)
    store = PrefectStateStore()
    first, second = (store.name(state_key(table)) for table in (one, two))
    assert (first == second) == (one == two)
    assert first == variable_name(a, b)
    assert VariableCreate(name=first, value=1).name == first
    assert len(first) <= 255


def test_a_variables_name_is_the_tables_where_it_can_be() -> None:
    assert variable_name("raw", "orders") == "conduit-raw-orders"
    assert variable_name("", "orders") == PrefectStateStore().name("orders") == "conduit-orders"
    name = variable_name("Raw", "order lines")
    assert re.fullmatch(r"conduit-raw-order-lines--[0-9a-f]{16}", name)


@pytest.mark.parametrize("prefix", ["", "A", "a-b", "a" * 101])
def test_a_prefix_that_is_no_part_of_a_name_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="state_prefix"):
        PrefectStateStore(prefix)
    with pytest.raises(ValueError, match="state_prefix"):
        ConduitPipeline(path="shop.yml", state_prefix=prefix)


def test_a_long_cursor_is_a_pointer_that_prefect_takes() -> None:
    entry = make_entry(1, "load", "x" * 5000, "print").to_json()
    store = PrefectStateStore(f"t{uuid.uuid4().hex[:8]}")
    assert store.set("raw.orders", entry, None)
    assert store.get("raw.orders") == entry
    assert "ledger:1" in entry


def test_what_no_store_was_asked_for_is_left_as_it_is() -> None:
    error = ConduitError("other", command="conduit check")
    PrefectStateStore().explain(error)
    assert error.command == "conduit check"
