"""p16: a bad row never vanishes without a trace: it is a dead letter, or the load fails."""

from __future__ import annotations

import json

import pytest

from conduit_core import Pipeline
from conduit_core.engine import deadletters
from conduit_core.errors import QualityError
from tests.lab import Lab, stream

ROWS = 1000
BAD = {i for i in range(ROWS) if i % 7 == 0 or i % 11 == 0}


def fill(lab: Lab) -> None:
    """Make rows of which some have no text and some a number that is too large."""
    lab.sql("CREATE TABLE orders (id INTEGER, v TEXT, n INTEGER)")
    with lab._open() as connection:
        connection.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)",
            [(i, None if i % 7 == 0 else f"v{i}", 99 if i % 11 == 0 else 1) for i in range(ROWS)],
        )


def judged(lab: Lab, most: int = 10, **keys: object) -> Pipeline:
    """Return a pipeline whose rows must have a text and no number above ``most``."""
    rules = [
        {"rule": "not_null", "column": "v", "action": "dlq"},
        {"rule": "range", "column": "n", "max": most, "action": "dlq"},
    ]
    return lab.pipeline(stream(mode="upsert", unique_key="id", quality=rules, **keys))


def test_p16_each_row_is_loaded_or_kept_with_its_reasons_and_its_values(each_lab: Lab) -> None:
    lab = each_lab
    fill(lab)
    pipeline = judged(lab)
    counts = lab.run(pipeline).counts
    assert (counts.read, counts.inserted, counts.rejected) == (ROWS, ROWS - len(BAD), len(BAD))
    kept = {json.loads(x.payload or "")["id"]: x for x in deadletters.letters(pipeline)}
    loaded = set(lab.ids(pipeline=pipeline))
    assert (set(kept), loaded) == (BAD, set(range(ROWS)) - BAD)
    for i, letter in kept.items():
        rules = {reason["rule"] for reason in json.loads(letter.reasons)}
        assert rules == {
            *(["not_null(v)"] if i % 7 == 0 else []),
            *(["range(n)"] if i % 11 == 0 else []),
        }
        assert json.loads(letter.payload or "") == {
            "id": i,
            "v": None if i % 7 == 0 else f"v{i}",
            "n": 99 if i % 11 == 0 else 1,
        }


def test_p16_what_passes_later_is_replayed_once(each_lab: Lab) -> None:
    lab = each_lab
    fill(lab)
    lab.run(judged(lab))
    looser = judged(lab, most=99)
    for outcome in ("published", "published"):
        (result,) = deadletters.replay(looser)
        assert result.outcome == outcome
    assert len(lab.ids(pipeline=looser)) == len(set(lab.ids(pipeline=looser)))
    without_text = {i for i in range(ROWS) if i % 7 == 0}
    assert set(lab.ids(pipeline=looser)) == set(range(ROWS)) - without_text
    left = {json.loads(x.payload or "")["id"] for x in deadletters.letters(looser)}
    assert left == without_text


@pytest.mark.parametrize("ceiling", [10, "1%"])
def test_p16_more_bad_rows_than_the_ceiling_fail_the_load(lab: Lab, ceiling: object) -> None:
    fill(lab)
    pipeline = judged(lab, max_rejected=ceiling)
    with pytest.raises(QualityError, match="max_rejected") as caught:
        lab.run(pipeline)
    assert caught.value.exit_code == 5
    assert lab.chain(pipeline) == []
    assert deadletters.letters(pipeline, statuses=deadletters.ALL) == []
