"""Deletes, as whole loads: by flag, by the key set, by a tracking table; soft and hard."""

from __future__ import annotations

import re
from typing import Any

import pytest

from conduit_core import Pipeline, run
from conduit_core.errors import ConfigError, GuardError, SchemaError
from tests.integration.test_merge import by_key, counted, items
from tests.lab import Lab, in_turn
from tests.services import sql

SOFT, HARD = {"apply": "soft"}, {"apply": "hard"}
APPLY = in_turn("apply", "soft", "hard")


def alive(lab: Lab, pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Return the target's rows that aren't deleted, sorted."""
    rows = lab.rows("items", pipeline)
    return sorted((r["id"], r["v"]) for r in rows if r.get("_conduit_deleted_at") is None)


def deleting(lab: Lab, apply: str = "soft", detect: str = "snapshot", **keys: Any) -> Pipeline:
    """Return an upsert of items that follows deletes; ``keys`` beside are of `deletes`."""
    return by_key(lab, deletes={"detect": detect, "apply": apply, **keys})


# --- snapshot -------------------------------------------------------------------------------------


@APPLY
def test_p17_a_key_that_the_source_lost_goes(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    pipeline = deleting(lab, apply)
    items(lab, (1, 1, "a"), (2, 2, "b"), (3, 3, "c"))
    assert counted(lab.run(pipeline)) == {"read": 3, "inserted": 3}
    lab.sql("DELETE FROM items WHERE id = 2", "UPDATE items SET at = 4, v = 'C' WHERE id = 3")
    assert counted(lab.run(pipeline)) == {"read": 1, "updated": 1, "deleted": 1}
    assert alive(lab, pipeline) == [(1, "a"), (3, "C")]
    assert len(lab.rows("items", pipeline)) == (3 if apply == "soft" else 2)
    assert lab.run(pipeline).outcome == "empty"
    assert len(lab.chain(pipeline)) == 2


@APPLY
def test_deletes_are_found_where_no_row_is_new(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    pipeline = deleting(lab, apply)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 2")  # the newest: the cursor goes back, and may
    found = lab.run(pipeline)
    assert (counted(found), found.watermark) == ({"deleted": 1}, "2")
    assert alive(lab, pipeline) == [(1, "a")]


@APPLY
def test_a_key_that_comes_back_has_its_current_values(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    pipeline = deleting(lab, apply)
    items(lab, (1, 1, "a"), (2, 2, "b"), (3, 3, "c"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id < 3")
    lab.run(pipeline)
    items(lab, (1, 1, "restored"), (2, 7, "new"))  # one below the watermark, one above it
    found = lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "restored"), (2, "new"), (3, "c")]
    done = {"read": 2, "updated": 2} if apply == "soft" else {"read": 2, "inserted": 2}
    assert counted(found) == done
    assert any("1 key" in note and "1" in note for note in found.notes)
    assert lab.run(pipeline).outcome == "empty"


def test_a_row_that_came_too_late_is_found_by_its_key(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = deleting(lab)
    items(lab, (1, 1, "a"), (5, 5, "e"))
    lab.run(pipeline)
    items(lab, (3, 3, "late"))
    assert counted(lab.run(pipeline)) == {"read": 1, "inserted": 1}
    assert alive(lab, pipeline) == [(1, "a"), (3, "late"), (5, "e")]


def test_keys_below_the_initial_value_are_no_concern(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab, initial=5, deletes="snapshot")
    items(lab, (1, 1, "a"), (5, 5, "e"), (6, 6, "f"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 6")
    assert counted(lab.run(pipeline)) == {"deleted": 1}
    assert alive(lab, pipeline) == [(5, "e")]


def test_a_key_may_have_any_name(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql('CREATE TABLE items ("row" INTEGER, row_place INTEGER, at INTEGER)')
    lab.sql("INSERT INTO items VALUES (1, 1, 1), (2, 2, 2)")
    pipeline = by_key(lab, unique_key=["row", "row_place"], deletes="snapshot")
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE at = 1")
    assert counted(lab.run(pipeline)) == {"deleted": 1}
    lab.sql("INSERT INTO items VALUES (1, 1, 1)")
    assert counted(lab.run(pipeline)) == {"read": 1, "updated": 1}


@APPLY
def test_a_stream_without_a_cursor_compares_all_keys(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    pipeline = by_key(lab, cursor=None, deletes={"detect": "snapshot", "apply": apply})
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 1")
    assert counted(lab.run(pipeline)) == {"read": 1, "unchanged": 1, "deleted": 1}
    items(lab, (1, 1, "again"))
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "again"), (2, "b")]


# --- guards ---------------------------------------------------------------------------------------


@APPLY
def test_a_share_of_deletes_above_the_ceiling_stops_with_a_sample(
    each_lab: Lab, apply: str
) -> None:
    lab = each_lab
    pipeline = deleting(lab, apply, max_ratio=0.5)
    items(lab, *((n, n, f"v{n}") for n in range(10)))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id < 6")
    with pytest.raises(GuardError, match="more than 50% of the target's rows") as stopped:
        lab.run(pipeline)
    assert "gone 6, target_rows 10" in stopped.value.message
    assert re.search(r"for example \d(; \d){4}\)", stopped.value.message)
    assert stopped.value.command is not None
    assert "--allow-deletes" in stopped.value.command
    assert len(alive(lab, pipeline)) == 10
    assert len(lab.chain(pipeline)) == 1
    assert counted(lab.run(pipeline, allow_deletes=True)) == {"deleted": 6}
    lab.sql("DELETE FROM items WHERE id IN (6, 7)")  # half of those that are still there
    assert counted(lab.run(pipeline)) == {"deleted": 2}


def test_a_source_without_keys_stops(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = deleting(lab)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items")
    with pytest.raises(GuardError, match="the source has no keys at all"):
        lab.run(pipeline)
    assert len(alive(lab, pipeline)) == 2
    assert counted(lab.run(pipeline, allow_deletes=True)) == {"deleted": 2}
    assert lab.run(pipeline).outcome == "empty"


# --- flag -----------------------------------------------------------------------------------------


def flagged(lab: Lab, *rows: tuple[int, int, str, int | None]) -> None:
    """Add rows ``(id, at, v, gone)`` to the source."""
    lab.sql("CREATE TABLE IF NOT EXISTS items (id INTEGER, at INTEGER, v TEXT, gone INTEGER)")
    with lab._open() as connection:
        connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)


@APPLY
def test_a_flagged_row_is_deleted_and_lives_again(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    pipeline = deleting(lab, apply, "flag", column="gone")
    flagged(lab, (1, 1, "a", 0), (2, 1, "b", None), (3, 1, "never", 1))
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "a"), (2, "b")]
    assert len(lab.rows("items", pipeline)) == (3 if apply == "soft" else 2)
    flagged(lab, (1, 2, "a2", 0), (1, 3, "a3", 1), (2, 3, "b3", 0))
    found = counted(lab.run(pipeline))
    assert found == {"read": 3, "updated": 1, "deleted": 1, "superseded": 1}
    assert alive(lab, pipeline) == [(2, "b3")]
    flagged(lab, (1, 4, "back", 0))
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "back"), (2, "b3")]


@pytest.mark.parametrize(
    ("kind", "values", "gone", "there"),
    [("TEXT", ["D", "x"], "'D'", "'U'"), ("INTEGER", [2], "2", "1"), ("TEXT", ["7"], "'7'", "'8'")],
)
def test_values_say_what_is_deleted(
    lab: Lab, kind: str, values: list[Any], gone: str, there: str
) -> None:
    lab.sql(f"CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, op {kind})")
    lab.sql(
        f"INSERT INTO items VALUES (1, 1, 'a', {gone}), (2, 1, 'b', {there}), (3, 1, 'c', NULL)"
    )
    pipeline = deleting(lab, "hard", "flag", column="op", values=values)
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(2, "b"), (3, "c")]


def test_a_flag_that_says_nothing_is_refused_at_plan(lab: Lab) -> None:
    items(lab, (1, 1, "a"))
    with pytest.raises(SchemaError, match="`deletes` looks at column 'gone', which the stream"):
        lab.plan(deleting(lab, detect="flag", column="gone"))
    with pytest.raises(ConfigError, match="`deletes` needs `values`: which of column 'v'"):
        lab.plan(deleting(lab, detect="flag", column="v"))
    with pytest.raises(ConfigError, match="'D' can't be values of column 'at'"):
        lab.plan(deleting(lab, detect="flag", column="at", values=["D"]))


def test_a_full_refresh_knows_the_flags(each_lab: Lab) -> None:
    lab = each_lab
    for apply, there in (("soft", 2), ("hard", 1), ("soft", 2)):
        pipeline = deleting(lab, apply, "flag", column="gone")
        if not lab.chain():
            flagged(lab, (1, 1, "a", 0), (2, 1, "b", 1))
        lab.run(pipeline, full_refresh=True)
        assert alive(lab, pipeline) == [(1, "a")]
        assert len(lab.rows("items", pipeline)) == there


# --- tracking table -------------------------------------------------------------------------------


def buried(lab: Lab, *rows: tuple[int, int]) -> None:
    """Add tombstones ``(id, at)`` to the source."""
    lab.sql("CREATE TABLE IF NOT EXISTS buried (nr INTEGER, died INTEGER)")
    with lab._open() as connection:
        connection.executemany("INSERT INTO buried VALUES (?, ?)", rows)


def tracked(lab: Lab, apply: str, **keys: Any) -> Pipeline:
    """Return an upsert of items whose deleted keys a table lists."""
    buried(lab)
    listed = {"table": "buried", "unique_key": "nr", "cursor": "died"}
    return by_key(lab, deletes={"detect": "tracking_table", "apply": apply, **listed}, **keys)


@APPLY
def test_tombstones_late_early_and_of_a_key_that_lives_again(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    pipeline = tracked(lab, apply)
    items(lab, (1, 1, "a"), (2, 2, "b"), (3, 9, "c"))
    lab.run(pipeline)
    buried(lab, (2, 3), (1, 5), (4, 20))  # both below the watermark; one before its row
    lab.sql("DELETE FROM items WHERE id IN (1, 2)")
    assert counted(lab.run(pipeline)) == {"deleted": 2}
    assert alive(lab, pipeline) == [(3, "c")]
    items(lab, (4, 15, "dead already"), (1, 16, "again"))
    found = lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "again"), (3, "c")]
    assert found.counts.deleted == 1
    items(lab, (4, 21, "lives"))
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "again"), (3, "c"), (4, "lives")]
    assert lab.run(pipeline).outcome == "empty"


@APPLY
def test_tombstones_of_a_stream_without_a_cursor(each_lab: Lab, apply: str) -> None:
    lab = each_lab
    buried(lab, (2, 0))
    listed = {"table": "buried", "unique_key": "nr"}
    deletes = {"detect": "tracking_table", "apply": apply, **listed}
    pipeline = by_key(lab, cursor=None, deletes=deletes)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "a"), (2, "b")]  # what the source has is there
    lab.sql("DELETE FROM items WHERE id = 2")
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "a")]


def test_tombstones_that_cannot_be_compared_are_refused_at_plan(lab: Lab) -> None:
    items(lab, (1, 1, "a"))
    lab.sql("CREATE TABLE buried (nr TEXT, died TEXT)")
    with pytest.raises(SchemaError, match="buried: column 'nr' is string, and what it is compared"):
        lab.plan(tracked(lab, "soft"))
    lab.sql("DROP TABLE buried")
    with pytest.raises(SchemaError, match="buried"):
        lab.plan(
            by_key(lab, deletes={"detect": "tracking_table", "table": "buried", "cursor": "x"})
        )


# --- what goes with it ----------------------------------------------------------------------------


def test_a_given_window_is_refused_with_a_snapshot_and_not_with_a_flag(lab: Lab) -> None:
    flagged(lab, (1, 1, "a", 0), (2, 2, "b", 1))
    with pytest.raises(ConfigError, match="can't be loaded with `deletes: snapshot`"):
        lab.plan(deleting(lab), window_from="1", window_to="5")
    by_flag = deleting(lab, "hard", "flag", column="gone")
    lab.run(by_flag, window_from="1", window_to="5")
    assert alive(lab, by_flag) == [(1, "a")]


def test_a_target_from_before_gets_its_column(each_lab: Lab) -> None:
    lab = each_lab
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(by_key(lab))
    lab.sql("DELETE FROM items WHERE id = 1")
    assert counted(lab.run(deleting(lab))) == {"deleted": 1}
    rows = lab.rows("items", deleting(lab))
    assert {r["id"]: r["_conduit_deleted_at"] is None for r in rows} == {1: False, 2: True}


@pytest.mark.parametrize("splits", [3])
@pytest.mark.parametrize("apply", ["soft", "hard"])
def test_a_load_in_splits_deletes_too(
    tmp_path: Any, postgres_database: str, apply: str, splits: int
) -> None:
    lab = Lab(tmp_path, postgres_database)
    deletes = {"detect": "snapshot", "apply": apply}
    pipeline = by_key(lab, deletes=deletes, splits={"count": splits, "column": "id"})
    items(lab, *((n, n, f"v{n}") for n in range(30)))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id % 3 = 0", "UPDATE items SET at = 99 WHERE id = 4")
    assert counted(lab.run(pipeline)) == {"read": 1, "updated": 1, "deleted": 10}
    assert [i for i, _ in alive(lab, pipeline)] == [n for n in range(30) if n % 3]


def test_a_re_run_touches_no_row(tmp_path: Any, postgres_database: str) -> None:
    lab = Lab(tmp_path, postgres_database)
    pipeline = by_key(lab, cursor=None, deletes={"detect": "snapshot"})
    items(lab, *((n, n, f"v{n}") for n in range(50)))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id < 10")
    lab.run(pipeline)
    before = sql(postgres_database, "SELECT xmin::text, ctid::text FROM items ORDER BY id")
    assert counted(lab.run(pipeline)) == {"read": 40, "unchanged": 40}
    assert sql(postgres_database, "SELECT xmin::text, ctid::text FROM items ORDER BY id") == before


def test_the_plan_says_what_it_would_do(lab: Lab) -> None:
    pipeline = deleting(lab, max_ratio=0.2)
    items(lab, (1, 1, "a"))
    lab.run(pipeline)
    made = lab.plan(pipeline)
    assert not made.empty
    assert {"merge_staged", "guard", "record_load"} <= made.publish.action_kinds
    assert made.key_source is not None
    assert [field["name"] for field in made.key_source] == ["id", "at"]


@pytest.mark.parametrize("mode", ["upsert", "scd2"])
def test_without_deletes_a_key_that_comes_back_is_alive_all_the_same(
    each_lab: Lab, mode: str
) -> None:
    lab = each_lab
    flagged(lab, (1, 1, "a", 0), (2, 1, "b", 0))
    before = by_key(lab, mode, deletes={"detect": "flag", "column": "gone"})
    lab.run(before)
    flagged(lab, (1, 2, "a", 1), (2, 2, "b", 1))
    lab.run(before)
    assert alive(lab, before) == []
    flagged(lab, (1, 3, "back", 0))
    lab.run(by_key(lab, mode))
    assert alive(lab, before)[-1:] == [(1, "back")]
    assert len([r for r in alive(lab, before) if r[0] == 2]) == 0


def test_from_soft_to_hard_wants_the_marked_rows_gone(each_lab: Lab) -> None:
    lab = each_lab
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(deleting(lab))
    with pytest.raises(SchemaError, match="its marked rows would stay"):
        lab.plan(deleting(lab, "hard"))
    lab.run(deleting(lab, "hard"), full_refresh=True)
    assert "_conduit_deleted_at" not in lab.rows("items", deleting(lab))[0]


# --- keys of many types, from a server ------------------------------------------------------------

KEYS = {
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "text": ["'it''s'", "'Ünïcode'"],
    "numeric(12,2)": ["1.50", "-20.25"],
    "timestamptz": ["'2024-01-01 10:00:00.123456+02'", "'2024-06-01 10:00:00Z'"],
    "timestamp": ["'2024-01-01 10:00:00.123456'", "'2024-06-01 10:00:00'"],
    "date": ["'2024-01-01'", "'1969-12-31'"],
    "bytea": ["'\\x00ff'", "'\\x01'"],
    "bigint": ["9007199254740993", "-1"],
    "boolean": ["true", "false"],
}


@pytest.mark.parametrize("destination", ["postgres", "duckdb", "sqlite"])
def test_keys_of_any_type_go_and_come_back(
    tmp_path: Any, postgres_database: str, destination: str
) -> None:
    url = postgres_database
    sql(url, "CREATE SCHEMA src")
    tables = {f"src.items_{n}": (kind, *values) for n, (kind, values) in enumerate(KEYS.items())}
    for table, (kind, stays, goes) in tables.items():
        sql(url, f"CREATE TABLE {table} (k {kind}, part int, at int, v text, gone boolean)")
        rows = f"({stays}, 1, 1, 'a', false), ({goes}, 1, 2, 'b', false)"
        sql(url, f"INSERT INTO {table} VALUES {rows}")
    lab = Lab(tmp_path, url if destination == "postgres" else destination)
    keys = {"mode": "upsert", "unique_key": ["k", "part"], "cursor": "at", "deletes": "snapshot"}
    pipeline = lab.pipeline(
        *({"table": table, **keys} for table in tables), source={"type": "postgres", "url": url}
    )

    def there() -> dict[str, list[str]]:
        found = {name: lab.rows(name.removeprefix("src."), pipeline) for name in tables}
        return {
            name: sorted(r["v"] for r in rows if r["_conduit_deleted_at"] is None)
            for name, rows in found.items()
        }

    def counts() -> list[dict[str, int]]:
        result = run(pipeline)
        assert result.failures == ()
        return [counted(each) for each in result.results]

    counts()
    for table, (_, _, goes) in tables.items():
        sql(url, f"DELETE FROM {table} WHERE k = {goes}")
    assert counts() == [{"deleted": 1}] * len(KEYS)
    assert there() == {table: ["a"] for table in tables}
    for table, (_, _, goes) in tables.items():
        sql(url, f"INSERT INTO {table} VALUES ({goes}, 1, 1, 'again', false)")
    assert counts() == [{"read": 1, "updated": 1}] * len(KEYS)
    assert there() == {table: ["a", "again"] for table in tables}


def test_a_flag_between_two_servers_is_seen(tmp_path: Any, postgres_database: str) -> None:
    url = postgres_database
    sql(url, "CREATE SCHEMA src")
    sql(url, "CREATE TABLE src.items (id int, at int, v text, gone timestamptz)")
    sql(url, "INSERT INTO src.items VALUES (1, 1, 'a', NULL), (2, 2, 'b', now())")
    lab = Lab(tmp_path, url)
    keys = {"mode": "upsert", "unique_key": "id", "cursor": "at"}
    stream = {"table": "src.items", **keys, "deletes": {"detect": "flag", "column": "gone"}}
    pipeline = lab.pipeline(stream, source={"type": "postgres", "url": url})
    lab.run(pipeline)
    assert alive(lab, pipeline) == [(1, "a")]
    assert len(lab.rows("items", pipeline)) == 2
