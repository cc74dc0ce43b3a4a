"""The contract of a state store."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest

from conduit_core.state.store import MAX_ENTRY_BYTES, StateStore, make_entry, seal_of


class StateStoreSuite:
    """What every ``StateStore`` must do. Subclass it and supply the fixture ``store``.

    ``store`` returns an empty store; what it holds after a test is never looked at again.
    ``atomic``: whether ``set`` compares and writes in one step, as seen by other threads.
    """

    atomic: ClassVar[bool] = True

    @pytest.fixture
    def store(self) -> StateStore:
        """The store under test, empty."""
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def key(self) -> str:
        """A key as runners write it; override where a store allows other characters only."""
        return "conduit.raw.orders"

    def test_a_missing_key_is_none(self, store: StateStore, key: str) -> None:
        assert store.get(key) is None

    def test_what_is_set_is_got(self, store: StateStore, key: str) -> None:
        entry = make_entry(1, "load", '[{"column":"ü","value":"😀 \\" \\n"}]', "print").to_json()
        assert store.set(key, entry, None)
        assert store.get(key) == entry

    def test_an_entry_of_the_longest_size_fits(self, store: StateStore, key: str) -> None:
        entry = make_entry(1, "load", "x" * (MAX_ENTRY_BYTES - 200), "print").to_json()
        assert len(entry) > MAX_ENTRY_BYTES - 200
        assert store.set(key, entry, None)
        assert store.get(key) == entry

    def test_the_next_entry_takes_the_place_of_the_one_that_was_seen(
        self, store: StateStore, key: str
    ) -> None:
        first, second = (make_entry(n, f"load{n}", None, "print").to_json() for n in (1, 2))
        assert store.set(key, first, None)
        assert store.set(key, second, seal_of(store.get(key)))
        assert store.get(key) == second

    def test_an_edit_since_the_read_is_kept(self, store: StateStore, key: str) -> None:
        first, second = (make_entry(n, f"load{n}", None, "print").to_json() for n in (1, 2))
        assert store.set(key, first, None)
        seen = seal_of(store.get(key))
        edited = first.replace("load1", "by hand")
        assert store.set(key, edited, seen)
        assert not store.set(key, second, seen)
        assert store.get(key) == edited

    def test_an_entry_is_not_overwritten_by_who_saw_none(self, store: StateStore, key: str) -> None:
        first, second = (make_entry(n, f"load{n}", None, "print").to_json() for n in (1, 2))
        assert store.set(key, first, None)
        assert not store.set(key, second, None)
        assert store.get(key) == first

    def test_nothing_is_written_by_who_saw_an_entry_that_is_gone(
        self, store: StateStore, key: str
    ) -> None:
        assert not store.set(key, make_entry(1, "load", None, "print").to_json(), "a seal")
        assert store.get(key) is None

    def test_text_that_is_no_entry_is_handed_back_as_it_is(
        self, store: StateStore, key: str
    ) -> None:
        assert store.set(key, "typed by a person", None)
        assert store.get(key) == "typed by a person"

    def test_keys_do_not_mix(self, store: StateStore, key: str) -> None:
        one, two = (make_entry(n, f"load{n}", None, "print").to_json() for n in (1, 2))
        assert store.set(key, one, None)
        assert store.set(f"{key}_2", two, None)
        assert (store.get(key), store.get(f"{key}_2")) == (one, two)

    def test_one_of_two_writers_at_once_wins(self, store: StateStore, key: str) -> None:
        entries = [make_entry(n, f"load{n}", None, "print").to_json() for n in (1, 2, 3, 4)]
        start = threading.Barrier(len(entries))
        won: list[str] = []

        def write(entry: str) -> None:
            start.wait(timeout=30)
            if store.set(key, entry, None):
                won.append(entry)

        threads = [threading.Thread(target=write, args=(entry,)) for entry in entries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert won
        assert store.get(key) in won
        if self.atomic:
            assert len(won) == 1
