"""A target whose rows are held to rules, for suites: rejected rows on their way, and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Commit, Destination, Tally
from conduit_core.connectors.letters import DeadLetter, KeepsLetters, Letters, LetterSpool
from conduit_core.connectors.publish import (
    Action,
    AppendDeadLetters,
    AppendStaged,
    CreateTable,
    Guard,
    Publish,
    ResolveDeadLetters,
)
from conduit_core.events import ignore
from conduit_core.state.ledger import Counts
from conduit_core.testing.doubles import TableRows, columns_of, landed, publish, record
from conduit_core.testing.fixtures import scan
from conduit_core.types.dialect import Table
from conduit_core.types.schema import fingerprint, schema_to_json

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.int64()),
    ("at", pa.int64()),
    ("v", pa.string()),
]
KINDS = pa.schema(_FIELDS)
_REASONS = pa.list_(
    pa.struct([("rule", pa.string()), ("column", pa.string()), ("reason", pa.string())])
)
TEXT = json.dumps(schema_to_json(KINDS))
Rows = Sequence[tuple[Any, ...]]


def table_of(rows: Rows, schema: pa.Schema = KINDS) -> pa.Table:
    """Return rows as a table."""
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def told(
    target: Table,
    rejected: Rows,
    schema: pa.Schema = KINDS,
    key: tuple[str, ...] = ("id",),
    rules: Sequence[str] = ("r1",),
    redact: frozenset[str] = frozenset(),
) -> LetterSpool:
    """Return letters of rows that broke rules."""
    made = LetterSpool(target, schema, key, redact)
    reasons = [{"rule": rule, "column": None, "reason": "because"} for rule in rules]
    for batch in table_of(rejected, schema).to_batches():
        made.add(batch, pa.array([reasons] * batch.num_rows, _REASONS))
    return made


class RuledRows(TableRows):
    """``TableRows`` of which some were rejected.

    Args:
        table: the rows that passed, in the types that the destination asked for.
        letters: those that were rejected.
        report: what the audit found.
        fail_at, read: as of ``TableRows``.
    """

    def __init__(
        self,
        table: pa.Table,
        letters: Letters | None = None,
        report: str = "",
        fail_at: int | None = None,
        read: int | None = None,
    ) -> None:
        super().__init__(table, fail_at=fail_at, read=read)
        self._letters = letters
        self._report = report

    def finish(self) -> Tally:
        """Count rows read and rejected."""
        found = super().finish()
        rejected = self._letters.rows if self._letters else 0
        read = found.counts.read + rejected
        counts = Counts(read=read, rejected=rejected)
        return Tally(counts, letters=self._letters, report=self._report, bytes=found.bytes)


class Desk:
    """One target, the loads that come to it, and its letters."""

    def __init__(self, destination: Destination, schema: str) -> None:
        if not isinstance(destination, KeepsLetters):
            pytest.skip("keeps no letters")
        self.destination = destination
        self.keeper: KeepsLetters = destination
        self.target = Table(schema, "t")

    def spool(
        self,
        rejected: Rows,
        schema: pa.Schema = KINDS,
        key: tuple[str, ...] = ("id",),
        rules: Sequence[str] = ("r1",),
        redact: frozenset[str] = frozenset(),
    ) -> LetterSpool:
        """Return letters of rows that broke rules."""
        return told(self.target, rejected, schema, key, rules, redact)

    def plan(
        self,
        schema: pa.Schema,
        *actions: Action,
        resolve: ResolveDeadLetters | None,
        adds_copies: bool = False,
        load_id: str | None = None,
    ) -> Publish:
        """Return a publish of these actions; the first one makes the table."""
        made = record("t", self.target.schema, load_id=load_id)
        after: list[Action] = [] if resolve is None else [resolve]
        after.append(
            AppendDeadLetters(
                schema_fingerprint=fingerprint(KINDS), schema_text=TEXT, adds_copies=adds_copies
            )
        )
        there = self.destination.describe(self.target) is not None
        create = CreateTable(columns=columns_of(self.destination, schema))
        first: list[Action] = [] if there or isinstance(actions[0], CreateTable) else [create]
        guards = [a for a in actions if isinstance(a, Guard)]
        rest = [a for a in actions if not isinstance(a, Guard)]
        return publish(made, schema, *first, *rest, *after, *guards)

    def load(
        self,
        rows: Rows,
        *actions: Action,
        rejected: Rows | Letters = (),
        resolve: ResolveDeadLetters | None = None,
        schema: pa.Schema = KINDS,
        adds_copies: bool = False,
        report: str = "",
        fail_at: int | None = None,
    ) -> Commit:
        """Publish rows, and keep those that were rejected."""
        arriving = landed(self.destination, table_of(rows, schema))
        plan = self.plan(arriving.schema, *actions, resolve=resolve, adds_copies=adds_copies)
        assert self.destination.render(plan)
        letters = self.spool(rejected) if isinstance(rejected, Sequence) else rejected
        staged = RuledRows(arriving, letters, report, fail_at)
        return self.destination.commit(plan, staged, ignore)

    def append(self, rows: Rows, **more: Any) -> Commit:
        """Publish rows by ``append_staged``."""
        return self.load(rows, AppendStaged(), **more)

    def statuses(self) -> dict[str, int]:
        """Count all letters by status."""
        every = ("open", "resolved", "superseded", "purged")
        found = [one.status for one in self.keeper.letters(None, statuses=every)]
        return {status: found.count(status) for status in dict.fromkeys(found)}

    def one(self) -> DeadLetter:
        """Return the only letter."""
        every = ("open", "resolved", "superseded", "purged")
        (found,) = self.keeper.letters(self.target, statuses=every)
        return found

    def rows(self) -> list[tuple[object, ...]]:
        """Return the target's rows."""
        found = scan(self.destination, self.target.schema, "t").to_pylist()
        return sorted((tuple(row.values()) for row in found), key=str)


def by_key(**more: Any) -> ResolveDeadLetters:
    """Return the action that settles letters by their key."""
    fields = {"key": ("id",), "order": ("at",), "schema_text": TEXT, **more}
    return ResolveDeadLetters.model_validate(fields)
