"""The runner's state store: a sealed mirror of the ledger that people can see and edit."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict

from conduit_core.errors import StateError

MAX_ENTRY_BYTES = 4096
POINTER = "ledger:"
"""Before a version: the cursor is in that ledger record."""


class StateEntry(BaseModel):
    """What a store keeps for a target: plain strings, canonical JSON, under 4 kB.

    ``cursor`` is a cursor's JSON text, ``""`` for a target without one, ``initial`` for a rewind to
    the start (typed by a person), or ``ledger:VERSION`` when the real one would be too long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    load_id: str
    cursor: str
    target_fingerprint: str
    seal: str = ""

    def digest(self) -> str:
        """Return the seal that fits the entry's other fields."""
        rest = json.dumps([self.version, self.load_id, self.cursor, self.target_fingerprint])
        return hashlib.sha256(rest.encode()).hexdigest()[:16]

    def sealed(self) -> Self:
        """Return the entry with its right seal."""
        return self.model_copy(update={"seal": self.digest()})

    @property
    def is_edited(self) -> bool:
        """Whether someone changed the entry after it was sealed."""
        return self.seal != self.digest()

    def to_json(self) -> str:
        """Return the canonical JSON text."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read an entry from a store.

        Raises:
            StateError: the text is not an entry; the message shows it.
        """
        try:
            return cls.model_validate_json(text)
        except ValueError as error:
            raise StateError(
                f"the state store holds something that is not a state entry: {text[:500]!r}",
                command="conduit state show",
            ) from error


def make_entry(
    version: int, load_id: str, cursor: str | None, target_fingerprint: str
) -> StateEntry:
    """Return a sealed entry for a published record; too long a cursor becomes a pointer."""
    entry = StateEntry(
        version=str(version),
        load_id=load_id,
        cursor=cursor or "",
        target_fingerprint=target_fingerprint,
    ).sealed()
    if len(entry.to_json().encode()) > MAX_ENTRY_BYTES:
        entry = entry.model_copy(update={"cursor": f"{POINTER}{version}"}).sealed()
    return entry


class StateStore(Protocol):
    """A runner's own place for state. Stores may lie in small ways; the ledger is the truth."""

    def get(self, key: str) -> str | None:
        """Return the text under ``key``, or None."""
        ...

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write ``entry`` if the store still holds an entry sealed ``expect`` (None: no entry).

        Args:
            key: the target's.
            entry: the text to write.
            expect: the seal of what was read before; see ``seal_of``.

        Returns:
            False, and nothing is written, if it holds something else: a person's edit is kept.
        """
        ...


def seal_of(text: str | None) -> str | None:
    """Return what identifies a stored text: None for no entry, else a digest of the raw text.

    Args:
        text: what the store holds under a key.
    """
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]


class InMemoryStateStore:
    """A state store for tests and notebooks; gone with the process."""

    def __init__(self) -> None:
        self._entries: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """Return the text under ``key``, or None."""
        return self._entries.get(key)

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write ``entry`` unless the stored text is no longer the one ``expect`` identifies."""
        with self._lock:
            if seal_of(self._entries.get(key)) != expect:
                return False
            self._entries[key] = entry
            return True
