"""Rows that are gone at the source: SQL over the key rows, a target, and the load's staged rows.

The key rows wait in a temporary relation. Anti-joins with it say which rows of the target are gone,
and which keys the target lacks; no index on the target is needed, and nothing is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from conduit_core.connectors.publish import (
    BALANCE,
    DELETED_AT,
    SAMPLE,
    Action,
    Column,
    Deletes,
    Guard,
    Publish,
)
from conduit_core.connectors.sql.merging import POSITION, Merging
from conduit_core.connectors.sql.session import Value
from conduit_core.connectors.sql.steps import Count, IngestKeys, Sample, Sql, Step, temp_name
from conduit_core.types.dialect import Dialect, Table

READ_AGAIN = 10_000
"""How many keys that the target lacks are read again; above it something else is wrong."""


@dataclass(frozen=True, slots=True)
class Where:
    """A condition over a table's own columns, and its values in order; empty: all rows."""

    sql: str = ""
    values: tuple[Value, ...] = ()


def key_deletes(publish: Publish) -> Deletes | None:
    """Return how a publish learns of deletes from key rows; None where it needs none."""
    for action in publish.actions:
        deletes = getattr(action, "deletes", None)
        if isinstance(deletes, Deletes) and deletes.detect != "flag":
            return deletes
    return None


def guarded(publish: Publish, action: Action) -> bool:
    """Say whether a guard after the action may have to show what it took away."""
    after = publish.actions[publish.actions.index(action) + 1 :]
    return any(isinstance(a, Guard) and a != BALANCE for a in after)


def key_sample(dialect: Dialect, key: Iterable[str], rows: str, alias: str = "") -> str:
    """Return the query of a few keys as text; ``rows`` is what follows FROM."""
    listed = ", ".join(f"CAST({alias}{dialect.quote(name)} AS TEXT)" for name in key)
    return f"SELECT {listed} FROM {rows} LIMIT {SAMPLE}"


@dataclass(frozen=True, slots=True)
class KeySql:
    """The SQL of one load's key rows.

    Aliases: ``t`` is a row of the target, ``s`` a staged one, ``k`` a key row, ``g`` a row of
    :attr:`gone`.

    Args:
        dialect, merging: the system's spelling.
        target: the target.
        staged: the temporary relation of staged rows.
        load_id: the load's.
        columns: columns of the target that the key and the order are among.
        key, order: as of the action.
        deletes: what the action says of deletes.
        alive: what holds for rows ``t`` that aren't deleted; empty: for all.
    """

    dialect: Dialect
    merging: Merging
    target: Table
    staged: Table
    load_id: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    order: tuple[str, ...]
    deletes: Deletes
    alive: str = ""

    @property
    def keys(self) -> Table:
        """The temporary relation of the key rows."""
        return Table("", temp_name("keys", self.load_id))

    @property
    def lacking(self) -> Table:
        """The temporary relation of keys that the target lacks."""
        return Table("", temp_name("lacking", self.load_id))

    @property
    def gone(self) -> Table:
        """The temporary relation of rows that are gone: the key, and the place if there is one.

        A row of the target isn't there twice.
        """
        return Table("", temp_name("gone", self.load_id))

    # --- the key rows ----------------------------------------------------------------------------

    def fill(self) -> Iterator[Step]:
        """Yield what brings the key rows into :attr:`keys`: those with a whole key."""
        table = self.dialect.table(self.keys)
        yield Sql(self._create(self.keys, self.deletes.keys))
        yield IngestKeys(self.keys, self.deletes.keys)
        nulls = " OR ".join(f"{self._q(name)} IS NULL" for name in self.key)
        yield Sql(f"DELETE FROM {table} WHERE {nulls}")
        for text in self.merging.filled(table, self._listed(self.key)):
            yield Sql(text)

    def mark_staged(self) -> Iterator[Step]:
        """Yield what flags the staged rows that a tombstone is meant for."""
        if self.deletes.detect != "listed" or self.deletes.time is None:
            return
        staged, position = self.dialect.table(self.staged), self._q(POSITION)
        yield Sql(
            f"UPDATE {staged} SET {self._q(DELETED_AT)} = {self.dialect.param(1)}"
            f" WHERE {position} IN (SELECT s.{position} {self._with_tombstone(staged, 's')})",
            (self.at,),
        )

    # --- keys that the target lacks --------------------------------------------------------------

    def find_lacking(self, window: Where) -> Iterator[Step]:
        """Yield what fills :attr:`lacking`; counts ``lacking``.

        Args:
            window: the key rows that concern the target.
        """
        lacking, keys = self.dialect.table(self.lacking), self.dialect.table(self.keys)
        rows = f"(SELECT * FROM {keys} WHERE {window.sql})" if window.sql else keys
        alive = f" AND {self.alive}" if self.alive else ""
        listed = self._listed(self.key, "k")
        yield Sql(self._create(self.lacking, self._key_columns()))
        yield Sql(
            f"INSERT INTO {lacking} ({self._listed(self.key)}) SELECT DISTINCT {listed}"
            f" FROM {rows} AS k LEFT JOIN {self.dialect.table(self.target)} AS t"
            f" ON {self._same('t', 'k')}{alive}"
            f" WHERE t.{self._q(self.key[0])} IS NULL AND NOT {self._is_staged('k')}",
            window.values,
        )
        yield Count(f"SELECT count(*) FROM {lacking}", "lacking")

    def drop_lacking(self) -> Sql:
        """Return what drops :attr:`lacking`."""
        return Sql(f"DROP TABLE {self.dialect.table(self.lacking)}")

    # --- rows that are gone ----------------------------------------------------------------------

    def find_gone(self, place: str | None) -> Iterator[Step]:
        """Yield what fills :attr:`gone`, of the target's rows that were not staged.

        Args:
            place: the target's column that says where a row lies, as :class:`Merging` gave it.
        """
        target, keys = self.dialect.table(self.target), self.dialect.table(self.keys)
        if self.deletes.detect == "missing":
            known = f"SELECT 1 FROM {keys} AS k WHERE {self._same('t', 'k')}"
            rows = f"FROM {target} AS t WHERE NOT EXISTS ({known})"
        else:
            rows = self._with_tombstone(target, "t")
        alive = f" AND {self.alive}" if self.alive else ""
        spot = f"t.{place} AS _conduit_place, " if place else ""
        gone = self.dialect.table(self.gone)
        yield Sql(
            f"CREATE TEMPORARY TABLE {gone} AS SELECT {spot}{self._listed(self.key, 't')}"
            f" {rows}{alive} AND NOT {self._is_staged('t')}"
        )
        for text in self.merging.paired(gone):
            yield Sql(text)

    def sample_gone(self) -> Sample:
        """Return what keeps some keys of :attr:`gone` for guards to show."""
        return Sample(key_sample(self.dialect, self.key, self.dialect.table(self.gone)))

    def take_gone(self, place: str | None) -> Sql:
        """Return what deletes the rows in :attr:`gone`, or says when they were deleted."""
        target, gone = self.dialect.table(self.target), self.dialect.table(self.gone)
        if self.deletes.soft:
            at = f"t.{place} = g._conduit_place AND " if place else ""
            return Sql(
                f"UPDATE {target} AS t SET {self._q(DELETED_AT)} = {self.dialect.param(1)}"
                f" FROM {gone} AS g WHERE {at}{self._same('t', 'g')}",
                (self.at,), count="gone", also="deleted",
            )  # fmt: skip
        where = self._same("t", "g")
        if place and self.merging.place_is_unique:
            chosen = f"t.{place} IN (SELECT g._conduit_place FROM {gone} AS g)"
        else:
            at = f"t.{place} = g._conduit_place AND " if place else ""
            chosen = f"EXISTS (SELECT 1 FROM {gone} AS g WHERE {at}{where})"
        return Sql(f"DELETE FROM {target} AS t WHERE {chosen}", count="gone", also="deleted")

    def delete_gone(self, place: str | None, *, sample: bool) -> Iterator[Step]:
        """Yield what finds and deletes the rows that are gone; ``sample`` keeps keys to show."""
        yield from self.find_gone(place)
        if sample:
            yield self.sample_gone()
        yield self.take_gone(place)
        yield Sql(f"DROP TABLE {self.dialect.table(self.gone)}")

    def drop(self) -> Iterator[Step]:
        """Yield what drops the key rows."""
        yield Sql(f"DROP TABLE {self.dialect.table(self.keys)}")

    # --- expressions -----------------------------------------------------------------------------

    @property
    def at(self) -> Value:
        """The load's time, to be bound."""
        return datetime.fromisoformat(self.deletes.at)

    def _with_tombstone(self, rows: str, alias: str) -> str:
        """Return FROM and WHERE of the rows that have a tombstone which isn't older than they are.

        NULL comes before every time.
        """
        keys, key = self.dialect.table(self.keys), self._listed(self.key)
        same = f"ON {self._same(alias, 'k')}"
        if self.deletes.time is None:
            known = f"(SELECT DISTINCT {key} FROM {keys}) AS k"
            return f"FROM {rows} AS {alias} JOIN {known} {same} WHERE 1 = 1"
        first = next(c for c in self.columns if c.name == self.order[0])
        time = next(c for c in self.deletes.keys if c.name == self.deletes.time)
        value = f"{alias}.{self._q(first.name)}"
        last = f"max({self.merging.ordered(time, self._q(time.name))}) AS died"
        known = f"(SELECT {key}, {last} FROM {keys} GROUP BY {key}) AS k"
        late = f"({value} IS NULL OR k.died >= {self.merging.ordered(first, value)})"
        return f"FROM {rows} AS {alias} JOIN {known} {same} WHERE {late}"

    def _is_staged(self, row: str) -> str:
        staged = self.dialect.table(self.staged)
        return f"EXISTS (SELECT 1 FROM {staged} AS s WHERE {self._same(row, 's')})"

    def _same(self, one: str, other: str) -> str:
        return " AND ".join(f"{one}.{self._q(k)} = {other}.{self._q(k)}" for k in self.key)

    def _key_columns(self) -> tuple[Column, ...]:
        return tuple(c for name in self.key for c in self.deletes.keys if c.name == name)

    def _create(self, table: Table, columns: tuple[Column, ...]) -> str:
        parts = ", ".join(f"{self._q(c.name)} {c.ddl}" for c in columns)
        return f"CREATE TEMPORARY TABLE {self.dialect.table(table)} ({parts})"

    def _q(self, name: str) -> str:
        return self.dialect.quote(name)

    def _listed(self, names: Iterable[str], alias: str = "") -> str:
        return ", ".join(f"{alias}.{self._q(n)}" if alias else self._q(n) for n in names)
