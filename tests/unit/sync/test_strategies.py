"""Strategies: what each mode requires and does, as data, without a server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conduit_core.connectors.publish import (
    BALANCE,
    Action,
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    NoNewerRecord,
    NoOverlappingRecord,
    OwnedBy,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    TargetIs,
    check_guard,
)
from conduit_core.errors import GuardError
from conduit_core.state.window import Window
from conduit_core.sync.strategies import Effective, LoadFacts, build_publish
from tests.unit.state.records import at, record

STAGED = (Column(name="id", ddl="BIGINT"), Column(name="v", ddl="TEXT"))
TABLE = (*STAGED, Column(name="old", ddl="TEXT"))
GIVEN = Window("given", at(1), at(5))
FACTS = LoadFacts(
    effective="append",
    window=Window("watermark", at(1), at(5)),
    base_version=7,
    newest_version=9,
    columns=STAGED,
    table_columns=TABLE,
    existing=("id", "v", "old"),
    has_dependants=False,
    replaces_files=False,
    allow_empty=False,
    starts_over=False,
    key=(),
    order=(),
    compare=(),
    record=record(0),
    schema_text='[{"name":"id"}]',
)
REPLACE = replace(FACTS, effective="replace", window=Window("full"))
SLICE = replace(FACTS, effective="replace_window", window=GIVEN)


def rows(publish: Publish) -> tuple[Action, ...]:
    """The actions without balance and record, which come last in every load."""
    *first, balance, last = publish.actions
    assert balance == BALANCE
    assert last == RecordLoad(record=FACTS.record, schema_text=FACTS.schema_text)
    return tuple(first)


@pytest.mark.parametrize("facts", [FACTS, REPLACE, SLICE], ids=lambda f: f.effective)
def test_every_load_names_its_target_owner_and_shape(facts: LoadFacts) -> None:
    made = build_publish(facts)
    assert (made.target_schema, made.target_table) == ("raw", "orders")
    assert made.staged_columns == ("id", "v")
    assert OwnedBy(pipeline="shop", stream="orders") in made.requirements
    assert TargetIs(columns=("id", "v", "old")) in made.requirements


@pytest.mark.parametrize("facts", [FACTS, REPLACE], ids=lambda f: f.effective)
def test_a_watermark_or_full_load_wants_no_newer_record(facts: LoadFacts) -> None:
    wanted = build_publish(facts).requirements
    covered = Window("full") if facts.effective == "replace" else facts.window
    assert NoNewerRecord(version=7) in wanted
    assert NoOverlappingRecord(version=9, window=covered.to_json()) in wanted


def test_a_given_window_wants_no_newer_record_that_overlaps() -> None:
    made = build_publish(SLICE)
    assert NoOverlappingRecord(version=7, window=GIVEN.to_json()) in made.requirements
    assert not any(isinstance(r, NoNewerRecord) for r in made.requirements)


@pytest.mark.parametrize("effective", ["append", "replace", "replace_window"])
def test_a_target_that_is_not_there_is_made_and_filled(effective: Effective) -> None:
    made = build_publish(replace(FACTS, effective=effective, existing=None))
    assert rows(made) == (CreateTable(columns=TABLE), AppendStaged())
    assert TargetIs(columns=None) in made.requirements


def test_append_appends() -> None:
    assert rows(build_publish(FACTS)) == (AppendStaged(),)


def test_append_of_files_that_come_again_deletes_their_rows_first() -> None:
    made = build_publish(replace(FACTS, replaces_files=True))
    assert rows(made) == (DeleteMatching(columns=("_conduit_file",)), AppendStaged())


def test_replace_swaps_in_the_whole_table_and_guards_against_an_empty_extract() -> None:
    swap, guard = rows(build_publish(REPLACE))
    assert swap == ReplaceWithStaged(how="swap", columns=TABLE)
    assert isinstance(guard, Guard)
    check_guard(guard, {"read": 0, "target_has_rows": 0})
    check_guard(guard, {"read": 1, "target_has_rows": 1})
    with pytest.raises(GuardError, match="--allow-empty"):
        check_guard(guard, {"read": 0, "target_has_rows": 1})


def test_replace_with_dependants_is_in_place() -> None:
    action = rows(build_publish(replace(REPLACE, has_dependants=True)))[0]
    assert action == ReplaceWithStaged(how="in_place", columns=TABLE)


def test_a_given_window_deletes_its_slice_and_guards_against_an_empty_one() -> None:
    delete, append, guard = rows(build_publish(SLICE))
    assert (delete, append) == (DeleteWindow(window=GIVEN.to_json()), AppendStaged())
    assert isinstance(guard, Guard)
    check_guard(guard, {"read": 0, "removed": 0})
    check_guard(guard, {"read": 1, "removed": 9})
    with pytest.raises(GuardError, match="--allow-empty"):
        check_guard(guard, {"read": 0, "removed": 1})


@pytest.mark.parametrize("facts", [REPLACE, SLICE], ids=lambda f: f.effective)
def test_allow_empty_takes_the_guard_away(facts: LoadFacts) -> None:
    made = rows(build_publish(replace(facts, allow_empty=True)))
    assert not any(isinstance(a, Guard) for a in made)


@pytest.mark.parametrize("facts", [FACTS, REPLACE, SLICE], ids=lambda f: f.effective)
def test_a_publish_survives_json(facts: LoadFacts) -> None:
    made = build_publish(facts)
    assert Publish.model_validate_json(made.model_dump_json()) == made


def test_an_append_from_the_start_wants_an_empty_target() -> None:
    guard, append = rows(build_publish(replace(FACTS, starts_over=True)))
    assert append == AppendStaged()
    assert isinstance(guard, Guard)
    check_guard(guard, {"target_has_rows": 0})
    with pytest.raises(GuardError, match="state set"):
        check_guard(guard, {"target_has_rows": 1})
    again = replace(FACTS, starts_over=True, replaces_files=True)
    assert not any(isinstance(a, Guard) for a in rows(build_publish(again)))
