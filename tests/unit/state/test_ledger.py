"""The chain: which record is newest, and which one carries the watermark."""

from __future__ import annotations

import pyarrow as pa
import pytest

from conduit_core.state.ledger import newest, watermark_record
from conduit_core.state.window import Window
from tests.unit.state.records import at, record

GIVEN = Window("given", at(1), at(2))


def test_an_empty_chain_has_neither() -> None:
    assert newest([]) is None
    assert watermark_record([]) is None


def test_the_newest_is_by_version_not_by_place() -> None:
    chain = [record(3), record(1), record(2)]
    assert newest(chain) is chain[0]


def test_given_records_carry_no_watermark() -> None:
    chain = [record(1, at(5)), record(2, at(5), window=GIVEN)]
    assert watermark_record(chain) is chain[0]
    assert newest(chain) is chain[1]
    assert watermark_record([record(1, window=GIVEN)]) is None


def test_a_cursor_whose_value_looks_like_a_given_window_is_none() -> None:
    text = at('"kind":"given"', pa.string())
    chain = [record(1, text)]
    assert watermark_record(chain) is chain[0]


@pytest.mark.parametrize("mode", ["state_set", "state_reset", "state_adopt"])
def test_a_record_without_rows_shows_the_watermark_in_place_of_a_window(mode: str) -> None:
    nothing = Window("watermark")
    assert record(2, at(5), mode=mode, window=nothing).window_text == "watermark 5"
    assert record(2, mode=mode, window=nothing).window_text == "no watermark"
