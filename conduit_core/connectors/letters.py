"""Dead letters: rows that rules rejected, on their way into a destination, kept there, and back."""

from __future__ import annotations

import hashlib
import json
import mmap
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from conduit_core.types.dialect import Table
from conduit_core.types.payloads import json_lists, json_values, to_payloads
from conduit_core.types.texts import Column, Texts, joined

if TYPE_CHECKING:
    from conduit_core.connectors.publish import LetterFilter

Status = Literal["open", "resolved", "superseded", "purged"]


class DeadLetter(BaseModel):
    """A rejected row: what it is, which rules it broke, and what became of it.

    Args:
        letter_id: 32 hex digits, of the target, the row's key and its payload.
        target_schema, target_table, pipeline, stream: whose row it is.
        status: open, or how it ended.
        load_id: the load that rejected it last.
        first_load_id: the one that rejected it first.
        attempts: how many loads rejected it.
        copies: how many rows it stands for: equal ones without a key are one letter.
        row_key: the unique key's values as a JSON list; None: the stream has none.
        reasons: JSON list of ``{rule, column, reason}``: every rule it breaks.
        payload: the row as the rules saw it, as a JSON object; None once it is purged.
        schema_fingerprint: of the payload's schema, which is in ``_conduit_schemas``.
        redacted: columns whose values the payload hasn't: hidden by ``redact``, or unreadable, and
            then it has the source's text.
        first_seen_at, last_seen_at: of the loads that rejected it.
        settled_at: when it stopped being open.
        settled_by: the load that settled it; None: a person did.
    """

    model_config = ConfigDict(frozen=True)

    letter_id: str
    target_schema: str
    target_table: str
    pipeline: str
    stream: str
    status: Status
    load_id: str
    first_load_id: str
    attempts: int
    copies: int
    row_key: str | None
    reasons: str
    payload: str | None
    schema_fingerprint: str
    redacted: tuple[str, ...] = ()
    first_seen_at: datetime
    last_seen_at: datetime
    settled_at: datetime | None = None
    settled_by: str | None = None


LETTER_SCHEMA = pa.schema(
    [
        pa.field("letter_id", pa.string(), nullable=False),
        pa.field("row_key", pa.string()),
        pa.field("reasons", pa.string(), nullable=False),
        pa.field("payload", pa.string(), nullable=False),
        pa.field("redacted", pa.string()),
    ]
)
"""What a load hands over of each rejected row; the rest is of the load."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit of a published load found: its report, as JSON."""

    load_id: str
    version: int
    report: str


@runtime_checkable
class KeepsAudits(Protocol):
    """Trait: a destination that keeps the audit reports of its loads. Read-only."""

    def audits(
        self, target: Table, last: int | None = None, load_id: str | None = None
    ) -> list[Audit]:
        """Return the audit reports of a target's loads, the newest first."""
        ...


@runtime_checkable
class KeepsLetters(KeepsAudits, Protocol):
    """Trait: a destination with dead letters beside the ledger."""

    def check_letters(self) -> None:
        """Look whether the table of dead letters is as it was made, or isn't there yet.

        Raises:
            StateError: it was altered; what is wrong, and what to do.
        """
        ...

    def letters(
        self,
        target: Table | None,
        which: LetterFilter | None = None,
        *,
        statuses: tuple[str, ...] = ("open",),
        limit: int | None = None,
    ) -> list[DeadLetter]:
        """Return dead letters, the newest first; ``target`` None: of all targets."""
        ...

    def open_letters(self, target: Table) -> int:
        """Return how many open dead letters a target has."""
        ...

    def letter_schemas(self, target: Table, which: LetterFilter) -> tuple[str, ...]:
        """Return the fingerprints of the schemas that open letters' payloads have."""
        ...

    def letter_counts(self, target: Table, load_id: str | None = None) -> dict[str, int]:
        """Return how many dead letters a target has of each status that has any.

        Args:
            target: whose.
            load_id: only those that this load was the last to reject.
        """
        ...

    def replayed_rows(
        self, target: Table, which: LetterFilter, schema: pa.Schema
    ) -> pa.RecordBatchReader:
        """Return the payloads of open letters as rows of ``schema``, each as often as it came.

        A column that a payload hasn't is NULL. Letters with redacted columns are left out.

        Raises:
            SchemaError: a payload's value doesn't fit its column of ``schema`` any more.
        """
        ...

    def purge_letters(
        self,
        target: Table | None,
        which: LetterFilter | None = None,
        *,
        statuses: tuple[str, ...] = ("open", "resolved", "superseded"),
        seen_before: datetime | None = None,
    ) -> int:
        """Forget the payloads of letters, which become ``purged``; return how many. Writes."""
        ...


class Letters(Protocol):
    """Rejected rows as letters, wherever they wait."""

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    def reader(self) -> pa.RecordBatchReader:
        """Return them, of ``LETTER_SCHEMA``; may be taken again."""
        ...

    def close(self) -> None:
        """Let go of them. Idempotent."""
        ...


class ArrowSpool:
    """Batches kept on disk until they are taken, in a file without a name.

    So nothing is left of it when the process dies. No file is made for no batches.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._file: IO[bytes] | None = None
        self._writer: pa.RecordBatchStreamWriter | None = None
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch; not after the first :meth:`reader`."""
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - until close
            weakref.finalize(self, self._file.close)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, self.schema, options=options)
        if self._writer is None:
            raise ValueError("the batches were taken already")
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def reader(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Return the batches; may be taken again. Only the columns named are unpacked."""
        places = None if columns is None else [self.schema.get_field_index(c) for c in columns]
        if self._file is None:
            kept = (
                self.schema if places is None else pa.schema([self.schema.field(i) for i in places])
            )
            return pa.RecordBatchReader.from_batches(kept, [])
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        options = pa.ipc.IpcReadOptions(included_fields=places)
        return pa.ipc.open_stream(pa.py_buffer(mapped), options=options)

    def close(self) -> None:
        """Remove the file. Idempotent."""
        if self._file is not None:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._file.close()
            self._file = None


class LetterSpool:
    """A load's rejected rows as letters, kept on disk until the destination takes them.

    A row with a NULL in the key, or whose key isn't kept, has no ``row_key``.

    Args:
        target: whose rows they are.
        schema: the payloads' columns, as the rules saw them.
        key: the stream's unique key; empty: it has none.
        redact: columns whose values are not kept.
    """

    def __init__(
        self,
        target: Table,
        schema: pa.Schema,
        key: tuple[str, ...] = (),
        redact: frozenset[str] = frozenset(),
    ) -> None:
        self._names = schema.names
        self._key = key if redact.isdisjoint(key) and set(key) <= set(schema.names) else ()
        self._redact = redact
        hidden = [name for name in schema.names if name in redact]
        self._redacted = json.dumps(hidden, ensure_ascii=False) if hidden else None
        self._spool = ArrowSpool(LETTER_SCHEMA)
        whose = json.dumps([target.schema, target.name], ensure_ascii=False)
        self._digest = hashlib.blake2b(whose.encode(), digest_size=16)

    def add(
        self,
        rejected: pa.RecordBatch,
        reasons: pa.Array[pa.Scalar[pa.DataType]],
        texts: pa.StringArray | None = None,
    ) -> None:
        """Add rejected rows (``schema``'s columns, maybe among others) with their reasons.

        Args:
            rejected: the rows.
            reasons: of each a list of structs ``rule``, ``column``, ``reason``.
            texts: of each a JSON object of values that couldn't be read, as the source spells them:
                they stand in the payload, and the letter can't be replayed.

        Raises:
            SchemaError: there is no text for a column's type.
        """
        if not rejected.num_rows:
            return
        columns = [
            pa.nulls(rejected.num_rows) if name in self._redact else rejected.column(name)
            for name in self._names
        ]
        payloads = to_payloads(self._names, columns)
        withheld: Column = pa.repeat(pa.scalar(self._redacted, pa.string()), rejected.num_rows)
        if texts is not None:
            payloads, withheld = self._with_texts(payloads, texts)
        keys = self._keys(rejected)
        values: list[Column] = [
            self._ids(keys, payloads),
            keys,
            json_values(reasons, "reasons"),
            payloads,
            withheld,
        ]
        arrays = [v.cast(pa.string()) for v in values]
        self._spool.add(pa.RecordBatch.from_arrays(arrays, schema=LETTER_SCHEMA))

    def _with_texts(self, payloads: Texts, texts: pa.StringArray) -> tuple[Texts, Column]:
        """Put unreadable values into payloads as the texts they are; name their columns."""
        out, withheld = [], []
        for payload, text in zip(payloads.to_pylist(), texts.to_pylist(), strict=True):
            row, found = json.loads(str(payload)), json.loads(str(text))
            row.update({k: v for k, v in found.items() if k in row and k not in self._redact})
            out.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
            hidden = [n for n in self._names if n in found or n in self._redact]
            withheld.append(json.dumps(hidden, ensure_ascii=False))
        return pa.array(out, pa.large_string()), pa.array(withheld, pa.string())

    def _keys(self, rejected: pa.RecordBatch) -> Texts:
        none = pa.scalar(None, pa.large_string())
        if not self._key:
            return pa.repeat(none, rejected.num_rows)
        columns = [rejected.column(name) for name in self._key]
        keys = json_lists(self._key, columns)
        whole: Column = pc.is_valid(columns[0])
        for column in columns[1:]:
            whole = cast("Column", pc.and_(whole, pc.is_valid(column)))
        return cast("Texts", pc.if_else(whole, keys, none))

    def _ids(self, keys: Texts, payloads: Texts) -> Column:
        """Return the digests of target, key and payload: of what is kept, never of more."""
        empty = pa.scalar("", pa.large_string())
        told = joined(pc.fill_null(keys, empty), payloads, empty).cast(pa.large_binary())
        start, found = self._digest, []
        for text in cast("Iterable[bytes]", told.to_pylist()):
            digest = start.copy()
            digest.update(text)
            found.append(digest.hexdigest())
        return pa.array(found, pa.string())

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._spool.rows

    def reader(self) -> pa.RecordBatchReader:
        """Return them, of ``LETTER_SCHEMA``; may be taken again."""
        return self._spool.reader()

    def close(self) -> None:
        """Remove the file. Idempotent."""
        self._spool.close()
