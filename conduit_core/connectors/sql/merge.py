"""Merging staged rows into a target by key: set-based SQL, and what it counts.

The staged rows wait in a temporary relation, where one row of each key stays. One join with the
target then finds the pairs of equal keys and says of each whether it differs; the update and the
insert go by these pairs. So the target is read once, and no index on it is needed. Where a system's
MERGE tells what it did, and no row is deleted, that one statement does it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from conduit_core.connectors.publish import (
    DELETED_AT,
    SAMPLE,
    Column,
    Deletes,
    KeepNewest,
    MergeStaged,
)
from conduit_core.connectors.sql.deletes import key_sample
from conduit_core.connectors.sql.merging import POSITION, Merging, comes_after, null_in_key
from conduit_core.connectors.sql.session import Row, SqlSession
from conduit_core.connectors.sql.steps import Count, Refuse, Sample, Sql, Step, Tell
from conduit_core.errors import ConduitError, PublishError, SchemaError
from conduit_core.types.dialect import Dialect, Table


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge's SQL.

    Args:
        dialect, merging: the system's spelling.
        target: the target.
        staged: the temporary relation; it has ``columns`` and the position; where the action
            looks for deletes, ``DELETED_AT`` too.
        pairs: the temporary relation to make, of the pairs of equal keys.
        columns: the columns that come into the target, but for ``DELETED_AT``.
        action: key, order and the columns to compare.
        keeps: the clause by which an INSERT keeps the rows' own values of identity columns.
        guarded: whether a guard may have to show keys that the merge takes away.
    """

    dialect: Dialect
    merging: Merging
    target: Table
    staged: Table
    pairs: Table
    columns: tuple[Column, ...]
    action: KeepNewest | MergeStaged
    keeps: str = ""
    guarded: bool = False

    @property
    def deletes(self) -> Deletes | None:
        """What the action says of deletes."""
        return self.action.deletes if isinstance(self.action, MergeStaged) else None

    @property
    def soft(self) -> bool:
        """Whether deleted rows stay, with the time of it."""
        return self.deletes is not None and self.deletes.soft

    def filled(self) -> Iterator[Step]:
        """Yield what is to be run once the rows are in the temporary relation."""
        self._refuse_key_types()
        staged, key = self.dialect.table(self.staged), self._listed(self.action.key)
        for text in self.merging.filled(staged, key):
            yield Sql(text)

    def refuse_null_keys(self) -> Refuse:
        """Return what stops the load where a staged row has a NULL in the key."""
        staged = self.dialect.table(self.staged)
        nulls = " OR ".join(f"{self._q(name)} IS NULL" for name in self.action.key)
        return Refuse(
            f"SELECT count(*) FROM {staged} WHERE {nulls} HAVING count(*) > 0", self._null_key
        )

    def keep_newest(self) -> Iterator[Step]:
        """Yield what leaves one row of each key, none of them NULL, in the temporary relation."""
        staged, position = self.dialect.table(self.staged), self._q(POSITION)
        key = self._listed(self.action.key)
        columns = tuple(self._column(name) for name in self.action.key)
        yield Count(self.merging.doubled(staged, columns, key), "doubled_keys")
        order = [f"{self._ordered(name, '')} DESC NULLS LAST" for name in self.action.order]
        window = f"PARTITION BY {key} ORDER BY {', '.join((*order, f'{position} DESC'))}"
        won = f"first_value({position}) OVER ({window}) AS won"
        ranked = f"SELECT {position} AS row_no, {won} FROM {staged}"
        losers = (
            f"SELECT r.row_no FROM ({ranked}) AS r JOIN {staged} AS t ON t.{position} = r.row_no"
            f" JOIN {staged} AS s ON s.{position} = r.won WHERE r.row_no <> r.won"
        )
        delete = f"DELETE FROM {staged} WHERE {position} IN ({losers}"
        same = f"NOT ({self._differs()})"
        yield Sql(f"{delete} AND {same})", count="deduplicated", when="doubled_keys")
        yield Sql(f"{delete})", count="superseded", when="doubled_keys")

    def count_flagged(self) -> Iterator[Step]:
        """Yield the count of rows that are left and carry a delete flag."""
        staged = self.dialect.table(self.staged)
        flagged = f"SELECT count(*) FROM {staged} WHERE {self._q(DELETED_AT)} IS NOT NULL"
        yield Count(flagged, "flagged", also="deleted")

    def insert_all(self) -> Iterator[Step]:
        """Yield the insert into a target that was empty."""
        insert = f"{self._insert()} FROM {self.dialect.table(self.staged)} AS s"
        alive = f" WHERE {self._is('NULL')}" if self.deletes else ""
        yield Sql(f"{insert}{alive}", count="inserted")
        if self.soft:
            yield Sql(f"{insert} WHERE {self._is('NOT NULL')}", when="flagged")

    def into(self, session: SqlSession, target_columns: tuple[Column, ...]) -> Iterator[Step]:
        """Yield what merges the rows that are left into the target."""
        if not isinstance(self.action, MergeStaged):
            raise TypeError("not a merge")
        place = self.merging.place(session, self.target, target_columns)
        rewrites = place is not None and self.merging.rewrites(session, self.target)
        written = target_columns if rewrites else ()
        target, pairs = self.dialect.table(self.target), self.dialect.table(self.pairs)
        for text in self.merging.hold(target):
            yield Sql(text)
        telling = self.merging.at_once(session, self.target)
        if telling and self.deletes is None and self.action.update and self._sets():
            yield from self._at_once(self.action, telling)
            return
        yield Sql(self._pair(self.action, place))
        for text in (*self.merging.paired(pairs), *self.merging.go_to_places()):
            yield Sql(text)
        yield Count(f"SELECT count(*) - count(DISTINCT row_no) FROM {pairs}", "target_doubles")
        yield self._refuse_doubles(f"{pairs} AS d")
        not_flagged = " AND NOT is_flagged" if self.deletes else ""
        same = f"SELECT count(*) FROM {pairs} WHERE NOT is_changed{not_flagged}"
        yield Count(same, "unchanged")
        if self.deletes is not None:
            yield from self._delete(place, written)
        sets = self._sets()
        if self.soft:
            sets[DELETED_AT] = "NULL"
        if self.action.update and sets:
            which = " AND NOT p.is_flagged" if self.deletes else ""
            yield from self._update(place, written, sets, which, "updated")
        insert = (
            f"{self._insert()} FROM {self.dialect.table(self.staged)} AS s LEFT JOIN {pairs} AS p"
            f" ON p.row_no = s.{self._q(POSITION)} WHERE p.row_no IS NULL"
        )
        alive = f" AND {self._is('NULL')}" if self.deletes else ""
        yield Sql(f"{insert}{alive}", count="inserted")
        if self.soft:
            yield Sql(f"{insert} AND {self._is('NOT NULL')}", when="flagged")
        for text in self.merging.merged():
            yield Sql(text)
        yield Sql(f"DROP TABLE {pairs}")

    def _at_once(self, action: MergeStaged, telling: Callable[[str], Tell]) -> Iterator[Step]:
        """Yield the merge as one statement.

        A staged key without a double in the target gives its join one row: more rows than staged
        ones are the doubles. They are known when it is done, and are still refused: the transaction
        ends with it.
        """
        target, staged = self.dialect.table(self.target), self.dialect.table(self.staged)
        values = ", ".join(f"s.{self._q(name)}" for name in self._names)
        sets = self._assign(self._sets())
        yield Count(f"SELECT -count(*) FROM {staged}", "target_doubles")
        yield telling(
            f"MERGE INTO {target} AS t USING {staged} AS s ON {self._same_key}"
            f" WHEN MATCHED AND {self._changed(action)} THEN UPDATE SET {sets}"
            f" WHEN NOT MATCHED THEN INSERT ({self._listed(self._names)}){self.keeps}"
            f" VALUES ({values})"
        )
        position = f"s.{self._q(POSITION)} AS row_no"
        joined = f"SELECT {position} FROM {staged} AS s JOIN {target} AS t ON {self._same_key}"
        yield self._refuse_doubles(f"({joined}) AS d")

    def _pair(self, action: MergeStaged, place: str | None) -> str:
        """Return the statement that makes the pairs of equal keys, and says how each is."""
        spot = f", t.{place} AS row_place" if place else ""
        flags = ""
        if self.deletes is not None:
            alive = f"t.{self._q(DELETED_AT)} IS NULL" if self.soft else "1 = 1"
            flags = f", ({self._is('NOT NULL')}) AS is_flagged, ({alive}) AS was_alive"
        return (
            f"CREATE TEMPORARY TABLE {self.dialect.table(self.pairs)} AS SELECT"
            f" s.{self._q(POSITION)} AS row_no{spot}, {self._changed(action)} AS is_changed{flags}"
            f" FROM {self.dialect.table(self.staged)} AS s JOIN {self.dialect.table(self.target)}"
            f" AS t ON {self._same_key}"
        )

    def _refuse_doubles(self, pairs: str) -> Refuse:
        """Return what stops the load where a staged key has several rows in the target."""
        staged, position = self.dialect.table(self.staged), self._q(POSITION)
        doubled = f"SELECT d.row_no FROM {pairs} GROUP BY d.row_no HAVING count(*) > 1"
        sample = ", ".join(f"CAST(s.{self._q(k)} AS TEXT)" for k in self.action.key)
        return Refuse(
            f"SELECT (SELECT count(*) FROM ({doubled}) AS e), {sample} FROM {staged} AS s WHERE"
            f" s.{position} IN ({doubled}) ORDER BY s.{position} LIMIT {SAMPLE}",
            self._doubled_in_target,
            when="target_doubles",
        )

    def _update(
        self,
        place: str | None,
        written: tuple[Column, ...],
        sets: Mapping[str, str],
        which: str,
        count: str | None,
    ) -> Iterator[Step]:
        """Yield what gives the target's changed rows the values of ``sets``.

        Args:
            place: the target's column that says where a row lies.
            written: the target's columns, where its rows are to be written anew; else none.
            sets: columns and the expressions of their values.
            which: what else holds of the pairs that are meant.
            count: what counts the rows.
        """
        target, pairs = self.dialect.table(self.target), self.dialect.table(self.pairs)
        when = None if count else "flagged"
        at_place = f"t.{place} = p.row_place AND " if place else ""
        rows = f"{pairs} AS p, {self.dialect.table(self.staged)} AS s"
        where = (
            f"p.is_changed{which} AND s.{self._q(POSITION)} = p.row_no AND"
            f" {at_place}{self._same_key}"
        )
        if not written:
            update = f"UPDATE {target} AS t SET {self._assign(sets)} FROM {rows} WHERE {where}"
            yield Sql(update, count=count, when=when)
            return
        names = self._listed(c.name for c in written)
        values = ", ".join(sets.get(c.name, f"t.{self._q(c.name)}") for c in written)
        insert = f"INSERT INTO {target} ({names}){self.keeps} SELECT {values}"
        yield Sql(f"{insert} FROM {rows}, {target} AS t WHERE {where}", count=count, when=when)
        old = f"SELECT p.row_place FROM {pairs} AS p WHERE p.is_changed{which}"
        yield Sql(f"DELETE FROM {target} AS t WHERE t.{place} IN ({old})", when=when)

    def _delete(self, place: str | None, written: tuple[Column, ...]) -> Iterator[Step]:
        """Yield what becomes of rows whose staged one carries a delete flag."""
        pairs, position = self.dialect.table(self.pairs), self._q(POSITION)
        staged, target = self.dialect.table(self.staged), self.dialect.table(self.target)
        going = "p.is_flagged AND p.is_changed AND p.was_alive"
        if self.guarded:
            joined = f"{pairs} AS p JOIN {staged} AS s ON s.{position} = p.row_no WHERE {going}"
            yield Sample(key_sample(self.dialect, self.action.key, joined, "s."), when="flagged")
        if self.soft:
            yield Count(f"SELECT count(*) FROM {pairs} AS p WHERE {going}", "gone")
            when = self._q(DELETED_AT)
            sets = {DELETED_AT: f"COALESCE(t.{when}, s.{when})", **self._sets()}
            yield from self._update(place, written, sets, " AND p.is_flagged", None)
            return
        if place and self.merging.place_is_unique:
            chosen = f"t.{place} IN (SELECT p.row_place FROM {pairs} AS p WHERE {going})"
        else:
            at_place = f" AND p.row_place = t.{place}" if place else ""
            numbers = f"SELECT p.row_no FROM {pairs} AS p WHERE {going}{at_place}"
            same = f"{self._same_key} AND s.{position} IN ({numbers})"
            chosen = f"EXISTS (SELECT 1 FROM {staged} AS s WHERE {same})"
        yield Sql(f"DELETE FROM {target} AS t WHERE {chosen}", count="gone", when="flagged")

    # --- expressions -----------------------------------------------------------------------------

    def _q(self, name: str) -> str:
        return self.dialect.quote(name)

    def _listed(self, names: Iterable[str]) -> str:
        return ", ".join(self._q(name) for name in names)

    @property
    def _same_key(self) -> str:
        return " AND ".join(f"t.{self._q(k)} = s.{self._q(k)}" for k in self.action.key)

    @property
    def _names(self) -> list[str]:
        """Return the columns of the target that a staged row sets."""
        return [*(c.name for c in self.columns), *((DELETED_AT,) if self.soft else ())]

    def _sets(self) -> dict[str, str]:
        """Return the columns that an update sets, and the expressions of their values."""
        names = [c.name for c in self.columns if c.name not in self.action.key]
        return {name: f"s.{self._q(name)}" for name in names}

    def _assign(self, sets: Mapping[str, str]) -> str:
        return ", ".join(f"{self._q(name)} = {value}" for name, value in sets.items())

    def _is(self, what: str) -> str:
        """Return whether a staged row's flag is NULL or NOT NULL."""
        return f"s.{self._q(DELETED_AT)} IS {what}"

    def _column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def _insert(self) -> str:
        values = ", ".join(f"s.{self._q(name)}" for name in self._names)
        names = self._listed(self._names)
        into = f"INSERT INTO {self.dialect.table(self.target)} ({names}){self.keeps}"
        return f"{into} SELECT {values}"

    def _ordered(self, name: str, alias: str) -> str:
        return self.merging.ordered(self._column(name), f"{alias}{self._q(name)}")

    def _differs(self) -> str:
        """Return whether ``t`` and ``s`` differ in a column that is compared, beside the key."""
        parts = []
        for name in self.action.compare:
            if name not in self.action.key:
                column = self._column(name)
                one, other = (
                    self.merging.comparable(column, f"{alias}.{self._q(name)}") for alias in "ts"
                )
                parts.append(f"{one} IS DISTINCT FROM {other}")
        return " OR ".join(parts) or "1 = 0"

    def _changed(self, action: MergeStaged) -> str:
        if not action.update or (action.only_newer and not action.order):
            return "(1 = 0)"
        differs = self._differs()
        if self.soft:
            deleted = self._q(DELETED_AT)
            differs += f" OR ((t.{deleted} IS NULL) <> (s.{deleted} IS NULL))"
        elif self.deletes is not None:
            differs += f" OR {self._is('NOT NULL')}"
        if action.only_newer:
            newer = comes_after("t", "s", action.order, self._q, self._ordered)
            return f"(({differs}) AND NOT ({newer}))"
        return f"({differs})"

    # --- errors ----------------------------------------------------------------------------------

    def _refuse_key_types(self) -> None:
        for name in self.action.key:
            column = self._column(name)
            if not self.merging.can_be_key(column):
                raise SchemaError(
                    f"{self.target}: {name!r} can't be (part of) a unique_key: two values of"
                    f" {column.ddl} can't be compared; choose another column",
                    command="conduit plan",
                )

    def _null_key(self, found: list[Row]) -> ConduitError:
        return null_in_key(found, self.action.key, f"no row of {self.target} is theirs")

    def _doubled_in_target(self, found: list[Row]) -> ConduitError:
        listed = "; ".join(", ".join(str(value) for value in row[1:]) for row in found)
        key = self._listed(self.action.key)
        count = f"SELECT {key}, count(*) FROM {self.target} GROUP BY {key} HAVING count(*) > 1"
        return PublishError(
            f"{self.target} has {found[0][0]} of the load's keys ({', '.join(self.action.key)})"
            f" more than once ({listed}{' ...' if _is_more(found) else ''}): which row to change"
            f" isn't known. Remove the extra rows ({count}), or load everything again",
            retry="never",
            command="conduit run --full-refresh",
        )


def _is_more(found: list[Row]) -> bool:
    return int(str(found[0][0])) > len(found)
