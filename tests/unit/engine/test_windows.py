"""Which window a load gets: from the watermark, from the request, or everything."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import StreamRef
from conduit_core.engine.model import RunRequest, SliceBy
from conduit_core.engine.windows import Choice, choose_window
from conduit_core.errors import ConfigError, SchemaError, SourceDataError, StateError
from conduit_core.spec import StreamSpec
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.window import Window
from conduit_core.testing import FaultySource
from tests.unit.state.records import at, record

GIVEN = Window("given", at(10), at(20))


def choose(
    ids: list[int | None] | pa.Table,
    watermark: Cursor | None = None,
    *,
    chain: list[LedgerRecord] | None = None,
    mode: str = "append",
    cursor: tuple[str, ...] = ("id",),
    spec: dict[str, Any] | None = None,
    **request: Any,
) -> Choice:
    table = ids if isinstance(ids, pa.Table) else pa.table({"id": pa.array(ids, pa.int64())})
    source = FaultySource({"orders": table})
    stream = StreamSpec.model_validate(
        {"table": "orders", "mode": mode, "cursor": cursor, **(spec or {})}
    )
    ref = StreamRef(table="orders", cursor=stream.cursor)
    if chain is None:
        chain = [record(1, watermark)] if watermark else []
    shape = source.describe(ref)
    return choose_window(stream, RunRequest(**request), shape, source, ref, chain, watermark)


def window(choice: Choice) -> str:
    return choice.window.display()


# --- from the watermark -----------------------------------------------------------------------


def test_the_first_load_reads_from_the_start_to_the_newest() -> None:
    got = choose([1, 5, 3])
    assert (window(got), got.effective, got.watermark, got.empty) == (
        "(start, 5]", "append", at(5), False,
    )  # fmt: skip


def test_the_next_load_reads_behind_the_watermark() -> None:
    got = choose([1, 5, 9], at(5))
    assert (window(got), got.watermark, got.empty) == ("(5, 9]", at(9), False)


@pytest.mark.parametrize("ids", [[1, 5], []])
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_nothing_newer_is_an_empty_window(ids: list[int | None], mode: str) -> None:
    assert choose(ids, at(5), mode=mode).empty


@pytest.mark.parametrize("mode", ["append", "replace", "upsert"])
def test_a_cursor_that_went_backwards_is_refused_with_the_way_on(mode: str) -> None:
    spec = {"unique_key": "id"} if mode == "upsert" else {}
    with pytest.raises(StateError, match="went backwards: the source's last row is at 2") as told:
        choose([1, 2], at(5), mode=mode, spec=spec)
    flag = " --replace-after" if mode == "append" else ""
    assert told.value.command == f"conduit state set --cursor '2'{flag}"
    by_hand = [record(1, at(5), mode="state_set")]
    assert choose([1, 2], at(5), mode=mode, spec=spec, chain=by_hand).empty
    # Rows that go are what `deletes` is there for; a cap or a lookback explains it too.
    follows = {"deletes": "snapshot", "unique_key": "id"}
    assert not choose([1, 2], at(5), mode="upsert", spec=follows).empty
    assert choose([1, 2], at(5), window_to="2").empty
    assert not choose([1, 2], at(5), mode="upsert", spec=behind(3)).empty


def test_an_empty_source_before_the_first_load_is_empty_under_append() -> None:
    assert choose([]).empty


def test_an_empty_source_before_the_first_load_makes_the_table_under_replace() -> None:
    got = choose([], mode="replace")
    assert (got.empty, got.watermark, window(got)) == (False, None, "everything")


def test_replace_with_a_cursor_reads_everything_up_to_the_newest() -> None:
    got = choose([1, 5, 9], at(5), mode="replace")
    assert (window(got), got.effective, got.watermark) == ("everything up to 9", "replace", at(9))


def test_a_composite_cursor_bounds_by_all_its_columns() -> None:
    table = pa.table({"a": [1, 2, 2], "b": [9, 1, 3]})
    got = choose(table, cursor=("a", "b"))
    assert window(got) == "(start, 2, 3]"


# --- caps and initial values ------------------------------------------------------------------


def test_to_alone_caps_and_is_part_of_the_window() -> None:
    got = choose([1, 5, 7, 9], at(1), window_to="7")
    assert (window(got), got.watermark, got.empty) == ("(1, 7]", at(7), False)


def test_the_watermark_is_the_last_row_below_the_cap_not_the_cap() -> None:
    assert choose([1, 5, 9], window_to="7").watermark == at(5)


@pytest.mark.parametrize("cap", ["5", "4", "0"])
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_cap_at_or_below_the_watermark_reads_nothing(cap: str, mode: str) -> None:
    assert choose([1, 5, 9], at(5), mode=mode, window_to=cap).empty


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_cap_below_every_row_reads_nothing(mode: str) -> None:
    assert choose([5, 9], mode=mode, window_to="1").empty


def test_a_cap_without_a_cursor_is_refused() -> None:
    with pytest.raises(ConfigError, match="cursor"):
        choose([1], cursor=(), window_to="5")


def test_a_cap_that_is_no_value_of_the_cursor_is_refused() -> None:
    with pytest.raises(ConfigError, match="soon"):
        choose([1], window_to="soon")


def test_the_first_load_starts_at_initial() -> None:
    assert window(choose([1, 5, 9], spec={"initial": 5})) == "[5, 9]"
    assert window(choose([1, 5, 9], at(5), spec={"initial": 5})) == "(5, 9]"


def test_initial_above_every_row_reads_nothing() -> None:
    assert choose([1, 5], spec={"initial": 6}).empty


@pytest.mark.parametrize(("mode", "full"), [("replace", False), ("append", True)])
def test_reading_everything_starts_at_initial_too(mode: str, full: bool) -> None:
    got = choose([1, 5, 9], mode=mode, full_refresh=full, spec={"initial": 5})
    assert window(got) == "everything from 5 up to 9"
    assert got.window.closed_low


# --- settle -----------------------------------------------------------------------------------

HOUR = dt.timedelta(hours=1)


def times(*ago: dt.timedelta, tz: str | None = "UTC") -> pa.Table:
    now = dt.datetime.now(dt.UTC)
    moments = [now - a if tz else (now - a).replace(tzinfo=None) for a in ago]
    return pa.table({"id": list(range(len(ago))), "at": pa.array(moments, pa.timestamp("us", tz))})


def test_settle_caps_the_first_column_and_the_watermark_is_a_row() -> None:
    table = times(3 * HOUR, 2 * HOUR, 2 * HOUR, 0 * HOUR)
    table = table.set_column(1, "at", table.column("at").take(pa.array([0, 1, 1, 3])))
    got = choose(table, cursor=("at", "id"), spec={"settle": "1h"})
    assert got.watermark is not None
    assert got.watermark.values == (table.column("at")[1], pa.scalar(2))
    assert len(got.notes) == 1
    assert not choose(times(2 * HOUR), cursor=("at",), spec={"settle": "1h"}).notes


def test_settle_over_young_rows_alone_reads_nothing() -> None:
    young, cursor, spec = times(0 * HOUR), ("at",), {"settle": "1h"}
    assert choose(young, cursor=cursor, spec=spec).empty
    assert choose(young, cursor=cursor, mode="replace", spec=spec).empty
    assert choose(young, cursor=cursor, spec=spec, full_refresh=True).empty
    with_null = [*young.to_pylist(), {"id": 9, "at": None}]
    nulls = pa.Table.from_pylist(with_null, young.schema)
    included = {**spec, "null_cursor": "include"}
    assert choose(nulls, cursor=cursor, mode="replace", spec=included).empty


def test_settle_goes_with_a_cap() -> None:
    table = times(5 * HOUR, 3 * HOUR, 0 * HOUR)
    cap = (dt.datetime.now(dt.UTC) - 4 * HOUR).isoformat()
    got = choose(table, cursor=("at",), spec={"settle": "1h"}, window_to=cap)
    assert got.watermark == Cursor(("at",), (table.column("at")[0],))


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
def test_settle_needs_a_time_and_names_the_column(kind: pa.DataType) -> None:
    table = pa.table({"id": pa.array([], kind)})
    with pytest.raises(ConfigError, match=rf"`settle`.*'id' is {kind}"):
        choose(table, spec={"settle": "1h"})


def test_settle_over_a_zoneless_time_needs_its_zone() -> None:
    naive = times(2 * HOUR, 0 * HOUR, tz=None)
    with pytest.raises(ConfigError, match="cursor_timezone"):
        choose(naive, cursor=("at",), spec={"settle": "1h"})
    got = choose(naive, cursor=("at",), spec={"settle": "1h", "cursor_timezone": "UTC"})
    assert got.watermark == Cursor(("at",), (naive.column("at")[0],))
    ahead = {"settle": "1h", "cursor_timezone": "Asia/Tokyo"}  # what was written is long over there
    assert not choose(naive, cursor=("at",), spec=ahead).notes


def test_settle_of_a_date_waits_until_the_day_is_over() -> None:
    today = dt.datetime.now(dt.UTC).date()
    days = pa.table({"id": pa.array([today - dt.timedelta(days=d) for d in (3, 0)], pa.date32())})
    got = choose(days, spec={"settle": "1s", "cursor_timezone": "UTC"})
    assert got.watermark is not None
    assert got.watermark.values[0].as_py() == today - dt.timedelta(days=3)


# --- lookback ---------------------------------------------------------------------------------


def behind(lookback: object, **spec: Any) -> dict[str, Any]:
    return {"lookback": lookback, "unique_key": "id", **spec}


@pytest.mark.parametrize(
    ("ids", "spec", "shown", "mark"),
    [
        ([1, 80, 100, 120], {}, "[90, 120]", 120),
        ([1, 80, 100], {}, "[90, 100]", 100),  # without news: what came late is read all the same
        ([1, 95], {}, "[90, 100]", 100),  # the newest rows are gone: the watermark never goes back
        ([], {}, "[90, 100]", 100),
        ([120], {"initial": 95}, "[95, 120]", 120),
        ([120], {"initial": 10}, "[90, 120]", 120),
    ],
)
def test_lookback_reads_again_behind_the_watermark(
    ids: list[int | None], spec: dict[str, Any], shown: str, mark: int
) -> None:
    got = choose(ids, at(100), mode="upsert", spec=behind(10, **spec))
    assert window(got) == shown
    assert got.watermark == at(mark)
    assert (got.window.closed_low, got.empty) == (True, not ids)


def test_the_first_load_has_nothing_to_look_back_to() -> None:
    assert window(choose([1, 5], mode="upsert", spec=behind(10))) == "(start, 5]"
    assert window(choose([1, 5], mode="upsert", spec=behind(10, initial=3))) == "[3, 5]"


@pytest.mark.parametrize("cap", ["80", "95", "100"])
def test_a_cap_at_or_below_the_watermark_reads_nothing_though_there_is_a_lookback(cap: str) -> None:
    spec = behind(10)
    assert choose([1, 80, 95, 100, 120], at(100), mode="upsert", spec=spec, window_to=cap).empty
    above = choose([1, 95, 100, 120], at(100), mode="upsert", spec=spec, window_to="110")
    assert (window(above), above.empty) == ("[90, 100]", False)


def test_a_lookback_of_nothing_is_none() -> None:
    assert choose([1, 5], at(5), mode="upsert", spec=behind(0)).empty


def test_lookback_takes_every_row_of_its_first_value_of_a_composite_cursor() -> None:
    table = pa.table({"a": [1, 2, 2], "b": [9, 1, 3]})
    mark = Cursor(("a", "b"), (pa.scalar(2), pa.scalar(1)))
    got = choose(table, mark, mode="upsert", cursor=("a", "b"), spec=behind(1, unique_key="b"))
    assert window(got) == "[1, 2, 3]"
    gone = pa.table({"a": [1, 1], "b": [9, 1]})  # the last rows went, and the lookback reaches that
    got = choose(gone, mark, mode="upsert", cursor=("a", "b"), spec=behind(1, unique_key="b"))
    assert (window(got), got.empty) == ("[1, 2, 1]", False)


@pytest.mark.parametrize(
    ("kind", "lookback"),
    [(pa.int64(), "10m"), (pa.timestamp("us"), 5), (pa.date32(), 5), (pa.string(), "10m")],
)
def test_a_lookback_that_is_no_distance_of_the_cursor_s_is_refused(
    kind: pa.DataType, lookback: object
) -> None:
    mark = (
        pa.scalar(0, pa.int64()).cast(kind)
        if kind != pa.date32()
        else pa.scalar(0).cast(pa.int32()).cast(kind)
    )
    with pytest.raises(ConfigError, match=f"`lookback: {lookback}` doesn't go with .* 'id'"):
        choose(
            pa.table({"id": pa.array([], kind)}), Cursor(("id",), (mark,)), mode="upsert",
            spec=behind(lookback),
        )  # fmt: skip


# --- NULL cursors -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_rows_without_a_cursor_fail_with_their_number(mode: str) -> None:
    with pytest.raises(SourceDataError, match="2 rows have a NULL") as caught:
        choose([1, None, None], mode=mode)
    assert "null_cursor" in caught.value.message


def test_rows_without_a_cursor_are_included_where_asked_for() -> None:
    got = choose([1, None], mode="replace", spec={"null_cursor": "include"})
    assert (got.window.null_cursor, got.null_rows, got.empty) == (True, 1, False)


def test_only_rows_without_a_cursor_are_still_a_load() -> None:
    got = choose([None], mode="replace", spec={"null_cursor": "include"})
    assert (got.watermark, got.empty) == (None, False)


# --- full refresh -----------------------------------------------------------------------------


def test_a_full_refresh_reads_everything_and_replaces() -> None:
    got = choose([1, 5], at(5), full_refresh=True)
    assert (window(got), got.effective, got.empty) == ("everything up to 5", "replace", False)


def test_a_full_refresh_of_a_target_of_slices_is_allowed() -> None:
    got = choose([1, 5], chain=[record(1, window=GIVEN)], full_refresh=True)
    assert not got.empty


def test_a_full_refresh_without_a_cursor_replaces() -> None:
    got = choose([1], cursor=(), full_refresh=True)
    assert (window(got), got.effective, got.watermark) == ("everything", "replace", None)


def test_append_without_a_cursor_reads_everything() -> None:
    got = choose([1], cursor=())
    assert (window(got), got.effective) == ("everything", "append")


# --- given windows ----------------------------------------------------------------------------


def test_a_given_window_is_half_open_and_leaves_the_watermark() -> None:
    got = choose([1, 50], at(5), window_from="10", window_to="20")
    assert (window(got), got.effective, got.watermark, got.empty) == (
        "[10, 20)", "replace_window", at(5), False,
    )  # fmt: skip


def test_a_given_window_may_be_open_above() -> None:
    assert window(choose([1], window_from="10")) == "[10, end)"


@pytest.mark.parametrize("to", ["10", "9"])
def test_a_given_window_without_width_is_refused(to: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        choose([1], window_from="10", window_to=to)


def test_a_given_window_needs_a_cursor() -> None:
    with pytest.raises(ConfigError, match="cursor"):
        choose([1], cursor=(), window_from="10")


def test_a_given_window_does_not_go_with_replace_or_full_refresh() -> None:
    with pytest.raises(ConfigError, match="replace"):
        choose([1], mode="replace", window_from="10")
    with pytest.raises(ConfigError, match="full-refresh"):
        choose([1], window_from="10", full_refresh=True)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.date32()], ids=str)
def test_a_given_window_over_a_column_without_zone_needs_one(kind: pa.DataType) -> None:
    table = pa.table({"id": pa.array([dt.date(2024, 1, 1)]).cast(kind)})
    with pytest.raises(ConfigError, match="cursor_timezone"):
        choose(table, window_from="2024-01-01")
    got = choose(table, window_from="2024-01-01", spec={"cursor_timezone": "UTC"})
    assert got.effective == "replace_window"


def test_a_given_window_is_in_the_streams_timezone() -> None:
    table = pa.table({"id": pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("us", "UTC"))})  # noqa: DTZ001
    got = choose(table, window_from="2024-07-01", spec={"cursor_timezone": "Europe/Oslo"})
    assert window(got) == "[2024-06-30T22:00:00.000000Z, end)"


# --- slices and the watermark -----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_watermark_run_over_slices_alone_is_refused(mode: str) -> None:
    with pytest.raises(StateError, match="only records of given windows") as caught:
        choose([1], chain=[record(1, window=GIVEN)], mode=mode)
    assert "state set" in (caught.value.command or "")


SET = "conduit state set --cursor '19' --skip"
FIRST = "conduit run --to '9' && "


@pytest.mark.parametrize(
    ("mark", "command"),
    [(None, FIRST + SET), (0, FIRST + SET), (8, FIRST + SET), (9, SET), (15, SET), (18, SET)],
)
def test_append_over_a_published_slice_is_refused_with_the_way_round(
    mark: int | None, command: str
) -> None:
    low = None if mark is None else at(mark)
    chain = [record(1, low), record(2, low, window=GIVEN)]
    with pytest.raises(StateError) as caught:
        choose([1, 30], low, chain=chain)
    assert "[10, 20)" in caught.value.message
    assert caught.value.command == command


@pytest.mark.parametrize("mark", [19, 20, 25])
def test_append_behind_a_published_slice_goes_on(mark: int) -> None:
    chain = [record(1, at(mark)), record(2, at(mark), window=GIVEN)]
    assert window(choose([1, 30], at(mark), chain=chain)) == f"({mark}, 30]"


def test_a_text_cursor_has_no_value_just_below() -> None:
    bounds = [at(t, pa.string()) for t in ("b", "d")]
    chain = [
        record(1, bounds[0], window=Window("given", bounds[0], bounds[1])),
        record(2, at("c", pa.string())),
    ]
    with pytest.raises(StateError, match="overlaps"):
        choose(pa.table({"id": ["e"]}), at("c", pa.string()), chain=chain)


@pytest.mark.parametrize(("newest", "refused"), [(9, False), (10, True), (11, True)])
def test_append_up_to_a_published_slice(newest: int, refused: bool) -> None:
    chain = [record(1, at(5)), record(2, at(5), window=GIVEN)]
    if refused:
        with pytest.raises(StateError, match="overlaps"):
            choose([newest], at(5), chain=chain)
    else:
        assert window(choose([newest], at(5), chain=chain)) == "(5, 9]"


def test_a_composite_watermark_on_a_slice_s_edge_counts_as_overlap() -> None:
    both = Cursor(("id", "b"), (pa.scalar(19), pa.scalar(1)))
    table = pa.table({"id": [19, 30], "b": [2, 2]})
    chain = [record(1, both), record(2, both, window=GIVEN)]
    with pytest.raises(StateError, match="overlaps"):
        choose(table, both, chain=chain, cursor=("id", "b"))


def test_nothing_new_beside_slices_is_empty_and_no_error() -> None:
    chain = [record(1, at(30)), record(2, at(30), window=GIVEN)]
    assert choose([30], at(30), chain=chain).empty


def test_a_watermark_inside_a_slice_with_nothing_new_is_empty_and_no_error() -> None:
    chain = [record(1, at(15)), record(2, at(15), window=GIVEN)]
    assert choose([15], at(15), chain=chain).empty


def test_a_cursor_whose_type_has_changed_is_named() -> None:
    table = pa.table({"id": pa.array([dt.date(2024, 1, 1)])})
    with pytest.raises(SchemaError, match="'id': the source has date32"):
        choose(table, at(5))


def test_a_source_that_does_not_know_slices_by_value_is_refused_by_name() -> None:
    """It would give all rows."""
    with pytest.raises(ConfigError, match="faulty source can't be read by value"):
        choose([1, 2], only=SliceBy(column="id", values=("1",)))
