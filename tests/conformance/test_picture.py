"""The picture sees what it should, and nothing else: else equal pictures would say little."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import play
from tests.conformance.cases import BY_NAME, Case
from tests.conformance.command_line import CommandLine
from tests.conformance.picture import LEFT_OUT, picture, since
from tests.conformance.place import Place
from tests.crash.systems import SQLite

SCENES = 3
"""Of the case ``replay``: letters, one of them settled by a replay."""


@pytest.fixture
def system(place: Callable[[Case], Place]) -> SQLite:
    """A destination with rows, records, letters, audits, and a hook that has finished."""
    here = place(BY_NAME["replay"])
    runner = CommandLine(here)
    for scene in here.case.scenes[:SCENES]:
        play.do(runner, scene)
    assert isinstance(here.system, SQLite)
    return here.system


def columns(system: SQLite, table: str) -> list[str]:
    return [str(row[1]) for row in system.query(f'PRAGMA table_info("{table}")')]


def seen(system: SQLite, statement: str) -> bool:
    """Say whether a change shows in the picture; it is taken back."""
    before, kept = picture(system), system.path.read_bytes()
    with closing(sqlite3.connect(system.path)) as connection, connection:
        assert connection.execute(statement).rowcount == 1, statement
    try:
        return picture(system) != before
    except (AssertionError, AttributeError, KeyError):
        return True  # a version or a load that the ledger doesn't have; no such JSON
    finally:
        system.path.write_bytes(kept)


def another(column: str) -> str:
    """Return an expression of another value, that is JSON where the old one is."""
    text = f"CAST({column} AS TEXT)"
    return (
        f"CASE WHEN typeof({column}) = 'integer' THEN {column} + 100"
        f" WHEN {column} IS NULL THEN 3"
        f" WHEN json_valid({text}) THEN json_array(1, json({text}))"
        f" ELSE {column} || 'x' END"
    )


def test_every_column_is_in_the_picture_or_named_as_left_out(system: SQLite) -> None:
    """Of each table a row is changed, column by column."""
    wrong = []
    for table, left_out in LEFT_OUT.items():
        if table == "_conduit_hooks":
            continue
        for column in columns(system, table):
            change = f"UPDATE {table} SET {column} = {another(column)} WHERE rowid = 2"
            if seen(system, change) == (column in left_out):
                wrong.append((table, column))
    assert wrong == []


def test_every_row_and_value_of_a_target_is_in_the_picture(system: SQLite) -> None:
    target = "replay_items"
    names = columns(system, target)
    changes = [f'UPDATE {target} SET "{n}" = {another(n)} WHERE id = 4' for n in names]
    shown = [n for n, c in zip(names, changes, strict=True) if seen(system, c)]
    assert shown == [n for n in names if n != "_conduit_loaded_at"]
    assert seen(system, f"DELETE FROM {target} WHERE id = 4")
    assert seen(system, f"INSERT INTO {target} SELECT * FROM {target} WHERE id = 4")


LEAVES = st.none() | st.integers(0, 3)
LISTS = st.lists(LEAVES, max_size=3)
JSON = st.dictionaries(
    st.sampled_from("xyz"), LEAVES | LISTS | st.dictionaries(st.sampled_from("xyz"), LEAVES | LISTS)
)


def put_together(before: Any, change: Any) -> Any:
    """Do what ``since`` undoes."""
    if isinstance(before, dict) and isinstance(change, dict):
        gone = change.get("-", [])
        new = {k: put_together(before.get(k), v) for k, v in change.items() if k != "-"}
        return {**{k: v for k, v in before.items() if k not in gone}, **new}
    if isinstance(before, list) and isinstance(change, dict) and change.keys() == {"+"}:
        return [*before, *change["+"]]
    return change


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=JSON, now=JSON)
def test_what_changed_and_what_was_give_what_is(before: Any, now: Any) -> None:
    """So two plays whose changes are equal are equal after every scene."""
    assert put_together(before, since(before, now)) == now
