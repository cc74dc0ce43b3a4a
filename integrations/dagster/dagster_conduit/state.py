"""The runner's state store in Dagster: the sealed entry in an asset's own events.

Events are only ever added, and Dagster adds some that are none of ours: reports from its UI, old
partitions that are filled in again, checks. So of all entries the one with the highest version
counts, and of several with that version the newest: a person's edit is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from conduit_core import seal_of

if TYPE_CHECKING:
    import dagster as dg
    from dagster import DagsterInstance, EventLogRecord

KEY = "conduit/state"
"""The key of the entry in an event's metadata."""
FORGETS = "conduit/forgets"
"""In the metadata beside an entry: those of events before it count no more."""
_PAGE = 100
_ENOUGH = 200
_AT_MOST = 2000
"""Events that are looked at, of each kind: thousands of reports without an entry cost seconds, and
an entry that isn't found is one that the ledger fills in."""


class DagsterStateStore:
    """An asset's entry. What the engine writes waits here until the step's event is told.

    Args:
        instance: where events are.
        key: the asset's.
    """

    def __init__(self, instance: DagsterInstance, key: dg.AssetKey) -> None:
        self._instance = instance
        self._asset = key
        self._asked = False
        self._is_set = False
        self._entry: str | None = None
        self.version: int | None = None
        """The version of the entry that was there at first, or is kept now."""

    @property
    def told(self) -> str | None:
        """The entry that the step's event is to hold; None where a person's edit has to stay.

        With nothing new the entry is told again, and would count instead of an edit made meanwhile.
        """
        if self._is_set or current(self._instance, self._asset) == self._entry:
            return self._entry
        return None

    def get(self, key: str) -> str | None:
        """Return the entry's text, or None."""
        found = current(self._instance, self._asset)
        if not self._asked:
            self._asked, self._entry = True, found
            self.version = None if found is None else version_of(found)
        return found

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Keep the entry for the step's event, if what ``expect`` identifies still counts."""
        fits = seal_of(current(self._instance, self._asset)) == expect
        self._is_set, self._entry = True, entry if fits else None
        self.version = version_of(entry) if fits else self.version
        return fits


def current(instance: DagsterInstance, key: dg.AssetKey) -> str | None:
    """Return the entry that counts, as canonical JSON text; None where there is none."""
    best: tuple[int, float, str] | None = None
    for at, entry, forgets in sorted(_entries(instance, key)):
        if forgets:
            best = None
            if entry == "{}":
                continue
        version = version_of(entry)
        found = (-1 if version is None else version, at, entry)
        if best is None or found[:2] >= best[:2]:
            best = found
    return None if best is None else best[2]


def version_of(entry: str) -> int | None:
    """Return an entry's version; None where it is none."""
    try:
        return int(json.loads(entry)["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _entries(instance: DagsterInstance, key: dg.AssetKey) -> Iterator[tuple[float, str, bool]]:
    """Yield the newest entries with their times, as far back as loads side by side may reach."""
    for fetch in (instance.fetch_materializations, instance.fetch_observations):
        cursor, seen, looked_at = None, 0, 0
        while seen < _ENOUGH and looked_at < _AT_MOST:
            looked_at += _PAGE
            page = fetch(key, limit=_PAGE, cursor=cursor)
            for record in page.records:
                text = _text(record)
                if text is not None:
                    seen += 1
                    yield record.timestamp, text, _forgets(record)
            if not page.has_more:
                break
            cursor = page.cursor


def _forgets(record: EventLogRecord) -> bool:
    observation = record.asset_observation
    return observation is not None and FORGETS in observation.metadata


def _text(record: EventLogRecord) -> str | None:
    event = record.asset_materialization or record.asset_observation
    if event is None or KEY not in event.metadata:
        return None
    value = event.metadata[KEY].value
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return str(value)
