"""The watermark in people's hands: set, reset, adopt; and a runner's store beside the ledger."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from conduit_core import (
    LoadResult,
    Pipeline,
    RunRequest,
    StateView,
    run,
    state_entry,
    state_reset,
    state_set,
    state_show,
)
from conduit_core.engine import admin
from conduit_core.engine.standing import status
from conduit_core.errors import ConfigError, StateDivergedError, StateError
from conduit_core.events import CommitStarted, Event, Notice, StateMirrored
from conduit_core.state.cursor import Cursor
from conduit_core.state.store import InMemoryStateStore, StateEntry, seal_of
from tests.lab import Lab, only, stream

KEY = "main.orders"


def cursor(value: int) -> str:
    return Cursor(("id",), (pa.scalar(value, pa.int64()),)).to_json()


# --- state set, reset, adopt ------------------------------------------------------------------


def test_set_back_with_replace_after_loads_the_rows_again(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    lab.run()
    lab.sql("UPDATE orders SET v = 'new'")
    with pytest.raises(StateError, match="twice") as caught:
        admin.state_set(lab.pipeline(), "orders", "6")
    assert "--replace-after" in caught.value.lines()[3]
    assert lab.ids() == list(range(1, 11))
    record = admin.state_set(lab.pipeline(), "orders", "6", replace_after=True)
    assert (record.version, record.mode) == (2, "state_set")
    assert lab.ids() == list(range(1, 7))
    assert lab.run().counts.read == 4
    assert lab.ids() == list(range(1, 11))
    assert sum(r["v"] == "new" for r in lab.rows()) == 4


def test_set_back_under_replace_needs_nothing_more(lab: Lab) -> None:
    lab.orders(range(1, 11))
    pipeline = lab.pipeline(stream(mode="replace"))
    lab.run(pipeline)
    admin.state_set(pipeline, "orders", "6")
    assert lab.run(pipeline).counts.read == 10


def test_set_forward_needs_skip(lab: Lab) -> None:
    lab.orders(range(1, 11))
    lab.run(window_to="5")
    with pytest.raises(StateError, match="never load") as caught:
        admin.state_set(lab.pipeline(), "orders", "8")
    assert "--skip" in caught.value.lines()[3]
    admin.state_set(lab.pipeline(), "orders", "8", skip=True)
    assert lab.run().counts.read == 2
    assert lab.ids() == [1, 2, 3, 4, 5, 9, 10]


def test_set_before_the_first_load_chooses_where_to_start(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    admin.state_set(lab.pipeline(), "orders", "7")
    assert lab.run().counts.read == 3
    assert lab.ids() == [8, 9, 10]


def test_set_behind_slices_lets_the_watermark_go_on(lab: Lab) -> None:
    lab.orders(range(1, 31))
    lab.run(window_from="1", window_to="11")
    admin.state_set(lab.pipeline(), "orders", "10")
    lab.run()
    assert lab.ids() == list(range(1, 31))


def test_set_takes_composite_cursors_as_values_or_json(lab: Lab) -> None:
    lab.orders(range(1, 11))
    pipeline = lab.pipeline(stream(cursor=["at", "id"]))
    lab.run(pipeline)
    record = admin.state_set(pipeline, "orders", "2024-01-01T00:00:05, 5", replace_after=True)
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4, 5]
    admin.state_set(pipeline, "orders", str(record.cursor))
    with pytest.raises(ConfigError, match="2 columns"):
        admin.state_set(pipeline, "orders", "2024-01-01T00:00:05")
    assert lab.run(pipeline).counts.read == 5


@pytest.mark.parametrize(
    "value", ["soon", "1.5", "", '[{"column":"x","type":"int64","value":"1"}]']
)
def test_set_refuses_what_is_no_value_of_the_cursor(lab: Lab, value: str) -> None:
    lab.orders([1])
    lab.run()
    with pytest.raises(ConfigError) as caught:
        admin.state_set(lab.pipeline(), "orders", value, skip=True)
    assert caught.value.exit_code == 2
    assert len(lab.chain()) == 1


def test_set_needs_a_cursor(lab: Lab) -> None:
    lab.orders([1])
    with pytest.raises(ConfigError, match="no cursor"):
        admin.state_set(lab.pipeline(stream(mode="replace", cursor=None)), "orders", "1")


def test_reset_under_append_empties_or_refuses(lab: Lab) -> None:
    lab.orders(range(1, 6))
    lab.run()
    with pytest.raises(StateError, match="--replace-after"):
        admin.state_reset(lab.pipeline(), "orders")
    admin.state_reset(lab.pipeline(), "orders", replace_after=True)
    assert lab.ids() == []
    assert admin.state_show(lab.pipeline())[0].watermark is None
    assert lab.run().counts.read == 5
    assert lab.ids() == [1, 2, 3, 4, 5]


def test_another_pipeline_s_target_is_refused_until_it_is_adopted(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 6))
    lab.run()
    other = lab.pipeline(name="other")
    for attempt in (
        lambda: lab.run(other),
        lambda: lab.plan(other),
        lambda: admin.state_set(other, "orders", "9", skip=True),
        lambda: admin.state_reset(other, "orders", replace_after=True),
    ):
        with pytest.raises(
            StateError, match="belongs to stream 'orders' of pipeline 'shop'"
        ) as caught:
            attempt()
        assert caught.value.exit_code == 6
        assert "state adopt" in caught.value.lines()[3]
    assert len(lab.chain()) == 1
    admin.state_adopt(other, "orders")
    lab.orders([6])
    assert lab.run(other).counts.read == 1
    assert lab.ids() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(StateError, match="pipeline 'other'"):
        lab.run()


def test_show_and_runs_tell_what_the_ledger_has(lab: Lab) -> None:
    lab.orders(range(1, 6))
    (before,) = admin.state_show(lab.pipeline())
    assert (before.version, before.watermark, before.owner) == (0, None, None)
    lab.run()
    lab.run(window_from="2", window_to="4")
    (view,) = admin.state_show(lab.pipeline())
    assert (view.version, view.watermark, view.mode) == (2, "5", "replace_window")
    assert (view.owner, view.slices) == ("shop/orders", ("[2, 4)",))
    assert [r.version for r in admin.runs(lab.pipeline())] == [2, 1]
    assert len(admin.runs(lab.pipeline(), limit=1)) == 1


def test_p15_status_shows_the_lag_against_the_source(lab: Lab) -> None:
    lab.orders(range(60))
    pipeline = lab.pipeline(stream(cursor="at", freshness="10s"))
    (before,) = status(pipeline).streams
    assert (before.is_behind, before.is_stale, before.version) == (True, True, 0)
    lab.run(pipeline)
    (level,) = status(pipeline).streams
    assert (level.is_behind, level.is_stale, level.lag_seconds) == (False, False, 0.0)
    lab.orders([65])
    (near,) = status(pipeline).streams
    assert (near.is_behind, near.is_stale, near.lag_seconds) == (True, False, 6.0)
    lab.orders([90])
    (late,) = status(pipeline).streams
    assert (late.is_behind, late.is_stale, late.lag_seconds) == (True, True, 31.0)
    assert late.last_rows_read == 60
    assert late.source_newest == "2024-01-01T00:01:30.000000"
    assert len(lab.chain(pipeline)) == 1


def test_who_set_a_watermark_is_in_the_ledger(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    lab.run()
    who = json.dumps({"runner": "dagster", "user": "ada"})
    state_set(lab.pipeline(), "orders", "6", replace_after=True, runner=who)
    state_reset(lab.pipeline(), "orders", replace_after=True, runner=who)
    admin.state_adopt(lab.pipeline(name="market"), "orders", runner=who)
    state_set(lab.pipeline(name="market"), "orders", "6", skip=True)
    assert [(r.mode, r.runner) for r in lab.chain()] == [
        ("append", "{}"),
        ("state_set", who),
        ("state_reset", who),
        ("state_adopt", who),
        ("state_set", "{}"),
    ]
    (view,) = state_show(lab.pipeline())
    assert isinstance(view, StateView)
    assert (view.version, view.owner) == (5, "market/orders")


def test_the_entry_of_a_target_is_what_a_load_writes_into_a_store(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    pipeline = lab.pipeline()
    assert state_entry(pipeline, "orders") is None
    with pytest.raises(ConfigError, match="orders"):
        state_entry(pipeline, "order")
    store = InMemoryStateStore()
    only(run(pipeline, store=store))
    (key,) = store._entries
    assert store.get(key) == state_entry(pipeline, "orders")
    state_set(pipeline, "orders", "6", replace_after=True)
    text = state_entry(pipeline, "orders")
    entry = StateEntry.from_json(text or "")
    assert (entry.version, entry.cursor, entry.is_edited) == ("2", cursor(6), False)
    # A runner that sets the watermark and writes the entry has a store that agrees.
    assert store.set(key, text or "", seal_of(store.get(key)))
    events: list[Event] = []
    assert only(run(pipeline, store=store, listeners=(events.append,))).counts.read == 4
    assert not [e for e in events if isinstance(e, Notice)]
    assert store.get(key) == state_entry(pipeline, "orders")
    state_reset(pipeline, "orders", replace_after=True)
    assert StateEntry.from_json(state_entry(pipeline, "orders") or "").cursor == ""


# --- a runner's state store -------------------------------------------------------------------


class Runner:
    """A runner with a state store of its own."""

    def __init__(self, lab: Lab, mode: str = "append") -> None:
        self.lab = lab
        self.store = InMemoryStateStore()
        self.pipeline: Pipeline = lab.pipeline(stream(mode=mode))
        self.events: list[Event] = []

    def run(self, *listeners: Any) -> LoadResult:
        self.events.clear()
        listeners = (self.events.append, *listeners)
        return only(run(self.pipeline, store=self.store, listeners=listeners))

    @property
    def entry(self) -> StateEntry:
        return StateEntry.from_json(self.store.get(KEY) or "")

    def edit(self, text: str | None = None, **changes: str) -> None:
        self.put(text or self.entry.model_copy(update=changes).to_json())

    def put(self, text: str) -> None:
        self.store._entries[KEY] = text

    @property
    def notices(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Notice)]


def test_the_mirror_follows_the_ledger(lab: Lab) -> None:
    runner = Runner(lab)
    lab.orders([1, 2])
    got = runner.run()
    entry = runner.entry
    assert (entry.version, entry.load_id, entry.cursor) == ("1", got.load_id, cursor(2))
    assert not entry.is_edited
    assert any(isinstance(e, StateMirrored) for e in runner.events)
    runner.run()
    assert runner.notices == []
    assert not any(isinstance(e, StateMirrored) for e in runner.events)


@pytest.mark.parametrize("lost", [True, False])
def test_a_store_that_lags_is_rolled_forward_and_says_so(lab: Lab, lost: bool) -> None:
    runner = Runner(lab)
    lab.orders([1, 2])
    runner.run()
    old = runner.store.get(KEY) or ""
    lab.orders([3])
    runner.run()
    if lost:
        runner.store._entries.clear()
    else:
        runner.put(old)
    got = runner.run()
    assert got.outcome == "empty"
    assert any("rolled forward" in n for n in runner.notices)
    assert runner.entry.version == "2"
    assert lab.ids() == [1, 2, 3]


def test_a_rewind_is_honoured_and_recorded_under_replace(lab: Lab) -> None:
    runner = Runner(lab, "replace")
    lab.orders([1, 2, 3])
    runner.run()
    runner.edit(cursor=cursor(1))
    got = runner.run()
    assert (got.outcome, got.counts.read, got.version) == ("published", 3, 2)
    assert any("rewound by hand from 3 to 1" in n for n in runner.notices)
    assert (runner.entry.version, runner.entry.is_edited) == ("2", False)


def test_a_rewind_waits_until_something_can_be_read(lab: Lab) -> None:
    runner = Runner(lab, "replace")
    lab.orders([1, 2, 3])
    runner.run()
    runner.edit(cursor="initial")
    edited = runner.store.get(KEY)
    lab.sql("DELETE FROM orders")
    with pytest.raises(Exception, match="full extract is empty"):
        runner.run()
    assert runner.store.get(KEY) == edited
    lab.orders([4])
    assert runner.run().counts.read == 1
    assert runner.entry.cursor == cursor(4)


def test_a_rewind_is_refused_on_append_and_nothing_changes(lab: Lab) -> None:
    runner = Runner(lab)
    lab.orders([1, 2, 3])
    runner.run()
    runner.edit(cursor=cursor(1))
    edited = runner.store.get(KEY)
    with pytest.raises(StateError, match="--replace-after") as caught:
        runner.run()
    assert caught.value.exit_code == 6
    assert "watermark unchanged at 3" in caught.value.lines()[1]
    assert runner.store.get(KEY) == edited
    assert lab.ids() == [1, 2, 3]


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        ({"cursor": cursor(9)}, StateError, "--skip"),
        ({"cursor": "15"}, StateError, "15"),
        ({"text": "typed by a person"}, StateError, "typed by a person"),
        ({"text": "{}"}, StateError, "{}"),
        ({"target_fingerprint": "f" * 16}, StateDivergedError, "another target"),
    ],
    ids=["higher", "no cursor", "text", "json", "target"],
)
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_an_edit_that_can_not_be_meant_stops_before_anything_is_read(
    lab: Lab, mode: str, edit: dict[str, str], kind: type[StateError], words: str
) -> None:
    runner = Runner(lab, mode)
    lab.orders([1, 2, 3])
    runner.run()
    runner.edit(**edit)
    edited = runner.store.get(KEY)
    lab.orders([4])
    with pytest.raises(kind) as caught:
        runner.run()
    assert words in caught.value.message
    assert caught.value.exit_code == 6
    assert len(caught.value.lines()) == 4
    assert "watermark unchanged at 3" in caught.value.lines()[1]
    assert runner.store.get(KEY) == edited
    assert lab.ids() == [1, 2, 3]


def test_a_restored_destination_is_named_with_both_loads(lab: Lab) -> None:
    assert lab.file is not None
    runner = Runner(lab)
    lab.orders([1])
    first = runner.run()
    backup = lab.file.read_bytes()
    lab.orders([2])
    second = runner.run()
    lab.file.write_bytes(backup)
    with pytest.raises(StateDivergedError) as caught:
        runner.run()
    assert str(second.load_id) in caught.value.message
    assert str(first.load_id) in caught.value.message
    assert "state reset" in str(caught.value.command)
    assert lab.ids() == [1]


def test_an_edit_during_the_load_is_kept_and_told(lab: Lab) -> None:
    runner = Runner(lab)
    lab.orders([1, 2])
    runner.run()
    lab.orders([3])

    def edit(event: Event) -> None:
        if isinstance(event, CommitStarted):
            runner.edit(cursor="initial")

    assert runner.run(edit).outcome == "published"
    assert runner.entry.cursor == "initial"
    assert any("edit is kept" in n for n in runner.notices)
    assert lab.ids() == [1, 2, 3]


@pytest.mark.parametrize(("others", "left"), [("1", "2"), ("9", "9")])
def test_another_loads_entry_during_the_load_is_no_edit(lab: Lab, others: str, left: str) -> None:
    """Loads side by side, such as slices of a backfill: the newest one's entry stays."""
    runner = Runner(lab)
    lab.orders([1, 2])
    runner.run()
    lab.orders([3])

    def write(event: Event) -> None:
        if isinstance(event, CommitStarted):
            changes = {"version": others, "load_id": "0" * 16}
            other = runner.entry.model_copy(update=changes).sealed()
            runner.store.set(KEY, other.to_json(), seal_of(runner.store.get(KEY)))

    assert runner.run(write).outcome == "published"
    assert (runner.entry.version, runner.entry.is_edited) == (left, False)
    assert runner.notices == []


def test_a_store_that_fails_after_the_commit_is_a_warning(lab: Lab) -> None:
    class Broken(InMemoryStateStore):
        def set(self, key: str, entry: str, expect: str | None) -> bool:
            raise OSError("the runner's database is down")

    runner = Runner(lab)
    runner.store = Broken()
    lab.orders([1])
    assert runner.run().outcome == "published"
    assert any("could not be written" in n for n in runner.notices)
    assert lab.ids() == [1]


def test_a_replayed_load_does_not_turn_the_mirror_back(lab: Lab) -> None:
    runner = Runner(lab)
    lab.orders([1])
    key = RunRequest(request_key="first")
    only(run(runner.pipeline, store=runner.store, request=key))
    lab.orders([2])
    runner.run()
    assert runner.entry.version == "2"
    only(run(runner.pipeline, store=runner.store, request=key))
    assert runner.entry.version == "2"


def test_a_long_cursor_is_mirrored_as_a_pointer_and_goes_on(lab: Lab) -> None:
    lab.sql("CREATE TABLE orders (id TEXT)", f"INSERT INTO orders VALUES ('a{'x' * 5000}')")
    runner = Runner(lab)
    runner.run()
    assert runner.entry.cursor == "ledger:1"
    assert len(runner.entry.to_json()) < 4096
    lab.sql("INSERT INTO orders VALUES ('b')")
    assert runner.run().counts.read == 1


def test_given_windows_move_the_version_and_not_the_cursor_in_the_mirror(lab: Lab) -> None:
    runner = Runner(lab)
    lab.orders(range(1, 6))
    runner.run()
    window = RunRequest(window_from="2", window_to="4")
    only(run(runner.pipeline, store=runner.store, request=window))
    assert (runner.entry.version, runner.entry.cursor) == ("2", cursor(5))
    assert json.loads(runner.entry.to_json())["seal"] == runner.entry.digest()
