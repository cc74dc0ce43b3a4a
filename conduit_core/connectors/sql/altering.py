"""Changing the columns of a target that is there: what holds them, what is said, and in what order.

A system says what keeps a column as it is (:meth:`Altering.holding`) and how it alters a table
(:meth:`Altering.alter`); the order, and what is refused, are the same everywhere.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from conduit_core.connectors.publish import (
    AddColumn,
    Column,
    CreateTable,
    Publish,
    ReplaceWithStaged,
    StartOver,
    WidenColumn,
)
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.connectors.sql.steps import Alter, Step, temp_name
from conduit_core.errors import ConduitError, SchemaError
from conduit_core.types.dialect import Dialect, Table

Change: TypeAlias = AddColumn | WidenColumn


@dataclass(frozen=True, slots=True)
class Holder:
    """Something that keeps columns from being changed.

    Args:
        what: it, for people.
        columns: those it holds, of the ones that were asked for.
        drop: the statement that takes it away; None where it couldn't be made again.
        make: the statements that make it again as it was.
    """

    what: str
    columns: frozenset[str]
    drop: str | None = None
    make: tuple[str, ...] = ()


class Altering(ABC):
    """The statements that change a target's columns, in one system's spelling."""

    dialect: Dialect
    alters_at_once = False
    """Whether one ALTER TABLE takes several changes, and so writes the rows again once."""

    def holding(
        self, session: SqlSession, target: Table, columns: tuple[str, ...]
    ) -> tuple[Holder, ...]:
        """Return what keeps the types of columns as they are, in the order it can be dropped in."""
        return ()

    def alter(
        self, session: SqlSession, target: Table, changes: tuple[Change, ...], load_id: str
    ) -> Iterator[Step]:
        """Yield the statements that change columns which nothing holds."""
        yield from self.altered(target, changes)

    def altered(self, target: Table, changes: tuple[Change, ...]) -> Iterator[Step]:
        """Yield the ALTERs, each change's own or one for all of them."""
        texts = [(text, change) for change in changes for text in self._texts(target, change)]
        if not self.alters_at_once:
            for text, change in texts:
                yield Alter(text, what=told(target, (change,)))
        elif texts:
            head = f"ALTER TABLE {self.dialect.table(target)} "
            clauses = ", ".join(text.removeprefix(head) for text, _ in texts)
            yield Alter(head + clauses, what=told(target, changes))

    def _texts(self, target: Table, change: Change) -> Iterator[str]:
        column, dialect = change.column, self.dialect
        if isinstance(change, AddColumn):
            table, name = dialect.table(target), dialect.quote(column.name)
            yield f"ALTER TABLE {table} ADD COLUMN {name} {column.ddl}"
            return
        if retyped(change):
            yield dialect.alter_type(target, column.name, column.ddl)
        if column.nullable and not change.was.nullable:
            yield str(dialect.drop_not_null(target, column.name))

    def change_columns(self, publish: Publish, session: SqlSession) -> Iterator[Step]:
        """Yield the changes of a publish, and what becomes of that which holds the columns.

        Raises:
            SchemaError: something holds a column, and may not or can't be made again.
        """
        target = Table(publish.target_schema, publish.target_table)
        changes = changes_of(publish)
        holders = self.refuse_held(publish, session)
        for holder in holders:
            if holder.drop is not None:
                yield Alter(holder.drop, what=f"{target}: {holder.what} can't be dropped")
        yield from self.alter(session, target, changes, publish.record.load_id)
        for holder in reversed(holders):
            for text in holder.make:
                yield Alter(text, what=f"{target}: {holder.what} can't be made again as it was")

    def refuse_held(self, publish: Publish, session: SqlSession) -> tuple[Holder, ...]:
        """Return what holds the columns that a publish changes, all of which can be made again.

        Raises:
            SchemaError: something holds a column, and may not or can't be made again.
        """
        target = Table(publish.target_schema, publish.target_table)
        widened = [c for c in changes_of(publish) if isinstance(c, WidenColumn) and retyped(c)]
        if not widened:
            return ()
        holders = self.holding(session, target, tuple(c.column.name for c in widened))
        problems: list[str] = []
        for change in widened:
            mine = [h for h in holders if change.column.name in h.columns]
            what = f"{told(target, (change,))}: {', '.join(h.what for h in mine)} hold it as it is"
            if firm := [h.what for h in mine if h.drop is None]:
                problems.append(
                    f"{what}; a load can't make {', '.join(firm)} again: take it off, run, and put"
                    " it back"
                )
            elif mine and not change.recreate:
                problems.append(
                    f"{what}; `dependents: recreate` drops such views and makes them again"
                )
        if problems:
            raise SchemaError("\n  ".join(problems), command="conduit plan")
        return holders

    def explain_change(self, step: Alter, explained: ConduitError) -> ConduitError:
        """Return the error of a change that the system refused, if nothing but that was wrong."""
        if explained.retry != "never":
            return explained
        return SchemaError(
            f"{step.what}: {explained.message}",
            connector=explained.connector,
            command="conduit plan",
        )

    def rebuilt(
        self,
        target: Table,
        new: Table,
        columns: tuple[Column, ...],
        changes: tuple[WidenColumn, ...],
    ) -> str:
        """Return the statement that fills a new table with the old one's rows, widened."""
        widened = {c.column.name: c for c in changes if retyped(c)}
        quote = self.dialect.quote
        values = [
            self.dialect.converted(quote(c.name), widened[c.name].was.ddl, c.ddl)
            if c.name in widened
            else quote(c.name)
            for c in columns
        ]
        names = self.dialect.columns([c.name for c in columns])
        return (
            f"INSERT INTO {self.dialect.table(new)} ({names})"
            f" SELECT {', '.join(values)} FROM {self.dialect.table(target)}"
        )


def changes_of(publish: Publish) -> tuple[Change, ...]:
    """Return what a publish changes of columns; nothing where it makes the table anew."""
    if _new_table(publish) is not None:
        return ()
    return tuple(a for a in publish.actions if isinstance(a, AddColumn | WidenColumn))


def will_be(publish: Publish, existing: tuple[Column, ...] | None) -> tuple[Column, ...]:
    """Return the columns of the target when the rows go in."""
    if (columns := _new_table(publish)) is not None:
        return columns
    return after(existing or (), changes_of(publish))


def after(existing: tuple[Column, ...], changes: tuple[Change, ...]) -> tuple[Column, ...]:
    """Return columns as the changes leave them."""
    wider = {c.column.name: c.column for c in changes if isinstance(c, WidenColumn)}
    added = (c.column for c in changes if isinstance(c, AddColumn))
    return (*(wider.get(c.name, c) for c in existing), *added)


def retyped(change: WidenColumn) -> bool:
    """Say whether the type changes, not only whether NULLs are let in."""
    return change.column.ddl != change.was.ddl


def rebuild_table(target: Table, load_id: str) -> Table:
    """Return the name of the table that takes the target's place."""
    return Table(target.schema, temp_name("wide", load_id))


def told(target: Table, changes: tuple[Change, ...]) -> str:
    """Return what can't be done, for people."""
    parts = []
    for change in changes:
        name, was = change.column.name, getattr(change, "was", None)
        if was is None:
            parts.append(f"column {name!r} ({change.column.ddl}) can't be added")
        elif was.ddl != change.column.ddl:
            parts.append(f"column {name!r} can't be widened from {was.ddl} to {change.column.ddl}")
        else:
            parts.append(f"column {name!r} ({was.ddl}) can't be let have NULLs")
    return f"{target}: {', '.join(parts)}"


def _new_table(publish: Publish) -> tuple[Column, ...] | None:
    for action in publish.actions:
        if isinstance(action, CreateTable) or (
            isinstance(action, StartOver | ReplaceWithStaged) and action.how == "swap"
        ):
            return action.columns
    return None
