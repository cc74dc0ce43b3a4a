"""Replace: whole contents swapped; with a cursor nothing moves unless something is new."""

from __future__ import annotations

import pytest

from conduit_core.errors import GuardError, SourceDataError
from tests.lab import Lab, stream

REPLACE = stream(mode="replace", cursor=None)
BY_CURSOR = stream(mode="replace")


def test_replace_takes_the_source_as_it_is(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 6))
    pipeline = lab.pipeline(REPLACE)
    first = lab.run(pipeline)
    assert (first.counts.inserted, first.guarantee) == (5, "exactly-once")
    lab.sql("DELETE FROM orders WHERE id < 3", "UPDATE orders SET v = 'new' WHERE id = 4")
    lab.orders([9])
    second = lab.run(pipeline)
    assert (second.outcome, second.version, second.counts.read) == ("published", 2, 4)
    assert lab.ids(pipeline=pipeline) == [3, 4, 5, 9]


def test_p04_replace_with_a_cursor_reads_nothing_when_nothing_is_new(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 6))
    pipeline = lab.pipeline(BY_CURSOR)
    lab.run(pipeline)
    again = lab.run(pipeline)
    assert (again.outcome, again.counts.read, again.version) == ("empty", 0, None)
    lab.sql("DELETE FROM orders")  # and not even a source that lost its rows empties the target
    assert lab.run(pipeline).outcome == "empty"
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4, 5]
    lab.orders([7])
    third = lab.run(pipeline)
    assert (third.outcome, third.watermark) == ("published", "7")
    assert lab.ids(pipeline=pipeline) == [7]
    assert len(lab.chain(pipeline)) == 2


def test_p04_an_empty_full_extract_stops_at_a_guard(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 4))
    pipeline = lab.pipeline(REPLACE)
    lab.run(pipeline)
    lab.sql("DELETE FROM orders")
    with pytest.raises(GuardError, match="full extract is empty") as caught:
        lab.run(pipeline)
    assert "--allow-empty" in caught.value.lines()[3]
    assert "version 1" in caught.value.lines()[1]
    assert lab.ids(pipeline=pipeline) == [1, 2, 3]
    emptied = lab.run(pipeline, allow_empty=True)
    assert (emptied.outcome, emptied.counts.read) == ("published", 0)
    assert lab.ids(pipeline=pipeline) == []
    assert lab.run(pipeline).outcome == "empty"


def test_an_empty_table_is_made_by_its_first_load(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders([])
    pipeline = lab.pipeline(REPLACE)
    assert lab.run(pipeline).outcome == "published"
    assert lab.ids(pipeline=pipeline) == []
    assert lab.run(pipeline).outcome == "empty"


@pytest.mark.parametrize("mode", ["append", "upsert", "insert_only", "replace_window", "scd2"])
def test_with_a_cursor_an_empty_source_makes_no_table(lab: Lab, mode: str) -> None:
    """Under ``replace`` it does: its content is the source's, and that is none."""
    lab.orders([])
    key = None if mode in ("append", "replace_window") else "id"
    pipeline = lab.pipeline(stream(mode=mode, unique_key=key))
    assert lab.run(pipeline).outcome == "empty"
    assert lab.chain(pipeline) == []


def test_a_full_refresh_reads_all_even_where_nothing_is_new(lab: Lab) -> None:
    lab.orders(range(1, 4))
    pipeline = lab.pipeline(BY_CURSOR)
    lab.run(pipeline)
    lab.sql("UPDATE orders SET v = 'new'")
    assert lab.run(pipeline, full_refresh=True).counts.read == 3
    assert {r["v"] for r in lab.rows(pipeline=pipeline)} == {"new"}


def test_a_cap_holds_for_replace_too(lab: Lab) -> None:
    lab.orders(range(1, 11))
    pipeline = lab.pipeline(BY_CURSOR)
    assert lab.run(pipeline, window_to="4").watermark == "4"
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4]
    assert lab.run(pipeline, window_to="4").outcome == "empty"
    assert lab.run(pipeline).watermark == "10"
    assert lab.ids(pipeline=pipeline) == list(range(1, 11))


def test_rows_without_a_cursor_fail_or_are_included_and_counted(lab: Lab) -> None:
    lab.orders([1, 2])
    lab.sql("INSERT INTO orders VALUES (NULL, NULL, 'none')")
    with pytest.raises(SourceDataError, match="1 row has a NULL"):
        lab.run(lab.pipeline(BY_CURSOR))
    pipeline = lab.pipeline(stream(mode="replace", null_cursor="include"))
    assert lab.plan(pipeline).null_rows == 1
    got = lab.run(pipeline)
    assert got.counts.read == 3
    assert any("NULL in the cursor" in note for note in got.notes)


def test_a_dropped_target_is_filled_again_with_everything(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    import duckdb

    lab.orders(range(1, 6))
    pipeline = lab.pipeline(BY_CURSOR)
    lab.run(pipeline)
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute("DROP TABLE orders")
    assert lab.run(pipeline).counts.read == 5
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4, 5]


def test_columns_the_source_lacks_stay_and_are_null_after_a_replace(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    import duckdb

    lab.orders([1])
    pipeline = lab.pipeline(REPLACE)
    lab.run(pipeline)
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute("ALTER TABLE orders ADD COLUMN note VARCHAR")
        connection.execute("UPDATE orders SET note = 'by hand'")
    lab.run(pipeline)
    assert [r["note"] for r in lab.rows(pipeline=pipeline)] == [None]


def test_without_metadata_a_sources_own_columns_of_those_names_stay(each_lab: Lab) -> None:
    """As when a table is loaded that Conduit made."""
    lab = each_lab
    lab.sql(
        "CREATE TABLE orders (id INTEGER, _conduit_load_id TEXT, _conduit_loaded_at TEXT)",
        "INSERT INTO orders VALUES (1, 'mine', 'then')",
    )
    pipeline = lab.pipeline({"table": "orders", "metadata": []})
    lab.run(pipeline)
    (row,) = lab.rows(pipeline=pipeline)
    assert (row["_conduit_load_id"], row["_conduit_loaded_at"]) == ("mine", "then")
