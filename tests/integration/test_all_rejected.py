"""A load whose rules reject every row: to its target it is an empty extract, and stops like one."""

from __future__ import annotations

from typing import Any

import pytest

from conduit_core import Pipeline, SliceBy
from conduit_core.engine import deadletters
from conduit_core.errors import GuardError
from tests.lab import Lab, in_turn, stream

THERE = {"rule": "not_null", "column": "v", "action": "dlq"}
WINDOW = {"window_from": "0", "window_to": "10"}


def ruled(lab: Lab, **keys: object) -> Pipeline:
    return lab.pipeline(stream(quality=[THERE], **keys))


def stopped(lab: Lab, pipeline: Pipeline, *words: str, **request: Any) -> None:
    """Load what can't be: nothing changes, no letter is kept, and it is said what can be done."""
    before = lab.rows(pipeline=pipeline), lab.chain(pipeline)
    with pytest.raises(GuardError) as caught:
        lab.run(pipeline, **request)
    told, state, retry, command = caught.value.lines()
    for word in ("was rejected", "mend the rule", "--allow-empty", "read 3, rejected 3", *words):
        assert word in told
    assert "nothing published" in state
    assert retry == "a retry will not help"
    assert command.endswith("--allow-empty")
    assert (lab.rows(pipeline=pipeline), lab.chain(pipeline)) == before
    assert deadletters.letters(pipeline, statuses=deadletters.ALL) == []


def emptied(lab: Lab, pipeline: Pipeline, **request: Any) -> None:
    """Load it all the same: the rows are gone, and the letters are there."""
    result = lab.run(pipeline, allow_empty=True, **request)
    assert (result.outcome, result.counts.read, result.counts.rejected) == ("published", 3, 3)
    assert lab.ids(pipeline=pipeline) == []
    assert len(deadletters.letters(pipeline)) == 3


REFRESHED: dict[str, dict[str, object]] = {
    "replace": {"mode": "replace", "cursor": None},
    "upsert": {"mode": "upsert", "unique_key": "id"},
    "insert_only": {"mode": "insert_only", "unique_key": "id"},
    "scd2": {"mode": "scd2", "unique_key": "id"},
    "append": {"mode": "append"},
}


@in_turn("mode", *REFRESHED)
def test_p04_a_full_extract_of_rejected_rows_stops_at_a_guard(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    lab.orders(range(1, 4))
    pipeline = ruled(lab, **REFRESHED[mode])
    asked = {} if mode == "replace" else {"full_refresh": True, "allow_deletes": True}
    lab.run(pipeline)
    lab.sql("UPDATE orders SET v = NULL")
    stopped(lab, pipeline, "the full extract", "the target would be emptied", **asked)
    emptied(lab, pipeline, **asked)


@pytest.mark.parametrize("keys", [{"mode": "append"}, {"mode": "replace_window"}], ids=str)
def test_p04_a_window_of_rejected_rows_stops_at_a_guard(
    each_lab: Lab, keys: dict[str, object]
) -> None:
    lab = each_lab
    lab.orders(range(1, 4))
    pipeline = ruled(lab, **keys)
    lab.run(pipeline, **WINDOW)
    lab.sql("UPDATE orders SET v = NULL")
    stopped(lab, pipeline, "the window", "removed 3", "for example", **WINDOW)
    emptied(lab, pipeline, **WINDOW)


def test_p04_a_slice_of_rejected_rows_stops_at_a_guard(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 5))
    pipeline = ruled(lab, cursor=None)
    only = SliceBy(column="id", values=("1", "2", "3"))
    lab.run(pipeline, only=only)
    lab.sql("UPDATE orders SET v = NULL")
    stopped(lab, pipeline, "the slice", only=only)
    emptied(lab, pipeline, only=only)


def test_p04_a_staged_load_of_rejected_rows_stops_at_a_guard(lab: Lab) -> None:
    lab.orders(range(1, 4))
    lab.destination["staging"] = "staging"
    pipeline = ruled(lab, mode="replace", cursor=None, splits={"column": "id", "count": 2})
    lab.run(pipeline)
    lab.sql("UPDATE orders SET v = NULL")
    stopped(lab, pipeline, "the full extract")
    stopped(lab, pipeline, "the full extract")  # no staging that another run would take up
    emptied(lab, pipeline)


def test_one_row_that_is_left_is_an_extract(lab: Lab) -> None:
    lab.orders(range(1, 4))
    pipeline = ruled(lab, mode="replace", cursor=None)
    lab.run(pipeline)
    lab.sql("UPDATE orders SET v = NULL WHERE id > 1")
    assert lab.run(pipeline).counts.rejected == 2
    assert lab.ids(pipeline=pipeline) == [1]


def test_rejected_rows_empty_no_target_that_has_none(lab: Lab) -> None:
    """A first load whose rows are all rejected is one: its letters say what to mend."""
    lab.orders(range(1, 4))
    lab.sql("UPDATE orders SET v = NULL")
    pipeline = ruled(lab, mode="replace", cursor=None)
    for _ in range(2):
        assert lab.run(pipeline).counts.rejected == 3
    lab.sql("UPDATE orders SET v = 'b'")
    assert lab.run(pipeline).counts.inserted == 3
    assert deadletters.letters(pipeline) == []
