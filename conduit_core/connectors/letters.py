"""Dead letters: rows that rules rejected, on their way into a destination, kept there, and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from conduit_core.types.dialect import Table

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
        redacted: columns whose values were not kept.
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
class KeepsLetters(Protocol):
    """Trait: a destination with dead letters and audit reports beside the ledger. Read-only."""

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

    def audits(
        self, target: Table, last: int | None = None, load_id: str | None = None
    ) -> list[Audit]:
        """Return the audit reports of a target's loads, the newest first."""
        ...


class LetterSpool:
    """A load's rejected rows as letters, kept on disk until the destination takes them.

    The file has no name, so nothing is left of it when the process dies.

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
        raise NotImplementedError

    def add(self, rejected: pa.RecordBatch, reasons: pa.Array[pa.Scalar[pa.DataType]]) -> None:
        """Add rejected rows (``schema``'s columns, maybe among others) with their reasons.

        Args:
            rejected: the rows.
            reasons: of each a list of structs ``rule``, ``column``, ``reason``.
        """
        raise NotImplementedError

    @property
    def rows(self) -> int:
        """How many there are."""
        raise NotImplementedError

    def reader(self) -> pa.RecordBatchReader:
        """Return them, of ``LETTER_SCHEMA``; may be taken again."""
        raise NotImplementedError

    def close(self) -> None:
        """Remove the file. Idempotent."""
        raise NotImplementedError
