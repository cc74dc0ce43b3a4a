"""A target's chain of manifests: read, cached, and appended to by creating the next number."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from conduit_core.connectors.lake.layout import ROOT, target_of, target_paths
from conduit_core.connectors.lake.manifest import DataFile, FileList, Manifest, read_as, to_bytes
from conduit_core.connectors.objects import Entry, ObjectStore
from conduit_core.errors import StateError
from conduit_core.types.dialect import Table

_READERS = 16
_CACHED = 20_000
"""Manifests kept in the process; each is about 2 kB."""


class Logs:
    """The chains of all targets of one store. Safe to use from several threads.

    A manifest never changes, so what was read once is not read again; its size and time are part of
    what it is known by, in case somebody removes a folder and loads anew.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._known: OrderedDict[Entry, Manifest] = OrderedDict()
        self._lock = threading.Lock()

    def chain(self, target: Table) -> list[Manifest]:
        """Return a target's manifests, by version; none: empty."""
        paths = target_paths(target)
        entries = self.store.entries(paths.log)
        return self._read([e for e in entries if paths.version(e.path) is not None])

    def newest(self, target: Table) -> Manifest | None:
        """Return a target's newest manifest, reading no other."""
        paths = target_paths(target)
        versions = [
            (version, entry)
            for entry in self.store.entries(paths.log)
            if (version := paths.version(entry.path)) is not None
        ]
        if not versions:
            return None
        (found,) = self._read([max(versions, key=lambda pair: pair[0])[1]])
        return found

    def all(self) -> dict[Table, list[Manifest]]:
        """Return every target's manifests, by version."""
        entries = [e for e in self.store.entries(ROOT) if target_of(e.path) is not None]
        out: dict[Table, list[Manifest]] = {}
        for manifest in self._read(entries):
            record = manifest.record
            out.setdefault(Table(record.target_schema, record.target_table), []).append(manifest)
        return out

    def files(self, manifest: Manifest | None) -> tuple[DataFile, ...]:
        """Return the data files of a version.

        Raises:
            StateError: the list is gone or damaged.
        """
        if manifest is None or manifest.files is None:
            return ()
        data = self.store.get(manifest.files)
        if data is None:
            raise StateError(
                f"{manifest.files} is gone, which lists the files of version {manifest.version}:"
                " it was removed by hand, or by `conduit clean` after a newer version came",
                retry="plan",
                command="conduit runs",
            )
        return read_as(FileList, data, manifest.files).files

    def at(self, target: Table, version: int) -> Manifest | None:
        """Read one version anew; None where it isn't there."""
        path = target_paths(target).manifest(version)
        data = self.store.get(path)
        return None if data is None else read_as(Manifest, data, path)

    def append(self, target: Table, manifest: Manifest) -> bool:
        """Create the manifest unless its number is taken; this is the commit."""
        path = target_paths(target).manifest(manifest.version)
        return self.store.put(path, to_bytes(manifest), create=True)

    def _read(self, entries: Iterable[Entry]) -> list[Manifest]:
        wanted = list(entries)
        with self._lock:
            missing = [e for e in wanted if e not in self._known]
        if len(missing) > 1:
            with ThreadPoolExecutor(min(_READERS, len(missing))) as pool:
                found = list(pool.map(self._get, missing))
        else:
            found = [self._get(entry) for entry in missing]
        with self._lock:
            fresh = {e: m for e, m in zip(missing, found, strict=True) if m is not None}
            self._known.update(fresh)
            out = [self._known[e] for e in wanted if e in self._known]
            while len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return sorted(out, key=lambda m: m.version)

    def _get(self, entry: Entry) -> Manifest | None:
        data = self.store.get(entry.path)
        return None if data is None else read_as(Manifest, data, entry.path)
