"""State entries: seals, size, and the in-memory store against the contract of stores."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.state.store import (
    MAX_ENTRY_BYTES,
    InMemoryStateStore,
    StateEntry,
    StateStore,
    make_entry,
    seal_of,
)
from conduit_core.testing.state_store import StateStoreSuite

TEXT = st.text(st.characters(blacklist_categories=["Cs"]))
FIELDS = ("version", "load_id", "cursor", "target_fingerprint")


class TestInMemoryStateStore(StateStoreSuite):
    @pytest.fixture
    def store(self) -> StateStore:
        return InMemoryStateStore()


@given(st.integers(0, 10**9), TEXT, st.none() | TEXT, TEXT)
def test_a_made_entry_is_sealed_small_plain_and_canonical(
    version: int, load_id: str, cursor: str | None, fingerprint: str
) -> None:
    made = make_entry(version, load_id, cursor, fingerprint)
    text = made.to_json()
    assert not made.is_edited
    assert StateEntry.from_json(text) == made
    assert StateEntry.from_json(text).to_json() == text
    assert all(isinstance(v, str) for v in json.loads(text).values())


@given(st.sampled_from(FIELDS), TEXT)
def test_a_change_of_any_field_breaks_the_seal(field: str, value: str) -> None:
    made = make_entry(3, "load", "cursor", "print")
    changed = made.model_copy(update={field: value})
    assert changed.is_edited == (getattr(made, field) != value)
    assert changed.sealed().is_edited is False


def test_fields_can_not_run_into_each_other() -> None:
    one = make_entry(1, "a\nb", "c", "p")
    other = one.model_copy(update={"load_id": "a", "cursor": "b\nc"})
    assert other.is_edited


@pytest.mark.parametrize("char", ["x", "ü", "😀", '"'])
def test_a_long_cursor_becomes_a_pointer_and_the_entry_stays_under_4_kb(char: str) -> None:
    for length in (100, 1000, 2000, 4096, 10_000):
        made = make_entry(12, "load", char * length, "print")
        assert len(made.to_json().encode()) <= MAX_ENTRY_BYTES
        assert made.cursor in (char * length, "ledger:12")
        assert not made.is_edited
    assert made.cursor == "ledger:12"


def test_the_seal_of_a_text_is_none_for_none_and_differs_for_each_text() -> None:
    assert seal_of(None) is None
    assert seal_of("") is not None
    assert seal_of("a") != seal_of("b")
