"""How each publish action becomes statements: lazily, in order, as steps that can be printed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import (
    DELETED_AT,
    VALID_TO,
    Action,
    AppendStaged,
    CloseVersions,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    KeepNewest,
    MergeStaged,
    Publish,
    ReplaceWithStaged,
    StartOver,
    Wire,
)
from conduit_core.connectors.sql.altering import Altering, changes_of, will_be
from conduit_core.connectors.sql.deletes import KeySql, Where, guarded, key_deletes, key_sample
from conduit_core.connectors.sql.ledger import LedgerSql
from conduit_core.connectors.sql.letters import LETTERS, LettersSql
from conduit_core.connectors.sql.merge import Merge
from conduit_core.connectors.sql.merging import POSITION, Merging
from conduit_core.connectors.sql.predicate import window_predicate
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sql.settling import Settling, settling_of
from conduit_core.connectors.sql.steps import (
    Count,
    Ingest,
    IngestKeys,
    LookForRows,
    ReadAgain,
    Sample,
    Sql,
    Step,
    temp_name,
)
from conduit_core.connectors.sql.versions import close_versions
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    import pyarrow as pa


class SqlActions(Altering):
    """The statements of a publish's actions in one system's spelling."""

    ledger: LedgerSql
    merging = Merging()
    folded = "{}"
    """How SQL folds a name as the system does."""
    keyed_letters = True
    """Whether the table of dead letters has a primary key."""
    keep_identities = ""
    """The clause by which an INSERT keeps the rows' own values of identity columns."""

    @abstractmethod
    def swap(
        self, session: SqlSession, target: Table, new: Table, columns: tuple[Column, ...]
    ) -> list[str]:
        """Return the statements that put the filled ``new`` table in ``target``'s place.

        Called after the rows are in: indexes, constraints, owner, grants, comments and identity of
        the old table are carried over here.
        """

    @abstractmethod
    def has_tables(self, session: SqlSession, *names: str) -> bool:
        """Say whether internal tables of these names exist, all of them."""

    @abstractmethod
    def spelled(self, target: Table) -> Table:
        """Return the target as every spelling of it: by ASCII letters, where case doesn't count."""

    @property
    def letters_sql(self) -> LettersSql:
        """The statements on dead letters and audit reports."""
        ledger = self.ledger
        types, keyed = ledger.types, self.keyed_letters
        return LettersSql(self.dialect, self.merging, types, ledger.schema, self.folded, keyed)

    def steps(
        self, publish: Publish, session: SqlSession, existing: tuple[Column, ...] | None
    ) -> Iterator[Step]:
        """Yield the actions' statements, lazily: a swap looks at the catalogue at its turn."""
        known, there = will_be(publish, existing), existing is not None
        settling = settling_of(self, self.letters_sql, publish, known, there=there)
        yield from settling.look()
        rows = self._row_steps(publish, session, existing, settling)
        yield from settling.watch(rows, _waiting(publish))
        yield from settling.after()

    def _row_steps(
        self,
        publish: Publish,
        session: SqlSession,
        existing: tuple[Column, ...] | None,
        settling: Settling,
    ) -> Iterator[Step]:
        """Yield the statements of the actions on the target's rows."""
        target = Table(publish.target_schema, publish.target_table)
        known = will_be(publish, existing)
        columns = tuple(c for n in publish.staged_columns for c in known if c.name == n)
        made: tuple[Column, ...] = ()
        temp: Table | None = None
        yield from self._look(publish, target, existing)
        self.refuse_held(publish, session)
        waiting = [*self._changes(publish, session)]
        last = IngestKeys if key_deletes(publish) is not None else Ingest
        existing = known if waiting else existing
        for action in publish.actions:
            if waiting and isinstance(action, AppendStaged | DeleteWindow | ReplaceWithStaged):
                temp = _waiting(publish)
                yield from _after_rows(self._park(temp, columns), waiting, Ingest)
            match action:
                case CreateTable(columns=wanted):
                    made = wanted
                case DeleteMatching() | KeepNewest():
                    wait = self._wait(action, publish, temp, columns)
                    yield from _after_rows(wait, waiting, Ingest)
                    temp = _waiting(publish)
                case ReplaceWithStaged():
                    yield from self._sample(publish, action, known[:1], existing)
                    yield from self._replace(action, publish, session, columns, temp)
                case AppendStaged():
                    held = temp is None and self._has_open_letters(settling, session)
                    yield from self._park(_waiting(publish), columns) if held else ()
                    temp = _waiting(publish) if held else temp
                    yield from self._append(publish, temp, columns, made)
                case MergeStaged() | CloseVersions():
                    by_key = self._by_key(action, publish, session, columns, made, existing)
                    yield from _after_rows(by_key, waiting, last)
                case DeleteWindow(window=text):
                    window = Window.from_json(text)
                    where = self.window_where(window, known)
                    named = tuple(c for c in known if c.name in window.columns)
                    yield from self._sample(publish, action, named, existing, where)
                    condition = f" WHERE {where.sql}" if where.sql else ""
                    delete = f"DELETE FROM {self.dialect.table(target)}{condition}"
                    yield Sql(delete, where.values, count="removed")
                case Guard():
                    yield action

    def _has_open_letters(self, settling: Settling, session: SqlSession) -> bool:
        """Say whether there are open letters that have to be held to the rows."""
        if not settling.must_wait() or not self.has_tables(session, LETTERS):
            return False
        where = settling.which()
        return session.rows(settling.letters.count(where), where.values) != [(0,)]

    def _look(
        self, publish: Publish, target: Table, existing: tuple[Column, ...] | None
    ) -> Iterator[Step]:
        """Yield what is counted before anything is changed."""
        guards = [a.expr for a in publish.actions if isinstance(a, Guard)]
        if existing is None:
            return
        for action in publish.actions:
            if isinstance(action, StartOver):
                yield from self._sample(publish, action, action.columns[:1], existing)
        if publish.action_kinds & {"replace_with_staged", "start_over"} or any(
            "target_has_rows" in expr for expr in guards
        ):
            yield LookForRows(target)
        if any("target_rows" in expr for expr in guards):
            alive = VALID_TO if "close_versions" in publish.action_kinds else DELETED_AT
            is_there = any(c.name == alive for c in existing)
            where = f" WHERE {self.dialect.quote(alive)} IS NULL" if is_there else ""
            yield Count(f"SELECT count(*) FROM {self.dialect.table(target)}{where}", "target_rows")

    def _sample(
        self,
        publish: Publish,
        action: Action,
        other: tuple[Column, ...],
        existing: tuple[Column, ...] | None,
        where: Where | None = None,
    ) -> Iterator[Step]:
        """Yield what keeps some keys of rows that go, by another column where there is no key."""
        keys = [getattr(a, "key", None) for a in publish.actions]
        key = next((k for k in keys if k), tuple(c.name for c in other))
        there = {c.name for c in existing or ()}
        if not guarded(publish, action) or not key or not there.issuperset(key):
            return
        rows = self.dialect.table(Table(publish.target_schema, publish.target_table))
        condition = f" WHERE {where.sql}" if where is not None and where.sql else ""
        values = where.values if where is not None else ()
        yield Sample(key_sample(self.dialect, key, f"{rows}{condition}"), values)

    def _wait(
        self,
        action: DeleteMatching | KeepNewest,
        publish: Publish,
        temp: Table | None,
        columns: tuple[Column, ...],
    ) -> Iterator[Step]:
        """Yield what an action does for which the rows wait in a temporary relation."""
        if isinstance(action, KeepNewest):
            merge = self.merge_sql(action, publish, columns)
            yield from self.fill_staged(publish, columns, flagged=False)
            yield from merge.filled()
            yield merge.refuse_null_keys()
            yield from merge.keep_newest()
            return
        target, waiting = Table(publish.target_schema, publish.target_table), _waiting(publish)
        if temp is None:
            yield from self._park(waiting, columns)
        yield Sql(self._delete_matching(target, waiting, action.columns), count="removed")

    def _park(self, temp: Table, columns: tuple[Column, ...]) -> Iterator[Step]:
        """Yield what lets the rows wait in a temporary relation."""
        yield Sql(self.create_temp(temp, columns))
        yield Ingest(temp, columns)

    def merge_sql(
        self, action: KeepNewest | MergeStaged, publish: Publish, columns: tuple[Column, ...]
    ) -> Merge:
        """Return the SQL of a merge of the rows that :meth:`fill_staged` brings in."""
        load_id = publish.record.load_id
        return Merge(
            self.dialect,
            self.merging,
            Table(publish.target_schema, publish.target_table),
            _waiting(publish),
            Table("", temp_name("pairs", load_id)),
            tuple(c for c in columns if c.name != DELETED_AT),
            action,
            self.keep_identities,
            guarded(publish, action),
        )

    def fill_staged(
        self, publish: Publish, columns: tuple[Column, ...], *, flagged: bool
    ) -> Iterator[Step]:
        """Yield what brings the rows into a temporary relation, numbered.

        ``flagged``: it has ``DELETED_AT``, whether the rows bring it or not.
        """
        position = Column(name=POSITION, ddl=self.merging.position_ddl)
        own: tuple[Column, ...] = (position,)
        staged = self.staged_columns(publish, columns)
        if flagged and all(c.name != DELETED_AT for c in staged):
            own = (position, self.flag)
        temp = _waiting(publish)
        for step in self.fill_new(publish.wire, temp, staged, staged, "TEMPORARY TABLE", own):
            if isinstance(step, Ingest):
                numbered = POSITION if self.merging.numbers_rows else None
                yield Ingest(step.table, step.columns, numbered=numbered)
            else:
                yield step

    def staged_columns(self, publish: Publish, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return the columns that the rows have: those of the target, and the flag."""
        known = [c for c in columns if c.name != DELETED_AT] + [self.flag]
        found = [c for n in publish.staged_columns for c in known if c.name == n]
        return tuple(c.model_copy(update={"nullable": True}) for c in found)

    @property
    def flag(self) -> Column:
        """The column that says when a row was deleted."""
        import pyarrow as pa

        field = pa.field(DELETED_AT, pa.timestamp("us", "UTC"))
        return Column(name=DELETED_AT, ddl=self.dialect.landing(field).ddl)

    def key_sql(
        self,
        action: MergeStaged | CloseVersions,
        publish: Publish,
        columns: tuple[Column, ...],
        existing: tuple[Column, ...] | None,
    ) -> KeySql | None:
        """Return the SQL of the key rows that an action needs; None where it needs none.

        Of a target that is only made now, nothing is missing.
        """
        deletes = action.deletes
        if deletes is None or deletes.detect == "flag":
            return None
        if deletes.detect == "missing" and existing is None:
            return None
        alive = f"t.{self.dialect.quote(DELETED_AT)} IS NULL" if deletes.soft else ""
        return KeySql(
            self.dialect,
            self.merging,
            Table(publish.target_schema, publish.target_table),
            _waiting(publish),
            publish.record.load_id,
            columns,
            action.key,
            action.order,
            deletes,
            alive,
        )

    def take_keys(
        self, keys: KeySql | None, publish: Publish, columns: tuple[Column, ...]
    ) -> Iterator[Step]:
        """Yield what brings the key rows in, and the rows of those that the target lacks."""
        if keys is None:
            return
        yield from keys.fill()
        if keys.deletes.detect == "missing":
            yield from keys.find_lacking(self._concerns(keys))
            yield self._read_lacking(keys, publish, columns)
            yield keys.drop_lacking()

    def _read_lacking(
        self, sql: KeySql, publish: Publish, columns: tuple[Column, ...]
    ) -> ReadAgain:
        """Return what reads the keys again that the target lacks."""
        numbered = POSITION if self.merging.numbers_rows else None
        into = Ingest(_waiting(publish), self.staged_columns(publish, columns), numbered=numbered)
        lacking = self.dialect.table(sql.lacking)
        keys = f"SELECT {self.dialect.columns(sql.key)} FROM {lacking}"
        sample = key_sample(self.dialect, sql.key, lacking)
        return ReadAgain(keys, sample, str(sql.target), into)

    def _by_key(
        self,
        action: MergeStaged | CloseVersions,
        publish: Publish,
        session: SqlSession,
        columns: tuple[Column, ...],
        made: tuple[Column, ...],
        existing: tuple[Column, ...] | None,
    ) -> Iterator[Step]:
        if isinstance(action, CloseVersions):
            return close_versions(self, action, publish, session, columns, made, existing)
        return self._merge(action, publish, session, columns, made, existing)

    def _merge(
        self,
        action: MergeStaged,
        publish: Publish,
        session: SqlSession,
        columns: tuple[Column, ...],
        made: tuple[Column, ...],
        existing: tuple[Column, ...] | None,
    ) -> Iterator[Step]:
        merge = self.merge_sql(action, publish, columns)
        keys = self.key_sql(action, publish, columns, existing)
        if existing is None:
            yield Sql(self.create_table(merge.target, made))
        yield from self.fill_staged(publish, columns, flagged=action.deletes is not None)
        yield from merge.filled()
        yield from self.take_keys(keys, publish, columns)
        yield merge.refuse_null_keys()
        yield from merge.keep_newest()
        if keys is not None:
            yield from keys.mark_staged()
        if action.deletes is not None:
            yield from merge.count_flagged()
        if existing is None:
            yield from merge.insert_all()
        else:
            yield from merge.into(session, existing)
            if keys is not None:
                place = self.merging.place(session, merge.target, existing)
                yield from keys.delete_gone(place, sample=merge.guarded)
        if keys is not None:
            yield from keys.drop()
        yield Sql(f"DROP TABLE {self.dialect.table(merge.staged)}")

    def _concerns(self, keys: KeySql) -> Where:
        """Return which key rows concern the target already: those in the window."""
        if keys.deletes.window is None:
            return Where()
        window = Window.from_json(keys.deletes.window)
        where = self.window_where(window, ())
        parts = [f"({where.sql})"] if where.sql else []
        if not window.null_cursor:
            parts += [f"{self.dialect.quote(name)} IS NOT NULL" for name in keys.order]
        return Where(" AND ".join(parts), where.values)

    def _append(
        self,
        publish: Publish,
        temp: Table | None,
        columns: tuple[Column, ...],
        made: tuple[Column, ...],
    ) -> Iterator[Step]:
        target = Table(publish.target_schema, publish.target_table)
        if temp is None and made:
            yield from self.fill_new(publish.wire, target, made, columns)
        elif temp is None:
            yield Ingest(target, columns, count="inserted")
        else:
            if made:
                yield Sql(self.create_table(target, made))
            yield from self._move(temp, target, columns)

    def _move(self, temp: Table, table: Table, columns: tuple[Column, ...]) -> Iterator[Step]:
        yield Sql(self.insert_from(table, temp, columns), count="inserted")
        yield Sql(f"DROP TABLE {self.dialect.table(temp)}")

    def _replace(
        self,
        action: ReplaceWithStaged,
        publish: Publish,
        session: SqlSession,
        columns: tuple[Column, ...],
        temp: Table | None,
    ) -> Iterator[Step]:
        target = Table(publish.target_schema, publish.target_table)
        if action.how == "in_place":
            yield Sql(f"DELETE FROM {self.dialect.table(target)}", count="removed")
            if temp is None:
                yield Ingest(target, columns, count="inserted")
            else:
                yield from self._move(temp, target, columns)
            return
        new = Table(target.schema, temp_name("new", publish.record.load_id))
        if temp is None:
            yield from self.fill_new(publish.wire, new, action.columns, columns)
        else:
            yield Sql(self.create_table(new, action.columns))
            yield from self._move(temp, new, columns)
        for statement in self.swap(session, target, new, action.columns):
            yield Sql(statement)

    def _changes(self, publish: Publish, session: SqlSession) -> Iterator[Iterator[Step]]:
        """Yield what changes the target itself, to be done once the rows are in."""
        if changes_of(publish):
            yield self.change_columns(publish, session)
        for action in publish.actions:
            if isinstance(action, StartOver):
                yield self._start_over(action, publish, session)

    def _start_over(
        self, action: StartOver, publish: Publish, session: SqlSession
    ) -> Iterator[Step]:
        target = Table(publish.target_schema, publish.target_table)
        if action.how == "in_place":
            yield Sql(f"DELETE FROM {self.dialect.table(target)}", count="removed")
            return
        new = Table(target.schema, temp_name("new", publish.record.load_id))
        yield Sql(self.create_table(new, action.columns))
        for statement in self.swap(session, target, new, action.columns):
            yield Sql(statement)

    def fill_new(
        self,
        wire: Wire | None,
        table: Table,
        columns: tuple[Column, ...],
        staged: tuple[Column, ...],
        kind: str = "TABLE",
        own: tuple[Column, ...] = (),
    ) -> Iterator[Step]:
        """Yield what makes a table of these columns and fills the staged ones.

        ``own`` are columns besides that the system fills by itself.
        """
        yield Sql(self.create_table(table, (*own, *columns), kind))
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

    def window_where(self, window: Window, columns: tuple[Column, ...]) -> Where:
        """Return which rows of a table with these columns lie in a window.

        The columns are needed where it is one by value.
        """
        kinds = {c.name: c.ddl for c in columns}

        def exact(name: str) -> tuple[str, ...]:
            return self.exact(Column(name=name, ddl=kinds[name]))

        quote, bind = self.dialect.quote, self.bind
        where = window_predicate(window, window.columns, quote, bind, exact)
        return Where(where.sql, where.values)

    def exact(self, column: Column) -> tuple[str, ...]:
        """Return how a column is written where equal means the same value, byte by byte.

        Before that, as it is, where an index has it so: all must be equal.
        """
        return (self.dialect.quote(column.name),)

    def bind(self, position: int, value: pa.Scalar[pa.DataType]) -> str:
        """Return the placeholder of a typed value; a system may add a cast."""
        return self.dialect.param(position)

    def _delete_matching(self, target: Table, temp: Table, keys: tuple[str, ...]) -> str:
        same = " AND ".join(f"s.{self.dialect.quote(k)} = t.{self.dialect.quote(k)}" for k in keys)
        return (
            f"DELETE FROM {self.dialect.table(target)} AS t WHERE EXISTS"
            f" (SELECT 1 FROM {self.dialect.table(temp)} AS s WHERE {same})"
        )


def _waiting(publish: Publish) -> Table:
    """Return the temporary relation in which the staged rows wait."""
    return Table("", temp_name("stage", publish.record.load_id))


def _after_rows(
    steps: Iterator[Step], waiting: list[Iterator[Step]], last: type[Ingest | IngestKeys]
) -> Iterator[Step]:
    """Yield steps, and what waits for the rows after the one that takes them, or the keys, in.

    DDL on the target keeps its readers out until the commit: they needn't wait for the reading too.
    """
    for step in steps:
        yield step
        if isinstance(step, last):
            for others in waiting:
                yield from others
            waiting.clear()
