"""Staged splits as data files in place: publishing them is naming them, nothing is copied.

Plans and receipts lie where a folder's staging has them; what a receipt names is a list of data
files. Files of loads that never come to be published age away, as any file that no version names:
removing them at once could take them from a publish that is under way.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from conduit_core.connectors.base import StagedRows, Tally
from conduit_core.connectors.lake.changes import range_columns
from conduit_core.connectors.lake.layout import target_paths
from conduit_core.connectors.lake.manifest import DataFile, FileList, read_as, to_bytes
from conduit_core.connectors.lake.place import Place
from conduit_core.connectors.lake.writer import DataWriter, Naming, WriteJob
from conduit_core.connectors.objects.staging import ROOT, FolderStaging, plan_folder
from conduit_core.connectors.sql.staging import lost
from conduit_core.connectors.staging import Attempt, StageReceipt, stages_of
from conduit_core.errors import ConduitError, PublishError, StateError
from conduit_core.events import Emit
from conduit_core.state.ledger import Counts

if TYPE_CHECKING:
    import pyarrow as pa

_READS_AT_ONCE = 16
_PLAIN = re.compile(r"[0-9a-z]{1,32}")


class LakeStaging(FolderStaging):
    """Splits of loads into files.

    Args:
        place: the destination's.
    """

    def __init__(self, place: Place) -> None:
        super().__init__(place.store)
        self._place = place
        self._written: dict[str, list[str]] = {}

    def stage(self, attempt: Attempt, rows: StagedRows, emit: Emit) -> StageReceipt:
        """Write a split's data files, then its receipt; the attempt that loses removes its own."""
        try:
            won = super().stage(attempt, rows, emit)
        except BaseException:
            with suppress(ConduitError):
                self._place.store.delete(self._written.pop(attempt.attempt, ()))
            raise
        mine = self._written.pop(attempt.attempt, ())
        if won.attempt != attempt.attempt:
            self._place.store.delete(mine)
        return won

    def _write(self, attempt: Attempt, rows: StagedRows, places: list[str]) -> tuple[int, Tally]:
        import pyarrow as pa

        writer = DataWriter(self._job(attempt, rows.schema))
        try:
            try:
                for batch in rows.reader():
                    writer.write(batch)
            except Exception:
                rows.finish()  # raises what really broke the read, if the read was what broke
                raise
            tally = rows.finish()
            if not tally.complete:
                raise PublishError(
                    f"the read of split {attempt.split} stopped before its last batch"
                )
            files = writer.close()
        except (pa.ArrowException, OSError) as error:
            writer.abort()
            where = self._place.store.identity
            raise PublishError(
                f"split {attempt.split} can't be staged in {where}: {error}"
            ) from error
        except BaseException:
            writer.abort()
            raise
        self._written[attempt.attempt] = [file.path for file in files]
        load = attempt.load
        listed = self.list_path(load.target_fingerprint, load.plan_id, attempt)
        self._place.store.put(listed, to_bytes(FileList(files=files)))
        places.append(listed)
        return writer.rows, tally

    def _job(self, attempt: Attempt, schema: pa.Schema) -> WriteJob:
        load, place = attempt.load, self._place
        plan = json.loads(load.plan)
        ranges = range_columns(plan.get("cursor"), plan.get("window"))
        naming = Naming(
            target_paths(load.target).data, load.load_id, _short(attempt.split),
            hashlib.sha256(attempt.attempt.encode()).hexdigest()[:12],
        )  # fmt: skip
        return WriteJob(place.store, place.form, schema, naming, place.options, ranges)

    @staticmethod
    def list_path(target_fingerprint: str, plan_id: str, attempt: Attempt) -> str:
        """Return where the list of an attempt's data files lies."""
        name = f"{_short(attempt.split)}-{_short(attempt.attempt)}.json"
        return f"{plan_folder(target_fingerprint, plan_id)}/data/{name}"

    def _look_at(self, places: Sequence[str]) -> str:
        files = (read_as(FileList, self._store.get(p) or b"", p).files for p in places)
        paths = ", ".join(f"'{file.path}'" for listed in files for file in listed)
        reader = {"parquet": "read_parquet", "csv": "read_csv"}.get(self._place.system, "read_json")
        return f"SELECT * FROM {reader}([{paths}]) in {self._store.identity}"

    def rows(
        self, receipts: Sequence[StageReceipt], schema: pa.Schema, report: str = ""
    ) -> StagedRows:
        """Return the splits' data files, for a commit that names them."""
        return StagedDataFiles(self._place, receipts, schema, report)


class StagedDataFiles:
    """``StagedRows`` that lie in place already.

    Args:
        place: the destination's.
        receipts: one per split.
        schema: names and types, as they were staged.
        report: what ``finish`` gives back of the audit.
    """

    def __init__(
        self,
        place: Place,
        receipts: Sequence[StageReceipt],
        schema: pa.Schema,
        report: str = "",
    ) -> None:
        self._report = report
        self.schema = schema
        self._place = place
        self._receipts = tuple(receipts)
        self._files: dict[str, tuple[DataFile, ...]] = {}
        self._exhausted = False

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The data files, split by split.

        Raises:
            StagingLostError: a list of them is gone or damaged.
        """
        return tuple(file for r in self._receipts for file in self._of(r))

    def _of(self, receipt: StageReceipt) -> tuple[DataFile, ...]:
        if receipt.split not in self._files:
            found: list[DataFile] = []
            for path in receipt.places:
                data = self._place.store.get(path)
                if data is None:
                    raise lost(receipt.split, f"{path} is gone, which lists its files")
                try:
                    found += read_as(FileList, data, path).files
                except StateError as error:
                    raise lost(receipt.split, error.message) from error
            if sum(f.rows for f in found) != receipt.rows:
                raise lost(
                    receipt.split, f"its files hold other rows than the {receipt.rows} staged"
                )
            self._files[receipt.split] = tuple(found)
        return self._files[receipt.split]

    def check(self) -> None:
        """Look at each file: is it there, as long, and with as many rows as was staged.

        Raises:
            StagingLostError: naming the split and the file.
        """
        folders = {file.path.rpartition("/")[0] for file in self.files}
        sizes = {e.path: e.size for f in folders for e in self._place.store.entries(f)}
        pairs = [(r, file) for r in self._receipts for file in self._of(r)]
        for receipt, file in pairs:
            size = sizes.get(file.path)
            if size is None:
                raise lost(receipt.split, f"{file.path} is gone")
            if size != file.bytes:
                why = f"{file.path} has {size} bytes, {file.bytes} were written"
                raise lost(receipt.split, why)
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            list(pool.map(self._count, pairs))

    def _count(self, pair: tuple[StageReceipt, DataFile]) -> None:
        import pyarrow as pa

        receipt, file = pair
        try:
            with self._place.store.reader(file.path) as source:
                rows = self._place.form.count(source)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise lost(receipt.split, f"{file.path} can't be read: {error}") from error
        if rows is not None and rows != file.rows:
            why = f"{file.path} holds {rows} rows, {file.rows} were staged"
            raise lost(receipt.split, why)

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows themselves, which a commit here doesn't need."""
        import pyarrow as pa

        self.check()
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for file in self.files:
            yield from self._place.read(file, self.schema, self.schema.names)

    def finish(self) -> Tally:
        """Return what the readers of all splits counted."""
        counts = {k: sum(getattr(r.counts, k) for r in self._receipts) for k in Counts.model_fields}
        return Tally(
            Counts(**counts),
            tuple(f for r in self._receipts for f in r.files),
            bytes=sum(r.bytes for r in self._receipts),
            report=self._report,
            stages=stages_of(self._receipts),
        )


def staged_files(place: Place) -> set[str]:
    """Return the data files that receipts of open loads name: no orphans, however old."""
    named: set[str] = set()
    for entry in place.store.entries(ROOT):
        if "/data/" in entry.path and entry.path.endswith(".json"):
            data = place.store.get(entry.path)
            if data is not None:
                named.update(file.path for file in read_as(FileList, data, entry.path).files)
    return named


def _short(text: str) -> str:
    """Return a text as a part of a file's name: itself where it is plain, else its digest."""
    return text if _PLAIN.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:12]
