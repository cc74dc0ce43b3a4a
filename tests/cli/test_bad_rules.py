"""Rules, transforms and changes that can't be: named by `plan` and `check`, nothing written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Conduit, fill

RULES = """
import pyarrow as pa

NOT_A_FUNCTION = 3

def raises(batch):
    raise RuntimeError("the function's own words")

def too_long(batch):
    return pa.array([True] * (batch.num_rows + 1))

def no_booleans(batch):
    return pa.array([1] * batch.num_rows)
"""
FILE = """\
name: shop
source: sqlite:///shop.db
destination: {{type: duckdb, path: warehouse.duckdb}}
streams:
  - {{table: customers, mode: upsert, unique_key: id, {keys}}}
"""

# What is wrong; the exit code; words that the error has. ``plan`` and ``check`` say the same.
AT_PLAN = {
    "a missing column": ("quality: {rule: not_null, column: nmae}", 4, ("nmae", "id, name")),
    "two missing columns": (
        "quality: [{rule: not_null, column: a}, {rule: unique, columns: [b]}]",
        4,
        ("'a'", "'b'"),
    ),
    "two things of two kinds": (
        "quality: [{rule: not_null, column: a}, {rule: regex, column: name, pattern: '[a-'}]",
        4,
        ("'a'", "'[a-'"),
    ),
    "a regex that doesn't compile": (
        "quality: {rule: regex, column: name, pattern: '[a-'}",
        2,
        ("`rule: regex` of column 'name'", "'[a-' doesn't compile"),
    ),
    "a regex that could backtrack": (
        r"quality: {rule: regex, column: name, pattern: '(?=a)b'}",
        2,
        ("`rule: regex` of column 'name'", "RE2"),
    ),
    "a range on text": ("quality: {rule: range, column: name, min: 1}", 2, ("'name' (string)",)),
    "a regex on numbers": ("quality: {rule: regex, column: id, pattern: a}", 2, ("'id' (int64)",)),
    "a broken expression": ("quality: {rule: expression, sql: 'name >'}", 2, ("expression",)),
    "an expression of no column": (
        "quality: {rule: expression, sql: 'nmae > 1'}",
        4,
        ("nmae",),
    ),
    "a function of no module": (
        "quality: {rule: custom, function: 'nowhere:adds_up'}",
        2,
        ("nowhere",),
    ),
    "a function that isn't there": (
        "quality: {rule: custom, function: 'shoprules:adds_up'}",
        2,
        ("shoprules", "adds_up"),
    ),
    "a function that is none": (
        "quality: {rule: custom, function: 'shoprules:NOT_A_FUNCTION'}",
        2,
        ("NOT_A_FUNCTION",),
    ),
    "a pandera model of no module": (
        "quality: {rule: pandera, model: 'nowhere:Orders'}",
        2,
        ("nowhere",),
    ),
    "a pandera model that is none": (
        "quality: {rule: pandera, model: 'shoprules:raises'}",
        2,
        ("shoprules:raises",),
    ),
    "a transform of no column": ("transform: {rename: {nmae: title}}", 4, ("nmae", "name")),
    "a mask of numbers": ("transform: {mask: id}", 2, ("'id'", "mask")),
    "a cast to no type": ("transform: {cast: {name: txet}}", 2, ("txet",)),
    "a key that is dropped": ("transform: {drop: id}", 2, ("unique_key",)),
    "a redacted column of none": (
        "quality: {rule: not_null, column: name, action: dlq}, redact: nmae",
        4,
        ("nmae",),
    ),
    "a ceiling without letters": ("max_rejected: 3", 2, ("max_rejected",)),
    "an expected file that is missing": ("expected: nowhere.yml", 2, ("nowhere.yml",)),
}
AT_LOAD = {
    "raises": ("the function's own words", "custom"),
    "too_long": ("custom", "4"),
    "no_booleans": ("custom", "int64"),
}


@pytest.fixture
def rules(shop: Conduit) -> Conduit:
    (shop.folder / "shoprules.py").write_text(RULES)
    return shop


@pytest.mark.parametrize("what", AT_PLAN)
def test_what_cannot_be_is_said_by_plan_and_check_and_nothing_is_written(
    here: Any, rules: Conduit, what: str
) -> None:
    keys, code, words = AT_PLAN[what]
    rules.write(FILE.format(keys=keys))
    for command in ("plan", "check"):
        ended = here(command)
        assert ended.code == code, (command, ended.err)
        for word in words:
            assert word in ended.err + ended.out, (command, ended.err, ended.out)
        assert "Traceback" not in ended.err
    assert not (rules.folder / "warehouse.duckdb").exists()


@pytest.mark.parametrize("function", AT_LOAD)
def test_a_function_that_breaks_its_contract_stops_the_load(
    here: Any, rules: Conduit, function: str
) -> None:
    rules.write(FILE.format(keys=f"quality: {{rule: custom, function: 'shoprules:{function}'}}"))
    assert here("plan").code == 0
    ended = here("run")
    assert ended.code == 5, ended.err
    for word in AT_LOAD[function]:
        assert word in ended.err
    assert "nothing published" in ended.err
    assert "Traceback" not in ended.err
    assert here("runs", "--json").document["runs"] == []


LETTERS = "quality: {rule: regex, column: name, pattern: '^A', action: dlq}"


def test_an_altered_table_of_dead_letters_is_named_at_plan(here: Any, rules: Conduit) -> None:
    import duckdb

    rules.write(FILE.format(keys=LETTERS))
    assert here("run").code == 0
    assert len(here("dlq", "list", "--json").document["letters"]) == 2
    with duckdb.connect(str(rules.folder / "warehouse.duckdb")) as connection:
        connection.execute("ALTER TABLE _conduit_dead_letters DROP COLUMN copies")
    for command in (("plan",), ("check",), ("run",), ("dlq", "replay"), ("dlq", "purge")):
        ended = here(*command)
        assert ended.code == 6, (command, ended.err)
        assert "copies is missing" in ended.err + ended.out
    assert rules.query("SELECT count(*) FROM _conduit_dead_letters") == [(2,)]


def test_a_change_that_cannot_be_done_in_place_is_named_by_plan_and_check(
    here: Any, rules: Conduit
) -> None:
    rules.write(FILE.format(keys="on_schema_change: auto"))
    assert here("run").code == 0
    fill(
        rules.folder / "shop.db",
        "DROP TABLE customers",
        "CREATE TABLE customers (id INTEGER, name INTEGER)",
        "INSERT INTO customers VALUES (9, 9)",
        "ALTER TABLE customers ADD COLUMN more TEXT",
    )
    rules.write(FILE.format(keys="on_schema_change: fail"))
    for command in ("plan", "check", "run"):
        ended = here(command)
        assert ended.code == 4, (command, ended.err)
        assert "'more'" in ended.err + ended.out
    assert rules.query("SELECT count(*) FROM customers") == [(3,)]


def test_the_command_shows_replays_and_purges_letters(here: Any, rules: Conduit) -> None:
    rules.write(FILE.format(keys=LETTERS))
    load = here("run", "--json").document
    assert load["results"][0]["counts"]["rejected"] == 2
    listed = here("dlq", "list").out
    assert "regex(name)" in listed
    letters = here("dlq", "list", "--json").document["letters"]
    assert {x["payload"]["name"] for x in letters} == {"Bo", "Cy"}
    one = letters[0]["letter_id"]
    shown = here("dlq", "show", "--id", one[:8]).out
    assert "breaks" in shown
    assert letters[0]["payload"]["name"] in shown
    assert here("dlq", "show", "--id", "nothing").code == 2
    rules.write(FILE.format(keys=LETTERS.replace("^A", "^[AB]")))
    ended = here("dlq", "replay", "--json")
    assert ended.code == 0
    assert ended.document["results"][0]["counts"]["inserted"] == 1
    for unknown in (("--id", "nothing"), ("--rule", "no such rule")):
        assert here("dlq", "replay", *unknown).code == 2
        assert here("dlq", "purge", *unknown, "--dry-run").code == 2
    by_beginning = [here("dlq", "purge", "--id", x["letter_id"][:9], "--dry-run") for x in letters]
    assert sorted(ended.out.split()[0] for ended in by_beginning) == ["0", "1"]  # one is open
    assert "1 would be purged" in here("dlq", "purge", "--dry-run").out
    assert "1 would be purged" in here("dlq", "purge", "--status", "open", "--dry-run").out
    assert here("dlq", "purge", "--status", "all").code == 0
    assert {
        x["status"] for x in here("dlq", "list", "--status", "all", "--json").document["letters"]
    } == {"purged"}
    run_id = load["results"][0]["load_id"]
    report = here("runs", "show", "--load", run_id).out
    assert "regex(name)" in report
    assert "66.67%" in report
