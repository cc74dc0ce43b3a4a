"""The publish walk of every SQL destination: lock, replay check, requirements, actions, commit.

A system's own class gives the session, the dialect, the catalogue reads and the swap; see
``SqlDestination``'s abstract methods. The order of the walk is the design's section 5.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from conduit_core.connectors.base import (
    CleanItem,
    Commit,
    Destination,
    RawRows,
    StagedRows,
    Tally,
)
from conduit_core.connectors.chain import check_requirements, find_load, removable
from conduit_core.connectors.publish import (
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    Wire,
    check_guard,
)
from conduit_core.connectors.sql.ledger import LedgerSql, from_row, to_row, with_files
from conduit_core.connectors.sql.predicate import window_predicate
from conduit_core.connectors.sql.session import RawSession, SqlSession, Value
from conduit_core.connectors.sql.staging import RELATION, StagedRelations
from conduit_core.errors import (
    ConduitError,
    PublishError,
    PublishUnknownError,
)
from conduit_core.events import CommitStarted, Emit, PublishStarted
from conduit_core.state.ledger import Counts, LedgerRecord, newest
from conduit_core.state.window import Window
from conduit_core.types.dialect import Dialect, Landing, Table

if TYPE_CHECKING:
    import pyarrow as pa

SQL_ACTIONS = frozenset(
    {
        "create_table",
        "append_staged",
        "replace_with_staged",
        "delete_window",
        "delete_matching",
        "guard",
        "record_load",
    }
)


_COUNTED_BY_READER = {"read", "deduplicated", "superseded", "rejected"}


@dataclass(frozen=True, slots=True)
class Sql:
    """One statement; ``count`` names what its affected rows add to."""

    text: str
    values: tuple[Value, ...] = ()
    count: str | None = None


@dataclass(frozen=True, slots=True)
class Ingest:
    """The staged rows stream into a table; ``count`` names what the driver's row count adds to."""

    table: Table
    columns: tuple[Column, ...]
    count: str | None = None


@dataclass(frozen=True, slots=True)
class LookForRows:
    """``target_has_rows`` becomes 1 if the target has a row."""

    table: Table


Step = Sql | Ingest | LookForRows | Guard


class SqlDestination(Destination):
    """A destination whose publish is one SQL transaction."""

    dialect: Dialect
    ledger: LedgerSql
    keep_identities = ""
    """The clause by which an INSERT keeps the rows' own values of identity columns."""

    # --- what a system gives ---------------------------------------------------------------------

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

    @abstractmethod
    def has_ledger(self, session: SqlSession) -> bool:
        """Say whether the internal tables exist."""

    @abstractmethod
    def target_columns(self, session: SqlSession, target: Table) -> tuple[Column, ...] | None:
        """Return the target's columns from the catalogue, in order; None where it doesn't exist."""

    @abstractmethod
    def create_schema(self, session: SqlSession, schema: str) -> list[str]:
        """Return the DDL that makes ``schema`` if it isn't there and the system has schemas."""

    @abstractmethod
    def swap(
        self, session: SqlSession, target: Table, new: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Return the statements that put the filled ``new`` table in ``target``'s place.

        Called after the rows are in: indexes, constraints, owner, grants, comments and identity of
        the old table are carried over here.
        """

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source column lands in a new table."""
        return self.dialect.landing(field)

    # --- reading ---------------------------------------------------------------------------------

    def records(self, target: Table | None) -> list[LedgerRecord]:
        """Return the ledger of one target, or of all, by version."""
        session = self.read_session()
        try:
            if not self.has_ledger(session):
                return []
            return self._records(session, target)
        except ConduitError:
            raise
        except Exception as error:
            raise self.explain(error, None) from error
        finally:
            session.close()

    def _records(self, session: SqlSession, target: Table | None) -> list[LedgerRecord]:
        if target is None:
            return [from_row(r) for r in session.rows(self.ledger.select())]
        folds = not self.capabilities.case_sensitive_names
        sql = self.ledger.select(("target_schema", "target_table"), folds=folds)
        found = [from_row(r) for r in session.rows(sql, (target.schema, target.name))]
        wanted = self._spelled(target)
        return [r for r in found if self._spelled(Table(r.target_schema, r.target_table)) == wanted]

    def _spelled(self, target: Table) -> Table:
        """Return the target as every spelling of it: by ASCII letters, where case doesn't count."""
        if self.capabilities.case_sensitive_names:
            return target
        return Table(_fold(target.schema), _fold(target.name))

    def render(self, publish: Publish) -> list[str]:
        """Return, as text, the statements of :meth:`commit`, in order."""
        target = Table(publish.target_schema, publish.target_table)
        own = self.staging() is not None
        session = self.read_session()
        try:
            existing = self.target_columns(session, target)
            lines = self._missing(session, target.schema)
            for step in self._steps(publish, session, existing):
                match step:
                    case Sql(text=text):
                        lines.append(text)
                    case Ingest(table=table, columns=columns) if publish.in_splits and own:
                        lines.append("-- once for the relation of each split:")
                        lines.append(self.insert_from(table, Table("", f"{RELATION}..."), columns))
                    case Ingest(table=table, columns=columns):
                        lines.extend(self.ingest_text(session, publish, table, columns))
                    case LookForRows(table=table):
                        lines.append(self._look_for_rows(table))
                    case Guard(expr=expr, message=message):
                        lines.append(f"-- guard: {expr} (else: {message})")
            if any(isinstance(a, RecordLoad) for a in publish.actions):
                lines.extend([self.ledger.insert_schema(), self.ledger.insert()])
            return lines
        finally:
            session.close()

    def ingest_text(
        self, session: SqlSession, publish: Publish, table: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Return, as text, how the rows come into a table."""
        return session.ingest_text(table, columns)

    # --- publishing ------------------------------------------------------------------------------

    def commit(self, publish: Publish, rows: StagedRows | None, emit: Emit) -> Commit:
        """Carry out ``publish`` in one transaction; see :meth:`Destination.commit`."""
        if publish.wire is not None and not isinstance(rows, RawRows | StagedRelations):
            publish = publish.model_copy(update={"wire": None})
        session = self.session_for(publish.wire)
        try:
            done = self._until_commit(publish, rows, session, emit)
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

    def _until_commit(
        self, publish: Publish, rows: StagedRows | None, session: SqlSession, emit: Emit
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
            final = self._carry_out(publish, rows, session, existing, chain)
            if final is not None:
                emit(CommitStarted(pipeline=name, stream=stream, load_id=load_id))
            return Commit(final)
        except BaseException as error:
            session.rollback()
            if isinstance(error, ConduitError) or not isinstance(error, Exception):
                raise
            raise self.explain(error, publish) from error

    def lock_name(self, target: Table) -> str:
        """Return the name of the target's lock."""
        return f"{self.ledger.schema}:{self._spelled(target)}"

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
        if not self.has_ledger(session):
            lines = [*self.create_schema(session, internal), *self.ledger.create()]
        return lines if schema == internal else [*lines, *self.create_schema(session, schema)]

    def _carry_out(
        self,
        publish: Publish,
        rows: StagedRows | None,
        session: SqlSession,
        existing: tuple[Column, ...] | None,
        chain: list[LedgerRecord],
    ) -> LedgerRecord | None:
        counts: dict[str, int] = dict.fromkeys(
            (*Counts.model_fields, "removed", "target_has_rows"), 0
        )
        files: tuple[str, ...] = ()
        for step in self._steps(publish, session, existing):
            match step:
                case Sql(text=text, values=values, count=count):
                    affected = session.execute(text, values)
                    if count:
                        counts[count] += affected
                case Ingest(table=table, columns=columns, count=count):
                    taken, tally = self._take(session, table, columns, rows)
                    counts.update(tally.counts.model_dump(include=_COUNTED_BY_READER))
                    files = tally.files
                    if count:
                        counts[count] += taken
                case LookForRows(table=table):
                    counts["target_has_rows"] = _scalar(session, self._look_for_rows(table))
                case Guard():
                    check_guard(step, counts)
        touched = counts["read"] or counts["removed"] or counts["target_has_rows"]
        if rows is not None and existing is not None and not touched:
            return None
        return self._record(publish, session, counts, files, chain)

    def _take(
        self,
        session: SqlSession,
        table: Table,
        columns: tuple[Column, ...],
        rows: StagedRows | None,
    ) -> tuple[int, Tally]:
        """Put the rows into a table, from wherever they are."""
        if not isinstance(rows, StagedRelations):
            return ingest_rows(session, table, columns, rows)
        taken = rows.move(session, lambda relation: self.insert_from(table, relation, columns))
        return taken, rows.finish()

    def _record(
        self,
        publish: Publish,
        session: SqlSession,
        counts: Mapping[str, int],
        files: tuple[str, ...],
        chain: list[LedgerRecord],
    ) -> LedgerRecord:
        action = next(a for a in publish.actions if isinstance(a, RecordLoad))
        last = newest(chain)
        now = datetime.now(UTC)
        record = action.record.model_copy(
            update={
                "version": (last.version if last else 0) + 1,
                "counts": Counts(**{name: counts[name] for name in Counts.model_fields}),
                "load_window": with_files(action.record.load_window, files),
                "published_at": now,
            }
        )
        self.keep_schema(session, (record.schema_fingerprint, action.schema_text, now))
        session.execute(self.ledger.insert(), to_row(record))
        return record

    def keep_schema(self, session: SqlSession, values: tuple[Value, ...]) -> None:
        """Write a schema's text unless it is there."""
        session.execute(self.ledger.insert_schema(), values)

    def _steps(
        self, publish: Publish, session: SqlSession, existing: tuple[Column, ...] | None
    ) -> Iterator[Step]:
        """Yield the actions' statements, lazily: a swap looks at the catalogue at its turn."""
        target = Table(publish.target_schema, publish.target_table)
        columns = tuple(c for n in publish.staged_columns for c in existing or () if c.name == n)
        guards = [a.expr for a in publish.actions if isinstance(a, Guard)]
        if existing is not None and (
            "replace_with_staged" in publish.action_kinds
            or any("target_has_rows" in expr for expr in guards)
        ):
            yield LookForRows(target)
        waits = "delete_matching" in publish.action_kinds
        made: tuple[Column, ...] = ()
        temp = Table("", temp_name("stage", publish.record.load_id))
        for action in publish.actions:
            match action:
                case CreateTable(columns=wanted):
                    made = columns = wanted
                case DeleteWindow(window=text):
                    yield self._delete_window(target, Window.from_json(text))
                case DeleteMatching(columns=keys):
                    yield Sql(self.create_temp(temp, columns))
                    yield Ingest(temp, columns)
                    yield Sql(self._delete_matching(target, temp, keys), count="removed")
                case AppendStaged():
                    old = temp if waits else None
                    new = self.fill_new(publish.wire, target, made, made)
                    yield from new if made else self._append(target, old, columns)
                case ReplaceWithStaged():
                    yield from self._replace(action, publish, session, columns)
                case Guard():
                    yield action
                case RecordLoad():
                    return

    def _append(
        self, target: Table, temp: Table | None, columns: tuple[Column, ...]
    ) -> Iterator[Step]:
        if temp is None:
            yield Ingest(target, columns, count="inserted")
            return
        yield Sql(self.insert_from(target, temp, columns), count="inserted")
        yield Sql(f"DROP TABLE {self.dialect.table(temp)}")

    def _replace(
        self,
        action: ReplaceWithStaged,
        publish: Publish,
        session: SqlSession,
        columns: tuple[Column, ...],
    ) -> Iterator[Step]:
        target = Table(publish.target_schema, publish.target_table)
        if action.how == "in_place":
            yield Sql(f"DELETE FROM {self.dialect.table(target)}", count="removed")
            yield Ingest(target, columns, count="inserted")
            return
        new = Table(target.schema, temp_name("new", publish.record.load_id))
        staged = tuple(c for n in publish.staged_columns for c in action.columns if c.name == n)
        yield from self.fill_new(publish.wire, new, action.columns, staged)
        for statement in self.swap(session, target, new, action.columns):
            yield Sql(statement)

    def fill_new(
        self,
        wire: Wire | None,
        table: Table,
        columns: tuple[Column, ...],
        staged: tuple[Column, ...],
        kind: str = "TABLE",
    ) -> Iterator[Step]:
        """Yield what makes a table of these columns and fills the staged ones."""
        yield Sql(self.create_table(table, columns, kind))
        yield Ingest(table, staged, count="inserted")

    def insert_from(self, table: Table, relation: Table, columns: tuple[Column, ...]) -> str:
        """Return the statement that copies a relation's rows into a table."""
        names = self.dialect.columns([c.name for c in columns])
        into = f"INSERT INTO {self.dialect.table(table)} ({names}){self.keep_identities}"
        return f"{into} SELECT {names} FROM {self.dialect.table(relation)}"

    def create_table(self, table: Table, columns: tuple[Column, ...], kind: str = "TABLE") -> str:
        """Return the DDL of a new table."""
        parts = [
            f"{self.dialect.quote(c.name)} {c.ddl}{'' if c.nullable else ' NOT NULL'}"
            for c in columns
        ]
        return f"CREATE {kind} {self.dialect.table(table)} ({', '.join(parts)})"

    def create_temp(self, table: Table, columns: tuple[Column, ...]) -> str:
        """Return the DDL of a temporary relation of this transaction."""
        parts = [f"{self.dialect.quote(c.name)} {c.ddl}" for c in columns]
        return f"CREATE TEMPORARY TABLE {self.dialect.table(table)} ({', '.join(parts)})"

    def _look_for_rows(self, target: Table) -> str:
        table = self.dialect.table(target)
        return f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1) AS t"

    def _delete_window(self, target: Table, window: Window) -> Sql:
        columns = window.low.columns if window.low else window.high.columns if window.high else ()
        where = window_predicate(window, columns, self.dialect.quote, self.bind)
        text = f"DELETE FROM {self.dialect.table(target)}"
        if where.sql:
            text += f" WHERE {where.sql}"
        return Sql(text, where.values, count="removed")

    def bind(self, position: int, value: pa.Scalar[pa.DataType]) -> str:
        """Return the placeholder of a typed value; a system may add a cast."""
        return self.dialect.param(position)

    def _delete_matching(self, target: Table, temp: Table, keys: tuple[str, ...]) -> str:
        same = " AND ".join(f"s.{self.dialect.quote(k)} = t.{self.dialect.quote(k)}" for k in keys)
        return (
            f"DELETE FROM {self.dialect.table(target)} AS t WHERE EXISTS"
            f" (SELECT 1 FROM {self.dialect.table(temp)} AS s WHERE {same})"
        )

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
        """Remove ledger records older than ``older_than`` that no later plan needs, and staging."""
        staging = self.staging()
        items: list[CleanItem] = []
        if staging is not None:
            published = {record.load_id for record in self.records(None)}
            items = staging.sweep(older_than, published, dry_run=dry_run)
        return [*items, *self._clean_ledger(datetime.now(UTC) - older_than, dry_run=dry_run)]

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
                for record in old:
                    session.execute(sql, (record.load_id,))
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


def ingest_rows(
    session: SqlSession,
    table: Table,
    columns: tuple[Column, ...],
    rows: StagedRows | None,
) -> tuple[int, Tally]:
    """Take the rows into a table; return the driver's count and the reader's."""
    if rows is None:
        raise PublishError("this publish needs rows and was given none")
    try:
        if isinstance(session, RawSession) and isinstance(rows, RawRows):
            taken = session.ingest_raw(table, columns, rows)
        else:
            taken = session.ingest(table, columns, rows.reader())
    except Exception:
        rows.finish()  # raises what really broke the stream, if the stream was what broke
        raise
    tally = rows.finish()
    if not tally.complete:
        raise PublishError(
            f"the destination took {taken} rows and stopped before the last batch, without an error"
        )
    return taken, tally


def _fold(name: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in name)


def _scalar(session: SqlSession, sql: str) -> int:
    value = session.rows(sql)[0][0]
    if not isinstance(value, int):
        raise TypeError(f"not a count: {value!r}")
    return value


def temp_name(role: str, load_id: str) -> str:
    """Return the name of a private relation of a load: short, lower case, unlikely to be taken."""
    return f"_conduit_{role}_{hashlib.sha256(load_id.encode()).hexdigest()[:12]}"
