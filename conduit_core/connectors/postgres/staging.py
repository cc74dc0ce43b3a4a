"""Staging in PostgreSQL: an unlogged relation per attempt, with its receipt in one transaction.

Rows, receipts and plans are unlogged alike: a crash of the server empties all of them together.
A stage holds a shared advisory lock of its plan from its first statement on, and so does a publish
once it moves rows: a sweep takes that lock alone, or leaves the load to them. The open load's row
is locked only while a receipt is written, so that nobody waits for an attempt that has lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from conduit_core.connectors.base import CleanItem, RawRows, StagedRows, Tally
from conduit_core.connectors.letters import LETTER_SCHEMA
from conduit_core.connectors.postgres.errors import explain, primary, sqlstate
from conduit_core.connectors.postgres.session import ServerSession, lock_key
from conduit_core.connectors.publish import Wire
from conduit_core.connectors.sql.ledger import time_of
from conduit_core.connectors.sql.rows import ingest_rows
from conduit_core.connectors.sql.staging import (
    OPEN_LOADS,
    RECEIPTS,
    RELATION,
    StagedRelations,
    StagingSql,
    load_of,
    lost,
    receipt_of,
)
from conduit_core.connectors.sql.steps import Ingest, Sql
from conduit_core.connectors.staging import Attempt, OpenLoad, StageReceipt, Staging
from conduit_core.errors import ConduitError, PublishError, StagingLostError
from conduit_core.events import Emit
from conduit_core.state.ledger import Counts
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from conduit_core.connectors.postgres.destination import PostgresDestination

_KIND = "UNLOGGED TABLE"
_DROPPED_AT_ONCE = 200
# One snapshot sees a relation only with the receipt that was committed with it.
_GARBAGE = """
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND starts_with(c.relname, $2) AND c.relkind = 'r' AND c.relpersistence = 'u'
  AND pg_has_role(c.relowner, 'USAGE')
  AND c.relname NOT IN (SELECT relation FROM {receipts})
  AND c.relname NOT IN (SELECT relation || '{letters}' FROM {receipts}) ORDER BY 1
"""
_LETTERS = "_rejected"
"""What the name of a relation of rejected rows has after that of its split's rows."""


class PostgresStaging(Staging):
    """Staged rows in the internal schema of a destination."""

    def __init__(self, destination: PostgresDestination) -> None:
        self._destination = destination
        ledger = destination.ledger
        self._schema = ledger.schema
        self._sql = StagingSql(ledger.dialect, ledger.types, ledger.schema, _KIND)

    def probe(self, *, write: bool) -> str:
        """Return "": the rows lie in the destination itself, which every worker loads into."""
        return ""

    # --- open loads -------------------------------------------------------------------------------

    def open(self, load: OpenLoad, supersedes: str | None) -> OpenLoad:
        """Write the plan unless its load is open; see :meth:`Staging.open`."""
        with self._transaction(make_tables=True) as session:
            left = []
            if supersedes is not None:
                left = self._remove(session, supersedes, load.target_fingerprint)
            values = tuple(getattr(load, name) for name in OpenLoad.model_fields)
            session.execute(self._sql.insert_load(), values)
            found = session.rows(self._sql.select_loads("load_id"), (load.load_id,))
            session.commit()
        self._drop_relations(left)
        if not found:
            raise StagingLostError(
                f"load {load.load_id} was closed by another worker while it was opened",
                command="conduit run",
            )
        return load_of(found[0])

    def opened(self, target_fingerprint: str) -> list[OpenLoad]:
        """Return a target's open loads, newest first."""
        with self._transaction(read_only=True) as session:
            if not self._exists(session):
                return []
            sql = self._sql.select_loads("target_fingerprint")
            return [load_of(row) for row in session.rows(sql, (target_fingerprint,))]

    def receipts(self, plan_id: str, target_fingerprint: str) -> list[StageReceipt]:
        """Return the receipts of an open load, by split."""
        return self._receipts(target_fingerprint, plan_id=plan_id)

    def receipt(self, plan_id: str, target_fingerprint: str, split: str) -> StageReceipt | None:
        """Return one split's receipt, if it has one."""
        found = self._receipts(target_fingerprint, plan_id=plan_id, split=split)
        return found[0] if found else None

    def _receipts(self, target_fingerprint: str, **where: str) -> list[StageReceipt]:
        with self._transaction(read_only=True) as session:
            if not self._exists(session):
                return []
            load = self._sql.select_loads("plan_id", "target_fingerprint")
            if not session.rows(load, (where["plan_id"], target_fingerprint)):
                return []
            found = session.rows(self._sql.select_receipts(*where), tuple(where.values()))
            return [receipt_of(row) for row in found]

    def drop(self, plan_id: str, target_fingerprint: str) -> None:
        """Remove an open load, its receipts and its relations."""
        with self._transaction() as session:
            if not self._exists(session):
                return
            left = self._remove(session, plan_id, target_fingerprint)
            session.commit()
        self._drop_relations(left)

    def release(self, plan_id: str, target_fingerprint: str) -> str:
        """Remove an open load and its receipts; return the query of its relations."""
        with self._transaction() as session:
            left = self._remove(session, plan_id, target_fingerprint)
            session.commit()
        names = [Table(self._schema, name) for name in left if not name.endswith(_LETTERS)]
        table = self._sql.dialect.table
        return " UNION ALL ".join(f"SELECT * FROM {table(name)}" for name in names)

    # --- rows -------------------------------------------------------------------------------------

    def stage(self, attempt: Attempt, rows: StagedRows, emit: Emit) -> StageReceipt:
        """Write a split's rows and receipt in one transaction; return the receipt that won."""
        load, split = attempt.load, attempt.split
        started = time.monotonic()
        wire = attempt.wire if isinstance(rows, RawRows) else None
        with self._transaction(load, wire=wire) as session:
            session.rows(*self._hold(load.plan_id))
            if not self._exists(session) or not self._is_open(session, load):
                raise _gone(load, split)
            if won := self._winner(session, load, split):
                return won
            relation = Table(self._schema, _relation_name(load.plan_id, split))
            taken, tally = self._fill(session, relation, attempt, rows, wire)
            letters = self._keep_letters(session, relation, tally)
            receipt = StageReceipt(
                load_id=load.load_id,
                plan_id=load.plan_id,
                split=split,
                attempt=attempt.attempt,
                places=(relation.name,),
                rows=taken,
                bytes=tally.bytes,
                counts=tally.counts,
                files=tally.files,
                letters=letters,
                quality=tally.report,
                worker=attempt.worker,
                seconds=time.monotonic() - started,
                staged_at=datetime.now(UTC),
                stages=dict(tally.stages),
            )
            if not self._is_open(session, load, lock=True):
                raise _gone(load, split)
            values = (relation.name, receipt.model_dump_json(), receipt.staged_at)
            if session.execute(self._sql.insert_receipt(), (load.plan_id, split, *values)):
                session.commit()
                return receipt
            won = self._winner(session, load, split)
            if won is None:
                raise _gone(load, split)
            return won  # and what this attempt wrote is rolled back

    def _fill(
        self,
        session: ServerSession,
        relation: Table,
        attempt: Attempt,
        rows: StagedRows,
        wire: Wire | None,
    ) -> tuple[int, Tally]:
        """Make the relation and take the rows into it.

        Errors name the target, which is what the user knows.
        """
        taken, tally = 0, Tally(Counts())
        columns = attempt.columns
        try:
            for step in self._destination.fill_new(wire, relation, columns, columns, _KIND):
                if isinstance(step, Ingest):
                    taken, tally = ingest_rows(session, relation, step.columns, rows)
                elif isinstance(step, Sql):
                    session.execute(step.text, step.values)
        except ConduitError as error:
            error.message = error.message.replace(str(relation), str(attempt.load.target))
            raise
        name = self._sql.dialect.table(relation)
        session.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
        return taken, tally

    def _keep_letters(self, session: ServerSession, relation: Table, tally: Tally) -> str:
        """Put a split's rejected rows into a relation of their own; return its name, if any."""
        letters = tally.letters
        if letters is None:
            return ""
        try:
            if not letters.rows:
                return ""
            table = Table(relation.schema, f"{relation.name}{_LETTERS}")
            columns = self._destination.letters_sql.columns(tuple(LETTER_SCHEMA.names))
            session.execute(self._destination.create_table(table, columns, _KIND))
            session.ingest(table, columns, letters.reader())
            name = self._sql.dialect.table(table)
            session.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
            return table.name
        finally:
            letters.close()

    def _is_open(self, session: ServerSession, load: OpenLoad, *, lock: bool = False) -> bool:
        """Say whether the load is still open; with ``lock`` it stays so until the commit."""
        sql = self._sql.select_loads("load_id", "plan_id") + (" FOR KEY SHARE" if lock else "")
        return bool(session.rows(sql, (load.load_id, load.plan_id)))

    def _winner(self, session: ServerSession, load: OpenLoad, split: str) -> StageReceipt | None:
        found = session.rows(self._sql.select_receipts("plan_id", "split"), (load.plan_id, split))
        return receipt_of(found[0]) if found else None

    def rows(
        self, receipts: Sequence[StageReceipt], schema: pa.Schema, report: str = ""
    ) -> StagedRows:
        """Return the staged relations, for the publish to move inside the server."""
        for receipt in receipts:
            if len(receipt.places) != 1 or not receipt.places[0].startswith(RELATION):
                raise lost(receipt.split, "its receipt names no staged relation")
            if receipt.letters not in ("", f"{receipt.places[0]}{_LETTERS}"):
                raise lost(receipt.split, "its receipt names another split's rejected rows")
        relations = [Table(self._schema, receipt.places[0]) for receipt in receipts]
        plans = sorted({receipt.plan_id for receipt in receipts})
        return StagedRelations(
            schema,
            receipts,
            relations,
            tuple(self._hold(plan_id) for plan_id in plans),
            lambda error: sqlstate(error) == "42P01",
            self._sql.dialect.table,
            report,
        )

    def _hold(self, plan_id: str) -> tuple[str, tuple[int]]:
        """Return the query that keeps sweeps away from a plan's rows until the transaction ends."""
        return "SELECT pg_advisory_xact_lock_shared($1)::text", (self._key(plan_id),)

    def _key(self, plan_id: str) -> int:
        return lock_key(f"{self._schema}:staging:{plan_id}")

    # --- removing ---------------------------------------------------------------------------------

    def _remove(self, session: ServerSession, plan_id: str, target_fingerprint: str) -> list[str]:
        """Remove an open load and its receipts; return the relations to drop after the commit.

        Waits for a receipt that is being written. The open load's row is locked first, by whoever
        removes. Relations that a crash leaves behind have no receipt: the next sweep takes them.
        """
        if not session.execute(self._sql.delete_load(), (plan_id, target_fingerprint)):
            return []
        found = session.rows(self._sql.select_receipts("plan_id"), (plan_id,))
        session.execute(self._sql.delete_receipts(), (plan_id,))
        return [f"{relation}{more}" for _, relation, _, _ in found for more in ("", _LETTERS)]

    def _drop_relations(self, names: Sequence[str]) -> None:
        """Drop relations, few in a transaction: the server has room for so many locks only."""
        mine = sorted(name for name in names if name.startswith(RELATION))
        for start in range(0, len(mine), _DROPPED_AT_ONCE):
            some = [Table(self._schema, name) for name in mine[start : start + _DROPPED_AT_ONCE]]
            with self._transaction() as session:
                session.connection.set_local({"client_min_messages": "warning"})
                listed = ", ".join(self._sql.dialect.table(table) for table in some)
                session.execute(f"DROP TABLE IF EXISTS {listed}")
                session.commit()

    def sweep(
        self, older_than: timedelta, published: Collection[str], *, dry_run: bool
    ) -> list[CleanItem]:
        """Remove loads that nobody works at; see :meth:`Staging.sweep`."""
        with self._transaction(read_only=True) as session:
            if not self._exists(session):
                return []
            loads = [load_of(row) for row in session.rows(self._sql.select_loads())]
        border = datetime.now(UTC) - older_than
        items = [
            CleanItem("staging", f"{self._schema}.{name}", "it has no receipt")
            for name in self._garbage()
        ]
        for load in loads:
            with self._transaction(load) as session:
                reason = self._why_stale(session, load, border, published)
                if reason is None:
                    continue
                if not dry_run:
                    self._remove(session, load.plan_id, load.target_fingerprint)
                    session.commit()  # its relations are garbage now
                items.append(CleanItem("staging", f"{load.target} load {load.load_id}", reason))
        if not dry_run:
            self._drop_relations(self._garbage())
        return items

    def _why_stale(
        self,
        session: ServerSession,
        load: OpenLoad,
        border: datetime,
        published: Collection[str],
    ) -> str | None:
        """Say why a load may go, or None; it then is ours until the transaction ends."""
        key = self._key(load.plan_id)
        if session.rows("SELECT pg_try_advisory_xact_lock($1)", (key,)) != [(True,)]:
            return None
        if not self._is_open(session, load):
            return None
        if load.load_id in published:
            return "it is published"
        receipts = session.rows(self._sql.select_receipts("plan_id"), (load.plan_id,))
        last = max([load.opened_at, *(time_of(at) for _, _, _, at in receipts)])
        return f"no activity since {last:%Y-%m-%d %H:%M} UTC" if last < border else None

    def _garbage(self) -> list[str]:
        with self._transaction(read_only=True) as session:
            sql = _GARBAGE.format(receipts=self._sql.receipts, letters=_LETTERS)
            return [str(name) for (name,) in session.rows(sql, (self._schema, RELATION))]

    # --- the tables -------------------------------------------------------------------------------

    def _exists(self, session: ServerSession) -> bool:
        return self._destination.has_tables(session, OPEN_LOADS, RECEIPTS)

    def _missing(self, session: ServerSession) -> list[str]:
        if self._exists(session):
            return []
        schema = self._destination.create_schema(session, self._schema)
        return [*schema, *self._sql.create()]

    @contextlib.contextmanager
    def _transaction(
        self,
        load: OpenLoad | None = None,
        *,
        read_only: bool = False,
        make_tables: bool = False,
        wire: Wire | None = None,
    ) -> Iterator[ServerSession]:
        """Open a transaction that ends with a roll-back, unless it was committed before."""
        session = self._destination.session_for(wire)
        try:
            if make_tables:
                self._destination.bootstrap(session, lambda: self._missing(session))
            session.begin_unlocked(read_only=read_only)
            yield session
        except Exception as error:
            raise self._explain(error, load) from error
        finally:
            session.close()

    def _explain(self, error: Exception, load: OpenLoad | None) -> ConduitError:
        if isinstance(error, ConduitError):
            return error
        if sqlstate(error) == "42501":
            schema = self._sql.dialect.quote(self._schema)
            return PublishError(
                f"the role may not use staging in schema {self._schema!r}: {primary(error)};"
                f" what it takes: GRANT USAGE, CREATE ON SCHEMA {schema}, and SELECT, INSERT,"
                f" DELETE ON {self._sql.loads}, {self._sql.receipts}",
                connector="postgres",
                command="conduit check",
            )
        return explain(
            error, where=self._destination.identity, relation=str(load.target) if load else None
        )


def _relation_name(plan_id: str, split: str) -> str:
    """Return a name that no other attempt has: a crash may leave relations without a receipt."""
    digest = hashlib.sha256(f"{plan_id}:{split}".encode()).hexdigest()[:16]
    return f"{RELATION}{digest}_{secrets.token_hex(6)}"


def _gone(load: OpenLoad, split: str) -> StagingLostError:
    return lost(split, f"load {load.load_id} isn't open any more (published, cleaned or replaced)")
