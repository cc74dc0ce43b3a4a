"""What `conduit clean` removes: old manifests, and files that no version of a table needs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from conduit_core.connectors.base import CleanItem
from conduit_core.connectors.chain import removable
from conduit_core.connectors.lake.layout import ROOT, is_data, target_paths
from conduit_core.connectors.lake.manifest import Manifest
from conduit_core.connectors.lake.place import Place
from conduit_core.connectors.lake.staging import staged_files
from conduit_core.connectors.lake.walk import ORPHAN_SECONDS
from conduit_core.connectors.objects import Entry
from conduit_core.connectors.objects.staging import ROOT as STAGING
from conduit_core.types.dialect import Table


def clean(place: Place, older_than: timedelta, *, dry_run: bool) -> list[CleanItem]:
    """Remove what is older than ``older_than`` and not needed; return it.

    A data file stays while a version names it that was the newest at any time since, and in any
    case for an hour: a load may be about to name it.
    """
    now = datetime.now(UTC)
    border = now - older_than
    chains = place.logs.all()
    items: list[CleanItem] = []
    going: list[str] = []
    for record in removable([m.record for c in chains.values() for m in c], border):
        target = Table(record.target_schema, record.target_table)
        name = f"{target} version {record.version}"
        items.append(CleanItem("record", name, f"published {record.published_at:%Y-%m-%d}"))
        going.append(target_paths(target).manifest(record.version))
    orphan_border = min(border, now - timedelta(seconds=ORPHAN_SECONDS))
    entries = place.store.entries()
    lists = {m.files for c in chains.values() for m in _needed(c, border) if m.files}
    kept = _kept(place, chains.values(), border) | staged_files(place)
    for entry in _data_files(entries):
        if entry.path not in kept and entry.modified < orphan_border:
            reason = f"in no version since, written {entry.modified:%Y-%m-%d}"
            items.append(CleanItem("file", entry.path, reason))
            going.append(entry.path)
    for entry in place.store.unfinished():
        if entry.modified < orphan_border and not entry.path.startswith(STAGING):
            items.append(CleanItem("file", entry.path, "of a load that was killed"))
            going.append(entry.path)
    going += [
        e.path
        for e in entries
        if _is_list(e.path) and e.path not in lists and e.modified < orphan_border
    ]
    if not dry_run and going:
        named = _kept(place, place.logs.all().values(), border)  # by versions that came meanwhile
        place.store.delete(path for path in going if path not in named)
    return items


def _needed(chain: list[Manifest], border: datetime) -> list[Manifest]:
    """Return the versions that were the newest at any time since ``border``."""
    following = [*chain[1:], None]
    return [
        manifest
        for manifest, after in zip(chain, following, strict=True)
        if after is None or after.record.published_at >= border
    ]


def _kept(place: Place, chains: Iterable[list[Manifest]], border: datetime) -> set[str]:
    kept: set[str] = set()
    for chain in chains:
        for manifest in _needed(chain, border):
            kept.update(file.path for file in place.logs.files(manifest))
            if manifest.files:
                kept.add(manifest.files)
    return kept


def _is_list(path: str) -> bool:
    return path.startswith(f"{ROOT}/") and "/_lists/" in path


def _data_files(entries: list[Entry]) -> list[Entry]:
    """Return the files that loads of this root wrote; another root inside it is left alone."""
    inner = {
        path[: path.index(f"/{ROOT}/") + 1]
        for path in (entry.path for entry in entries)
        if f"/{ROOT}/" in path
    }
    return [
        entry
        for entry in entries
        if is_data(entry.path)
        and not entry.path.startswith("_")
        and not any(entry.path.startswith(folder) for folder in inner)
        and sum("=" not in part for part in entry.path.split("/")[:-1]) in (1, 2)
    ]
