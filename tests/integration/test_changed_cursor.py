"""The cursor of a stream that is loaded already is changed, or misspelt."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from conduit_core import plan, state_set, state_show
from conduit_core.engine.asking import example
from conduit_core.errors import SchemaError, StateError
from conduit_core.state.cursor import parse_point
from conduit_core.state.store import InMemoryStateStore
from tests.lab import Lab, in_turn, only, stream

MODES: dict[str, dict[str, Any]] = {
    "append": {},
    "upsert": {"unique_key": "id"},
    "insert_only": {"unique_key": "id"},
    "replace_window": {},
    "scd2": {"unique_key": "id"},
}


@in_turn("mode", *MODES)
def test_a_full_refresh_takes_the_new_cursor_and_line_4_says_so(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    lab.orders(range(1, 6))
    lab.run(lab.pipeline(stream(mode=mode, cursor="at", **MODES[mode])))
    changed = lab.pipeline(stream(mode=mode, cursor=["at", "id"], **MODES[mode]))
    with pytest.raises(StateError, match="the watermark is over") as refused:
        lab.run(changed)
    assert refused.value.lines()[3] == "conduit run --stream orders --full-refresh"
    assert "at, id, in this order, such as 2024-02-01T00:00:00,42" in refused.value.message
    allowed = {"allow_deletes": True} if mode == "scd2" else {}
    assert lab.plan(changed, full_refresh=True).watermark_text == "2024-01-01T00:00:05.000000, 5"
    refreshed = lab.run(changed, full_refresh=True, **allowed)
    assert (refreshed.counts.read, refreshed.watermark) == (5, "2024-01-01T00:00:05.000000, 5")
    lab.orders([6, 7])
    assert lab.run(changed).counts.read == 2
    assert lab.ids(pipeline=changed) == list(range(1, 8))
    assert state_show(changed)[0].watermark == "2024-01-01T00:00:07.000000, 7"


def test_a_replace_reads_everything_and_asks_for_nothing_more(lab: Lab) -> None:
    lab.orders(range(1, 6))
    lab.run(lab.pipeline(stream(mode="replace", cursor="at")))
    changed = lab.pipeline(stream(mode="replace", cursor=["at", "id"]))
    assert lab.run(changed).watermark == "2024-01-01T00:00:05.000000, 5"


def test_a_runner_s_store_follows_the_new_cursor(lab: Lab) -> None:
    from conduit_core import RunRequest, run

    lab.orders(range(1, 6))
    store = InMemoryStateStore()
    run(lab.pipeline(stream(cursor="at")), store=store)
    changed = lab.pipeline(stream(cursor=["at", "id"]))
    only(run(changed, store=store, request=RunRequest(full_refresh=True)))
    lab.orders([6])
    assert only(run(changed, store=store)).counts.read == 1


def test_a_window_beside_a_watermark_over_other_columns_is_refused(lab: Lab) -> None:
    lab.orders(range(1, 6))
    lab.run(lab.pipeline(stream(cursor="at")))
    with pytest.raises(StateError, match="the watermark is over"):
        lab.run(lab.pipeline(stream(cursor="id")), window_from="2", window_to="4")


def test_a_watermark_over_the_new_columns_is_set_with_skip(lab: Lab) -> None:
    lab.orders(range(1, 6))
    lab.run(lab.pipeline(stream(cursor="at")))
    lab.orders([6, 7])
    changed = lab.pipeline(stream(cursor="id"))
    with pytest.raises(StateError, match=r"is over \['at'\], and 5 over \['id'\]") as refused:
        state_set(changed, "orders", "5")
    assert "ahead of" not in refused.value.message
    assert refused.value.lines()[3].endswith("--cursor 5 --skip")
    state_set(changed, "orders", "5", skip=True)
    assert lab.run(changed).counts.read == 2
    assert lab.ids() == list(range(1, 8))


def test_a_misspelt_cursor_is_told_as_that(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(1, 6))
    lab.run(lab.pipeline(stream(cursor="at")))
    with pytest.raises(SchemaError, match="did you mean 'at'") as told:
        plan(lab.pipeline(stream(cursor="att")))
    assert "watermark is over" not in told.value.message


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("us", "UTC"), pa.timestamp("s"), pa.date32(), pa.int16(), pa.float64(),
        pa.decimal128(9, 2), pa.string(), pa.binary(), pa.time64("us"),
    ],
    ids=str,
)  # fmt: skip
def test_the_example_is_a_value_that_is_taken(kind: pa.DataType) -> None:
    assert parse_point(example((kind,)), kind, "UTC").type == kind
