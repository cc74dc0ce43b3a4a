"""Sources whose columns change: what each word of `on_schema_change` makes of each kind of change.

What is looked at each time: the target's columns and rows, what was said, and the ledger.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conduit_core import Pipeline, RunRequest, run
from conduit_core.errors import ConduitError, SchemaError
from conduit_core.events import Event, Notice, SchemaChanged
from tests.lab import Lab, stream
from tests.services import sql

BASE = {"id": "INTEGER NOT NULL", "qty": "SMALLINT", "note": "TEXT", "name": "TEXT NOT NULL"}
Row = dict[str, object]
FIRST: Row = {"id": 1, "qty": 1, "note": "a", "name": "x"}
SECOND: Row = {"id": 2, "qty": 2, "note": "b", "name": "y"}


def source(lab: Lab, columns: dict[str, str], *rows: Row, table: str = "items") -> None:
    """Make the source's table anew, with these columns and rows."""
    told = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    lab.sql(f"DROP TABLE IF EXISTS {table}", f"CREATE TABLE {table} ({told})")
    with lab._open() as connection:
        for row in rows:
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            connection.execute(
                f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values())
            )


def without(columns: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if name not in names}


def loads(lab: Lab, word: object = "auto", **keys: object) -> Pipeline:
    """Return a pipeline that appends items by ``id``."""
    return lab.pipeline(stream("items", on_schema_change=word, **keys))


def target(lab: Lab, pipeline: Pipeline) -> dict[str, tuple[str, bool]]:
    """Return the target's own columns: their type, and whether they take NULL."""
    with pipeline.open() as ends:
        shape = ends.destination.describe(pipeline.target(pipeline.streams[0], ends.destination))
    assert shape is not None
    own = (c for c in shape.columns if not c.name.startswith("_conduit_"))
    return {c.name: (c.ddl, c.nullable) for c in own}


def content(lab: Lab, pipeline: Pipeline) -> list[Row]:
    """Return the target's rows, without what Conduit adds, by ``id``."""
    rows = [
        {name: value for name, value in row.items() if not name.startswith("_conduit_")}
        for row in lab.rows("items", pipeline)
    ]
    return sorted(rows, key=lambda row: row["id"])


@dataclass(frozen=True)
class Change:
    """A change of the source: its new columns and the row that comes with them."""

    columns: dict[str, str]
    row: Row


CHANGES = {
    "added": Change({**BASE, "extra": "TEXT"}, {**SECOND, "extra": "new"}),
    "removed": Change(without(BASE, "note"), without(SECOND, "note")),
    "widened": Change({**BASE, "qty": "INTEGER"}, SECOND),
    "incompatible": Change({**BASE, "qty": "TEXT"}, {**SECOND, "qty": "two"}),
    "nullability": Change({**BASE, "name": "TEXT"}, SECOND),
}
OLD = {
    "id": ("BIGINT", False),
    "qty": ("SMALLINT", True),
    "note": ("VARCHAR", True),
    "name": ("VARCHAR", False),
}


@dataclass(frozen=True)
class Outcome:
    """What becomes of the target: its columns, the second row, the record; else the error.

    ``row`` is what differs from ``SECOND`` in the target; ``says`` is in the only warning.
    """

    columns: dict[str, tuple[str, bool]] | None = None
    row: Row | None = None
    record: tuple[str, ...] = ()
    says: str | None = None
    error: str | None = None


ADDED = Outcome(
    {**OLD, "extra": ("VARCHAR", True)}, {"extra": "new"}, ("extra", "added", "", "VARCHAR")
)
WIDER = Outcome({**OLD, "qty": ("BIGINT", True)}, {}, ("qty", "widened", "SMALLINT", "BIGINT"))
LOOSER = Outcome({**OLD, "name": ("VARCHAR", True)}, {}, ("name", "nullable", "VARCHAR", "VARCHAR"))
NO_TYPE = "column 'qty': the source has string, the target int16: no type holds both without loss"
TABLE: dict[tuple[str, str], Outcome] = {
    ("added", "auto"): ADDED,
    ("added", "warn"): Outcome(OLD, {}, says="column 'extra'"),
    ("added", "ignore"): Outcome(OLD, {}),
    ("added", "fail"): Outcome(error="column 'extra' (string) is new in the source"),
    ("removed", "auto"): Outcome(OLD, {"note": None}),
    ("removed", "warn"): Outcome(OLD, {"note": None}, says="column 'note'"),
    ("removed", "ignore"): Outcome(OLD, {"note": None}),
    ("removed", "fail"): Outcome(error="column 'note' (string) of the target is not in the source"),
    ("widened", "auto"): WIDER,
    ("widened", "warn"): Outcome(OLD, {}, says="each value is checked"),
    ("widened", "ignore"): Outcome(OLD, {}),
    ("widened", "fail"): Outcome(error="column 'qty': the source has int64, the target int16"),
    ("incompatible", "auto"): Outcome(error=NO_TYPE),
    ("incompatible", "warn"): Outcome(OLD, {"qty": None}, says="column 'qty'"),
    ("incompatible", "ignore"): Outcome(OLD, {"qty": None}),
    ("incompatible", "fail"): Outcome(error=NO_TYPE),
    ("nullability", "auto"): LOOSER,
    ("nullability", "warn"): Outcome(OLD, {}, says="a NULL stops the load"),
    ("nullability", "ignore"): Outcome(OLD, {}),
    ("nullability", "fail"): Outcome(error="column 'name'"),
}


@pytest.mark.parametrize(("kind", "word"), TABLE, ids=[" ".join(case) for case in TABLE])
def test_each_word_makes_of_each_change_what_the_table_says(
    duckdb_lab: Lab, kind: str, word: str
) -> None:
    lab = duckdb_lab
    expected, change = TABLE[kind, word], CHANGES[kind]
    pipeline = loads(lab, word)
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    source(lab, change.columns, change.row)
    events: list[Event] = []
    result = run(pipeline, listeners=(events.append,))
    told = [e for e in events if isinstance(e, SchemaChanged)]
    if expected.error is not None:
        (failure,) = result.failures
        assert (failure.exit_code, failure.error) == (4, "SchemaError")
        assert expected.error in failure.lines[0]
        assert "nothing published" in failure.lines[1]
        assert (target(lab, pipeline), content(lab, pipeline)) == (OLD, [FIRST])
        assert (len(lab.chain(pipeline)), told) == (1, [])
        return
    (loaded,) = result.results
    assert target(lab, pipeline) == expected.columns
    fresh = dict.fromkeys(set(expected.columns or ()) - set(FIRST))
    assert content(lab, pipeline) == [
        {**FIRST, **fresh},
        {**SECOND, **fresh, **(expected.row or {})},
    ]
    warned = [e.message for e in events if isinstance(e, Notice) and e.level == "warning"]
    assert len(warned) == (expected.says is not None)
    assert all(expected.says in text for text in warned if expected.says)
    (record,) = lab.chain(pipeline)[1:]
    changes = [(c["column"], c["change"], c["was"] or "", c["now"])
               for c in json.loads(record.schema_changes)]  # fmt: skip
    assert changes == ([expected.record] if expected.record else [])
    assert [(c.column, c.change, c.was or "", c.now) for c in loaded.schema_changes] == changes
    assert [(e.column, e.change, e.was or "", e.now) for e in told] == changes
    assert all(e.load_id == loaded.load_id for e in told)
    if word != "auto":
        return
    # Once more: what was done is no change any more.
    source(lab, change.columns, {**change.row, "id": 3})
    assert lab.run(pipeline).schema_changes == ()


def test_words_by_kind_are_judged_each_by_its_own(lab: Lab) -> None:
    source(lab, BASE, FIRST)
    lab.run(loads(lab))
    source(
        lab, {**without(BASE, "note"), "qty": "INTEGER", "extra": "TEXT"}, without(SECOND, "note")
    )
    word = {"added": "fail", "removed": "fail", "type_changed": "warn"}
    with pytest.raises(SchemaError) as caught:
        lab.run(loads(lab, word))
    assert "'extra'" in caught.value.message
    assert "'note'" in caught.value.message
    assert "int16" not in caught.value.message
    word = {"added": "ignore", "removed": "ignore", "type_changed": "auto"}
    result = lab.run(loads(lab, word))
    assert [c.column for c in result.schema_changes] == ["qty"]
    assert "extra" not in target(lab, loads(lab))


@pytest.mark.parametrize("word", ["warn", "ignore"])
def test_a_value_that_does_not_fit_an_unwidened_column_stops_the_load(lab: Lab, word: str) -> None:
    source(lab, BASE, FIRST)
    lab.run(loads(lab, word))
    source(lab, {**BASE, "qty": "INTEGER"}, {**SECOND, "qty": 70_000})
    with pytest.raises(ConduitError, match="70000") as caught:
        lab.run(loads(lab, word))
    assert caught.value.exit_code == 4
    assert content(lab, loads(lab)) == [FIRST]


@pytest.mark.parametrize("word", ["warn", "ignore"])
def test_a_null_for_a_column_that_stays_not_null_stops_the_load(lab: Lab, word: str) -> None:
    source(lab, BASE, FIRST)
    lab.run(loads(lab, word))
    source(lab, {**BASE, "name": "TEXT"}, {**SECOND, "name": None})
    with pytest.raises(ConduitError, match="name"):
        lab.run(loads(lab, word))
    assert content(lab, loads(lab)) == [FIRST]
    assert lab.run(loads(lab)).schema_changes[0].change == "nullable"
    assert content(lab, loads(lab))[1]["name"] is None


def test_all_findings_are_told_at_once(lab: Lab) -> None:
    source(lab, BASE, FIRST)
    lab.run(loads(lab))
    columns = {**without(BASE, "note", "name"), "qty": "TEXT", "extra": "TEXT"}
    source(lab, columns, {"id": 2, "qty": "two"})
    with pytest.raises(SchemaError) as caught:
        lab.plan(loads(lab, "fail"))
    for name in ("qty", "note", "name", "extra"):
        assert f"'{name}'" in caught.value.message


def test_columns_change_in_every_destination(each_lab: Lab) -> None:
    lab = each_lab
    pipeline = loads(lab)
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    columns = {**without(BASE, "note"), "qty": "INTEGER", "name": "TEXT", "extra": "DATE"}
    source(lab, columns, {"id": 2, "qty": 2**40, "extra": "2024-02-29"})
    result = lab.run(pipeline)
    assert {(c.column, c.change) for c in result.schema_changes} == {
        ("qty", "widened"),
        ("name", "nullable"),
        ("extra", "added"),
    }
    found = content(lab, pipeline)
    assert found[0] == {**FIRST, "extra": None}
    assert str(found[1].pop("extra")) == "2024-02-29"
    assert found[1] == {"id": 2, "qty": 2**40, "name": None, "note": None}
    # The catalogue is a fresh table's, but for the order and what the source has no more.
    fresh = lab.pipeline(stream("items", into="fresh"))
    lab.run(fresh)
    assert target(lab, fresh) == without(target(lab, pipeline), "note")


# --- cursors and keys -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_widened_cursor_goes_on_from_the_stored_watermark(lab: Lab, mode: str) -> None:
    goes_on_after_widening(lab, mode)


def test_versions_go_on_from_a_widened_cursor(each_lab: Lab) -> None:
    goes_on_after_widening(each_lab, "scd2")


def goes_on_after_widening(lab: Lab, mode: str) -> None:
    key = {} if mode == "append" else {"unique_key": "id"}
    pipeline = lab.pipeline(stream("items", mode=mode, cursor="at", **key))
    source(lab, {"id": "INTEGER", "at": "INT4", "v": "TEXT"}, {"id": 1, "at": 7, "v": "a"})
    lab.run(pipeline)
    columns = {"id": "INTEGER", "at": "INTEGER", "v": "TEXT"}
    late, new = {"id": 1, "at": 7, "v": "not read again"}, {"id": 1, "at": 2**40, "v": "b"}
    source(lab, columns, late, new)
    result = lab.run(pipeline)
    assert (result.counts.read, result.watermark) == (1, str(2**40))
    assert "at" in {c.column for c in result.schema_changes}
    rows = sorted(lab.rows("items", pipeline), key=lambda row: row["at"])
    if mode == "upsert":
        assert [(r["at"], r["v"]) for r in rows] == [(2**40, "b")]
    else:
        assert [(r["at"], r["v"]) for r in rows] == [(7, "a"), (2**40, "b")]
    if mode == "scd2":
        times = [(r["valid_from"], r["valid_to"], r["is_current"]) for r in rows]
        assert times == [(7, 2**40, False), (2**40, None, True)]
    assert lab.run(pipeline).outcome == "empty"


@pytest.mark.parametrize("word", ["auto", "ignore"])
@pytest.mark.parametrize(("column", "role"), [("id", "key"), ("at", "cursor")])
def test_a_key_or_a_cursor_of_another_type_is_named_at_plan(
    lab: Lab, column: str, role: str, word: str
) -> None:
    columns = {"id": "INTEGER", "at": "INTEGER", "v": "TEXT"}
    keys = {"mode": "upsert", "unique_key": "id", "cursor": "at"}
    pipeline = loads(lab, word, **keys)
    source(lab, columns, {"id": 1, "at": 1, "v": "a"})
    lab.run(pipeline)
    source(lab, {**columns, column: "TEXT"}, {"id": "2", "at": "2", "v": "b"})
    with pytest.raises(ConduitError, match=f"'{column}'") as caught:
        lab.plan(pipeline)
    assert caught.value.exit_code == 4
    assert role in caught.value.message
    assert len(lab.chain(pipeline)) == 1


def test_a_key_that_is_gone_is_named_at_plan(lab: Lab) -> None:
    pipeline = loads(lab, "ignore", mode="upsert", unique_key="name")
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    source(lab, without(BASE, "name"), without(SECOND, "name"))
    with pytest.raises(SchemaError, match="'name'"):
        lab.plan(pipeline)


# --- what the other modes make of it --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["replace", "insert_only", "upsert", "replace_window"])
def test_each_mode_takes_new_and_wider_columns(lab: Lab, mode: str) -> None:
    key = {} if mode == "replace" else {"unique_key": "id"}
    cursor = None if mode == "replace" else "id"
    pipeline = lab.pipeline(stream("items", mode=mode, cursor=cursor, **key))
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    columns = {**BASE, "qty": "INTEGER", "extra": "TEXT"}
    second = {**SECOND, "qty": 70_000, "extra": "e"}
    source(lab, columns, {**FIRST, "extra": "later"}, second)
    result = lab.run(pipeline)
    assert {c.column for c in result.schema_changes} == {"qty", "extra"}
    first = {**FIRST, "extra": "later" if mode == "replace" else None}
    assert content(lab, pipeline) == [first, second]


def test_replace_in_place_alters_the_table_that_is_there(
    tmp_path: Path, postgres_database: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    pipeline = lab.pipeline(stream("items", mode="replace", cursor=None))
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    sql(postgres_database, "CREATE VIEW names AS SELECT name FROM items")
    source(lab, {**BASE, "qty": "INTEGER", "extra": "TEXT"}, {**SECOND, "qty": 70_000})
    assert any("replaced in place" in note for note in lab.plan(pipeline).notes)
    result = lab.run(pipeline)
    assert {c.column for c in result.schema_changes} == {"qty", "extra"}
    assert sql(postgres_database, "SELECT * FROM names") == [("y",)]
    assert content(lab, pipeline) == [{**SECOND, "qty": 70_000, "extra": None}]


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_view_over_a_widened_column_is_listed_or_made_anew(
    tmp_path: Path, postgres_database: str, mode: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    keys = {"mode": mode, "cursor": "id" if mode == "append" else None}
    pipeline = lab.pipeline(stream("items", **keys))
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    sql(
        postgres_database,
        "CREATE VIEW amounts AS SELECT id, qty * 2 AS twice FROM items;"
        " CREATE VIEW sums AS SELECT sum(twice) AS twice FROM amounts;"
        " COMMENT ON VIEW sums IS 'of all'",
    )
    source(lab, {**BASE, "qty": "INTEGER"}, {**SECOND, "qty": 70_000})
    with pytest.raises(SchemaError, match="dependents: recreate") as caught:
        lab.plan(pipeline)
    assert "amounts" in caught.value.message
    assert "'qty' (smallint to bigint)" in caught.value.message
    assert sql(postgres_database, "SELECT * FROM sums") == [(2,)]
    lab.run(lab.pipeline(stream("items", dependents="recreate", **keys)))
    total = 140_002 if mode == "append" else 140_000
    assert sql(postgres_database, "SELECT twice FROM sums") == [(total,)]
    comment = "SELECT obj_description('sums'::regclass)"
    assert sql(postgres_database, comment) == [("of all",)]


def test_a_full_refresh_takes_what_no_type_holds(duckdb_lab: Lab) -> None:
    lab = duckdb_lab
    source(lab, BASE, FIRST)
    lab.run(loads(lab))
    change = CHANGES["incompatible"]
    source(lab, change.columns, change.row)
    with pytest.raises(SchemaError, match="--full-refresh"):
        lab.run(loads(lab))
    lab.run(loads(lab), full_refresh=True)
    assert target(lab, loads(lab))["qty"] == ("VARCHAR", True)
    assert content(lab, loads(lab)) == [change.row]


def test_a_change_reaches_a_staged_load_and_the_plan_as_data(lab: Lab) -> None:
    staged = {"splits": {"count": 2, "column": "id"}}
    lab.destination["staging"] = "staging"
    pipeline = loads(lab, **staged)
    source(lab, BASE, FIRST)
    lab.run(pipeline)
    columns = {**BASE, "qty": "INTEGER", "extra": "TEXT"}
    rows = [{**SECOND, "id": i, "qty": i * 10_000, "extra": "e"} for i in range(2, 9)]
    source(lab, columns, *rows)
    plan = lab.plan(pipeline)
    assert {(c["column"], c["kind"]) for c in plan.schema_changes} == {
        ("qty", "widened"),
        ("extra", "added"),
    }
    assert {c.column for c in lab.run(pipeline).schema_changes} == {"qty", "extra"}
    assert content(lab, pipeline) == [{**FIRST, "extra": None}, *rows]


# --- expected: ------------------------------------------------------------------------------------

EXPECTED = """\
streams:
  items:
  - {name: id, type: int64, nullable: false}
  - {name: qty, type: bool}
  - {name: note, type: string}
  - {name: gone, type: string}
"""


def expecting(lab: Lab, word: str = "auto") -> Pipeline:
    (lab.folder / "items.yml").write_text(EXPECTED)
    return loads(lab, word, expected="items.yml")


def test_findings_against_the_expected_file_come_all_at_once(lab: Lab) -> None:
    source(lab, BASE, FIRST)
    pipeline = expecting(lab)
    with pytest.raises(SchemaError) as caught:
        lab.plan(pipeline)
    for name in ("qty", "name", "gone"):
        assert f"'{name}'" in caught.value.message
    assert "expected file" in caught.value.message
    assert run(pipeline, request=RunRequest()).exit_code == 4
    assert lab.file is not None
    assert not lab.file.exists()


def test_with_warn_the_expected_file_is_told_of_and_the_load_is_green(lab: Lab) -> None:
    source(lab, BASE, FIRST)
    plan = lab.plan(expecting(lab, "warn"))
    assert len([w for w in plan.warnings if "expected file" in w]) == 3
    lab.run(expecting(lab, "warn"))
    assert content(lab, loads(lab)) == [FIRST]
    assert not lab.plan(expecting(lab, "ignore")).warnings
