"""How each publish action becomes statements: lazily, in order, as steps that can be printed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import (
    AppendStaged,
    Column,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    KeepNewest,
    MergeStaged,
    Publish,
    ReplaceWithStaged,
    Wire,
)
from conduit_core.connectors.sql.merge import POSITION, Merge, Merging
from conduit_core.connectors.sql.predicate import window_predicate
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sql.steps import Ingest, LookForRows, Sql, Step, temp_name
from conduit_core.state.window import Window
from conduit_core.types.dialect import Dialect, Table

if TYPE_CHECKING:
    import pyarrow as pa


class SqlActions(ABC):
    """The statements of a publish's actions in one system's spelling."""

    dialect: Dialect
    merging = Merging()
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

    def steps(
        self, publish: Publish, session: SqlSession, existing: tuple[Column, ...] | None
    ) -> Iterator[Step]:
        """Yield the actions' statements, lazily: a swap looks at the catalogue at its turn."""
        target = Table(publish.target_schema, publish.target_table)
        swaps = [a for a in publish.actions if isinstance(a, ReplaceWithStaged) and a.how == "swap"]
        known = swaps[0].columns if swaps else existing or ()
        columns = tuple(c for n in publish.staged_columns for c in known if c.name == n)
        guards = [a.expr for a in publish.actions if isinstance(a, Guard)]
        if existing is not None and (
            "replace_with_staged" in publish.action_kinds
            or any("target_has_rows" in expr for expr in guards)
        ):
            yield LookForRows(target)
        made: tuple[Column, ...] = ()
        temp: Table | None = None
        for action in publish.actions:
            match action:
                case CreateTable(columns=wanted):
                    made = columns = wanted
                case DeleteMatching() | KeepNewest():
                    yield from self._wait(action, publish, temp, columns)
                    temp = _waiting(publish)
                case ReplaceWithStaged():
                    yield from self._replace(action, publish, session, columns, temp)
                case AppendStaged():
                    yield from self._append(publish, temp, columns, made)
                case MergeStaged():
                    yield from self._merge(action, publish, session, columns, existing)
                case DeleteWindow(window=text):
                    yield self._delete_window(target, Window.from_json(text))
                case Guard():
                    yield action

    def _wait(
        self,
        action: DeleteMatching | KeepNewest,
        publish: Publish,
        temp: Table | None,
        columns: tuple[Column, ...],
    ) -> Iterator[Step]:
        """Yield what an action does for which the rows wait in a temporary relation."""
        if isinstance(action, KeepNewest):
            yield from self._keep_newest(action, publish, columns)
            return
        target, waiting = Table(publish.target_schema, publish.target_table), _waiting(publish)
        if temp is None:
            yield Sql(self.create_temp(waiting, columns))
            yield Ingest(waiting, columns)
        yield Sql(self._delete_matching(target, waiting, action.columns), count="removed")

    def _merge_sql(
        self, action: KeepNewest | MergeStaged, publish: Publish, columns: tuple[Column, ...]
    ) -> Merge:
        load_id = publish.record.load_id
        return Merge(
            self.dialect,
            self.merging,
            Table(publish.target_schema, publish.target_table),
            _waiting(publish),
            Table("", temp_name("pairs", load_id)),
            columns,
            action,
            self.keep_identities,
        )

    def _keep_newest(
        self,
        action: KeepNewest | MergeStaged,
        publish: Publish,
        columns: tuple[Column, ...],
    ) -> Iterator[Step]:
        """Yield what brings the rows into a temporary relation, and leaves one of each key."""
        free = tuple(c.model_copy(update={"nullable": True}) for c in columns)
        position = Column(name=POSITION, ddl=self.merging.position_ddl)
        temp = _waiting(publish)
        for step in self.fill_new(publish.wire, temp, free, free, "TEMPORARY TABLE", (position,)):
            if isinstance(step, Ingest):
                numbered = POSITION if self.merging.numbers_rows else None
                yield Ingest(step.table, step.columns, numbered=numbered)
            else:
                yield step
        yield from self._merge_sql(action, publish, columns).keep_newest()

    def _merge(
        self,
        action: MergeStaged,
        publish: Publish,
        session: SqlSession,
        columns: tuple[Column, ...],
        existing: tuple[Column, ...] | None,
    ) -> Iterator[Step]:
        merge = self._merge_sql(action, publish, columns)
        if existing is None:
            yield Sql(self.create_table(merge.target, columns))
        yield from self._keep_newest(action, publish, columns)
        if existing is None:
            yield from merge.insert_all()
        else:
            yield from merge.into(session, existing)
        yield Sql(f"DROP TABLE {self.dialect.table(merge.staged)}")

    def _append(
        self,
        publish: Publish,
        temp: Table | None,
        columns: tuple[Column, ...],
        made: tuple[Column, ...],
    ) -> Iterator[Step]:
        target = Table(publish.target_schema, publish.target_table)
        if temp is None and made:
            yield from self.fill_new(publish.wire, target, made, made)
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


def _waiting(publish: Publish) -> Table:
    """Return the temporary relation in which the staged rows wait."""
    return Table("", temp_name("stage", publish.record.load_id))
