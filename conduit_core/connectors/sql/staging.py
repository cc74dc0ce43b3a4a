"""Staging in relations of the destination itself: its tables' SQL, and rows moved by the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from conduit_core.connectors.base import Tally
from conduit_core.connectors.sql.ledger import LedgerTypes
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.connectors.staging import OpenLoad, StageReceipt, stages_of
from conduit_core.errors import ConduitError, PublishError, StagingLostError
from conduit_core.state.ledger import Counts
from conduit_core.types.dialect import Dialect, Table

if TYPE_CHECKING:
    import pyarrow as pa

OPEN_LOADS = "_conduit_open_loads"
RECEIPTS = "_conduit_receipts"
RELATION = "_conduit_stage_"
"""How the name of every staged relation begins."""

LOAD_COLUMNS = tuple(OpenLoad.model_fields)
RECEIPT_COLUMNS = ("plan_id", "split", "relation", "receipt", "staged_at")


@dataclass(frozen=True, slots=True)
class StagingSql:
    """The statements on the tables of open loads and receipts.

    Args:
        dialect: quoting and placeholders.
        types: DDL types.
        schema: where the tables and the staged relations lie.
        kind: the kind of table (``UNLOGGED TABLE``): rows, receipts and plans are as durable as
            each other, so that a crash takes all of them or none.
    """

    dialect: Dialect
    types: LedgerTypes
    schema: str
    kind: str = "TABLE"

    @property
    def loads(self) -> str:
        """The quoted table of open loads."""
        return self.dialect.table(Table(self.schema, OPEN_LOADS))

    @property
    def receipts(self) -> str:
        """The quoted table of receipts."""
        return self.dialect.table(Table(self.schema, RECEIPTS))

    def create(self) -> list[str]:
        """Return the DDL of both tables; the caller holds the database-wide lock."""
        lines = []
        for table, names, key in (
            (self.loads, LOAD_COLUMNS, ("load_id",)),
            (self.receipts, RECEIPT_COLUMNS, ("plan_id", "split")),
        ):
            parts = [
                f"{self.dialect.quote(n)}"
                f" {self.types.timestamptz if n.endswith('_at') else self.types.text} NOT NULL"
                for n in names
            ]
            parts.append(f"PRIMARY KEY ({self.dialect.columns(key)})")
            lines.append(f"CREATE {self.kind} IF NOT EXISTS {table} ({', '.join(parts)})")
        return lines

    def insert_load(self) -> str:
        """Return the insert of an open load that leaves one of the same ``load_id`` alone."""
        return self._insert(self.loads, LOAD_COLUMNS)

    def insert_receipt(self) -> str:
        """Return the insert of a receipt that leaves the one that won alone."""
        return self._insert(self.receipts, RECEIPT_COLUMNS)

    def _insert(self, table: str, names: tuple[str, ...]) -> str:
        marks = ", ".join(self.dialect.param(i) for i in range(1, len(names) + 1))
        return (
            f"INSERT INTO {table} ({self.dialect.columns(names)}) VALUES ({marks})"
            " ON CONFLICT DO NOTHING"
        )

    def select_loads(self, *where: str) -> str:
        """Return the query for open loads, newest first; ``where`` names columns bound in order."""
        q = self.dialect.quote
        return (
            f"SELECT {self.dialect.columns(LOAD_COLUMNS)} FROM {self.loads}{self._where(where)}"
            f" ORDER BY {q('opened_at')} DESC, {q('load_id')}"
        )

    def select_receipts(self, *where: str) -> str:
        """Return the query for (split, relation, receipt, time), by split."""
        names = self.dialect.columns(RECEIPT_COLUMNS[1:])
        return (
            f"SELECT {names} FROM {self.receipts}{self._where(where)}"
            f" ORDER BY {self.dialect.quote('split')}"
        )

    def delete_load(self) -> str:
        """Return the delete of the open load of a plan and a target fingerprint."""
        return f"DELETE FROM {self.loads}{self._where(('plan_id', 'target_fingerprint'))}"

    def delete_receipts(self) -> str:
        """Return the delete of a plan's receipts."""
        return f"DELETE FROM {self.receipts}{self._where(('plan_id',))}"

    def _where(self, names: tuple[str, ...]) -> str:
        conditions = [
            f"{self.dialect.quote(n)} = {self.dialect.param(i)}" for i, n in enumerate(names, 1)
        ]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def load_of(row: Row) -> OpenLoad:
    """Return the open load of a row in the order of ``LOAD_COLUMNS``."""
    return OpenLoad.model_validate(dict(zip(LOAD_COLUMNS, row, strict=True)))


def receipt_of(row: Row) -> StageReceipt:
    """Return the receipt of a row of ``select_receipts``.

    Raises:
        StagingLostError: it isn't what was written.
    """
    split, relation, text, _ = row
    try:
        receipt = StageReceipt.model_validate_json(str(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise lost(str(split), f"its receipt can't be read: {first['msg']}") from None
    if (receipt.split, receipt.places) != (split, (relation,)):
        raise lost(str(split), "its receipt tells of other rows than those staged")
    return receipt


def lost(split: str, why: str) -> StagingLostError:
    """Return the error for a split whose staged rows can't be published."""
    return StagingLostError(
        f"the staged rows of split {split} are lost: {why}; again from plan",
        command="conduit run",
    )


class StagedRelations:
    """``StagedRows`` that lie in relations of the destination: the server moves them by itself.

    Args:
        schema: names and types, as the target has them.
        receipts: one per split, in the order the rows are to have.
        relations: the relation of each receipt.
        holds: queries (and values) that keep sweeps away until the transaction ends.
        is_gone: whether a driver's error says that a relation doesn't exist.
        quoted: how SQL refers to a relation.
        report: what the audit found, as JSON.
    """

    def __init__(
        self,
        schema: pa.Schema,
        receipts: Sequence[StageReceipt],
        relations: Sequence[Table],
        holds: Sequence[tuple[str, tuple[Value, ...]]],
        is_gone: Callable[[Exception], bool],
        quoted: Callable[[Table], str],
        report: str = "",
    ) -> None:
        self._report = report
        self.schema = schema
        self._staged = tuple(zip(receipts, relations, strict=True))
        self._holds = holds
        self._is_gone = is_gone
        self._quoted = quoted

    def reader(self) -> pa.RecordBatchReader:
        """Not to be called: these rows don't leave the server."""
        raise NotImplementedError("staged relations are moved inside the destination")

    def move(self, session: SqlSession, insert: Callable[[Table], str]) -> int:
        """Run ``insert`` for each relation and return the rows that the server moved.

        Raises:
            StagingLostError: a relation is gone, or its rows aren't as many as were staged.
            PublishError: the target took other rows than it was given.
        """
        for query, values in self._holds:
            session.rows(query, values)
        for receipt, relation in self._staged:
            moved = _moved(session, insert(relation), receipt, relation, self._is_gone)
            if moved != receipt.rows:
                raise self._differs(session, receipt, relation, moved)
        return sum(receipt.rows for receipt, _ in self._staged)

    def _differs(
        self, session: SqlSession, receipt: StageReceipt, relation: Table, moved: int
    ) -> ConduitError:
        """Return the error for rows that got lost: where they waited, or on their way."""
        held = session.rows(f"SELECT count(*) FROM {self._quoted(relation)}")[0][0]
        if held != receipt.rows:
            return lost(receipt.split, f"{relation} holds {held} rows, {receipt.rows} were staged")
        return PublishError(
            f"the target took {moved} of {held} rows: it has a trigger or a rule that drops or adds"
            " rows, so what was loaded can't be accounted for; take it off the target, or put a"
            " table between",
            command="conduit plan",
        )

    def finish(self) -> Tally:
        """Return what the readers of all splits counted."""
        found = [receipt for receipt, _ in self._staged]
        counts = {k: sum(getattr(r.counts, k) for r in found) for k in Counts.model_fields}
        rejected = [(r, Table(t.schema, r.letters)) for r, t in self._staged if r.letters]
        return Tally(
            Counts(**counts),
            tuple(f for r in found for f in r.files),
            letters=LetterRelations(rejected, self._is_gone) if rejected else None,
            report=self._report,
            stages=stages_of(found),
        )


class LetterRelations:
    """Rejected rows in relations of the destination: the server moves them by itself.

    Args:
        staged: the relation of each receipt.
        is_gone: whether a driver's error says that a relation doesn't exist.
    """

    def __init__(
        self, staged: Sequence[tuple[StageReceipt, Table]], is_gone: Callable[[Exception], bool]
    ) -> None:
        self._staged = tuple(staged)
        self._is_gone = is_gone

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(receipt.counts.rejected for receipt, _ in self._staged)

    def reader(self) -> pa.RecordBatchReader:
        """Not to be called: these rows don't leave the server."""
        raise NotImplementedError("staged relations are moved inside the destination")

    def close(self) -> None:
        """Nothing to let go of: they go with their load."""

    def move(self, session: SqlSession, insert: Callable[[Table], str]) -> None:
        """Run ``insert`` for each relation.

        Raises:
            StagingLostError: a relation is gone, or its rows aren't as many as were rejected.
        """
        for receipt, relation in self._staged:
            moved = _moved(session, insert(relation), receipt, relation, self._is_gone)
            if moved != receipt.counts.rejected:
                why = f"{relation} holds {moved} rows, {receipt.counts.rejected} were rejected"
                raise lost(receipt.split, why)


def _moved(
    session: SqlSession,
    statement: str,
    receipt: StageReceipt,
    relation: Table,
    is_gone: Callable[[Exception], bool],
) -> int:
    """Run the statement that moves a relation's rows; return how many.

    Raises:
        StagingLostError: the relation is gone.
    """
    try:
        return session.execute(statement)
    except Exception as error:
        if is_gone(error):
            raise lost(receipt.split, f"{relation} is gone") from error
        raise
