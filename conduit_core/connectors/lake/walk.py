"""One publish: stage the data files, carry out the actions on the newest version, put the next one.

Optimistic: nobody waits for anybody. Who finds the next number taken reads the chain again: the
same load there is a replay, a rival that the requirements exclude is a ``ConcurrentLoadError``,
and beside any other the actions are carried out anew, on what is the newest version now.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, runtime_checkable

import pyarrow as pa

from conduit_core.connectors.base import Commit, StagedRows, Tally
from conduit_core.connectors.chain import check_requirements, find_load
from conduit_core.connectors.lake.changes import Delete, Keys, WindowDelete, range_columns
from conduit_core.connectors.lake.layout import TargetPaths, new_attempt, target_paths
from conduit_core.connectors.lake.manifest import DataFile, FileList, Manifest, to_bytes, totals
from conduit_core.connectors.lake.place import Place, table_columns
from conduit_core.connectors.lake.writer import DataWriter, Naming, WriteJob
from conduit_core.connectors.publish import (
    SAMPLE,
    Action,
    AddColumn,
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    WidenColumn,
    check_guard,
)
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    ConnectionFailedError,
    PublishError,
    PublishUnknownError,
    StagingLostError,
)
from conduit_core.events import CommitStarted, Emit, PublishStarted
from conduit_core.state.ledger import Counts, LedgerRecord, stages_text
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table
from conduit_core.types.schema import parse_type, schema_to_json

ORPHAN_SECONDS = 3600.0
"""No data file younger than this is ever taken for an orphan."""
_LOOK_AGAIN_SECONDS = ORPHAN_SECONDS / 2
_ROUNDS = 200
_COUNTED_BY_READER = {"read", "deduplicated", "superseded", "rejected"}


@runtime_checkable
class HasFiles(Protocol):
    """Staged rows that lie in place as data files already, finished and counted."""

    schema: pa.Schema
    files: tuple[DataFile, ...]

    def check(self) -> None:
        """Raise ``StagingLostError`` where the files aren't what was staged."""
        ...


@dataclass(frozen=True, slots=True)
class _Staged:
    """The load's own rows in place: their files, and what reader and rules counted."""

    files: tuple[DataFile, ...]
    rows: int
    tally: Tally
    schema: pa.Schema
    keys: Keys | None


@dataclass(slots=True)
class _Draft:
    """The version that is about to be: the columns, the files, the counts."""

    schema: pa.Schema | None
    before: tuple[DataFile, ...]
    files: tuple[DataFile, ...]
    counts: dict[str, int]
    remembered: tuple[str, ...] = ()
    report: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)


class Walk:
    """One commit. Used once.

    Args:
        place: the destination.
        publish: what to do.
        rows: the staged rows; None: a record alone.
        emit: listener of events.
    """

    def __init__(self, place: Place, publish: Publish, rows: StagedRows | None, emit: Emit) -> None:
        self._place, self._publish, self._rows, self._emit = place, publish, rows, emit
        self._target = Table(publish.target_schema, publish.target_table)
        self._paths: TargetPaths = target_paths(self._target)
        self._attempt = new_attempt()
        self._staged: _Staged | None = None
        self._own: list[str] = []
        self._outcome_unknown = False
        self._started = time.monotonic()
        self._said: set[type] = set()

    def run(self) -> Commit:
        """Carry it out; see :meth:`Destination.commit`."""
        kept: set[str] = set()
        try:
            done, kept = self._rounds()
        except (pa.ArrowException, OSError) as error:
            raise PublishError(f"{self._target}: can't be written: {error}") from error
        finally:
            if not self._outcome_unknown:  # else they may be named after all: they age away
                waste = [path for path in self._own if path not in kept]
                with suppress(ConduitError):
                    self._place.store.delete(waste)
        return done

    def _rounds(self) -> tuple[Commit, set[str]]:
        record = self._publish.record
        for _ in range(_ROUNDS):
            chain = self._place.logs.chain(self._target)
            records = [m.record for m in chain]
            self._say(PublishStarted)
            if found := find_load(records, record):
                return Commit(found, replayed=True), set()
            base = chain[-1] if chain else None
            schema = base.schema_arrow if base else None
            existing = None if schema is None else table_columns(schema)
            check_requirements(self._publish, records, existing)
            draft = self._carry_out(base, schema)
            if draft is None:
                return Commit(None), set()
            self._say(CommitStarted)
            manifest, files = self._manifest(draft, base)
            if self._put(manifest):
                return Commit(manifest.record), files
        raise ConcurrentLoadError(
            f"{_ROUNDS} other loads of {self._target} were published first", command="conduit run"
        )

    def _say(self, event: type[PublishStarted | CommitStarted]) -> None:
        if event not in self._said:
            self._said.add(event)
            r = self._publish.record
            self._emit(event(pipeline=r.pipeline, stream=r.stream, load_id=r.load_id))

    # --- the actions ----------------------------------------------------------------------------

    def _carry_out(self, base: Manifest | None, schema: pa.Schema | None) -> _Draft | None:
        """Return the next version; None where nothing was read and nothing changes."""
        files = self._place.logs.files(base)
        counts = dict.fromkeys((*Counts.model_fields, "flagged", "target_has_rows"), 0)
        if base is not None and base.rows and _asks_for_rows(self._publish):
            counts["target_has_rows"] = 1
        draft = _Draft(schema, files, files, counts)
        for action in self._publish.actions:
            match action:
                case Guard():
                    check_guard(action, counts, lambda: self._sample(draft))
                case RecordLoad():
                    break
                case _:
                    self._act(action, draft)
        touched = counts["read"] or counts["removed"] or counts["target_has_rows"]
        # An existing table that an empty load left as it was: nothing to record.
        makes_table = schema is None and not self._publish.record.is_given
        if self._rows is not None and not makes_table and not touched:
            return None
        return draft

    def _sample(self, draft: _Draft) -> tuple[str, ...]:
        """Return what some of the rows that went have in the columns that decided it."""
        found: list[str] = []
        if draft.schema is None:
            return ()
        windows = [a.window for a in self._publish.actions if isinstance(a, DeleteWindow)]
        gone = WindowDelete(Window.from_json(windows[0]) if windows else Window("full"))
        names = gone.columns or tuple(draft.schema.names[:1])
        for file in draft.before:
            for batch in self._place.read(file, draft.schema, names):
                rows = batch.filter(gone.mask(batch)).slice(0, SAMPLE - len(found)).to_pylist()
                found += [", ".join(str(value) for value in row.values()) for row in rows]
                if len(found) == SAMPLE:
                    return tuple(found)
        return tuple(found)

    def _act(self, action: Action, draft: _Draft) -> None:
        match action:
            case CreateTable(columns=columns):
                if draft.schema is not None:
                    raise ConcurrentLoadError(
                        f"{self._target} was made meanwhile", command="conduit plan"
                    )
                self._place.refuse_foreign(self._paths)
                draft.schema = self._made(columns, None)
            case DeleteWindow(window=text):
                self._delete(draft, WindowDelete(Window.from_json(text)))
            case DeleteMatching(columns=names):
                keys = self._stage(_the(draft.schema), draft, names).keys
                if keys is not None:
                    kind = _the(draft.schema).field(names[0]).type
                    self._delete(draft, keys.delete(kind))
            case AddColumn(column=column) | WidenColumn(column=column):
                draft.schema = self._changed(_the(draft.schema), column)
            case AppendStaged():
                self._add(draft)
            case ReplaceWithStaged(columns=columns):
                draft.schema = self._made(columns, draft.schema)
                draft.counts["removed"] += totals(draft.files)[0]
                draft.files = ()
                self._add(draft)
            case _:
                raise PublishError(f"files can't be published by {action.kind}")

    def _made(self, columns: tuple[Column, ...], existing: pa.Schema | None) -> pa.Schema:
        """Return the columns of a table to make, in the types of the rows that come."""
        given = self._rows.schema if self._rows is not None else pa.schema([])
        fields = []
        for column in columns:
            known = next((s.field(column.name) for s in (given, existing) if s is not None
                          and column.name in s.names), None)  # fmt: skip
            made = pa.field(column.name, parse_type(column.ddl)) if known is None else known
            fields.append(made.with_nullable(column.nullable))
        return pa.schema(fields)

    def _changed(self, schema: pa.Schema, column: Column) -> pa.Schema:
        """Return a table's columns with one that is new or wider: older files are read as that."""
        old = schema.field(column.name) if column.name in schema.names else None
        same = old is not None and str(old.type) == column.ddl
        field = old if old is not None and same else self._made((column,), None).field(0)
        field = field.with_nullable(column.nullable)
        if old is None:
            return schema.append(field)
        return schema.set(schema.get_field_index(column.name), field)

    def _add(self, draft: _Draft) -> None:
        staged = self._stage(_the(draft.schema), draft)
        draft.files = (*draft.files, *staged.files)
        draft.counts["inserted"] += staged.rows

    def _stage(self, schema: pa.Schema, draft: _Draft, keys: tuple[str, ...] = ()) -> _Staged:
        """Put the load's rows in place, once; note what was counted."""
        if self._staged is None:
            if self._rows is None:
                raise PublishError("this publish needs rows and was given none")
            if len(keys) > 1:
                raise PublishError("rows of files are matched by one column")
            wanted = Keys(keys[0]) if keys else None
            if isinstance(self._rows, HasFiles):
                self._staged = self._in_place(self._rows, schema, wanted)
            else:
                self._staged = self._written(self._rows, schema, wanted)
        staged = self._staged
        self._compare(staged.schema, schema)
        draft.counts.update(staged.tally.counts.model_dump(include=_COUNTED_BY_READER))
        draft.remembered = staged.tally.files
        draft.report = staged.tally.report
        draft.stages = staged.tally.stages
        return staged

    def _compare(self, staged: pa.Schema, schema: pa.Schema) -> None:
        """Refuse rows that lie there in other columns than the table has by now."""
        same = all(
            f.name in schema.names and schema.field(f.name).type == f.type for f in staged
        ) and all(f.nullable or f.name in staged.names for f in schema)
        if not same:
            raise ConcurrentLoadError(
                f"{self._target} changed its columns while this load was written",
                command="conduit run",
            )

    def _in_place(self, rows: StagedRows, schema: pa.Schema, keys: Keys | None) -> _Staged:
        assert isinstance(rows, HasFiles)  # noqa: S101 - the caller looked
        rows.check()
        if keys is not None:
            for file in rows.files:
                keys.add_all(self._place.read(file, rows.schema, (keys.column,)))
        tally = rows.finish()
        return _Staged(rows.files, totals(rows.files)[0], tally, rows.schema, keys)

    def _written(self, rows: StagedRows, schema: pa.Schema, keys: Keys | None) -> _Staged:
        writer = self._writer(schema, "0")
        try:
            try:
                for batch in rows.reader():
                    if keys is not None:
                        keys.add(batch)
                    writer.write(batch)
            except Exception:
                rows.finish()  # raises what really broke the stream, if the stream was what broke
                raise
            tally = rows.finish()
            if not tally.complete:
                raise PublishError(
                    f"the destination took {writer.rows} rows and stopped before the last batch,"
                    " without an error"
                )
            files = self._closed(writer)
        except BaseException:
            writer.abort()
            raise
        return _Staged(files, writer.rows, tally, schema, keys)

    def _writer(self, schema: pa.Schema, split: str) -> DataWriter:
        record = self._publish.record
        naming = Naming(self._paths.data, record.load_id, split, new_attempt())
        ranges = range_columns(record.cursor, record.load_window)
        place = self._place
        job = WriteJob(place.store, place.form, schema, naming, place.options, ranges)
        return DataWriter(job)

    def _closed(self, writer: DataWriter) -> tuple[DataFile, ...]:
        files = writer.close()
        self._own.extend(file.path for file in files)
        return files

    # --- deletes --------------------------------------------------------------------------------

    def _delete(self, draft: _Draft, delete: Delete) -> None:
        """Drop the files that go wholly, and write those again that go in part."""
        schema = _the(draft.schema)
        kept: list[DataFile] = []
        partly: list[DataFile] = []
        for file in draft.files:
            going = self._going(file, schema, delete)
            draft.counts["removed"] += going
            if not going:
                kept.append(file)
            elif going < file.rows:
                partly.append(file)
        if partly:
            kept.extend(self._rewritten(partly, schema, delete))
        draft.files = tuple(kept)

    def _going(self, file: DataFile, schema: pa.Schema, delete: Delete) -> int:
        """Count the file's rows that go, reading the columns that decide it and no others."""
        verdict = delete.verdict(file)
        if verdict != "some":
            return file.rows if verdict == "all" else 0
        return sum(
            delete.mask(batch).true_count
            for batch in self._place.read(file, schema, delete.columns)
        )

    def _rewritten(
        self, files: list[DataFile], schema: pa.Schema, delete: Delete
    ) -> tuple[DataFile, ...]:
        writer = self._writer(schema, "r")
        try:
            for batch in self._staying(files, schema, delete):
                writer.write(batch)
            return self._closed(writer)
        except BaseException:
            writer.abort()
            raise

    def _staying(
        self, files: list[DataFile], schema: pa.Schema, delete: Delete
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow.compute as pc

        for file in files:
            for batch in self._place.read(file, schema, schema.names):
                yield batch.filter(pc.invert(delete.mask(batch)))

    # --- the commit -----------------------------------------------------------------------------

    def _manifest(self, draft: _Draft, base: Manifest | None) -> tuple[Manifest, set[str]]:
        """Return the next version's manifest, its list written; and the paths that it names."""
        self._check_own(draft)
        action = next(a for a in self._publish.actions if isinstance(a, RecordLoad))
        version = (base.version if base else 0) + 1
        listed = base.files if base else None
        if draft.files != draft.before:
            listed = self._paths.list_of(action.record.load_id, "0", new_attempt())
            self._own.append(listed)
            self._place.store.put(listed, to_bytes(FileList(files=draft.files)))
        rows, size = totals(draft.files)
        took, splits = time.monotonic() - self._started, self._publish.in_splits
        record = _final(action.record, version, draft).model_copy(
            update={"stages": stages_text(draft.stages, took, in_splits=splits)}
        )
        manifest = Manifest(
            version=version,
            attempt=self._attempt,
            previous=base.attempt if base else "",
            record=record,
            columns=None if draft.schema is None else tuple(schema_to_json(draft.schema)),
            schema_text=action.schema_text,
            report=draft.report,
            files=listed,
            rows=rows,
            bytes=size,
        )
        return manifest, {f.path for f in draft.files} | ({listed} if listed else set())

    def _check_own(self, draft: _Draft) -> None:
        """After a long load, look whether our files are still there: `clean` goes by age alone."""
        if time.monotonic() - self._started < _LOOK_AGAIN_SECONDS:
            return
        mine = {f.path: f.bytes for f in draft.files if f.path in set(self._own)}
        folders = {path.rpartition("/")[0] for path in mine}
        there = {e.path: e.size for f in folders for e in self._place.store.entries(f)}
        for path, size in mine.items():
            if there.get(path) != size:
                raise StagingLostError(
                    f"{path} is gone, or isn't as long as it was written", command="conduit run"
                )

    def _put(self, manifest: Manifest) -> bool:
        """Create the manifest; False where its number was taken by another load."""
        self._outcome_unknown = True
        try:
            created = self._place.logs.append(self._target, manifest)
        except Exception as error:  # noqa: BLE001 - what is there says what happened, not the error
            return self._settle(manifest, error)
        if not created:
            created = self._is_ours(manifest)
        self._outcome_unknown = False
        if created:
            self._check_newest(manifest)
        return created

    def _is_ours(self, manifest: Manifest) -> bool:
        there = self._place.logs.at(self._target, manifest.version)
        return there is not None and there.attempt == self._attempt

    def _settle(self, manifest: Manifest, error: Exception) -> bool:
        """Ask the store what became of a put that failed."""
        try:
            there = self._place.logs.at(self._target, manifest.version)
        except Exception as unanswered:
            raise PublishUnknownError(
                "the answer to the commit was lost and the destination can't be reached: whether"
                " the load was published will be settled by the next run",
                state="unknown until the destination answers; running again is safe",
                command="conduit run",
            ) from unanswered
        if there is not None:
            self._outcome_unknown = False
            return there.attempt == self._attempt
        # A request on its way may still arrive, and would name our files: they stay.
        self._outcome_unknown = isinstance(error, ConnectionFailedError)
        message = error.message if isinstance(error, ConduitError) else str(error)
        raise PublishError(
            f"the commit failed: {message}", retry="step", command="conduit run"
        ) from error

    def _check_newest(self, manifest: Manifest) -> None:
        """Find out whether a number was free only because `clean` had removed what it named.

        A process that slept for days between its look and its put would find it so.
        """
        versions = [
            version
            for entry in self._place.store.entries(self._paths.log)
            if (version := self._paths.version(entry.path)) is not None
        ]
        if max(versions, default=0) <= manifest.version:
            return
        following = self._place.logs.at(self._target, manifest.version + 1)
        if following is None or following.previous != self._attempt:
            self._place.store.delete([self._paths.manifest(manifest.version)])
            raise ConcurrentLoadError(
                f"other loads of {self._target} were published long before this one",
                command="conduit run",
            )


def _asks_for_rows(publish: Publish) -> bool:
    """Say whether it matters that the target has rows: to a guard, or as they are replaced."""
    guards = [a.expr for a in publish.actions if isinstance(a, Guard)]
    replaces = "replace_with_staged" in publish.action_kinds
    return replaces or any("target_has_rows" in expr for expr in guards)


def _the(schema: pa.Schema | None) -> pa.Schema:
    if schema is None:
        raise ConcurrentLoadError("the target is gone since the plan", command="conduit plan")
    return schema


def _final(record: LedgerRecord, version: int, draft: _Draft) -> LedgerRecord:
    window = record.load_window
    if draft.remembered:
        item = {**json.loads(window), "files": list(draft.remembered)}
        window = json.dumps(item, separators=(",", ":"))
    counts = Counts(**{name: draft.counts[name] for name in Counts.model_fields})
    return record.model_copy(
        update={
            "version": version,
            "counts": counts,
            "load_window": window,
            "published_at": datetime.now(UTC),
        }
    )
