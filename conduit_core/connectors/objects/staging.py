"""Staging in a folder or bucket: rows as Arrow files; receipts and plans created only if absent.

::

    _conduit/staging/probe.json                              tells this place from any other
    _conduit/staging/<target>/loads/<load>.json              the open load: its plan
    _conduit/staging/<target>/plans/<plan>/receipts/<split>.json
    _conduit/staging/<target>/plans/<plan>/data/<split>-<attempt>-0000.arrows

What is open is said by ``loads`` alone: it goes first, and what stays below ``plans`` is garbage.
"""

from __future__ import annotations

import json
import platform
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import IOBase
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, unquote

from pydantic import ValidationError

from conduit_core.connectors.base import BATCH_BYTES, CleanItem, StagedRows, Tally
from conduit_core.connectors.objects.base import Entry, ObjectStore
from conduit_core.connectors.objects.staged import StagedFiles, options
from conduit_core.connectors.sql.staging import lost
from conduit_core.connectors.staging import Attempt, OpenLoad, StageReceipt, Staging
from conduit_core.errors import ConduitError, ConfigError, PublishError, StagingLostError
from conduit_core.events import Emit

if TYPE_CHECKING:
    import pyarrow as pa

ROOT = "_conduit/staging"
_PROBE = f"{ROOT}/probe.json"
_FILE_BYTES = 256 * 1024 * 1024
"""Arrow bytes after which an attempt goes on in its next file."""
_TRIES = 10
_READS_AT_ONCE = 16


class FolderStaging(Staging):
    """Staged rows in an object store that every worker can reach.

    Args:
        store: where; many targets may share it.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def probe(self, *, write: bool) -> str:
        """Return the place's random id; see :meth:`Staging.probe`."""
        if write:
            made = uuid.uuid4().hex
            if self._store.put(_PROBE, json.dumps({"id": made}).encode(), create=True):
                return made
        found = self._store.get(_PROBE)
        if found is None:
            raise ConfigError(
                f"the destination's `staging:` isn't visible from {platform.node()}: there is no"
                f" {_PROBE} in {self._store.identity}; every worker needs the same folder (a"
                " mount that all have) or a bucket",
                command="conduit check",
            )
        try:
            return str(json.loads(found)["id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._store.identity}: {_PROBE} isn't what was written there; remove it"
            ) from error

    # --- open loads -------------------------------------------------------------------------------

    def open(self, load: OpenLoad, supersedes: str | None) -> OpenLoad:
        """Write the plan unless its load is open; see :meth:`Staging.open`."""
        path = _load_path(load.target_fingerprint, load.load_id)
        data = load.model_dump_json().encode()
        for _ in range(_TRIES):
            held = self._load(path)
            if held is not None and held.plan_id != supersedes:
                return held
            if held is not None:
                self._remove(path, held.target_fingerprint, held.plan_id)
            if self._store.put(path, data, create=True):
                return load
        raise StagingLostError(
            f"load {load.load_id} is opened and closed by other workers all the time",
            command="conduit run",
        )

    def opened(self, target_fingerprint: str) -> list[OpenLoad]:
        """Return a target's open loads, newest first; a plan that can't be read is left out."""
        found = [load for _, load in self._loads(target_fingerprint)]
        return sorted(found, key=lambda load: load.opened_at, reverse=True)

    def receipts(self, plan_id: str, target_fingerprint: str) -> list[StageReceipt]:
        """Return the receipts of an open load, by split.

        Raises:
            StagingLostError: one isn't what was written.
        """
        folder = f"{plan_folder(target_fingerprint, plan_id)}/receipts"
        splits = [_name(entry.path) for entry in self._store.entries(folder)]
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            found = pool.map(lambda s: self.receipt(plan_id, target_fingerprint, s), splits)
        return [receipt for receipt in found if receipt is not None]

    def receipt(self, plan_id: str, target_fingerprint: str, split: str) -> StageReceipt | None:
        """Return one split's receipt, if it has one.

        Raises:
            StagingLostError: it isn't what was written.
        """
        data = self._store.get(_receipt_path(target_fingerprint, plan_id, split))
        if data is None:
            return None
        try:
            receipt = StageReceipt.model_validate_json(data)
        except ValidationError as error:
            raise lost(split, "its receipt can't be read") from error
        folder = f"{plan_folder(target_fingerprint, plan_id)}/data/"
        mine = (receipt.plan_id, receipt.split) == (plan_id, split)
        places = [*receipt.places, receipt.letters or folder]
        if not mine or not all(place.startswith(folder) for place in places):
            raise lost(split, "its receipt is of another split, or names other files")
        return receipt

    def drop(self, plan_id: str, target_fingerprint: str) -> None:
        """Remove an open load, its receipts and its rows."""
        for path, load in self._loads(target_fingerprint):
            if load.plan_id == plan_id:
                self._store.delete([path])
        self._remove(None, target_fingerprint, plan_id)

    def release(self, plan_id: str, target_fingerprint: str) -> str:
        """Remove an open load's plan; return how its files are read."""
        receipts = self.receipts(plan_id, target_fingerprint)
        for path, load in self._loads(target_fingerprint):
            if load.plan_id == plan_id:
                self._store.delete([path])
        return self._look_at([place for receipt in receipts for place in receipt.places])

    def _look_at(self, places: Sequence[str]) -> str:
        """Return what shows the rows of staged files."""
        return f"pyarrow.ipc.open_stream() reads {', '.join(places)} in {self._store.identity}"

    def _loads(self, target_fingerprint: str) -> list[tuple[str, OpenLoad]]:
        found = []
        for entry in self._store.entries(f"{_target_folder(target_fingerprint)}/loads"):
            with suppress(StagingLostError):
                load = self._load(entry.path)
                if load is not None:
                    found.append((entry.path, load))
        return found

    def _load(self, path: str) -> OpenLoad | None:
        data = self._store.get(path)
        if data is None:
            return None
        try:
            return OpenLoad.model_validate_json(data)
        except ValidationError as error:
            raise StagingLostError(
                f"the plan beside the staging can't be read: {path} in {self._store.identity};"
                " remove that file",
                command="conduit clean",
            ) from error

    def _remove(self, path: str | None, target_fingerprint: str, plan_id: str) -> None:
        """Remove the plan first, so that no receipt follows; then receipts, then rows."""
        if path is not None:
            self._store.delete([path])
        folder = plan_folder(target_fingerprint, plan_id)
        entries = [*self._store.entries(folder), *self._store.unfinished(folder)]
        found = [e.path for e in entries]
        self._store.delete(sorted(found, reverse=True))  # receipts/ is behind data/

    # --- rows -------------------------------------------------------------------------------------

    def stage(self, attempt: Attempt, rows: StagedRows, emit: Emit) -> StageReceipt:
        """Write a split's rows, then its receipt; return the receipt that won."""
        load, split = attempt.load, attempt.split
        started = time.monotonic()
        self._must_be_open(load, split)
        if won := self.receipt(load.plan_id, load.target_fingerprint, split):
            return won
        places: list[str] = []
        letters: list[str] = []
        try:
            taken, tally = self._write(attempt, rows, places)
            self._keep_letters(attempt, tally, letters)
            self._must_be_open(load, split)
            receipt = StageReceipt(
                load_id=load.load_id,
                plan_id=load.plan_id,
                split=split,
                attempt=attempt.attempt,
                places=tuple(places),
                rows=taken,
                bytes=tally.bytes,
                counts=tally.counts,
                files=tally.files,
                letters="".join(letters),
                quality=tally.report,
                worker=attempt.worker,
                seconds=time.monotonic() - started,
                staged_at=datetime.now(UTC),
                stages=dict(tally.stages),
            )
            won = self._first(receipt, load)
        except BaseException as error:
            with suppress(ConduitError):
                self._store.delete([*places, *letters])
            if isinstance(error, ConduitError) and self._is_closed(load):
                raise _gone(load, split) from error
            raise
        if won.attempt != attempt.attempt:
            self._store.delete([*places, *letters])
        return won

    def _keep_letters(self, attempt: Attempt, tally: Tally, letters: list[str]) -> None:
        """Write the rejected rows, if there are any; ``letters`` gets the path of the file."""
        from pyarrow import ipc

        found = tally.letters
        if found is None:
            return
        try:
            if not found.rows:
                return
            path = _letters_path(attempt)
            reader = found.reader()
            with (
                self._store.writer(path) as sink,
                ipc.new_stream(cast("IOBase", sink), reader.schema, options=options()) as out,
            ):
                for batch in reader:
                    out.write_batch(batch)
            letters.append(path)
        finally:
            found.close()

    def _write(self, attempt: Attempt, rows: StagedRows, places: list[str]) -> tuple[int, Tally]:
        """Write the rows; ``places`` fills up with the files that are finished."""
        taken = 0
        try:
            batches = _bounded(rows.reader())
            batch = next(batches, None)
            while batch is not None:
                path = _data_path(attempt, len(places))
                batch, written = self._write_file(path, rows.schema, batch, batches)
                places.append(path)
                taken += written
        except Exception as error:
            rows.finish()  # raises what really broke the read, if the read was what broke
            if isinstance(error, ConduitError):
                raise
            raise PublishError(
                f"split {attempt.split} can't be staged in {self._store.identity}: {error}"
            ) from error
        tally = rows.finish()
        if not tally.complete:
            raise PublishError(f"the read of split {attempt.split} stopped before its last batch")
        return taken, tally

    def _write_file(
        self,
        path: str,
        schema: pa.Schema,
        batch: pa.RecordBatch | None,
        batches: Iterator[pa.RecordBatch],
    ) -> tuple[pa.RecordBatch | None, int]:
        """Write one file; return the batch that the next one begins with, and the rows written."""
        from pyarrow import ipc

        size = written = 0
        with (
            self._store.writer(path) as sink,
            ipc.new_stream(cast("IOBase", sink), schema, options=options()) as out,
        ):
            while batch is not None and size < _FILE_BYTES:
                out.write_batch(batch)
                size += batch.nbytes
                written += batch.num_rows
                batch = next(batches, None)
        return batch, written

    def _first(self, receipt: StageReceipt, load: OpenLoad) -> StageReceipt:
        """Write the receipt if it is the first, and return the one that is."""
        target = load.target_fingerprint
        path = _receipt_path(target, receipt.plan_id, receipt.split)
        if not self._store.put(path, receipt.model_dump_json().encode(), create=True):
            found = self.receipt(receipt.plan_id, target, receipt.split)
            if found is None:
                raise _gone(load, receipt.split)
            return found
        if self._is_closed(load):
            self._store.delete([path])
            raise _gone(load, receipt.split)
        return receipt

    def _must_be_open(self, load: OpenLoad, split: str) -> None:
        held = self._load(_load_path(load.target_fingerprint, load.load_id))
        if held is None or held.plan_id != load.plan_id:
            raise _gone(load, split)

    def _is_closed(self, load: OpenLoad) -> bool:
        """Say whether the load is known to be gone; what can't be asked now is not."""
        with suppress(ConduitError):
            held = self._load(_load_path(load.target_fingerprint, load.load_id))
            return held is None or held.plan_id != load.plan_id
        return False

    def rows(
        self, receipts: Sequence[StageReceipt], schema: pa.Schema, report: str = ""
    ) -> StagedRows:
        """Return the staged rows, file after file, read ahead by a thread of their own."""
        return StagedFiles(self._store, receipts, schema, report)

    # --- sweeping ---------------------------------------------------------------------------------

    def sweep(
        self, older_than: timedelta, published: Collection[str], *, dry_run: bool
    ) -> list[CleanItem]:
        """Remove loads that nobody works at, and rows of loads that aren't open."""
        border = datetime.now(UTC) - older_than
        found = [*self._store.entries(ROOT), *self._store.unfinished(ROOT)]
        plans: dict[tuple[str, str], list[Entry]] = {}
        loads: list[Entry] = []
        for entry in found:
            match entry.path.split("/")[2:]:
                case [_, "loads", _]:
                    loads.append(entry)
                case [target, "plans", plan, _, *_]:
                    plans.setdefault((unquote(target), unquote(plan)), []).append(entry)
        items = []
        for entry in loads:
            load = self._readable(entry)
            key = (load.target_fingerprint, load.plan_id) if load else ("", "")
            reason = _why_stale(entry, load, plans.get(key, []), border, published)
            if reason is not None:
                gone = [entry, *reversed(plans.pop(key, []))]
                name = f"{load.target} load {load.load_id}" if load else entry.path
                items.append(self._sweep(name, reason, gone, dry_run=dry_run))
            else:
                plans.pop(key, None)
        for (_, plan), entries in plans.items():
            if max(e.modified for e in entries) < border:
                reason = "its load isn't open"
                items.append(self._sweep(f"rows of plan {plan}", reason, entries, dry_run=dry_run))
        return items

    def _readable(self, entry: Entry) -> OpenLoad | None:
        try:
            return self._load(entry.path)
        except StagingLostError:
            return None

    def _sweep(
        self, name: str, reason: str, entries: Sequence[Entry], *, dry_run: bool
    ) -> CleanItem:
        if not dry_run:
            self._store.delete(entry.path for entry in entries)
        return CleanItem("staging", name, reason)


def _why_stale(
    entry: Entry,
    load: OpenLoad | None,
    entries: Sequence[Entry],
    border: datetime,
    published: Collection[str],
) -> str | None:
    """Say why a load may go, or None; files that grow are activity too."""
    if load is not None and load.load_id in published:
        return "it is published"
    opened = load.opened_at if load is not None else entry.modified
    last = max([opened, *(e.modified for e in entries)])
    return f"no activity since {last:%Y-%m-%d %H:%M} UTC" if last < border else None


def _bounded(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield batches small enough to be read back in bounded memory; none that is empty."""
    for batch in batches:
        parts = max(-(-batch.nbytes // BATCH_BYTES), 1)
        rows = max(-(-batch.num_rows // parts), 1)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)


def _gone(load: OpenLoad, split: str) -> StagingLostError:
    return lost(split, f"load {load.load_id} isn't open any more (published, cleaned or replaced)")


def _part(text: str) -> str:
    return quote(text, safe="")


def _name(path: str) -> str:
    return unquote(path.rpartition("/")[2].removesuffix(".json"))


def _target_folder(target_fingerprint: str) -> str:
    return f"{ROOT}/{_part(target_fingerprint)}"


def _load_path(target_fingerprint: str, load_id: str) -> str:
    return f"{_target_folder(target_fingerprint)}/loads/{_part(load_id)}.json"


def plan_folder(target_fingerprint: str, plan_id: str) -> str:
    """Return the folder of a plan's receipts and rows."""
    return f"{_target_folder(target_fingerprint)}/plans/{_part(plan_id)}"


def _receipt_path(target_fingerprint: str, plan_id: str, split: str) -> str:
    return f"{plan_folder(target_fingerprint, plan_id)}/receipts/{_part(split)}.json"


def _data_path(attempt: Attempt, number: int) -> str:
    return f"{_attempt_path(attempt)}-{number:04}.arrows"


def _letters_path(attempt: Attempt) -> str:
    return f"{_attempt_path(attempt)}-rejected.arrows"


def _attempt_path(attempt: Attempt) -> str:
    folder = plan_folder(attempt.load.target_fingerprint, attempt.load.plan_id)
    return f"{folder}/data/{_part(attempt.split)}-{_part(attempt.attempt)}"
