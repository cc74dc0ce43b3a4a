"""The reconcile table, row by row; the first row that matches wins."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from conduit_core.errors import StateDivergedError, StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.ledger import LedgerRecord
from conduit_core.state.reconcile import Reconciled, reconcile
from conduit_core.state.store import StateEntry, make_entry
from conduit_core.state.window import Window
from tests.unit.state.records import PRINT, at, record

CHAIN = [record(1, at(10)), record(2, at(20))]


def go(
    stored: str | None,
    chain: list[LedgerRecord] | None = None,
    *,
    columns: tuple[str, ...] = ("id",),
    mode: str = "replace",
    print_: str = PRINT,
) -> Reconciled:
    chain = CHAIN if chain is None else chain
    return reconcile(chain, stored, target_fingerprint=print_, columns=columns, mode=mode)


def entry(
    version: int = 2, cursor: str | None = None, *, load_id: str = "", print_: str = PRINT
) -> str:
    text = at(20).to_json() if cursor is None else cursor
    return make_entry(version, load_id or f"load{version}", text, print_).to_json()


def edited(**changes: str) -> str:
    """A sealed entry of version 2 that somebody changed without the seal."""
    whole = StateEntry.from_json(entry())
    return whole.model_copy(update=changes).to_json()


# --- another target fingerprint ---------------------------------------------------------------


def test_an_entry_of_another_target_is_divergence() -> None:
    with pytest.raises(StateDivergedError, match="another target"):
        go(entry(print_="f" * 16))


def test_another_target_wins_over_an_edit() -> None:
    with pytest.raises(StateDivergedError, match="another target"):
        go(edited(target_fingerprint="f" * 16, cursor=at(99).to_json()))


def test_another_target_wins_over_other_cursor_columns() -> None:
    with pytest.raises(StateDivergedError, match="another target"):
        go(entry(print_="f" * 16), columns=("updated_at",))


def test_another_target_wins_over_unreadable() -> None:
    with pytest.raises(StateDivergedError, match="another target"):
        go('{"target_fingerprint":"ffff","version":')


# --- unreadable, wrong type or columns --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "null",
        "[]",
        "{}",
        '{"version":2}',
        entry()[:-1],
        json.dumps({**json.loads(entry()), "extra": "x"}),
        json.dumps({**json.loads(entry()), "version": None}),
    ],
)
def test_an_unreadable_entry_is_shown(text: str) -> None:
    with pytest.raises(StateError) as caught:
        go(text)
    assert not isinstance(caught.value, StateDivergedError)
    assert repr(text) in caught.value.message
    assert caught.value.command == "conduit state show"


@pytest.mark.parametrize(
    ("cursor", "shown"),
    [
        ("15", "15"),
        ("2024-01-01", "2024-01-01"),
        ("[]", "[]"),
        ('[{"column":"id","type":"int64","value":"soon"}]', "soon"),
        ('[{"column":"id","type":"int65","value":"1"}]', "int65"),
        ('[{"column":"id","type":"int64"}]', "int64"),
    ],
)
def test_an_edit_that_is_no_cursor_is_shown(cursor: str, shown: str) -> None:
    with pytest.raises(StateError, match="not a cursor") as caught:
        go(edited(cursor=cursor))
    assert shown in caught.value.message


def test_an_edit_of_other_columns_is_shown() -> None:
    text = at(5, column="number").to_json()
    with pytest.raises(StateError, match="number") as caught:
        go(edited(cursor=text))
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    "wanted",
    [at("5", pa.string()), at(5.0, pa.float64()), at(5, pa.timestamp("us")), at(5, pa.int32())],
    ids=lambda c: str(c.values[0].type),
)
def test_an_edit_of_another_type_is_shown(wanted: Cursor) -> None:
    with pytest.raises(StateError, match="type") as caught:
        go(edited(cursor=wanted.to_json()))
    assert repr(wanted.to_json()) in caught.value.message
    assert not isinstance(caught.value, StateDivergedError)


@pytest.mark.parametrize("version", ["two", "", "2.0", "٣x"])
def test_a_version_that_is_no_number_is_shown(version: str) -> None:
    sealed = StateEntry.from_json(entry()).model_copy(update={"version": version}).sealed()
    with pytest.raises(StateError, match="not a number") as caught:
        go(sealed.to_json())
    assert repr(version) in caught.value.message


@pytest.mark.parametrize("stored", [None, entry(1), entry()])
def test_a_ledger_of_other_cursor_columns_gives_no_start_and_is_told(stored: str | None) -> None:
    found = go(stored, columns=("updated_at",))
    assert (found.cursor, found.other) == (None, at(20))
    assert go(stored, columns=()).other is None


# --- edited: lower, "initial" -----------------------------------------------------------------


def test_an_edit_to_a_lower_cursor_is_a_rewind() -> None:
    found = go(edited(cursor=at(5).to_json()))
    assert (found.decision, found.cursor) == ("rewind", at(5))
    assert "20" in found.note
    assert "5" in found.note


@pytest.mark.parametrize("word", ["initial", ""])
def test_an_edit_to_initial_is_a_rewind_to_the_start(word: str) -> None:
    found = go(edited(cursor=word))
    assert (found.decision, found.cursor) == ("rewind", None)


@pytest.mark.parametrize("cursor", [at(5).to_json(), "initial", "", "ledger:1"])
def test_a_rewind_of_append_is_refused(cursor: str) -> None:
    with pytest.raises(StateError, match="--replace-after") as caught:
        go(edited(cursor=cursor), mode="append")
    assert "--replace-after" in (caught.value.command or "")


def test_an_edit_to_initial_before_the_first_load_changes_nothing() -> None:
    text = StateEntry(
        version="0", load_id="", cursor="initial", target_fingerprint=PRINT, seal=""
    ).to_json()
    found = go(text, [], mode="append")
    assert (found.decision, found.cursor) == ("equal", None)


# --- edited: a pointer into the ledger --------------------------------------------------------


def test_an_edited_pointer_to_an_older_record_is_a_rewind_to_its_watermark() -> None:
    found = go(edited(cursor="ledger:1"))
    assert (found.decision, found.cursor) == ("rewind", at(10))


def test_an_edited_pointer_to_the_newest_record_changes_nothing() -> None:
    assert go(edited(cursor="ledger:2")).cursor == at(20)


@pytest.mark.parametrize("pointer", ["ledger:3", "ledger:x", "ledger:", "ledger:-1"])
def test_a_pointer_to_no_record_is_shown(pointer: str) -> None:
    with pytest.raises(StateError, match="ledger") as caught:
        go(edited(cursor=pointer))
    assert repr(pointer) in caught.value.message


def test_a_long_cursor_is_a_pointer_that_an_equal_entry_resolves() -> None:
    long = at("x" * 5000, pa.string())
    chain = [record(1, long)]
    text = make_entry(1, "load1", long.to_json(), PRINT).to_json()
    assert "ledger:1" in text
    assert go(text, chain) == Reconciled("equal", long)


def test_a_long_cursor_whose_version_was_edited_still_resolves() -> None:
    long = at("x" * 5000, pa.string())
    whole = make_entry(1, "load1", long.to_json(), PRINT)
    text = whole.model_copy(update={"load_id": "typed"}).to_json()
    assert go(text, [record(1, long)]).cursor == long


# --- edited: higher, the same -----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_an_edit_to_a_higher_cursor_is_refused(mode: str) -> None:
    with pytest.raises(StateError, match="--skip") as caught:
        go(edited(cursor=at(21).to_json()), mode=mode)
    assert "21" in caught.value.message
    assert "20" in caught.value.message


def test_an_edit_before_any_load_is_a_move_forward() -> None:
    with pytest.raises(StateError, match="--skip"):
        go(edited(cursor=at(21).to_json()), [])


@pytest.mark.parametrize(
    "changes",
    [{"version": "1"}, {"version": "99"}, {"load_id": "typed"}, {"seal": ""}, {"seal": "0" * 16}],
    ids=str,
)
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_an_edit_that_leaves_the_cursor_changes_nothing(changes: dict[str, str], mode: str) -> None:
    found = go(edited(**changes), mode=mode)
    assert (found.decision, found.cursor) == ("roll_forward", at(20))


# --- empty or behind --------------------------------------------------------------------------


def test_an_empty_store_is_rolled_forward_and_says_so() -> None:
    found = go(None)
    assert (found.decision, found.cursor) == ("roll_forward", at(20))
    assert found.note


def test_an_empty_store_before_the_first_load_has_nothing_to_say() -> None:
    assert go(None, []) == Reconciled("equal", None)


def test_a_version_below_the_ledgers_is_rolled_forward_and_says_so() -> None:
    found = go(entry(1, at(10).to_json()))
    assert (found.decision, found.cursor) == ("roll_forward", at(20))
    assert "1" in found.note
    assert "2" in found.note


def test_given_records_count_for_the_version_and_not_for_the_watermark() -> None:
    given = Window("given", at(3), at(5))
    chain = [*CHAIN, record(3, at(10), window=given)]
    assert go(entry(2), chain) == Reconciled("roll_forward", at(20), go(entry(2), chain).note)


# --- ahead, or another load -------------------------------------------------------------------


def test_a_version_above_the_ledgers_is_divergence_with_both_and_the_command() -> None:
    with pytest.raises(StateDivergedError) as caught:
        go(entry(7))
    for part in ("version 7", "load7", "load2"):
        assert part in caught.value.message
    assert caught.value.command == "conduit state reset"


def test_an_entry_over_an_emptied_destination_is_divergence() -> None:
    with pytest.raises(StateDivergedError, match="restored or emptied"):
        go(entry(2), [])


def test_another_load_at_the_same_version_is_divergence_naming_both() -> None:
    with pytest.raises(StateDivergedError) as caught:
        go(entry(2, load_id="other"))
    assert "other" in caught.value.message
    assert "load2" in caught.value.message
    assert caught.value.command == "conduit state reset"


# --- equal ------------------------------------------------------------------------------------


def test_an_equal_entry_goes_on_in_silence() -> None:
    assert go(entry()) == Reconciled("equal", at(20))


def test_a_target_without_cursor_is_equal() -> None:
    chain = [record(1)]
    text = make_entry(1, "load1", None, PRINT).to_json()
    assert go(text, chain, columns=()) == Reconciled("equal", None)


def test_composite_cursors_are_compared_in_order() -> None:
    def both(a: int, b: int) -> Cursor:
        return Cursor(("a", "b"), (pa.scalar(a), pa.scalar(b)))

    chain = [record(1, both(5, 7))]
    whole = make_entry(1, "load1", both(5, 7).to_json(), PRINT)
    lower = whole.model_copy(update={"cursor": both(5, 6).to_json()}).to_json()
    higher = whole.model_copy(update={"cursor": both(5, 8).to_json()}).to_json()
    assert go(lower, chain, columns=("a", "b")).cursor == both(5, 6)
    with pytest.raises(StateError, match="--skip"):
        go(higher, chain, columns=("a", "b"))
