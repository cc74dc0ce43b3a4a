"""Rows that rules reject, as whole loads: dead letters, what becomes of them, and replays."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import conduit_core
from conduit_core import LoadResult, Pipeline, run
from conduit_core.connectors.letters import DeadLetter
from conduit_core.connectors.publish import LetterFilter
from conduit_core.engine import admin, deadletters
from conduit_core.errors import ConduitError, ConfigError, QualityError, StateError
from conduit_core.events import BatchRead, Event, RuleChecked
from tests.integration.test_merge import counted, items
from tests.lab import Lab, in_turn, stream

THERE = {"rule": "not_null", "column": "v", "action": "dlq"}
CANARY = "kanarienvogel-7f3a"


def judged(lab: Lab, *rules: dict[str, object], **keys: Any) -> Pipeline:
    """Return a pipeline that upserts items by ``id`` with ``at`` as cursor, under rules."""
    by_key = {"mode": "upsert", "unique_key": "id", "cursor": "at"}
    return lab.pipeline(stream("items", quality=list(rules) or [THERE], **{**by_key, **keys}))


def letters(pipeline: Pipeline) -> list[DeadLetter]:
    """Return every letter, the oldest first."""
    return deadletters.letters(pipeline, statuses=deadletters.ALL)[::-1]


def told(pipeline: Pipeline) -> dict[tuple[object, ...], tuple[str, int]]:
    """Return each letter's status and attempts, by ``(id, at)`` of its payload."""
    out: dict[tuple[object, ...], tuple[str, int]] = {}
    for letter in letters(pipeline):
        row = json.loads(letter.payload or "{}")
        out[row.get("id"), row.get("at")] = (letter.status, letter.attempts)
    return out


def content(lab: Lab, pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Return the target's rows ``(id, at, v)``, sorted."""
    return sorted((r["id"], r["at"], r["v"]) for r in lab.rows("items", pipeline))


def replay(pipeline: Pipeline, **which: Any) -> LoadResult:
    """Replay and return the one stream's result."""
    (result,) = conduit_core.replay(pipeline, **which)
    return result


def loosened(lab: Lab, **keys: Any) -> Pipeline:
    """Return the pipeline with a rule that takes all rows."""
    return judged(lab, {"rule": "not_null", "column": "id", "action": "dlq"}, **keys)


# --- what a later load makes of a letter ----------------------------------------------------------


def test_a_row_that_breaks_rules_is_one_letter_with_all_its_reasons(each_lab: Lab) -> None:
    lab = each_lab
    rules = [
        THERE,
        {"rule": "range", "column": "at", "max": 5, "action": "dlq", "name": "early"},
        {"rule": "expression", "sql": "id < 100", "action": "dlq"},
    ]
    pipeline = judged(lab, *rules)
    items(lab, (1, 1, "a"), (200, 9, None))
    result = lab.run(pipeline)
    assert counted(result) == {"read": 2, "inserted": 1, "rejected": 1}
    assert (result.watermark, content(lab, pipeline)) == ("9", [(1, 1, "a")])
    (letter,) = letters(pipeline)
    assert [r["rule"] for r in json.loads(letter.reasons)] == [
        "not_null(v)",
        "early",
        "expression",
    ]
    assert (letter.status, letter.attempts, letter.copies) == ("open", 1, 1)
    assert (letter.row_key, letter.load_id) == ("[200]", result.load_id)
    assert json.loads(letter.payload or "") == {"id": 200, "at": 9, "v": None}
    assert lab.chain(pipeline)[-1].counts.rejected == 1
    report = result.quality
    assert (report["read"], report["passed"], report["rejected"]) == (2, 1, 1)


MODES: dict[str, dict[str, Any]] = {
    "append": {"mode": "append"},
    "upsert": {"mode": "upsert"},
    "insert_only": {"mode": "insert_only"},
    "scd2": {"mode": "scd2"},
    "replace": {"mode": "replace", "cursor": None},
    "replace_window": {"mode": "replace_window"},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_row_corrected_at_the_source_resolves_its_letter(lab: Lab, mode: str) -> None:
    pipeline = judged(lab, **MODES[mode])
    items(lab, (1, 1, "a"), (2, 2, None))
    lab.run(pipeline)
    assert told(pipeline) == {(2, 2): ("open", 1)}
    lab.sql("UPDATE items SET at = 3, v = 'b' WHERE id = 2")
    result = lab.run(pipeline)
    (letter,) = letters(pipeline)
    assert (letter.status, letter.settled_by) == ("resolved", result.load_id)
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 3, "b")]
    assert replay(pipeline).outcome == "empty"


def test_a_slice_that_is_loaded_again_settles_its_letters(lab: Lab) -> None:
    pipeline = judged(lab, mode="replace_window", unique_key=None)
    window = {"window_from": "0", "window_to": "10"}
    items(lab, (1, 1, "a"), (2, 2, None), (3, 20, None))
    lab.run(pipeline, **window)
    lab.run(pipeline, window_from="10", window_to="30")
    assert told(pipeline) == {(2, 2): ("open", 1), (3, 20): ("open", 1)}
    lab.run(pipeline, **window)
    assert told(pipeline) == {(2, 2): ("open", 2), (3, 20): ("open", 1)}
    lab.sql("UPDATE items SET v = 'b' WHERE id = 2")
    lab.run(pipeline, **window)
    assert told(pipeline) == {(2, 2): ("superseded", 2), (3, 20): ("open", 1)}
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 2, "b")]


def test_a_full_extract_without_a_key_supersedes_what_it_does_not_bring(lab: Lab) -> None:
    pipeline = judged(lab, mode="replace", unique_key=None, cursor=None)
    items(lab, (1, 1, "a"), (2, 2, None), (3, 3, None))
    lab.run(pipeline)
    lab.run(pipeline)
    assert told(pipeline) == {(2, 2): ("open", 2), (3, 3): ("open", 2)}
    lab.sql("UPDATE items SET v = 'b' WHERE id = 2")
    lab.run(pipeline)
    assert told(pipeline) == {(2, 2): ("superseded", 2), (3, 3): ("open", 3)}


def test_a_newer_version_that_is_bad_too_supersedes_the_older(lab: Lab) -> None:
    pipeline = judged(lab)
    items(lab, (1, 1, "a"), (2, 2, None))
    lab.run(pipeline)
    lab.sql("UPDATE items SET at = 5 WHERE id = 2")
    lab.run(pipeline)
    assert told(pipeline) == {(2, 2): ("superseded", 1), (2, 5): ("open", 1)}
    lab.sql("UPDATE items SET at = 6, v = 'b' WHERE id = 2")
    lab.run(pipeline)
    assert told(pipeline) == {(2, 2): ("superseded", 1), (2, 5): ("resolved", 1)}


def test_a_row_that_is_read_again_and_rejected_again_is_an_attempt(lab: Lab) -> None:
    pipeline = judged(lab, lookback=10)
    items(lab, (1, 1, "a"), (2, 2, None))
    lab.run(pipeline)
    items(lab, (3, 3, "c"))
    lab.run(pipeline)
    (letter,) = letters(pipeline)
    assert (letter.status, letter.attempts, letter.copies) == ("open", 2, 1)
    assert letter.first_load_id != letter.load_id


@pytest.mark.parametrize("cursor", ["id", ["_file_modified", "_file_path"]], ids=["rows", "files"])
def test_letters_of_a_file_are_settled_only_by_loads_of_whole_files(
    lab: Lab, cursor: object
) -> None:
    folder = lab.folder / "data"
    folder.mkdir()
    rule = {"rule": "range", "column": "n", "max": 10, "action": "dlq"}
    keys = {"mode": "append", "cursor": cursor, "metadata": ["load", "file"], "unique_key": "id"}
    pipeline = lab.pipeline(
        {"path": "a.csv", "name": "items", "quality": rule, **keys},
        source={"type": "csv", "path": "data"},
    )
    (folder / "a.csv").write_text("id,n\n1,1\n2,99\n")
    lab.run(pipeline)
    (folder / "a.csv").write_text("id,n\n1,1\n2,2\n3,3\n")
    lab.run(pipeline)
    (letter,) = letters(pipeline)
    whole = cursor != "id"
    assert letter.status == ("resolved" if whole else "open")
    assert sorted(r["id"] for r in lab.rows("items", pipeline)) == ([1, 2, 3] if whole else [1, 3])


def test_equal_rows_without_a_key_are_one_letter_with_copies(lab: Lab) -> None:
    pipeline = judged(lab, mode="append", unique_key=None)
    items(lab, (2, 2, None), (2, 2, None), (1, 3, "a"))
    assert counted(lab.run(pipeline)) == {"read": 3, "inserted": 1, "rejected": 2}
    (letter,) = letters(pipeline)
    assert (letter.copies, letter.row_key) == (2, None)
    assert counted(replay(loosened(lab, mode="append", unique_key=None))) == {
        "read": 2,
        "inserted": 2,
    }
    assert [r["id"] for r in lab.rows("items", pipeline)] == [1, 2, 2]


# --- ceilings, redaction, transforms --------------------------------------------------------------


@pytest.mark.parametrize("ceiling", [2, "40%"])
@pytest.mark.parametrize("on", ["rule", "stream"])
def test_more_letters_than_the_ceiling_fail_the_load(lab: Lab, on: str, ceiling: object) -> None:
    rule = {**THERE, "max_rejected": ceiling} if on == "rule" else THERE
    keys = {"max_rejected": ceiling} if on == "stream" else {}
    pipeline = judged(lab, rule, **keys)
    items(lab, (1, 1, "a"), (2, 2, None), (3, 3, None), (4, 4, "d"), (5, 5, "e"))
    assert counted(lab.run(pipeline)) == {"read": 5, "inserted": 3, "rejected": 2}
    items(lab, (6, 6, None), (7, 7, None), (8, 8, None), (9, 9, "i"))
    with pytest.raises(QualityError) as caught:
        lab.run(pipeline)
    assert caught.value.exit_code == 5
    assert "nothing published" in caught.value.lines()[1]
    assert set(told(pipeline)) == {(2, 2), (3, 3)}
    assert (len(lab.chain(pipeline)), len(content(lab, pipeline))) == (1, 3)


def test_redacted_values_are_nowhere_and_their_letters_are_not_replayed(lab: Lab) -> None:
    rule = {"rule": "regex", "column": "v", "pattern": "^[a-z]$", "action": "dlq"}
    warns = {"rule": "length", "column": "v", "max": 3, "action": "warn"}
    pipeline = judged(lab, rule, warns, redact="v")
    items(lab, (1, 1, "a"), (2, 2, CANARY), (3, 3, f"{CANARY}-too"))
    events: list[Event] = []
    result = run(pipeline, listeners=(events.append,))
    assert result.exit_code == 0
    found = letters(pipeline)
    assert {x.redacted for x in found} == {("v",)}
    with pipeline.open() as ends:
        audits = ends.destination.audits(pipeline.target(pipeline.streams[0], ends.destination))
    texts = [repr(events), result.model_dump_json(), repr(found), repr(audits)]
    texts += [str(e.facts()) for e in events]
    assert [t for t in texts if CANARY in t] == []
    assert replay(loosened(lab, redact="v")).counts.inserted == 0
    assert {x.status for x in letters(pipeline)} == {"open"}
    failing = judged(lab, {**rule, "action": "fail"}, redact="v", mode="replace", cursor=None)
    with pytest.raises(QualityError) as caught:
        lab.run(failing)
    assert CANARY not in str(caught.value) + repr(caught.value.__cause__)


def test_rules_and_letters_see_rows_after_the_transform(lab: Lab) -> None:
    lab.sql(
        "CREATE TABLE items (nr INTEGER, at INTEGER, amount TEXT, mail TEXT, iban TEXT, note TEXT)"
    )
    with lab._open() as connection:
        rows = [(1, 1, "1.50", "a@x", "DE00112233", "n"), (2, 2, "-2.25", CANARY, CANARY, "n")]
        connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", rows)
    transform = [
        {"rename": {"nr": "id", "amount": "price"}},
        {"cast": {"price": "decimal(12, 2)"}},
        {"drop": "note"},
        {"hash": {"columns": "mail", "salt": "pepper"}},
        {"mask": {"columns": "iban", "keep_first": 2}},
    ]
    rule = {"rule": "range", "column": "price", "min": 0, "action": "dlq"}
    long = {"rule": "length", "column": "mail", "min": 64, "max": 64}
    pipeline = judged(lab, rule, long, transform=transform)
    lab.run(pipeline)
    (row,) = lab.rows("items", pipeline)
    assert (row["id"], row["iban"], str(row["price"])) == (1, "DE********", "1.50")
    assert "note" not in row
    (letter,) = letters(pipeline)
    payload = json.loads(letter.payload or "")
    assert list(payload) == ["id", "at", "price", "mail", "iban"]
    assert (payload["id"], str(payload["price"])) == (2, "-2.25")
    assert CANARY not in repr(letter)
    # A replay takes the row as it is in the letter: nothing is hashed twice.
    replay(judged(lab, {**rule, "min": -5}, long, transform=transform))
    back = next(r for r in lab.rows("items", pipeline) if r["id"] == 2)
    assert (back["mail"], str(back["price"])) == (payload["mail"], "-2.25")


# --- deletes --------------------------------------------------------------------------------------


def test_rows_that_are_flagged_as_deleted_are_not_judged(lab: Lab) -> None:
    lab.sql("CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, gone BOOLEAN)")
    lab.sql("INSERT INTO items VALUES (1, 1, 'a', FALSE), (2, 2, NULL, FALSE)")
    pipeline = judged(lab, deletes={"detect": "flag", "column": "gone", "apply": "hard"})
    assert counted(lab.run(pipeline)) == {"read": 2, "inserted": 1, "rejected": 1}
    lab.sql("UPDATE items SET at = at + 5, v = NULL, gone = TRUE")
    result = lab.run(pipeline)
    assert (result.counts.rejected, result.counts.deleted) == (0, 2)
    assert content(lab, pipeline) == []
    assert told(pipeline) == {(2, 2): ("superseded", 1)}


def test_rows_that_are_read_again_by_key_are_judged(lab: Lab) -> None:
    rule = {"rule": "not_null", "column": "v"}
    pipeline = judged(lab, rule, deletes={"detect": "snapshot", "apply": "soft"})
    items(lab, (1, 1, "a"), (2, 2, "b"), (3, 3, "c"))
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 1")
    lab.run(pipeline)
    items(lab, (1, 1, None))  # restored, below the watermark
    with pytest.raises(QualityError, match="not_null"):
        lab.run(pipeline)
    assert len(lab.chain(pipeline)) == 2
    pipeline = judged(lab, deletes={"detect": "snapshot", "apply": "soft"})
    result = lab.run(pipeline)
    assert (result.counts.rejected, result.counts.inserted + result.counts.updated) == (1, 0)
    assert told(pipeline) == {(1, 1): ("open", 1)}


@in_turn("mode", "upsert", "scd2")
def test_a_letter_whose_key_the_source_lost_is_not_replayed(each_lab: Lab, mode: str) -> None:
    lab = each_lab
    keys: dict[str, Any] = {"deletes": {"detect": "snapshot", "apply": "hard"}, "mode": mode}
    if mode == "scd2":  # its versions begin and end at loads
        keys["cursor"] = None
    pipeline = judged(lab, **keys)
    items(lab, (1, 1, "a"), (2, 1, "b"), (3, 1, "c"))
    lab.run(pipeline)
    lab.sql("UPDATE items SET at = 2, v = NULL WHERE id > 1")
    lab.run(pipeline)
    lab.sql("DELETE FROM items WHERE id = 2")
    lab.run(pipeline)
    assert {k[0]: status for k, (status, _) in told(pipeline).items()} == {
        2: "superseded",
        3: "open",
    }
    replay(loosened(lab, **keys))
    assert {row[0] for row in content(lab, pipeline)} == {1, 3}


# --- unique ---------------------------------------------------------------------------------------


def test_unique_within_the_target_rejects_what_is_there_already(lab: Lab) -> None:
    rule = {"rule": "unique", "column": "v", "within": "target", "action": "dlq"}
    pipeline = judged(lab, rule, mode="append", unique_key=None)
    items(lab, (1, 1, "a"), (2, 2, "b"), (3, 3, "b"), (4, 4, None), (5, 5, None))
    assert counted(lab.run(pipeline)) == {"read": 5, "inserted": 4, "rejected": 1}
    items(lab, (6, 6, "a"), (7, 7, "c"), (8, 8, "c"))
    assert counted(lab.run(pipeline)) == {"read": 3, "inserted": 1, "rejected": 2}
    assert set(told(pipeline)) == {(3, 3), (6, 6), (8, 8)}
    assert replay(pipeline).counts.inserted == 0
    assert {status for status, _ in told(pipeline).values()} == {"open"}


def test_unique_within_the_target_never_rejects_what_a_slice_brings_again(lab: Lab) -> None:
    """The slice's own rows are there when the rule looks, and are deleted by the same load."""
    window = {"window_from": "0", "window_to": "10"}
    keys: dict[str, Any] = {"mode": "append", "unique_key": None}
    rule = {"rule": "unique", "column": "v", "within": "target"}
    items(lab, (1, 1, "a"), (2, 2, "b"))
    for _ in range(2):
        lab.run(judged(lab, rule, **keys), **window)
        assert content(lab, judged(lab)) == [(1, 1, "a"), (2, 2, "b")]
    with pytest.raises(ConfigError, match="a load of a window replaces rows of the target"):
        lab.plan(judged(lab, {**rule, "action": "dlq"}, **keys), **window)


def test_unique_within_the_target_that_fails_publishes_nothing(each_lab: Lab) -> None:
    lab = each_lab
    rule = {"rule": "unique", "column": "v", "within": "target"}
    pipeline = judged(lab, rule)
    items(lab, (1, 1, "a"), (2, 2, "b"))
    lab.run(pipeline)
    items(lab, (1, 3, "c"), (3, 4, "b"))
    with pytest.raises(QualityError, match="more than one row with the same v"):
        lab.run(pipeline)
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 2, "b")]
    items(lab, (2, 5, "free"))
    lab.run(pipeline)
    assert [row[2] for row in content(lab, pipeline)] == ["c", "free", "b"]


def test_unique_over_splits_is_refused_unless_they_are_cut_by_its_column(lab: Lab) -> None:
    lab.destination["staging"] = "staging"
    items(lab, *[(i, i, f"v{i % 10}") for i in range(1, 41)])
    rule = {"rule": "unique", "column": "id", "action": "dlq"}
    with pytest.raises(ConfigError, match="two splits, which don't know each other"):
        lab.plan(judged(lab, rule, splits={"count": 4, "column": "at"}))
    assert lab.file is not None
    assert not lab.file.exists()
    pipeline = judged(
        lab, rule, splits={"count": 4, "column": "id"}, mode="append", unique_key=None
    )
    items(lab, (7, 100, "twice"))
    assert counted(lab.run(pipeline)) == {"read": 41, "inserted": 40, "rejected": 1}


# --- replays --------------------------------------------------------------------------------------


def test_a_replay_loads_what_passes_now_and_only_once(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = judged(lab)
    items(lab, (1, 1, "a"), (2, 2, None), (3, 3, None))
    before = lab.run(pipeline)
    again = replay(pipeline)
    assert counted(again) == {"read": 2, "rejected": 2}
    assert told(pipeline) == {(2, 2): ("open", 2), (3, 3): ("open", 2)}
    ids = [x.letter_id for x in letters(pipeline) if json.loads(x.row_key or "") == [2]]
    loose = loosened(lab)
    result = replay(loose, ids=tuple(ids))
    assert (counted(result), result.watermark) == ({"read": 1, "inserted": 1}, before.watermark)
    assert {k: s for k, (s, _) in told(pipeline).items()} == {(2, 2): "resolved", (3, 3): "open"}
    assert replay(loose, ids=tuple(ids)).outcome == "empty"
    assert replay(loose, rule="not_null(v)").counts.inserted == 1
    assert replay(loose).outcome == "empty"
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 2, None), (3, 3, None)]
    items(lab, (4, 4, "d"))
    assert counted(lab.run(pipeline)) == {"read": 1, "inserted": 1}


@pytest.mark.parametrize("mode", ["upsert", "insert_only", "scd2"])
def test_a_replay_never_goes_back_in_time(duckdb_lab: Lab, mode: str) -> None:
    """A row that the target has got from elsewhere since, newer than the letter, stays."""
    lab = duckdb_lab
    pipeline = judged(lab, mode=mode)
    items(lab, (1, 1, "a"), (2, 2, None))
    lab.run(pipeline)
    # Behind the loads' back: their own newer rows would settle the letter.
    ahead = {"scd2": ", valid_from, is_current", "upsert": "", "insert_only": ""}[mode]
    more = {"scd2": ", 9, TRUE", "upsert": "", "insert_only": ""}[mode]
    import duckdb

    with duckdb.connect(str(lab.file)) as connection:
        connection.execute(
            f'INSERT INTO items (id, "at", v, _conduit_load_id, _conduit_loaded_at{ahead})'
            f" VALUES (2, 9, 'newer', 'x', now(){more})"
        )
    result = replay(loosened(lab, mode=mode))
    rows = lab.rows("items", pipeline)
    now = [r["v"] for r in rows if r["id"] == 2 and r.get("is_current", True)]
    assert now == ["newer"]
    ((status, _),) = told(pipeline).values()
    if mode == "scd2":  # an older version of the key finds its place before it
        assert (status, result.counts.inserted) == ("resolved", 1)
        old = next(r for r in rows if r["id"] == 2 and not r["is_current"])
        assert (old["valid_from"], old["valid_to"]) == (2, 9)
    else:
        assert (status, result.counts.inserted) == ("superseded", 0)


def test_a_replay_under_unique_looks_at_the_target(lab: Lab) -> None:
    keys = {"mode": "append", "unique_key": None}
    unique = {"rule": "unique", "column": "id", "action": "dlq"}
    pipeline = judged(lab, unique, THERE, **keys)
    items(lab, (1, 1, "a"), (1, 2, "again"), (2, 3, None))
    lab.run(pipeline)
    loose = judged(lab, unique, **keys)
    result = replay(loose)
    assert counted(result) == {"read": 2, "inserted": 1, "rejected": 1}
    assert told(pipeline) == {(1, 2): ("open", 2), (2, 3): ("resolved", 1)}
    assert content(lab, pipeline) == [(1, 1, "a"), (2, 3, None)]


def test_a_ceiling_does_not_stop_a_replay_and_a_failing_rule_does(lab: Lab) -> None:
    pipeline = judged(lab, {**THERE, "max_rejected": 2})
    items(lab, (2, 2, None))
    lab.run(pipeline)
    strict = judged(lab, {**THERE, "max_rejected": 0}, max_rejected=0)
    assert counted(replay(strict)) == {"read": 1, "rejected": 1}
    failing = judged(lab, {"rule": "not_null", "column": "v"})
    with pytest.raises(QualityError, match="not_null") as caught:
        replay(failing)
    assert caught.value.exit_code == 5
    assert told(pipeline) == {(2, 2): ("open", 2)}


def test_a_replay_that_is_told_to_end_changes_nothing(each_lab: Lab) -> None:
    lab, cancel = each_lab, threading.Event()
    pipeline = judged(lab)
    items(lab, (1, 1, "a"), (2, 2, None))
    lab.run(pipeline)

    def ends(event: Event) -> None:
        if isinstance(event, BatchRead):
            cancel.set()

    with pytest.raises(ConduitError, match="interrupted") as caught:
        replay(loosened(lab), cancel=cancel, listeners=(ends,))
    assert caught.value.exit_code == 130
    assert told(pipeline) == {(2, 2): ("open", 1)}
    assert len(content(lab, pipeline)) == 1
    assert replay(loosened(lab), cancel=threading.Event()).counts.inserted == 1


def test_a_replay_waits_for_a_load_where_the_columns_changed(lab: Lab) -> None:
    pipeline = judged(lab)
    items(lab, (1, 1, "a"), (2, 2, None))
    lab.run(pipeline)
    lab.sql("ALTER TABLE items ADD COLUMN extra TEXT")
    with pytest.raises(StateError, match="load first"):
        replay(loosened(lab))
    items_now = "INSERT INTO items VALUES (3, 3, 'c', 'x')"
    lab.sql(items_now)
    lab.run(pipeline)
    assert replay(loosened(lab)).counts.inserted == 1
    assert next(r["extra"] for r in lab.rows("items", pipeline) if r["id"] == 2) is None


def test_values_of_a_column_that_the_source_lost_are_replayed(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql(
        "CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, note TEXT)",
        "INSERT INTO items VALUES (1, 1, 'a', 'n1'), (2, 2, NULL, 'n2')",
    )
    pipeline = judged(lab)
    lab.run(pipeline)
    lab.sql("ALTER TABLE items DROP COLUMN note", "INSERT INTO items VALUES (3, 3, 'c')")
    lab.run(pipeline)
    assert counted(replay(loosened(lab))) == {"read": 1, "inserted": 1}
    notes = {row["id"]: row["note"] for row in lab.rows("items", pipeline)}
    assert notes == {1: "n1", 2: "n2", 3: None}
    lab.sql("INSERT INTO items VALUES (4, 4, 'd')")
    assert counted(lab.run(pipeline)) == {"read": 1, "inserted": 1}


def test_values_that_nothing_could_take_stop_a_replay(duckdb_lab: Lab) -> None:
    import duckdb

    lab = duckdb_lab

    lab.sql(
        "CREATE TABLE items (id INTEGER, at INTEGER, v TEXT, note TEXT)",
        "INSERT INTO items VALUES (2, 2, NULL, 'n2')",
    )
    lab.run(judged(lab))
    lab.sql("ALTER TABLE items DROP COLUMN note")
    with duckdb.connect(str(lab.file)) as connection:
        connection.execute("ALTER TABLE items DROP COLUMN note")
    with pytest.raises(StateError, match="values of 'note'") as caught:
        replay(loosened(lab))
    assert "nothing published" in caught.value.lines()[1]
    assert told(judged(lab)) == {(2, 2): ("open", 1)}


# --- purge and retention --------------------------------------------------------------------------


def test_purged_letters_are_known_and_never_come_back(lab: Lab) -> None:
    pipeline = judged(lab)
    items(lab, (1, 1, "a"), (2, 2, None), (3, 3, None))
    lab.run(pipeline)
    (first, second) = letters(pipeline)
    assert deadletters.purge(pipeline, dry_run=True) == 2
    assert deadletters.purge(pipeline, older_than=timedelta(days=1)) == 0
    assert deadletters.purge(pipeline, which=LetterFilter(ids=(first.letter_id,))) == 1
    purged = next(x for x in letters(pipeline) if x.letter_id == first.letter_id)
    assert (purged.status, purged.payload, purged.settled_by) == ("purged", None, None)
    assert json.loads(purged.reasons)
    assert counted(replay(loosened(lab))) == {"read": 1, "inserted": 1}
    assert content(lab, pipeline)[1][0] == json.loads(second.row_key or "")[0]


def test_retention_takes_the_rows_of_settled_letters_and_leaves_open_ones(lab: Lab) -> None:
    pipeline = judged(lab)
    items(lab, (1, 1, "a"), (2, 2, None), (3, 3, None))
    lab.run(pipeline)
    lab.sql("UPDATE items SET at = 4, v = 'b' WHERE id = 2")
    lab.run(pipeline)
    assert admin.clean(pipeline, timedelta(days=1), dry_run=False) == []
    for dry_run in (True, False):
        found = admin.clean(pipeline, timedelta(0), dry_run=dry_run)
        assert [i.name for i in found if i.kind == "letters"] == ["1 dead letter"]
    assert {(x.status, x.payload is None) for x in letters(pipeline)} == {
        ("purged", True),
        ("open", False),
    }


# --- staged loads, other destinations -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_letters_of_splits_come_along(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    lab = Lab(
        tmp_path, request.getfixturevalue("postgres_database") if kind == "postgres" else kind
    )
    if kind == "duckdb":
        lab.destination["staging"] = "staging"
    warns = {"rule": "range", "column": "id", "max": 30, "action": "warn"}
    pipeline = judged(lab, THERE, warns, splits={"count": 3, "column": "id"}, max_rejected="30%")
    items(lab, *[(i, i, None if i % 5 == 0 else "a") for i in range(1, 41)])
    result = lab.run(pipeline)
    assert counted(result) == {"read": 40, "inserted": 32, "rejected": 8}
    assert set(told(pipeline).values()) == {("open", 1)}
    rules = {r["rule"]: (r["checked"], r["failed"]) for r in result.quality["rules"]}
    assert rules["not_null(v)"] == (40, 8)
    assert rules["range(id)"][1] == 10
    lab.sql("UPDATE items SET at = at + 100, v = 'b' WHERE id <= 10")
    lab.run(pipeline)
    assert [s for s, _ in told(pipeline).values()].count("resolved") == 2
    items(lab, *[(i, i + 1000, None) for i in range(50, 60)])
    with pytest.raises(QualityError, match="max_rejected"):
        lab.run(pipeline)
    assert len(letters(pipeline)) == 8


def test_a_folder_of_files_refuses_dead_letters_by_name(lab: Lab) -> None:
    lab.destination = {"type": "parquet", "path": "lake"}
    items(lab, (1, 1, "a"), (2, 2, None))
    keys = {"mode": "append", "unique_key": None}
    with pytest.raises(ConfigError, match="a parquet destination keeps no dead letters"):
        lab.plan(judged(lab, **keys))
    with pytest.raises(ConfigError, match="keeps no dead letters"):
        deadletters.letters(judged(lab, **keys))
    result = lab.run(judged(lab, {**THERE, "action": "warn"}, **keys))
    assert result.counts.inserted == 2
    assert result.quality["rules"][0]["failed"] == 1


# --- rules of whole loads -------------------------------------------------------------------------


def test_rules_of_whole_loads_compare_with_the_last_ones(lab: Lab) -> None:
    rules = [
        {"rule": "row_count", "min": "50%", "max": "200%", "name": "as many"},
        {"rule": "drift", "column": "id", "max_shift": 3, "name": "alike"},
        {"rule": "drift", "column": "v", "max_nulls": 0.2, "action": "warn", "name": "nulls"},
    ]
    pipeline = judged(lab, *rules, mode="replace", cursor=None)

    def load(rows: int, first: int = 1, v: str | None = "a") -> LoadResult:
        lab.sql("DROP TABLE IF EXISTS items")
        items(lab, *[(i, 1, v) for i in range(first, first + rows)])
        return lab.run(pipeline)

    for _ in range(3):
        result = load(100)
    assert {r["result"] for r in result.quality["rules"]} == {"not_judged"}
    assert {r["result"] for r in load(100).quality["rules"]} == {"passed"}
    for rows, first, name in ((40, 1, "as many"), (201, 1, "as many"), (100, 10_000, "alike")):
        with pytest.raises(QualityError, match=name):
            load(rows, first)
    assert len(lab.rows("items", pipeline)) == 100
    events: list[Event] = []
    lab.sql("UPDATE items SET v = NULL")
    load(100, v=None)
    run(pipeline, listeners=(events.append,))
    checked = {e.rule: e.result for e in events if isinstance(e, RuleChecked)}
    assert checked["nulls"] == "failed"


def test_a_load_whose_newest_row_is_too_old_is_not_published(lab: Lab) -> None:
    rule = {"rule": "freshness", "column": "at", "max_age": "24h", "timezone": "UTC"}
    pipeline = judged(lab, rule, cursor=None, mode="replace")
    lab.sql("CREATE TABLE items (id INTEGER, at TIMESTAMP, v TEXT)")
    lab.sql("INSERT INTO items VALUES (1, datetime('now', '-2 days'), 'a')")
    with pytest.raises(QualityError, match="freshness"):
        lab.run(pipeline)
    lab.sql("INSERT INTO items VALUES (2, datetime('now', '-2 hours'), 'b')")
    assert lab.run(pipeline).counts.inserted == 2


def test_a_rule_that_fails_leaves_the_last_load_to_readers(lab: Lab) -> None:
    pipeline = judged(lab, {"rule": "accepted_values", "column": "v", "values": ["a", "b"]})
    items(lab, (1, 1, "a"))
    lab.run(pipeline)
    items(lab, (2, 2, "z"), (3, 3, "b"))
    with pytest.raises(ConduitError, match="1 of 2 rows break it") as caught:
        lab.run(pipeline)
    assert (caught.value.exit_code, caught.value.retry) == (5, "never")
    assert content(lab, pipeline) == [(1, 1, "a")]
    assert letters(pipeline) == []
