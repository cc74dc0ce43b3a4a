"""The publish walk of every SQL destination: lock, replay check, requirements, actions, commit.

A system's own class gives the session, the dialect, the catalogue reads and the swap; see
``SqlDestination``'s abstract methods. The order of the walk is the design's section 5.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from conduit_core.connectors.base import (
    CleanItem,
    Commit,
    Destination,
    KeyRows,
    RawRows,
    StagedRows,
)
from conduit_core.connectors.chain import check_requirements, find_load, removable
from conduit_core.connectors.publish import (
    AppendDeadLetters,
    Column,
    Guard,
    Publish,
    RecordLoad,
    Wire,
)
from conduit_core.connectors.sql.actions import SqlActions
from conduit_core.connectors.sql.carrying import Carrying
from conduit_core.connectors.sql.deletes import READ_AGAIN, key_deletes
from conduit_core.connectors.sql.incidents import KeptIncidents
from conduit_core.connectors.sql.ledger import LEDGER, SCHEMAS, from_row, to_row, with_files
from conduit_core.connectors.sql.letters import AUDITS, LETTERS
from conduit_core.connectors.sql.session import SqlSession, Value
from conduit_core.connectors.sql.staging import RELATION, StagedRelations
from conduit_core.connectors.sql.steps import (
    Alter,
    Count,
    Ingest,
    IngestKeys,
    IngestLetters,
    LookForRows,
    ReadAgain,
    ReadLetters,
    Refuse,
    Remark,
    Sample,
    Sql,
    Step,
    Tell,
)
from conduit_core.errors import (
    ConduitError,
    PublishError,
    PublishUnknownError,
)
from conduit_core.events import CommitStarted, Emit, PublishStarted
from conduit_core.state.ledger import Counts, LedgerRecord, newest, stages_text
from conduit_core.types.dialect import Landing, Table

if TYPE_CHECKING:
    import pyarrow as pa

SQL_ACTIONS = frozenset(
    {
        "create_table",
        "add_column",
        "widen_column",
        "start_over",
        "append_staged",
        "replace_with_staged",
        "delete_window",
        "delete_matching",
        "keep_newest",
        "merge_staged",
        "close_versions",
        "append_dead_letters",
        "resolve_dead_letters",
        "check_unique",
        "guard",
        "record_load",
    }
)


class SqlDestination(KeptIncidents, SqlActions, Destination):
    """A destination whose publish is one SQL transaction."""

    _knows_ledger = False
    """Whether the ledger's columns were looked at, once for all streams."""

    # --- what a system gives ---------------------------------------------------------------------

    def slices_by(self, field: pa.Field[pa.DataType], ddl: str) -> bool:
        """Say whether rows can be deleted by a column's values, exactly.

        Texts only where a system says how (see ``exact``): by default its collation decides.
        """
        return str(field.type) not in ("string", "large_string")

    @abstractmethod
    def session(self) -> SqlSession:
        """Open a session (writes allowed).

        Raises:
            ConnectionFailedError: the system can't be reached, or refuses us.
        """

    def session_for(self, wire: Wire | None) -> SqlSession:
        """Open a session that takes rows as the wire has them, if there is one."""
        return self.session()

    def read_session(self) -> SqlSession:
        """Open a session that only reads; nothing comes into being, not even a missing file."""
        return self.session()

    @abstractmethod
    def explain(self, error: Exception, publish: Publish | None) -> ConduitError:
        """Turn a driver's error into ours: what, where, whether a retry helps; no secrets."""

    def has_ledger(self, session: SqlSession) -> bool:
        """Say whether the ledger exists."""
        return self.has_tables(session, LEDGER, SCHEMAS)

    @abstractmethod
    def target_columns(self, session: SqlSession, target: Table) -> tuple[Column, ...] | None:
        """Return the target's columns from the catalogue, in order; None where it doesn't exist."""

    @abstractmethod
    def create_schema(self, session: SqlSession, schema: str) -> list[str]:
        """Return the DDL that makes ``schema`` if it isn't there and the system has schemas."""

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source column lands in a new table."""
        return self.dialect.landing(field)

    # --- reading ---------------------------------------------------------------------------------

    def holders(self, target: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return what keeps the types of a target's columns as they are. Read-only."""

        def look(session: SqlSession) -> tuple[str, ...]:
            if self.target_columns(session, target) is None:
                return ()
            return tuple(h.what for h in self.holding(session, target, columns))

        return self.reading(look)

    def records(self, target: Table | None) -> list[LedgerRecord]:
        """Return the ledger of one target, or of all, by version."""
        return self.reading(
            lambda session: self._records(session, target) if self.has_ledger(session) else []
        )

    def _records(self, session: SqlSession, target: Table | None) -> list[LedgerRecord]:
        if not self._knows_ledger:
            self.ledger.check(self.target_columns(session, self.ledger.table(LEDGER)))
            self._knows_ledger = True
        if target is None:
            return [from_row(r) for r in session.rows(self.ledger.select())]
        folds = not self.capabilities.case_sensitive_names
        sql = self.ledger.select(("target_schema", "target_table"), folds=folds)
        found = [from_row(r) for r in session.rows(sql, (target.schema, target.name))]
        wanted = self.spelled(target)
        return [r for r in found if self.spelled(Table(r.target_schema, r.target_table)) == wanted]

    def kept_schema(self, target: Table, fingerprint: str) -> str | None:
        """Return a schema's text as the ledger's tables keep it."""

        def look(session: SqlSession) -> str | None:
            if not self.has_ledger(session):
                return None
            found = session.rows(self.ledger.select_schema(), (fingerprint,))
            return str(found[0][0]) if found else None

        return self.reading(look)

    def spelled(self, target: Table) -> Table:
        """Return the target as every spelling of it: by ASCII letters, where case doesn't count."""
        if self.capabilities.case_sensitive_names:
            return target
        return Table(_fold(target.schema), _fold(target.name))

    def render(self, publish: Publish) -> list[str]:
        """Return, as text, the statements of :meth:`commit`, in order."""
        target = Table(publish.target_schema, publish.target_table)
        if key_deletes(publish) is not None:
            publish = publish.model_copy(update={"wire": None})  # key rows are Arrow
        session = self.read_session()
        try:
            existing = self.target_columns(session, target)
            lines = self._missing(session, target.schema)
            for step in self.steps(publish, session, existing):
                lines.extend(self._rendered(step, publish, session))
            if any(isinstance(a, RecordLoad) for a in publish.actions):
                lines.extend([self.ledger.insert_schema(), self.ledger.insert()])
            return lines
        finally:
            session.close()

    def _rendered(self, step: Step, publish: Publish, session: SqlSession) -> list[str]:
        match step:
            case Sql(text=text, when=str(when)) | Refuse(text=text, when=str(when)):
                return [f"-- if any {when}:\n{text}"]
            case (
                Sql(text=text)
                | Count(text=text)
                | Tell(text=text)
                | Refuse(text=text)
                | Remark(text=text)
                | Sample(text=text)
            ):
                return [text]
            case ReadLetters(text=text):
                return [f"-- if any open_letters, their keys go into a temporary relation:\n{text}"]
            case IngestLetters(table=table):
                return [f"-- if any letters, they go into {table}"]
            case Ingest(table=table, columns=columns) if publish.in_splits and self.staging():
                moved = self.insert_from(table, Table("", f"{RELATION}..."), columns)
                return ["-- once for the relation of each split:", moved]
            case Ingest(table=table, columns=columns) | IngestKeys(table=table, columns=columns):
                return self.ingest_text(session, publish, table, columns)
            case ReadAgain(keys=text, into=into):
                rows = self.ingest_text(session, publish, into.table, into.columns)
                few = f"-- if any lacking, and at most {READ_AGAIN}, their rows are read again:"
                return [f"{few}\n{text}", *rows]
            case LookForRows(table=table):
                return [self._look_for_rows(table)]
            case Guard(expr=expr, message=message):
                return [f"-- guard: {expr} (else: {message})"]

    def ingest_text(
        self, session: SqlSession, publish: Publish, table: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Return, as text, how the rows come into a table."""
        return session.ingest_text(table, columns)

    # --- publishing ------------------------------------------------------------------------------

    def commit(
        self,
        publish: Publish,
        rows: StagedRows | None,
        emit: Emit,
        keys: KeyRows | None = None,
    ) -> Commit:
        """Carry out ``publish`` in one transaction; see :meth:`Destination.commit`."""
        raw = isinstance(rows, RawRows | StagedRelations) and key_deletes(publish) is None
        if publish.wire is not None and not (raw and not self._settles(publish)):
            publish = publish.model_copy(update={"wire": None})
        session = self.session_for(publish.wire)
        try:
            done = self._until_commit(publish, rows, keys, session, emit)
            if done.record is None or done.replayed:
                session.rollback()
                return done
            try:
                session.commit()
            except Exception as error:  # noqa: BLE001 - the ledger says what happened, not the error
                return self._settle(publish, error)
            return done
        finally:
            session.close()

    def _settles(self, publish: Publish) -> bool:
        """Say whether letters may have to be brought in: undecoded rows' session takes no Arrow."""
        settles = "resolve_dead_letters" in publish.action_kinds
        return settles and bool(
            self.open_letters(Table(publish.target_schema, publish.target_table))
        )

    def _until_commit(
        self,
        publish: Publish,
        rows: StagedRows | None,
        keys: KeyRows | None,
        session: SqlSession,
        emit: Emit,
    ) -> Commit:
        """Do everything but the commit; whatever fails is rolled back and explained."""
        target = Table(publish.target_schema, publish.target_table)
        record = publish.record
        try:
            self.bootstrap(session, lambda: self._missing(session, target.schema))
            session.begin(self.lock_name(target))
            name, stream, load_id = record.pipeline, record.stream, record.load_id
            emit(PublishStarted(pipeline=name, stream=stream, load_id=load_id))
            chain = self._records(session, target)
            if found := find_load(chain, record):
                return Commit(found, replayed=True)
            existing = self.target_columns(session, target)
            check_requirements(publish, chain, existing)
            done = self._carry_out(publish, rows, keys, session, existing, chain)
            if done.record is not None:
                emit(CommitStarted(pipeline=name, stream=stream, load_id=load_id))
            return done
        except BaseException as error:
            session.rollback()
            if isinstance(error, ConduitError) or not isinstance(error, Exception):
                raise
            raise self.explain(error, publish) from error

    def lock_name(self, target: Table) -> str:
        """Return the name of the target's lock."""
        return f"{self.ledger.schema}:{self.spelled(target)}"

    def bootstrap(self, session: SqlSession, missing: Callable[[], list[str]]) -> None:
        """Make what ``missing`` says in a transaction of its own: in parallel they'd collide."""
        if not missing():
            return
        session.begin("conduit:bootstrap")
        try:
            for statement in missing():
                session.execute(statement)
            session.commit()
        except BaseException:
            session.rollback()
            raise

    def _missing(self, session: SqlSession, schema: str) -> list[str]:
        internal = self.ledger.schema
        lines: list[str] = []
        if not self.has_tables(session, LEDGER, SCHEMAS, LETTERS, AUDITS):
            tables = [*self.ledger.create(), *self.letters_sql.create()]
            lines = [*self.create_schema(session, internal), *tables]
        return lines if schema == internal else [*lines, *self.create_schema(session, schema)]

    def _carry_out(
        self,
        publish: Publish,
        rows: StagedRows | None,
        keys: KeyRows | None,
        session: SqlSession,
        existing: tuple[Column, ...] | None,
        chain: list[LedgerRecord],
    ) -> Commit:
        carrying = Carrying(session, rows, keys, self.insert_from, self._look_for_rows)
        try:
            for step in self.steps(publish, session, existing):
                self._do(step, carrying, publish)
        finally:
            carrying.close()
        counts = carrying.counts
        changed = ("read", "removed", "deleted", "gone", "target_has_rows")
        makes_table = existing is None and not publish.record.is_given
        if rows is not None and not makes_table and not any(counts[n] for n in changed):
            return Commit(None, notes=carrying.notes)
        record = self._record(publish, session, carrying, chain)
        if carrying.report:
            audit = (record.load_id, record.target_schema, record.target_table)
            values = (*audit, record.version, record.published_at, carrying.report)
            session.execute(self.letters_sql.insert_audit(), values)
        return Commit(record, notes=carrying.notes)

    def _do(self, step: Step, carrying: Carrying, publish: Publish) -> None:
        try:
            carrying.do(step)
        except Exception as error:
            if isinstance(step, Alter):
                raise self.explain_change(step, self.explain(error, publish)) from error
            raise

    def _record(
        self,
        publish: Publish,
        session: SqlSession,
        carrying: Carrying,
        chain: list[LedgerRecord],
    ) -> LedgerRecord:
        action = next(a for a in publish.actions if isinstance(a, RecordLoad))
        counts, splits = carrying.counts, publish.in_splits
        last = newest(chain)
        now = datetime.now(UTC)
        record = action.record.model_copy(
            update={
                "version": (last.version if last else 0) + 1,
                "counts": Counts(**{name: counts[name] for name in Counts.model_fields}),
                "load_window": with_files(action.record.load_window, carrying.files),
                "stages": stages_text(carrying.stages, carrying.seconds, in_splits=splits),
                "published_at": now,
            }
        )
        self.keep_schema(session, (record.schema_fingerprint, action.schema_text, now))
        for letters in publish.actions:
            if isinstance(letters, AppendDeadLetters) and counts["letters"]:
                known = (letters.schema_fingerprint, letters.schema_text, now)
                self.keep_schema(session, known)
        session.execute(self.ledger.insert(), to_row(record))
        return record

    def keep_schema(self, session: SqlSession, values: tuple[Value, ...]) -> None:
        """Write a schema's text unless it is there."""
        session.execute(self.ledger.insert_schema(), values)

    def _settle(self, publish: Publish, error: Exception) -> Commit:
        """Ask the ledger, under the target's lock, what became of a commit that failed.

        The lock is free only when the old backend is done, so the answer is final.
        """
        record = publish.record
        target = Table(publish.target_schema, publish.target_table)
        try:
            session = self.session()
        except ConduitError as unreachable:
            raise PublishUnknownError(
                "the connection died during the commit and the destination can't be reached:"
                " whether the load was published will be settled by the next run",
                state="unknown until the destination answers; running again is safe",
                command="conduit run",
            ) from unreachable
        try:
            session.begin(self.lock_name(target))
            found = find_load(self._records(session, target), record)
            session.rollback()
        except Exception as unanswered:
            raise PublishUnknownError(
                "the connection died during the commit and the ledger can't be asked now",
                state="unknown until the destination answers; running again is safe",
                command="conduit run",
            ) from unanswered
        finally:
            session.close()
        if found is not None:
            return Commit(found)
        explained = self.explain(error, publish)
        if isinstance(explained, PublishError):
            raise explained from error
        raise PublishError(
            f"the commit failed: {explained.message}", retry="step", command="conduit run"
        ) from error

    # --- cleaning --------------------------------------------------------------------------------

    def clean(self, older_than: timedelta, *, dry_run: bool) -> list[CleanItem]:
        """Remove what is older: ledger records that no later plan needs, incidents, staging."""
        staging = self.staging()
        items: list[CleanItem] = []
        if staging is not None:
            published = {record.load_id for record in self.records(None)}
            items = staging.sweep(older_than, published, dry_run=dry_run)
        border = datetime.now(UTC) - older_than
        items += self._clean_ledger(border, dry_run=dry_run)
        return [*items, *self.clean_incidents(border, dry_run=dry_run)]

    def _clean_ledger(self, border: datetime, *, dry_run: bool) -> list[CleanItem]:
        session = self.read_session() if dry_run else self.session()
        items: list[CleanItem] = []
        try:
            if not self.has_ledger(session):
                return []
            old = removable(self._records(session, None), border)
            if not dry_run and old:
                session.begin("conduit:clean")
                q = self.dialect.quote
                sql = (
                    f"DELETE FROM {self.dialect.table(self.ledger.table('_conduit_ledger'))}"
                    f" WHERE {q('load_id')} = {self.dialect.param(1)}"
                )
                audits = self.has_tables(session, AUDITS)
                for record in old:
                    session.execute(sql, (record.load_id,))
                    if audits:
                        session.execute(self.letters_sql.delete_audit(), (record.load_id,))
                session.commit()
            for record in old:
                name = f"{record.target_schema}.{record.target_table} version {record.version}"
                items.append(CleanItem("record", name, f"published {record.published_at:%Y-%m-%d}"))
            return items
        except ConduitError:
            session.rollback()
            raise
        except Exception as error:
            session.rollback()
            raise self.explain(error, None) from error
        finally:
            session.close()


def _fold(name: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in name)
