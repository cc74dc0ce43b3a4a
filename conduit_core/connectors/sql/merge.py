"""Merging staged rows into a target by key: set-based SQL, and what it counts.

The staged rows wait in a temporary relation, where one row of each key stays. One join with the
target then finds the pairs of equal keys and says of each whether it differs; the update and the
insert go by these pairs. So the target is read once, and no index on it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from conduit_core.connectors.publish import Column, KeepNewest, MergeStaged
from conduit_core.connectors.sql.session import Row, SqlSession
from conduit_core.connectors.sql.steps import Count, Refuse, Sql, Step
from conduit_core.errors import ConduitError, PublishError, SchemaError, SourceDataError
from conduit_core.types.dialect import Dialect, Table

POSITION = "_conduit_position"
"""The column of the temporary relation that says in which order the rows were read."""

_SAMPLE = 5


class Merging:
    """How a system says what a merge needs; subclasses live in the connector's folder."""

    position_ddl = "BIGINT"
    numbers_rows = True
    """Whether the position comes with the rows; else the system fills it in, in their order."""

    def comparable(self, column: Column, value: str) -> str:
        """Return the value so that ``IS DISTINCT FROM`` tells whether it was changed."""
        return value

    def ordered(self, column: Column, value: str) -> str:
        """Return the value so that it orders as the cursor does."""
        return value

    def can_be_key(self, column: Column) -> bool:
        """Say whether two values of the column's type can be equal."""
        return True

    def place(self, session: SqlSession, target: Table, columns: tuple[Column, ...]) -> str | None:
        """Return the column that says where in the target a row lies; None where there is none."""
        return "rowid" if all(c.name.lower() != "rowid" for c in columns) else None

    def hold(self, target: str) -> list[str]:
        """Return what keeps others from changing the target until the transaction ends."""
        return []

    def filled(self, staged: str, key: str) -> list[str]:
        """Return what is run once the temporary relation is filled."""
        return []

    def paired(self, pairs: str) -> list[str]:
        """Return what is run once the pairs are found."""
        return []


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge's SQL.

    Args:
        dialect, merging: the system's spelling.
        target: the target.
        staged: the temporary relation; it has ``columns`` and the position.
        pairs: the temporary relation to make, of the pairs of equal keys.
        columns: the staged columns.
        action: key, order and the columns to compare.
        keeps: the clause by which an INSERT keeps the rows' own values of identity columns.
    """

    dialect: Dialect
    merging: Merging
    target: Table
    staged: Table
    pairs: Table
    columns: tuple[Column, ...]
    action: KeepNewest | MergeStaged
    keeps: str = ""

    def keep_newest(self) -> Iterator[Step]:
        """Yield what leaves one row of each key in the temporary relation."""
        self._refuse_key_types()
        staged, position = self.dialect.table(self.staged), self._q(POSITION)
        key = self._listed(self.action.key)
        for text in self.merging.filled(staged, key):
            yield Sql(text)
        nulls = " OR ".join(f"{self._q(name)} IS NULL" for name in self.action.key)
        yield Refuse(
            f"SELECT count(*) FROM {staged} WHERE {nulls} HAVING count(*) > 0", self._null_key
        )
        twice = f"SELECT 1 FROM {staged} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"
        yield Count(f"SELECT count(*) FROM ({twice}) AS d", "doubled_keys")
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

    def insert_all(self) -> Iterator[Step]:
        """Yield the insert into a target that was empty."""
        yield Sql(f"{self._insert()} FROM {self.dialect.table(self.staged)} AS s", count="inserted")

    def into(self, session: SqlSession, target_columns: tuple[Column, ...]) -> Iterator[Step]:
        """Yield what merges the rows that are left into the target."""
        if not isinstance(self.action, MergeStaged):
            raise TypeError("not a merge")
        place = self.merging.place(session, self.target, target_columns)
        target, staged = self.dialect.table(self.target), self.dialect.table(self.staged)
        pairs, position = self.dialect.table(self.pairs), self._q(POSITION)
        same_key = " AND ".join(f"t.{self._q(k)} = s.{self._q(k)}" for k in self.action.key)
        for text in self.merging.hold(target):
            yield Sql(text)
        spot = f", t.{place} AS row_place" if place else ""
        yield Sql(
            f"CREATE TEMPORARY TABLE {pairs} AS SELECT s.{position} AS row_no{spot},"
            f" {self._changed(self.action)} AS is_changed FROM {staged} AS s JOIN {target} AS t"
            f" ON {same_key}"
        )
        for text in self.merging.paired(pairs):
            yield Sql(text)
        doubled = f"SELECT row_no FROM {pairs} GROUP BY row_no HAVING count(*) > 1"
        sample = ", ".join(f"CAST(s.{self._q(k)} AS TEXT)" for k in self.action.key)
        yield Count(f"SELECT count(*) FROM ({doubled}) AS d", "target_doubles")
        yield Refuse(
            f"SELECT (SELECT count(*) FROM ({doubled}) AS d), {sample} FROM {staged} AS s WHERE"
            f" s.{position} IN ({doubled}) ORDER BY s.{position} LIMIT {_SAMPLE}",
            self._doubled_in_target,
            when="target_doubles",
        )
        yield Count(f"SELECT count(*) FROM {pairs} WHERE NOT is_changed", "unchanged")
        names = [c.name for c in self.columns if c.name not in self.action.key]
        if self.action.update and names:
            sets = ", ".join(f"{self._q(n)} = s.{self._q(n)}" for n in names)
            at_place = f"t.{place} = p.row_place AND " if place else ""
            yield Sql(
                f"UPDATE {target} AS t SET {sets} FROM {pairs} AS p, {staged} AS s"
                f" WHERE p.is_changed AND s.{position} = p.row_no AND {at_place}{same_key}",
                count="updated",
            )
        yield Sql(
            f"{self._insert()} FROM {staged} AS s LEFT JOIN {pairs} AS p ON p.row_no = s.{position}"
            " WHERE p.row_no IS NULL",
            count="inserted",
        )
        yield Sql(f"DROP TABLE {pairs}")

    # --- expressions -----------------------------------------------------------------------------

    def _q(self, name: str) -> str:
        return self.dialect.quote(name)

    def _listed(self, names: Iterable[str]) -> str:
        return ", ".join(self._q(name) for name in names)

    def _column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def _insert(self) -> str:
        names = [c.name for c in self.columns]
        values = ", ".join(f"s.{self._q(name)}" for name in names)
        into = f"INSERT INTO {self.dialect.table(self.target)} ({self._listed(names)}){self.keeps}"
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
        if action.only_newer:
            return f"(({self._differs()}) AND NOT ({self._is_newer(action.order)}))"
        return f"({self._differs()})"

    def _is_newer(self, order: tuple[str, ...]) -> str:
        """Return whether ``t`` comes after ``s``; NULL comes before every value."""
        first, rest = order[0], order[1:]
        mine, staged = self._ordered(first, "t."), self._ordered(first, "s.")
        null = f"(t.{self._q(first)} IS NOT NULL AND s.{self._q(first)} IS NULL)"
        newer = f"COALESCE({mine} > {staged}, {null})"
        if not rest:
            return newer
        return f"{newer} OR ({mine} IS NOT DISTINCT FROM {staged} AND ({self._is_newer(rest)}))"

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
        key = ", ".join(self.action.key)
        which = "the unique_key" if len(self.action.key) == 1 else "a column of the unique_key"
        return SourceDataError(
            f"{found[0][0]} rows have a NULL in {which} ({key}), so no row of {self.target} is"
            " theirs: leave them out in a `query:` (WHERE ... IS NOT NULL), or choose a key that"
            " every row has",
            command="conduit plan",
        )

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
