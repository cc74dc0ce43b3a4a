"""Modes by key, as whole loads: upsert, insert_only, replace_window."""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from conduit_core import Pipeline
from conduit_core.errors import ConfigError, PublishError, SchemaError, SourceDataError
from tests.lab import Lab, in_turn, stream
from tests.services import sql

Row = tuple[int, int | None, str]


def items(lab: Lab, *rows: Row) -> None:
    """Add rows ``(id, at, v)`` to the source."""
    lab.sql("CREATE TABLE IF NOT EXISTS items (id INTEGER, at INTEGER, v TEXT)")
    with lab._open() as connection:
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)


def by_key(lab: Lab, mode: str = "upsert", **keys: Any) -> Pipeline:
    """Return a pipeline that loads items by ``id``, with ``at`` as its cursor."""
    return lab.pipeline(stream("items", mode=mode, **{"unique_key": "id", "cursor": "at", **keys}))


def content(lab: Lab, pipeline: Pipeline) -> list[Row]:
    """Return the target's rows, sorted."""
    return sorted((r["id"], r["at"], r["v"]) for r in lab.rows("items", pipeline))


def counted(result: Any) -> dict[str, int]:
    """Return the counts that aren't 0."""
    return {name: n for name, n in result.counts.model_dump().items() if n}


def test_an_upsert_inserts_updates_and_leaves_alone(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab)
    items(lab, (1, 1, "a"), (2, 1, "b"), (2, 2, "b2"), (3, 2, "c"))
    first = lab.run(pipeline)
    assert first.mode == "upsert"
    assert counted(first) == {"read": 4, "inserted": 3, "superseded": 1}
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 2, "b2"), (3, 2, "c")]
    loads = {r["id"]: r["_conduit_load_id"] for r in lab.rows("items", pipeline)}
    # Ties on the boundary, among the new and with what was loaded: of equals the last one read.
    items(lab, (1, 3, "a2"), (4, 3, "d"), (4, 3, "d2"), (4, 3, "d2"))
    second = lab.run(pipeline)
    assert (second.watermark, counted(second)) == (
        "3",
        {"read": 4, "inserted": 1, "updated": 1, "superseded": 1, "deduplicated": 1},
    )
    assert content(lab, pipeline) == [(1, 3, "a2"), (2, 2, "b2"), (3, 2, "c"), (4, 3, "d2")]
    after = {r["id"]: r["_conduit_load_id"] for r in lab.rows("items", pipeline)}
    assert {i for i, load in after.items() if loads.get(i) != load} == {1, 4}
    assert lab.run(pipeline).outcome == "empty"


def test_p08_ties_come_in_once_by_key(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab, cursor=["at", "id"])
    items(lab, (1, 5, "a"), (2, 5, "b"))
    lab.run(pipeline)
    items(lab, (3, 5, "c"))
    assert counted(lab.run(pipeline)) == {"read": 1, "inserted": 1}
    assert content(lab, pipeline) == [(1, 5, "a"), (2, 5, "b"), (3, 5, "c")]


@in_turn("mode", "append", "upsert", "insert_only", "replace_window", "scd2")
def test_p04_a_run_without_new_rows_changes_nothing(each_lab: Lab, mode: str) -> None:
    """Neither rows, their loads and versions, nor the ledger; nor does a source that lost them."""
    lab = each_lab
    pipeline = by_key(lab, mode, **({"unique_key": None} if mode == "append" else {}))
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    before = lab.rows("items", pipeline), lab.chain(pipeline)
    assert len(before[0]) == 2
    for lost in ([], ["DELETE FROM items"]):
        lab.sql(*lost)
        again = lab.run(pipeline)
        assert (again.outcome, again.version, counted(again)) == ("empty", None, {})
        assert (lab.rows("items", pipeline), lab.chain(pipeline)) == before


@in_turn("mode", "upsert", "insert_only", "replace_window", "scd2")
def test_p04_without_a_cursor_a_source_without_rows_changes_nothing(
    each_lab: Lab, mode: str
) -> None:
    lab = each_lab
    whole = by_key(lab, mode, cursor=None)
    items(lab, (1, 1, "a"))
    lab.run(whole)
    for lost in ([], ["DELETE FROM items"]):
        lab.sql(*lost)
        assert lab.run(whole).outcome in ("empty", "published")
        assert content(lab, whole) == [(1, 1, "a")]


def test_insert_only_never_changes_a_row(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab, "insert_only")
    items(lab, (1, 1, "a"), (1, 1, "a"))
    assert counted(lab.run(pipeline)) == {"read": 2, "inserted": 1, "deduplicated": 1}
    items(lab, (1, 2, "changed"), (2, 2, "b"))
    assert counted(lab.run(pipeline)) == {"read": 2, "inserted": 1, "unchanged": 1}
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 2, "b")]


def test_an_upsert_without_a_cursor_reads_all_and_changes_what_differs(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab, cursor=None)
    items(lab, (1, 1, "a"), (2, None, "b"))
    lab.run(pipeline)
    lab.sql("UPDATE items SET at = NULL WHERE id = 1")
    assert counted(lab.run(pipeline)) == {"read": 2, "updated": 1, "unchanged": 1}
    assert counted(lab.run(pipeline)) == {"read": 2, "unchanged": 2}
    assert sorted((r["id"], r["at"]) for r in lab.rows("items", pipeline)) == [(1, None), (2, None)]


@in_turn("mode", "upsert", "insert_only")
def test_given_windows_are_idempotent_by_key(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    pipeline = by_key(lab, mode)
    items(lab, *((n, n, f"v{n}") for n in range(10)))
    for _ in range(2):
        for low in (0, 5):
            lab.run(pipeline, window_from=str(low), window_to=str(low + 5))
    assert content(lab, pipeline) == [(n, n, f"v{n}") for n in range(10)]
    assert [r.counts.inserted for r in lab.chain(pipeline)] == [5, 5, 0, 0]
    assert [r.mode for r in lab.chain(pipeline)] == [mode] * 4


@in_turn("mode", "upsert", "insert_only", "replace_window")
def test_a_watermark_run_after_slices_goes_over_them(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    pipeline = by_key(lab, mode)
    items(lab, (1, 1, "a"))
    lab.run(pipeline)
    items(lab, (2, 5, "b"), (3, 8, "c"))
    lab.run(pipeline, window_from="5", window_to="6")
    assert lab.run(pipeline).watermark == "8"
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 5, "b"), (3, 8, "c")]


def test_replace_window_replaces_its_slice_and_the_keys_that_arrive(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab, "replace_window")
    items(lab, (1, 1, "a"), (2, 2, "b"), (3, 3, "c"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 3", "UPDATE items SET at = 3, v = 'moved' WHERE id = 1")
    found = counted(lab.run(pipeline, window_from="3", window_to="4"))
    assert found == {"read": 1, "inserted": 1, "removed": 2}
    assert content(lab, pipeline) == [(1, 3, "moved"), (2, 2, "b")]


def test_replace_window_without_a_cursor_replaces_the_keys(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab, "replace_window", cursor=None)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 2", "UPDATE items SET v = 'A'")
    items(lab, (3, 3, "c"), (3, 3, "last"))
    found = counted(lab.run(pipeline))
    assert found == {"read": 3, "inserted": 2, "superseded": 1, "removed": 1}
    assert content(lab, pipeline) == [(1, 1, "A"), (2, 2, "b"), (3, 3, "last")]


@in_turn("mode", "upsert", "insert_only", "replace_window")
def test_a_full_refresh_keeps_the_newest_row_of_each_key(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    pipeline = by_key(lab, mode)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 2", "ALTER TABLE items ADD COLUMN w TEXT")
    lab.sql("INSERT INTO items VALUES (1, 7, 'new', 'w'), (1, 6, 'old', 'w')")
    found = lab.run(pipeline, full_refresh=True)
    assert counted(found) == {"read": 3, "inserted": 1, "superseded": 2}
    assert content(lab, pipeline) == [(1, 7, "new")]
    assert lab.rows("items", pipeline)[0]["w"] == "w"
    lab.sql("INSERT INTO items VALUES (1, 8, 'newer', NULL)")
    lab.run(pipeline)
    assert len(content(lab, pipeline)) == 1


@in_turn("mode", "upsert", "replace_window")
def test_null_cursors_are_included_once_by_key(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    pipeline = by_key(lab, mode, null_cursor="include")
    items(lab, (1, 1, "a"), (2, None, "b"))
    for _ in range(2):
        lab.run(pipeline)
        rows = sorted((r["id"], r["v"]) for r in lab.rows("items", pipeline))
        assert rows == [(1, "a"), (2, "b")]
    lab.sql("UPDATE items SET v = 'B' WHERE id = 2")
    lab.run(pipeline)
    rows = sorted((r["id"], r["v"]) for r in lab.rows("items", pipeline))
    assert rows == [(1, "a"), (2, "B")]


# --- bad input ------------------------------------------------------------------------------------


def test_a_null_in_the_key_is_named_before_anything_changes(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = by_key(lab)
    items(lab, (1, 1, "a"))
    lab.run(pipeline)
    lab.sql("INSERT INTO items VALUES (NULL, 2, 'x'), (1, 2, 'y')")
    with pytest.raises(SourceDataError, match=r"1 row has a NULL in the unique_key \(id\)"):
        lab.run(pipeline)
    assert content(lab, pipeline) == [(1, 1, "a")]
    assert len(lab.chain(pipeline)) == 1


def test_a_key_that_the_target_has_twice_is_named(each_lab: Lab) -> None:
    lab = each_lab
    items(lab, (1, 1, "a"), (1, 1, "a"), (2, 1, "b"))
    lab.run(lab.pipeline(stream("items", cursor="at")))
    pipeline = by_key(lab)
    items(lab, (1, 2, "c"), (3, 2, "d"))
    with pytest.raises(PublishError, match=r"1 of the load's keys \(id\) more than once \(1\)"):
        lab.run(pipeline)
    assert content(lab, pipeline) == [(1, 1, "a"), (1, 1, "a"), (2, 1, "b")]
    lab.run(pipeline, full_refresh=True)
    assert content(lab, pipeline) == [(1, 2, "c"), (2, 1, "b"), (3, 2, "d")]


def test_a_key_that_became_text_is_refused(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql(
        "CREATE TABLE items (id TEXT, at INTEGER, v TEXT)", "INSERT INTO items VALUES ('1',1,'a')"
    )
    pipeline = by_key(lab)
    lab.run(pipeline)
    lab.sql("DROP TABLE items")
    items(lab, (1, 2, "b"))
    with pytest.raises(SchemaError, match="'id' of the unique_key changed its type"):
        lab.run(pipeline)
    assert len(lab.rows("items", pipeline)) == 1


def test_a_key_that_the_stream_lacks_is_named_at_plan(lab: Lab) -> None:
    items(lab, (1, 1, "a"))
    with pytest.raises(SchemaError, match="unique_key names 'nr', which the stream doesn't have"):
        lab.plan(by_key(lab, unique_key=["id", "nr"]))


@pytest.mark.parametrize("mode", ["upsert", "insert_only"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_p14_a_mode_that_files_cannot_do_is_refused_at_plan(lab: Lab, mode: str, kind: str) -> None:
    items(lab, (1, 1, "a"))
    lab.destination = {"type": kind, "path": "lake"}
    with pytest.raises(ConfigError, match=f"a {kind} destination can't do `mode: {mode}`"):
        lab.plan(by_key(lab, mode))
    with pytest.raises(ConfigError, match="with a `unique_key`: it can't look up"):
        lab.plan(by_key(lab, "replace_window"))
    assert lab.plan(by_key(lab, "replace_window", unique_key=[])).mode == "replace_window"


# --- PostgreSQL -----------------------------------------------------------------------------------


def test_a_no_op_upsert_makes_no_row_version(tmp_path: Any, postgres_database: str) -> None:
    lab = Lab(tmp_path, postgres_database)
    pipeline = by_key(lab, cursor=None)
    items(lab, *((n, n, f"v{n}") for n in range(1000)))
    lab.run(pipeline)
    before = sql(postgres_database, "SELECT xmin::text, ctid::text FROM items ORDER BY id")
    assert counted(lab.run(pipeline)) == {"read": 1000, "unchanged": 1000}
    assert sql(postgres_database, "SELECT xmin::text, ctid::text FROM items ORDER BY id") == before
    flush = "pg_stat_force_next_flush"
    if sql(postgres_database, f"SELECT to_regproc('{flush}') IS NULL") == [(True,)]:
        pytest.skip("PostgreSQL before 15 says what it counted when it likes")
    sql(postgres_database, f"SELECT {flush}()")
    stats = (
        "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE relname = 'items'"
    )
    assert sql(postgres_database, stats) == [(1000, 0, 0)]
    lab.sql("UPDATE items SET v = 'changed' WHERE id < 10")
    assert counted(lab.run(pipeline)) == {"read": 1000, "updated": 10, "unchanged": 990}
    after = sql(postgres_database, "SELECT xmin::text, ctid::text FROM items WHERE id >= 10")
    assert set(after) <= set(before)


def test_a_full_refresh_keeps_a_column_with_a_default(
    tmp_path: Any, postgres_database: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    pipeline = by_key(lab)
    items(lab, (1, 1, "a"))
    lab.run(pipeline)
    sql(postgres_database, "ALTER TABLE items ADD COLUMN extra int DEFAULT 7")
    sql(postgres_database, "ALTER TABLE items ADD COLUMN nr int GENERATED ALWAYS AS IDENTITY")
    items(lab, (2, 2, "b"))
    lab.run(pipeline, full_refresh=True)
    assert sql(postgres_database, "SELECT id, extra FROM items ORDER BY id") == [(1, 7), (2, 7)]


def test_partitions_and_triggers_are_merged_into(tmp_path: Any, postgres_database: str) -> None:
    lab = Lab(tmp_path, postgres_database)
    columns = "id bigint, at bigint, v text, _conduit_load_id text, _conduit_loaded_at timestamptz"
    sql(postgres_database, f"CREATE TABLE items ({columns}) PARTITION BY RANGE (id)")
    for n in range(3):
        bounds = f"FROM ({n * 10}) TO ({n * 10 + 10})"
        sql(postgres_database, f"CREATE TABLE part{n} PARTITION OF items FOR VALUES {bounds}")
    pipeline = by_key(lab)
    items(lab, *((n, 1, "a") for n in range(30)))
    lab.run(pipeline)
    items(lab, *((n, 2, "b") for n in range(0, 30, 2)))
    assert counted(lab.run(pipeline)) == {"read": 15, "updated": 15}
    assert len(content(lab, pipeline)) == 30


def test_a_month_is_not_thirty_days(tmp_path: Any, postgres_database: str) -> None:
    url = postgres_database
    sql(url, "CREATE SCHEMA src")
    sql(url, "CREATE TABLE src.items (id int, v interval)")
    sql(url, "INSERT INTO src.items VALUES (1, '1 month')")
    lab = Lab(tmp_path, url)
    keys = {"table": "src.items", "mode": "upsert", "unique_key": "id"}
    pipeline = lab.pipeline(keys, source={"type": "postgres", "url": url})
    lab.run(pipeline)
    sql(url, "UPDATE src.items SET v = '30 days'")
    assert counted(lab.run(pipeline)) == {"read": 1, "updated": 1}
    assert sql(url, "SELECT v::text FROM items") == [("30 days",)]


def test_rows_that_a_policy_hides_are_an_error(tmp_path: Any, postgres_database: str) -> None:
    url = postgres_database
    lab = Lab(tmp_path, url)
    items(lab, (1, 1, "a"), (2, 1, "b"))
    lab.run(by_key(lab))
    sql(url, "ALTER TABLE items ENABLE ROW LEVEL SECURITY")
    sql(url, "CREATE POLICY few ON items USING (id = 1)")
    (name,) = (f"loader_{os.getpid()}_{time.monotonic_ns()}",)
    sql(url, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    try:
        for what in ("ALL TABLES", "ALL SEQUENCES"):
            sql(url, f"GRANT ALL ON {what} IN SCHEMA public TO {name}")
        sql(url, f"GRANT USAGE, CREATE ON SCHEMA public TO {name}")
        lab.destination = {"type": "postgres", "url": _as_role(url, name)}
        items(lab, (2, 2, "B"))
        with pytest.raises(PublishError, match="row-level security"):
            lab.run(by_key(lab))
    finally:
        sql(url, f"DROP OWNED BY {name}")
        sql(url, f"DROP ROLE {name}")
    assert len(sql(url, "SELECT id FROM items")) == 2


def _as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:p@{place}"))
