"""``lookback``: what commits behind the watermark is read again, by key, and nothing goes back."""

from __future__ import annotations

import json

from conduit_core import Pipeline
from tests.lab import Lab, in_turn, stream


def behind(lab: Lab, **keys: object) -> Pipeline:
    return lab.pipeline(
        stream(**{"mode": "upsert", "unique_key": "id", "cursor": "at", "lookback": "10s", **keys})
    )


def seconds(lab: Lab, *rows: tuple[int, int]) -> None:
    """Add or change rows ``(id, seconds past midnight)``."""
    lab.sql("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, at TIMESTAMP)")
    for i, second in rows:
        lab.sql(f"INSERT OR REPLACE INTO orders VALUES ({i}, '2024-01-01 00:00:{second:02}')")


@in_turn("mode", "upsert", "insert_only")
def test_a_late_row_within_the_lookback_is_loaded_once(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    pipeline = behind(lab, mode=mode)
    seconds(lab, (1, 5), (2, 20), (3, 30))
    lab.run(pipeline)
    seconds(lab, (4, 22), (5, 10), (6, 40))  # late; too late for ten seconds; new
    got = lab.run(pipeline)
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4, 6]
    assert (got.counts.inserted, got.counts.read) == (2, 4)
    assert str(got.watermark).startswith("2024-01-01T00:00:40")


def test_the_record_shows_what_was_read_and_the_watermark_does_not_go_back(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = behind(lab)
    seconds(lab, (1, 5), (2, 30))
    lab.run(pipeline)
    seconds(lab, (3, 25))
    got = lab.run(pipeline)
    window = json.loads(lab.chain(pipeline)[-1].load_window)
    assert window["low"][0]["value"].startswith("2024-01-01T00:00:20")
    assert window["high"][0]["value"].startswith("2024-01-01T00:00:30")
    assert window["closed_low"] is True
    assert str(got.watermark).startswith("2024-01-01T00:00:30")
    assert lab.ids(pipeline=pipeline) == [1, 2, 3]


def test_without_news_it_is_read_again_and_nothing_changes(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = behind(lab)
    seconds(lab, (1, 25), (2, 30))
    lab.run(pipeline)
    before = lab.rows(pipeline=pipeline)
    got = lab.run(pipeline)
    assert (got.counts.inserted, got.counts.updated) == (0, 0)
    assert lab.rows(pipeline=pipeline) == before
    assert str(got.watermark).startswith("2024-01-01T00:00:30")


def test_a_number_looks_back_over_a_cursor_of_numbers(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = behind(lab, cursor="id", lookback=3)
    lab.orders([1, 5, 10])
    lab.run(pipeline)
    lab.orders([6, 8, 11])
    lab.run(pipeline)
    assert lab.ids(pipeline=pipeline) == [1, 5, 8, 10, 11]


@in_turn("mode", "upsert", "replace_window")
def test_a_composite_cursor_looks_back_over_its_first_column(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    pipeline = behind(lab, mode=mode, cursor=["at", "id"])
    seconds(lab, (1, 5), (2, 20), (3, 30))
    lab.run(pipeline)
    seconds(lab, (4, 22), (2, 40))
    lab.run(pipeline)
    assert lab.ids(pipeline=pipeline) == [1, 2, 3, 4]


def test_rows_without_a_cursor_are_included_in_each_load_by_key(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = behind(lab, lookback=None, null_cursor="include")
    seconds(lab, (1, 5))
    lab.sql("INSERT INTO orders VALUES (2, NULL)")
    lab.run(pipeline)
    lab.sql("INSERT INTO orders VALUES (3, NULL)")
    got = lab.run(pipeline)
    assert got.counts.inserted == 1
    assert str(got.watermark).startswith("2024-01-01T00:00:05")
    assert lab.ids(pipeline=pipeline) == [1, 2, 3]
