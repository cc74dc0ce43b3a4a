"""What a destination must do with publishes: actions, requirements, the ledger, rivals."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Cleans, Commit, Destination
from conduit_core.connectors.publish import (
    Action,
    AppendStaged,
    DeleteMatching,
    DeleteWindow,
    Guard,
    NoNewerRecord,
    NoOverlappingRecord,
    OwnedBy,
    Publish,
    Requirement,
    TargetIs,
)
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    GuardError,
    SourceDataError,
    StateError,
)
from conduit_core.events import CommitStarted, Event, PublishStarted, ignore
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import (
    TableRows,
    create_and_append,
    landed,
    publish,
    record,
    replace,
)
from conduit_core.testing.fixtures import (
    Connect,
    DestinationFixtures,
    commit,
    ids,
    load,
    scan,
)
from conduit_core.types.dialect import Table

_ROWS = pa.table({"id": [1, 2, 3], "v": ["a", None, "c"]})
_PATIENCE = 60
"""Seconds after which a thread that should have ended counts as stuck."""


def _more(*numbers: int) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "v": [f"v{n}" for n in numbers]})


def _append(
    schema: str,
    *actions: Action,
    requires: tuple[Requirement, ...] | None = None,
    window: Window | None = None,
    load_id: str | None = None,
    request: str = "full",
    request_key: str | None = None,
) -> Publish:
    made = record(
        "t", schema, window=window, load_id=load_id, request=request, request_key=request_key
    )
    return publish(made, _ROWS.schema, *actions, AppendStaged(), requires=requires)


def _given(low: int, high: int) -> Window:
    bounds = [Cursor(("id",), (pa.scalar(n, pa.int64()),)) for n in (low, high)]
    return Window("given", bounds[0], bounds[1])


class PublishContract(DestinationFixtures):
    """One transaction: what must hold, the actions, the ledger's record."""

    # --- the walk -------------------------------------------------------------------------------

    def test_planning_makes_nothing(self, destination: Destination, schema: str) -> None:
        assert destination.records(None) == []
        assert destination.describe(Table(schema, "t")) is None
        plan = create_and_append(destination, record("t", schema), _ROWS.schema)
        lines = destination.render(plan)
        assert any("t" in line for line in lines)
        assert all(lines)
        assert destination.describe(Table(schema, "t")) is None
        assert destination.records(None) == []

    def test_rendering_a_load_of_an_existing_target_changes_nothing(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        before = (destination.records(None), destination.describe(Table(schema, "t")))
        for plan in (
            _append(schema),
            replace(destination, record("t", schema), _ROWS.schema, "swap"),
            replace(destination, record("t", schema), _ROWS.schema, "in_place"),
            _append(schema, DeleteWindow(window=_given(1, 2).to_json())),
            _append(schema, DeleteMatching(columns=("id",))),
        ):
            assert destination.render(plan)
        assert (destination.records(None), destination.describe(Table(schema, "t"))) == before
        assert ids(destination, schema, "t") == [1, 2, 3]

    def test_the_record_says_what_happened(self, destination: Destination, schema: str) -> None:
        cursor = Cursor(("id",), (pa.scalar(3, pa.int64()),)).to_json()
        made = record("t", schema, request_key="key ü", cursor=cursor, window=Window("watermark"))
        plan = create_and_append(destination, made, _ROWS.schema)
        started = datetime.now(UTC)
        events: list[Event] = []
        done = destination.commit(plan, TableRows(_ROWS), events.append)
        assert [type(e) for e in events] == [PublishStarted, CommitStarted]
        assert destination.records(Table(schema, "t")) == [done.record]
        assert destination.records(None) == [done.record]
        found = done.record
        assert found is not None
        assert (found.version, found.counts.read, found.counts.inserted) == (1, 3, 3)
        assert (found.load_id, found.request_key, found.cursor) == (made.load_id, "key ü", cursor)
        assert found.started_at == made.started_at
        assert started <= found.published_at <= datetime.now(UTC)
        stages = json.loads(found.stages)
        assert (stages["read"], stages["write"]) == (1.5, 0.25)
        assert stages["commit"] >= 0
        assert not done.replayed

    def test_appends_add_up(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        done = commit(destination, _append(schema), _more(4, 5))
        assert done.record is not None
        assert done.record.version == 2
        assert ids(destination, schema, "t") == [1, 2, 3, 4, 5]
        assert [r.version for r in destination.records(Table(schema, "t"))] == [1, 2]

    def test_a_load_that_read_nothing_leaves_no_record(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        assert commit(destination, _append(schema), _ROWS.slice(0, 0)) == Commit(None)
        assert len(destination.records(None)) == 1

    def test_a_record_alone(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        done = destination.commit(publish(record("t", schema), _ROWS.schema), None, ignore)
        assert done.record is not None
        assert done.record.version == 2
        assert ids(destination, schema, "t") == [1, 2, 3]

    def test_targets_have_chains_of_their_own(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        load(destination, schema, "u", _ROWS)
        assert [r.target_table for r in destination.records(Table(schema, "u"))] == ["u"]
        assert len(destination.records(None)) == 2

    @pytest.mark.parametrize("fail_at", [0, 2])
    def test_a_failing_batch_publishes_nothing(
        self, destination: Destination, schema: str, fail_at: int
    ) -> None:
        load(destination, schema, "t", _ROWS)
        before = destination.records(None)
        rows = TableRows(_more(*range(10, 20)), batch_rows=3, fail_at=fail_at)
        with pytest.raises(SourceDataError, match=f"batch {fail_at} is broken on command"):
            destination.commit(_append(schema), rows, ignore)
        assert destination.records(None) == before
        assert ids(destination, schema, "t") == [1, 2, 3]
        commit(destination, _append(schema), _more(4))
        assert ids(destination, schema, "t") == [1, 2, 3, 4]

    def test_a_failing_first_load_leaves_no_table(
        self, destination: Destination, schema: str
    ) -> None:
        plan = create_and_append(destination, record("t", schema), _ROWS.schema)
        with pytest.raises(SourceDataError, match="broken on command"):
            destination.commit(plan, TableRows(_ROWS, batch_rows=1, fail_at=1), ignore)
        assert destination.describe(Table(schema, "t")) is None
        assert destination.records(None) == []
        commit(destination, plan, _ROWS)
        assert ids(destination, schema, "t") == [1, 2, 3]

    # --- replace and deletes --------------------------------------------------------------------

    @pytest.mark.parametrize("how", ["swap", "in_place"])
    def test_replace_changes_the_whole_content(
        self, destination: Destination, schema: str, how: Literal["swap", "in_place"]
    ) -> None:
        load(destination, schema, "t", _ROWS)
        plan = replace(destination, record("t", schema), _ROWS.schema, how)
        done = commit(destination, plan, _more(7, 8))
        assert done.record is not None
        assert (done.record.version, done.record.counts.inserted) == (2, 2)
        assert ids(destination, schema, "t") == [7, 8]
        commit(destination, replace(destination, record("t", schema), _ROWS.schema, how), _more(9))
        assert ids(destination, schema, "t") == [9]

    @pytest.mark.parametrize("how", ["swap", "in_place"])
    def test_a_failing_replace_keeps_the_old_content(
        self, destination: Destination, schema: str, how: Literal["swap", "in_place"]
    ) -> None:
        load(destination, schema, "t", _ROWS)
        plan = replace(destination, record("t", schema), _ROWS.schema, how)
        with pytest.raises(SourceDataError):
            destination.commit(plan, TableRows(_more(7, 8), batch_rows=1, fail_at=1), ignore)
        assert ids(destination, schema, "t") == [1, 2, 3]
        assert len(destination.records(None)) == 1

    @pytest.mark.parametrize("how", ["swap", "in_place"])
    def test_readers_see_the_old_rows_until_the_commit(
        self,
        destination: Destination,
        other: Destination,
        schema: str,
        how: Literal["swap", "in_place"],
    ) -> None:
        load(destination, schema, "t", _ROWS)
        seen: list[list[object]] = []
        rows = TableRows(
            _more(*range(10, 20)),
            batch_rows=5,
            on_batch=lambda _: seen.append(ids(other, schema, "t")),
        )
        plan = replace(destination, record("t", schema), _ROWS.schema, how)
        destination.commit(plan, rows, ignore)
        assert seen == [[1, 2, 3], [1, 2, 3]]
        assert ids(other, schema, "t") == list(range(10, 20))

    def test_swap_may_change_the_columns(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        wider = pa.table({"id": [1], "v": [2.5], "w": ["new"]})
        commit(destination, replace(destination, record("t", schema), wider.schema, "swap"), wider)
        assert scan(destination, schema, "t").to_pydict() == wider.to_pydict()

    def test_replace_with_nothing_is_recorded_where_rows_went(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        plan = replace(destination, record("t", schema), _ROWS.schema, "in_place")
        done = commit(destination, plan, _ROWS.slice(0, 0))
        assert done.record is not None
        assert ids(destination, schema, "t") == []

    def test_delete_window_is_half_open(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _more(1, 2, 3, 4, 5))
        window = _given(2, 4)
        plan = _append(schema, DeleteWindow(window=window.to_json()), window=window)
        done = commit(destination, plan, _more(20, 30))
        assert done.record is not None
        assert done.record.is_given
        assert ids(destination, schema, "t") == [1, 4, 5, 20, 30]

    @pytest.mark.parametrize("zone", [None, "UTC"])
    def test_delete_window_over_time_is_exact(
        self, destination: Destination, schema: str, zone: str | None
    ) -> None:
        kind = pa.timestamp("us", tz=zone)
        ticks = [1_704_067_199_999_999, 1_704_067_200_000_000, 1_704_153_599_999_999]
        table = pa.table(
            {"id": [1, 2, 3, 4], "at": pa.array([*ticks, 1_704_153_600_000_000], kind)}
        )
        load(destination, schema, "t", table)
        low, high = (Cursor(("at",), (pa.scalar(t, kind),)) for t in (ticks[1], ticks[2] + 1))
        made = record("t", schema, window=Window("given", low, high))
        delete = DeleteWindow(window=made.load_window)
        rows = landed(destination, table.slice(1, 1))
        commit(destination, publish(made, table.schema, delete, AppendStaged()), rows)
        assert ids(destination, schema, "t") == [1, 2, 4]

    def test_delete_matching_takes_the_rows_that_arrive_again(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", pa.table({"id": [1, 2, 3], "v": ["a", "b", "b"]}))
        plan = _append(schema, DeleteMatching(columns=("v",)))
        done = commit(destination, plan, pa.table({"id": [7, 8], "v": ["b", "d"]}))
        assert done.record is not None
        assert done.record.counts.inserted == 2
        assert ids(destination, schema, "t") == [1, 7, 8]

    # --- guards ---------------------------------------------------------------------------------

    def test_a_guard_that_does_not_hold_stops_the_load(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        plan = _append(schema)
        guard = Guard(expr="inserted < 2", message="too many rows", command="conduit plan")
        actions = (plan.actions[0], guard, *plan.actions[1:])
        with pytest.raises(GuardError, match="too many rows"):
            commit(destination, plan.model_copy(update={"actions": actions}), _more(4, 5))
        assert ids(destination, schema, "t") == [1, 2, 3]
        assert len(destination.records(None)) == 1
        commit(destination, plan.model_copy(update={"actions": actions}), _more(4))
        assert ids(destination, schema, "t") == [1, 2, 3, 4]

    def test_a_load_out_of_balance_is_stopped(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        with pytest.raises(GuardError, match="balance"):
            destination.commit(_append(schema), TableRows(_more(4), read=2), ignore)
        assert ids(destination, schema, "t") == [1, 2, 3]

    # --- replay and requirements ----------------------------------------------------------------

    def test_a_load_id_is_published_once(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        plan = _append(schema, load_id="the-load")
        first = commit(destination, plan, _more(4))
        second = commit(destination, plan, _more(4))
        assert (first.replayed, second.replayed) == (False, True)
        assert first.record == second.record
        assert ids(destination, schema, "t") == [1, 2, 3, 4]

    def test_a_request_key_is_published_once(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        first = commit(destination, _append(schema, request_key="run 1"), _more(4))
        second = commit(destination, _append(schema, request_key="run 1"), _more(4))
        third = commit(destination, _append(schema, request_key="run 2"), _more(5))
        assert (second.replayed, second.record) == (True, first.record)
        assert not third.replayed
        assert ids(destination, schema, "t") == [1, 2, 3, 4, 5]

    def test_a_request_key_of_another_request_is_refused(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        commit(destination, _append(schema, request_key="run 1", request="full"), _more(4))
        with pytest.raises(StateError, match="run 1"):
            commit(destination, _append(schema, request_key="run 1", request="given"), _more(5))
        assert ids(destination, schema, "t") == [1, 2, 3, 4]

    def test_another_stream_is_refused(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        plan = _append(schema, requires=(OwnedBy(pipeline="suite", stream="stranger"),))
        with pytest.raises(StateError, match="adopt"):
            commit(destination, plan, _more(4))
        assert ids(destination, schema, "t") == [1, 2, 3]

    def test_a_newer_record_is_a_rival(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        with pytest.raises(ConcurrentLoadError) as error:
            commit(destination, _append(schema, requires=(NoNewerRecord(version=0),)), _more(4))
        assert error.value.retry == "plan"
        assert ids(destination, schema, "t") == [1, 2, 3]
        commit(destination, _append(schema, requires=(NoNewerRecord(version=1),)), _more(4))
        assert ids(destination, schema, "t") == [1, 2, 3, 4]

    def test_given_windows_do_not_stand_in_the_way(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        commit(destination, _append(schema, window=_given(10, 20)), _more(10))
        newer = (NoNewerRecord(version=1),)
        commit(destination, _append(schema, requires=newer), _more(4))
        beside = (NoOverlappingRecord(version=3, window=_given(20, 30).to_json()),)
        commit(destination, _append(schema, window=_given(20, 30), requires=beside), _more(20))
        assert ids(destination, schema, "t") == [1, 2, 3, 4, 10, 20]

    def test_an_overlapping_window_is_a_rival(self, destination: Destination, schema: str) -> None:
        load(destination, schema, "t", _ROWS)
        commit(destination, _append(schema, window=_given(10, 20)), _more(10))
        touching = (NoOverlappingRecord(version=1, window=_given(20, 30).to_json()),)
        commit(destination, _append(schema, window=_given(20, 30), requires=touching), _more(20))
        overlapping = (NoOverlappingRecord(version=1, window=_given(15, 25).to_json()),)
        plan = _append(schema, window=_given(15, 25), requires=overlapping)
        with pytest.raises(ConcurrentLoadError):
            commit(destination, plan, _more(16))
        assert ids(destination, schema, "t") == [1, 2, 3, 10, 20]

    def test_a_target_that_changed_since_the_plan_is_refused(
        self, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        for seen in (("id",), ("v", "id"), None):
            with pytest.raises(ConcurrentLoadError):
                commit(destination, _append(schema, requires=(TargetIs(columns=seen),)), _more(4))
        commit(destination, _append(schema, requires=(TargetIs(columns=("id", "v")),)), _more(4))
        assert ids(destination, schema, "t") == [1, 2, 3, 4]

    # --- rivals ---------------------------------------------------------------------------------

    def test_of_two_loads_from_one_base_one_wins(
        self, destination: Destination, other: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        base = (NoNewerRecord(version=1),)
        outcomes = _together(
            lambda: commit(destination, _append(schema, requires=base), _more(10, 11)),
            lambda: commit(other, _append(schema, requires=base), _more(10, 11)),
        )
        assert sorted(type(o).__name__ for o in outcomes) == ["Commit", "ConcurrentLoadError"]
        assert ids(destination, schema, "t") == [1, 2, 3, 10, 11]
        assert [r.version for r in destination.records(Table(schema, "t"))] == [1, 2]

    def test_a_rival_that_starts_while_the_first_one_writes_loses(
        self, destination: Destination, other: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        base = (NoNewerRecord(version=1),)
        outcome: list[Commit | ConduitError] = []
        rival = threading.Thread(
            target=lambda: outcome.append(
                _outcome(lambda: commit(other, _append(schema, requires=base), _more(20)))
            )
        )
        rows = TableRows(_more(10), on_batch=lambda _: rival.start())
        destination.commit(_append(schema, requires=base), rows, ignore)
        rival.join(timeout=_PATIENCE)
        assert [type(o) for o in outcome] == [ConcurrentLoadError]
        assert ids(destination, schema, "t") == [1, 2, 3, 10]

    def test_two_first_loads_of_one_target_make_it_once(
        self, destination: Destination, other: Destination, schema: str
    ) -> None:
        absent = (NoNewerRecord(version=0), TargetIs(columns=None))
        outcomes = _together(
            *(
                lambda d=d: commit(
                    d, create_and_append(d, record("t", schema), _ROWS.schema, absent), _ROWS
                )
                for d in (destination, other)
            )
        )
        assert sorted(type(o).__name__ for o in outcomes) == ["Commit", "ConcurrentLoadError"]
        assert ids(destination, schema, "t") == [1, 2, 3]

    def test_first_loads_of_many_targets_side_by_side(
        self, destination: Destination, schema: str
    ) -> None:
        names = ["a", "b", "c", "d"]
        outcomes = _together(
            *(
                lambda n=n: commit(
                    destination,
                    create_and_append(destination, record(n, schema), _ROWS.schema),
                    _ROWS,
                )
                for n in names
            )
        )
        assert [type(o) for o in outcomes] == [Commit] * 4
        assert [ids(destination, schema, n) for n in names] == [[1, 2, 3]] * 4
        assert len(destination.records(None)) == 4

    def test_slices_side_by_side_all_count(
        self, connect: Connect, destination: Destination, schema: str
    ) -> None:
        load(destination, schema, "t", _ROWS)
        windows = [_given(n, n + 10) for n in (10, 20, 30, 40)]
        places = [connect() for _ in windows]

        def slice_of(place: Destination, window: Window, number: int) -> Commit:
            requires = (NoOverlappingRecord(version=1, window=window.to_json()),)
            delete = DeleteWindow(window=window.to_json())
            return commit(
                place, _append(schema, delete, window=window, requires=requires), _more(number)
            )

        outcomes = _together(
            *(
                lambda p=p, w=w, i=i: slice_of(p, w, 10 + 10 * i)
                for i, (p, w) in enumerate(zip(places, windows, strict=True))
            )
        )
        for place in places:
            place.close()
        assert [type(o) for o in outcomes] == [Commit] * 4
        assert ids(destination, schema, "t") == [1, 2, 3, 10, 20, 30, 40]
        versions = [r.version for r in destination.records(Table(schema, "t"))]
        assert versions == [1, 2, 3, 4, 5]

    # --- cleaning -------------------------------------------------------------------------------

    def test_clean_never_takes_what_a_plan_needs(
        self, destination: Destination, schema: str
    ) -> None:
        if not isinstance(destination, Cleans):
            pytest.skip("not claimed: the destination leaves nothing behind")
        assert destination.clean(timedelta(0), dry_run=False) == []
        load(destination, schema, "t", _ROWS)
        for number in (4, 5, 6):
            commit(destination, _append(schema), _more(number))
        commit(destination, _append(schema, window=_given(10, 20)), _more(10))
        before = destination.records(None)
        assert destination.clean(timedelta(days=1), dry_run=False) == []
        listed = destination.clean(timedelta(seconds=-1), dry_run=True)
        assert destination.records(None) == before
        assert destination.clean(timedelta(seconds=-1), dry_run=False) == listed
        assert len(listed) == 3
        assert [r.version for r in destination.records(None)] == [4, 5]
        assert ids(destination, schema, "t") == [1, 2, 3, 4, 5, 6, 10]
        assert destination.clean(timedelta(seconds=-1), dry_run=False) == []


def _outcome(work: Callable[[], Commit]) -> Commit | ConduitError:
    try:
        return work()
    except ConduitError as error:
        return error


def _together(*works: Callable[[], Commit]) -> list[Commit | ConduitError]:
    """Run the works at once, each in a thread of its own; return how each ended, in order."""
    start = threading.Barrier(len(works))
    outcomes: dict[int, Commit | ConduitError] = {}

    def run(position: int, work: Callable[[], Commit]) -> None:
        start.wait(timeout=_PATIENCE)
        outcomes[position] = _outcome(work)

    threads = [
        threading.Thread(target=run, args=(i, work), daemon=True) for i, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=_PATIENCE)
    return [outcomes[i] for i in range(len(works))]
