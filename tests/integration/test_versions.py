"""Mode scd2, as whole loads: every version of a key, in the order of the cursor."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_core import Pipeline
from conduit_core.engine import admin
from conduit_core.errors import ConfigError, GuardError, SchemaError, SourceDataError
from tests.integration.test_merge import by_key, counted, items
from tests.lab import Lab, in_turn, stream
from tests.services import sql

Version = tuple[int, Any, Any, str, bool]


def keeping(lab: Lab, **keys: Any) -> Pipeline:
    """Return a pipeline that keeps the versions of items by ``id``, with ``at`` as its cursor."""
    return by_key(lab, "scd2", **keys)


def history(lab: Lab, pipeline: Pipeline) -> list[Version]:
    """Return the target's versions ``(id, from, to, v, is_current)``, in order."""
    rows = lab.rows("items", pipeline)
    found = [(r["id"], r["valid_from"], r["valid_to"], r["v"], r["is_current"]) for r in rows]
    return sorted(found, key=lambda v: (v[0], v[1]))


def test_each_version_is_kept_in_the_order_of_the_cursor(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab)
    items(lab, (1, 3, "b"), (1, 1, "a"), (2, 2, "x"))
    first = lab.run(pipeline)
    assert (first.mode, counted(first)) == ("scd2", {"read": 3, "inserted": 3})
    assert history(lab, pipeline) == [
        (1, 1, 3, "a", False),
        (1, 3, None, "b", True),
        (2, 2, None, "x", True),
    ]
    items(lab, (1, 5, "c"), (1, 7, "d"), (2, 6, "x"))
    assert counted(lab.run(pipeline)) == {"read": 3, "inserted": 2, "updated": 1}
    assert history(lab, pipeline) == [
        (1, 1, 3, "a", False),
        (1, 3, 5, "b", False),
        (1, 5, 7, "c", False),
        (1, 7, None, "d", True),
        (2, 2, None, "x", True),
    ]
    assert lab.run(pipeline).outcome == "empty"


def test_a_late_row_splits_the_interval_it_falls_in(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab, lookback=10)
    items(lab, (1, 1, "a"), (1, 9, "c"))
    lab.run(pipeline)
    items(lab, (1, 5, "b"))
    assert counted(lab.run(pipeline)) == {"read": 3, "inserted": 1, "unchanged": 2}
    assert history(lab, pipeline) == [
        (1, 1, 5, "a", False),
        (1, 5, 9, "b", False),
        (1, 9, None, "c", True),
    ]
    # Seen unchanged at 12, and a late row in between: what was seen last is what is current.
    items(lab, (1, 12, "c"))
    lab.run(pipeline)
    items(lab, (1, 10, "late"))
    lab.run(pipeline)
    assert history(lab, pipeline)[2:] == [
        (1, 9, 10, "c", False),
        (1, 10, 12, "late", False),
        (1, 12, None, "c", True),
    ]


@pytest.mark.parametrize("cursor", ["at", None])
def test_a_re_run_changes_nothing(
    tmp_path: Any, postgres_database: str, cursor: str | None
) -> None:
    lab = Lab(tmp_path, postgres_database)
    pipeline = keeping(lab, cursor=cursor)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    look = "SELECT xmin::text, ctid::text FROM items ORDER BY id, valid_from"
    before = sql(postgres_database, look)
    window = {"window_from": "0", "window_to": "9"} if cursor else {}
    assert counted(lab.run(pipeline, **window)) == {"read": 2, "unchanged": 2}
    assert sql(postgres_database, look) == before


def test_ignored_columns_are_taken_over_in_place(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, seen INTEGER)")
    lab.sql("INSERT INTO items VALUES (1, 1, 'a', 10), (2, 1, 'x', 10)")
    pipeline = keeping(lab, ignore_columns="seen")
    lab.run(pipeline)
    lab.sql("INSERT INTO items VALUES (1, 2, 'a', 20), (2, 2, 'y', 20)")
    assert counted(lab.run(pipeline)) == {"read": 2, "inserted": 1, "updated": 1}
    assert history(lab, pipeline) == [
        (1, 1, None, "a", True),
        (2, 1, 2, "x", False),
        (2, 2, None, "y", True),
    ]
    assert {r["seen"] for r in lab.rows("items", pipeline) if r["is_current"]} == {20}


def test_without_a_cursor_versions_begin_when_they_are_loaded(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab, cursor=None)
    items(lab, (1, 1, "a"), (2, 1, "b"))
    lab.run(pipeline)
    lab.sql("UPDATE items SET v = 'A' WHERE id = 1")
    assert counted(lab.run(pipeline)) == {"read": 2, "inserted": 1, "unchanged": 1}
    first, second, other = history(lab, pipeline)
    assert (first[3], second[3], other[3]) == ("a", "A", "b")
    assert first[2] == second[1]
    assert [v[4] for v in (first, second, other)] == [False, True, True]


def test_a_timestamp_cursor_gives_timestamps(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE items (id INTEGER, at TIMESTAMP, v TEXT)")
    lab.sql("INSERT INTO items VALUES (1, '2024-01-01 10:00:00', 'a')")
    lab.sql("INSERT INTO items VALUES (1, '2024-01-02 11:30:00.25', 'b')")
    pipeline = keeping(lab, cursor=["at", "id"])
    lab.run(pipeline)
    (first, second) = history(lab, pipeline)
    assert first[2] == second[1]
    assert str(second[1]).startswith("2024-01-02 11:30:00.25")


@in_turn("apply", "soft", "hard")
def test_a_flag_ends_a_version_at_its_own_cursor(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, gone BOOLEAN)")
    lab.sql("INSERT INTO items VALUES (1, 1, 'a', FALSE), (2, 1, 'x', FALSE)")
    pipeline = keeping(lab, deletes={"detect": "flag", "column": "gone", "apply": apply})
    lab.run(pipeline)
    lab.sql("INSERT INTO items VALUES (1, 5, 'a', TRUE)")
    assert counted(lab.run(pipeline)) == {"read": 1, "deleted": 1}
    ended = [(1, 1, 5, "a", False)] if apply == "soft" else []
    assert history(lab, pipeline) == [*ended, (2, 1, None, "x", True)]
    lab.sql("INSERT INTO items VALUES (1, 8, 'back', FALSE)")
    lab.run(pipeline)
    assert history(lab, pipeline) == [*ended, (1, 8, None, "back", True), (2, 1, None, "x", True)]


@in_turn("apply", "soft", "hard")
def test_a_key_that_the_source_lost_ends_at_the_loads_time(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE items (id INTEGER, at TIMESTAMP, v TEXT)")
    lab.sql("INSERT INTO items VALUES (1, '2024-01-01', 'a'), (2, '2024-01-02', 'b')")
    deletes = {"detect": "snapshot", "apply": apply}
    pipeline = keeping(lab, cursor_timezone="UTC", deletes=deletes)
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 1")
    assert counted(lab.run(pipeline)) == {"deleted": 1}
    found = history(lab, pipeline)
    if apply == "hard":
        assert [v[0] for v in found] == [2]
    else:
        assert [v[4] for v in found] == [False, True]
        assert found[0][2] is not None
    assert lab.run(pipeline).outcome == "empty"
    lab.sql("INSERT INTO items VALUES (1, '2024-01-01', 'a')")  # restored as it was
    lab.run(pipeline)
    assert [(v[0], v[2], v[4]) for v in history(lab, pipeline)] == [
        (1, None, True),
        (2, None, True),
    ]


def test_tombstones_end_versions_at_their_time(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE buried (id INTEGER, died INTEGER)")
    deletes = {"detect": "tracking_table", "table": "buried", "cursor": "died"}
    pipeline = keeping(lab, deletes=deletes)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    lab.sql("INSERT INTO buried VALUES (1, 4), (9, 9)")
    assert counted(lab.run(pipeline)) == {"deleted": 1}
    assert history(lab, pipeline) == [(1, 1, 4, "a", False), (2, 2, None, "b", True)]
    assert lab.run(pipeline).outcome == "empty"
    items(lab, (1, 6, "again"))
    lab.run(pipeline)
    assert history(lab, pipeline)[:2] == [(1, 1, 4, "a", False), (1, 6, None, "again", True)]


def test_a_given_window_is_loaded_by_key(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab)
    items(lab, (1, 1, "a"), (1, 5, "b"), (1, 9, "c"))
    for low in (5, 0, 5):
        lab.run(pipeline, window_from=str(low), window_to=str(low + 5))
    assert [v[1:4] for v in history(lab, pipeline)] == [(1, 5, "a"), (5, 9, "b"), (9, None, "c")]


# --- bad input ------------------------------------------------------------------------------------


def test_a_full_refresh_of_a_history_wants_to_be_meant(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab)
    items(lab, (1, 1, "a"))
    lab.run(pipeline)
    lab.sql("UPDATE items SET at = 2, v = 'b'")
    lab.run(pipeline)
    with pytest.raises(GuardError, match="a full refresh starts them over"):
        lab.run(pipeline, full_refresh=True)
    assert len(history(lab, pipeline)) == 2
    lab.run(pipeline, full_refresh=True, allow_deletes=True)
    assert history(lab, pipeline) == [(1, 2, None, "b", True)]


def test_what_cannot_begin_a_version_is_refused(lab: Lab) -> None:
    items(lab, (1, 1, "a"))
    with pytest.raises(ConfigError, match="begins versions at _conduit_loaded_at"):
        lab.plan(keeping(lab, cursor=None, metadata=[]))
    with pytest.raises(ConfigError, match="the cursor 'at' is int64: use a time as cursor"):
        lab.plan(keeping(lab, deletes="snapshot"))
    with pytest.raises(SchemaError, match="`ignore_columns` names 'seen', which the stream"):
        lab.plan(keeping(lab, ignore_columns="seen"))
    lab.sql("CREATE TABLE taken (id INTEGER, at INTEGER, valid_to TEXT)")
    with pytest.raises(SchemaError, match="the source has a column 'valid_to', which mode scd2"):
        lab.plan(lab.pipeline(stream("taken", mode="scd2", unique_key="id", cursor="at")))
    lab.run(by_key(lab))
    with pytest.raises(SchemaError, match="it was loaded in another mode than scd2"):
        lab.plan(keeping(lab))
    lab.run(keeping(lab), full_refresh=True, allow_deletes=True)
    assert history(lab, keeping(lab)) == [(1, 1, None, "a", True)]


def test_a_null_in_the_cursor_is_refused(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab)
    items(lab, (1, 1, "a"), (2, None, "b"))
    with pytest.raises(SourceDataError, match="NULL in the cursor"):
        lab.run(pipeline)


def test_a_new_column_is_added_and_opens_no_version_by_itself(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = keeping(lab)
    items(lab, (1, 1, "a"), (2, 1, "b"))
    lab.run(pipeline)
    lab.sql("ALTER TABLE items ADD COLUMN w TEXT")
    lab.sql("INSERT INTO items VALUES (1, 2, 'a', 'new'), (2, 2, 'B', 'new')")
    made = lab.plan(pipeline)
    (told,) = (note for note in made.notes if note.startswith("column 'w' is new and is added"))
    assert told.endswith(": it makes no version")
    assert counted(lab.run(pipeline)) == {"read": 2, "inserted": 1, "updated": 1}
    assert history(lab, pipeline) == [
        (1, 1, None, "a", True),
        (2, 1, 2, "b", False),
        (2, 2, None, "B", True),
    ]
    assert {r["w"] for r in lab.rows("items", pipeline) if r["is_current"]} == {"new"}
    lab.sql("INSERT INTO items VALUES (1, 3, 'a', 'other')")
    lab.run(pipeline)
    assert history(lab, pipeline)[:2] == [(1, 1, 3, "a", False), (1, 3, None, "a", True)]


def test_a_target_of_versions_takes_no_other_mode(each_lab: Lab) -> None:
    lab = each_lab
    items(lab, (1, 1, "a"))
    lab.run(keeping(lab))
    for mode in ("upsert", "insert_only", "replace_window"):
        with pytest.raises(SchemaError, match="keeps versions"):
            lab.plan(by_key(lab, mode))
    lab.run(by_key(lab), full_refresh=True)
    assert "valid_from" not in lab.rows("items", by_key(lab))[0]


def test_versions_are_not_cut_by_a_rewind(lab: Lab) -> None:
    pipeline = keeping(lab)
    items(lab, (1, 1, "a"), (1, 5, "b"))
    lab.run(pipeline)
    with pytest.raises(ConfigError, match="would cut versions in two"):
        admin.state_set(pipeline, "items", "3", replace_after=True)
    admin.state_set(pipeline, "items", "3")
    assert counted(lab.run(pipeline)) == {"read": 1, "unchanged": 1}
    assert [v[1:4] for v in history(lab, pipeline)] == [(1, 5, "a"), (5, None, "b")]


def test_a_table_made_by_hand_may_want_its_columns(tmp_path: Any, postgres_database: str) -> None:
    lab = Lab(tmp_path, postgres_database)
    items(lab, (1, 1, "a"), (1, 2, "b"))
    sql(
        postgres_database,
        "CREATE TABLE items (key bigint GENERATED ALWAYS AS IDENTITY, id bigint, at bigint, v text,"
        " _conduit_load_id text, _conduit_loaded_at timestamptz, valid_from bigint NOT NULL,"
        " valid_to bigint, is_current boolean NOT NULL)",
    )
    pipeline = keeping(lab)
    lab.run(pipeline)
    assert [v[1:4] for v in history(lab, pipeline)] == [(1, 2, "a"), (2, None, "b")]
