"""Append: increments, ties, caps, given windows, keys, and what a person may set."""

from __future__ import annotations

import pytest

from conduit_core.errors import ConfigError, GuardError, SchemaError, StateError
from tests.lab import Lab, stream


def test_increments_load_what_is_new_and_nothing_else(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    first = lab.run()
    assert (first.outcome, first.counts.read, first.counts.inserted) == ("published", 10, 10)
    assert first.watermark == "10"
    again = lab.run()
    assert (again.outcome, again.counts.read, again.watermark) == ("empty", 0, "10")
    lab.orders(range(11, 16))
    third = lab.run()
    assert (third.counts.read, third.watermark) == (5, "15")
    assert lab.ids() == list(range(1, 16))
    assert [r.version for r in lab.chain()] == [1, 2]
    assert all(r.counts.read == r.counts.inserted for r in lab.chain())


def test_rows_carry_their_load(lab: Lab) -> None:
    lab.orders([1, 2])
    load_id = lab.run().load_id
    rows = lab.rows()
    assert {r["_conduit_load_id"] for r in rows} == {load_id}
    assert len({r["_conduit_loaded_at"] for r in rows}) == 1


def test_metadata_can_be_left_out(lab: Lab) -> None:
    lab.orders([1])
    pipeline = lab.pipeline(stream(metadata=[]))
    lab.run(pipeline)
    assert set(lab.rows()[0]) == {"id", "at", "v"}


def test_ties_on_the_boundary_neither_lose_nor_double(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE ticks (at INTEGER, id INTEGER)")
    pipeline = lab.pipeline(stream("ticks", cursor=["at", "id"]))
    lab.sql("INSERT INTO ticks VALUES (1, 1), (5, 2), (5, 3)")
    assert lab.run(pipeline).watermark == "5, 3"
    lab.sql("INSERT INTO ticks VALUES (5, 4), (6, 1)")
    assert lab.run(pipeline).counts.read == 2
    assert sorted((r["at"], r["id"]) for r in lab.rows("ticks", pipeline)) == [
        (1, 1), (5, 2), (5, 3), (5, 4), (6, 1),
    ]  # fmt: skip


def test_a_cap_is_inclusive_and_the_next_run_goes_on_behind_it(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 11))
    assert lab.run(window_to="6").watermark == "6"
    assert lab.ids() == list(range(1, 7))
    assert lab.run(window_to="6").outcome == "empty"
    assert lab.run(window_to="3").outcome == "empty"
    rest = lab.run()
    assert (rest.counts.read, rest.watermark) == (4, "10")
    assert lab.ids() == list(range(1, 11))


def test_a_time_cursor_keeps_the_source_s_precision(lab: Lab) -> None:
    lab.sql("CREATE TABLE ticks (id INTEGER, at TIMESTAMP)")
    pipeline = lab.pipeline(stream("ticks", cursor="at"))
    lab.sql("INSERT INTO ticks VALUES (1, '2024-01-01 00:00:00.123456')")
    lab.run(pipeline)
    lab.sql(
        "INSERT INTO ticks VALUES (2, '2024-01-01 00:00:00.123457'),"
        " (3, '2024-01-01 00:00:00.123456')"
    )
    assert lab.run(pipeline).counts.read == 1
    assert lab.ids("ticks", pipeline) == [1, 2]


def test_initial_is_where_the_first_load_and_a_full_refresh_start(lab: Lab) -> None:
    lab.orders(range(1, 11))
    pipeline = lab.pipeline(stream(initial=5))
    lab.run(pipeline)
    assert lab.ids() == list(range(5, 11))
    lab.run(pipeline, full_refresh=True)
    assert lab.ids() == list(range(5, 11))


# --- given windows ----------------------------------------------------------------------------


def test_a_given_window_replaces_its_slice_and_is_the_same_when_run_twice(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 31))
    window = {"window_from": "10", "window_to": "20"}
    first = lab.run(**window)
    assert (first.mode, first.window, first.counts.read) == ("replace_window", "[10, 20)", 10)
    lab.sql("UPDATE orders SET v = 'new' WHERE id = 15", "DELETE FROM orders WHERE id = 16")
    second = lab.run(**window)
    assert second.counts.read == 9
    assert second.version == 2
    lab.run(**window)
    assert lab.ids() == [n for n in range(10, 20) if n != 16]
    assert [r["v"] for r in lab.rows() if r["id"] == 15] == ["new"]


def test_windows_side_by_side_share_no_row(lab: Lab) -> None:
    lab.orders(range(1, 31))
    for low in (1, 11, 21):
        lab.run(window_from=str(low), window_to=str(low + 10))
    assert lab.ids() == list(range(1, 31))
    assert [r.is_given for r in lab.chain()] == [True] * 3


def test_a_given_window_leaves_the_watermark(lab: Lab) -> None:
    lab.orders(range(1, 11))
    lab.run()
    lab.sql("UPDATE orders SET v = 'new' WHERE id = 3")
    assert lab.run(window_from="2", window_to="5").watermark == "10"
    assert lab.ids() == list(range(1, 11))
    assert lab.run().outcome == "empty"
    lab.orders([11])
    assert lab.run().counts.read == 1


def test_p04_an_empty_window_over_a_full_slice_is_stopped_by_a_guard(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 31))
    lab.run(window_from="10", window_to="20")
    lab.sql("DELETE FROM orders WHERE id BETWEEN 10 AND 19")
    with pytest.raises(GuardError, match="--allow-empty"):
        lab.run(window_from="10", window_to="20")
    assert lab.ids() == list(range(10, 20))
    lab.run(window_from="10", window_to="20", allow_empty=True)
    assert lab.ids() == []


def test_a_watermark_run_over_slices_names_state_set(lab: Lab) -> None:
    lab.orders(range(1, 31))
    lab.run(window_from="10", window_to="20")
    with pytest.raises(StateError, match="no watermark") as caught:
        lab.run()
    assert "state set" in caught.value.lines()[3]
    assert "version 1" in caught.value.lines()[1]


def test_a_given_window_over_a_naive_time_needs_the_streams_timezone(lab: Lab) -> None:
    lab.orders(range(1, 31))
    with pytest.raises(ConfigError, match="cursor_timezone"):
        lab.run(lab.pipeline(stream(cursor="at")), window_from="2024-01-01")
    pipeline = lab.pipeline(stream(cursor="at", cursor_timezone="UTC"))
    lab.run(pipeline, window_from="2024-01-01T00:00:10Z", window_to="2024-01-01T00:00:20Z")
    assert lab.ids(pipeline=pipeline) == list(range(10, 20))


def test_a_window_of_time_over_text_is_refused(lab: Lab) -> None:
    lab.sql("CREATE TABLE notes (id INTEGER, at TEXT)")
    lab.sql("INSERT INTO notes VALUES (1, '2024-01-01 05:00:00'), (2, '2024-01-02 05:00:00')")
    pipeline = lab.pipeline({"table": "notes", "mode": "append", "cursor": "at"})
    day = {"window_from": "2024-01-01T00:00:00+00:00", "window_to": "2024-01-02T00:00:00+00:00"}
    with pytest.raises(ConfigError, match="'at', which is text"):
        lab.run(pipeline, **day)
    lab.run(pipeline, window_from="2024-01-01", window_to="2024-01-02")
    assert lab.ids("notes", pipeline=pipeline) == [1]


# --- the full load ----------------------------------------------------------------------------


def test_a_full_refresh_replaces_the_content_and_takes_changed_columns_along(lab: Lab) -> None:
    lab.orders(range(1, 6))
    lab.run()
    lab.sql("ALTER TABLE orders ADD COLUMN extra TEXT DEFAULT 'x'", "DELETE FROM orders WHERE id=1")
    with pytest.raises(SchemaError, match="'extra'"):
        lab.run(lab.pipeline(stream(on_schema_change="fail")))
    got = lab.run(full_refresh=True)
    assert (got.mode, got.counts.inserted, got.watermark) == ("replace", 4, "5")
    assert lab.ids() == [2, 3, 4, 5]
    assert lab.rows()[0]["extra"] == "x"
    assert lab.run().outcome == "empty"


def test_append_without_a_cursor_says_at_least_once(lab: Lab) -> None:
    lab.orders([1])
    pipeline = lab.pipeline(stream(cursor=None))
    got = lab.run(pipeline)
    assert got.guarantee == "at-least-once"
    assert any("--request-key" in note for note in got.notes)
    assert lab.run(pipeline, request_key="a").guarantee == "exactly-once"


# --- request keys -----------------------------------------------------------------------------


def test_a_request_key_loads_once_and_reload_overrides(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders([1, 2])
    pipeline = lab.pipeline(stream(cursor=None))
    first = lab.run(pipeline, request_key="run-1")
    again = lab.run(pipeline, request_key="run-1")
    assert (again.outcome, again.load_id, again.version) == ("replayed", first.load_id, 1)
    assert again.counts == first.counts
    assert lab.ids(pipeline=pipeline) == [1, 2]
    assert lab.run(pipeline, request_key="run-2").outcome == "published"
    assert lab.run(pipeline, request_key="run-1", reload=True).outcome == "published"
    assert lab.ids(pipeline=pipeline) == [1, 1, 1, 2, 2, 2]


def test_a_replayed_window_says_how_it_was_published(lab: Lab) -> None:
    lab.orders(range(1, 10))
    request = {"window_from": "2", "window_to": "5", "request_key": "slice"}
    lab.run(**request)
    assert (lab.run(**request).outcome, lab.run(**request).mode) == ("replayed", "replace_window")


def test_a_request_key_is_for_one_request(lab: Lab) -> None:
    lab.orders(range(1, 10))
    lab.run(request_key="k")
    with pytest.raises(StateError, match="another request"):
        lab.run(request_key="k", window_from="2", window_to="5")


# --- a target that is gone --------------------------------------------------------------------


def test_a_dropped_target_is_not_filled_with_an_increment(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    import duckdb

    lab.orders(range(1, 6))
    lab.run()
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute("DROP TABLE orders")
    lab.orders([6])
    with pytest.raises(StateError, match="is gone") as caught:
        lab.run()
    assert caught.value.exit_code == 6
    assert "--full-refresh" in caught.value.lines()[3]
    lab.run(full_refresh=True)
    assert lab.ids() == list(range(1, 7))
