"""Every version of a key (scd2): set-based SQL over the history of the keys that a load concerns.

What is known of a key is a row of points, in the order of the cursor: where each of its versions
was seen first and last (from the target), the staged rows, and ends (deletes). Of two rows at one
place the staged one counts. A point opens a version where it differs from the point before it in a
tracked column, or follows an end; so the versions are runs of points. They are compared with what
the target has, and only what differs is written: one join with the target, no index needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import (
    DELETED_AT,
    IS_CURRENT,
    SAMPLE,
    VALID_FROM,
    VALID_TO,
    CloseVersions,
    Column,
    KeepNewest,
    Publish,
)
from conduit_core.connectors.sql.deletes import KeySql, guarded, key_sample
from conduit_core.connectors.sql.merge import Merge
from conduit_core.connectors.sql.merging import POSITION, Merging, null_in_key
from conduit_core.connectors.sql.points import KEY_NO, PLACE, RANK, ROW, Points
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.connectors.sql.steps import Count, Refuse, Sample, Sql, Step, temp_name
from conduit_core.errors import ConduitError, PublishError, SchemaError, SourceDataError, number
from conduit_core.types.dialect import Dialect, Table

if TYPE_CHECKING:
    from conduit_core.connectors.sql.actions import SqlActions

_OWN = (VALID_FROM, VALID_TO, IS_CURRENT, DELETED_AT)


def close_versions(
    sql: SqlActions,
    action: CloseVersions,
    publish: Publish,
    session: SqlSession,
    columns: tuple[Column, ...],
    made: tuple[Column, ...],
    existing: tuple[Column, ...] | None,
) -> Iterator[Step]:
    """Yield the steps of an action.

    Args:
        sql: the system's statements.
        action: what to do.
        publish: the publish that it is a part of.
        session: the transaction.
        columns: the staged columns, as in the target.
        made: the target's columns where the load makes it.
        existing: the target's columns where it is there.
    """
    keys = sql.key_sql(action, publish, columns, existing)
    target = Table(publish.target_schema, publish.target_table)
    if keys is not None:
        keys = replace(keys, alive=f"t.{sql.dialect.quote(VALID_TO)} IS NULL")
    if existing is None:
        yield Sql(sql.create_table(target, made))
    versions = Versions(
        sql.dialect,
        sql.merging,
        target,
        existing or made,
        Table("", temp_name("stage", publish.record.load_id)),
        tuple(c for c in columns if c.name != DELETED_AT),
        action,
        publish.record.load_id,
        sql.merging.place(session, target, existing) if existing else None,
        sql.merging.fills(session, target) if existing else frozenset(),
        sql.flag,
        keys,
        sql.keep_identities,
        guarded(publish, action),
    )
    yield from sql.fill_staged(publish, columns, flagged=action.deletes is not None)
    yield from versions.filled()
    yield from sql.take_keys(keys, publish, columns)
    yield from versions.prepare()
    yield from versions.into()
    if keys is not None:
        yield from keys.drop()
    yield Sql(f"DROP TABLE {sql.dialect.table(versions.staged)}")


@dataclass(frozen=True, slots=True)
class Versions:
    """One load's versions.

    Aliases: ``t`` is a row of the target, ``s`` a staged one, ``f`` a found one (of the target),
    ``p`` a point, ``w`` a version as it will be, ``n`` a row to be written.

    Args:
        dialect, merging: the system's spelling.
        target: the target; it exists.
        existing: its columns.
        staged: the temporary relation of staged rows; it has ``columns``, the position, and
            ``DELETED_AT`` where the action looks for deletes.
        columns: the columns that come into the target, but for ``DELETED_AT``.
        action: what to do.
        load_id: the load's.
        place: the target's column that says where a row lies, as :class:`Merging` gave it.
        fills: columns of the target that it fills by itself: no row takes them from another.
        flag: ``DELETED_AT`` as the staged rows have it.
        keys: the key rows, where deletes need them.
        keeps: the clause by which an INSERT keeps the rows' own values of identity columns.
        sampled: whether a guard may have to show keys that end.
    """

    dialect: Dialect
    merging: Merging
    target: Table
    existing: tuple[Column, ...]
    staged: Table
    columns: tuple[Column, ...]
    action: CloseVersions
    load_id: str
    place: str | None = None
    fills: frozenset[str] = frozenset()
    flag: Column | None = None
    keys: KeySql | None = None
    keeps: str = ""
    sampled: bool = False

    # --- steps -----------------------------------------------------------------------------------

    def filled(self) -> Iterator[Step]:
        """Yield what is to be run once the rows are in the temporary relation."""
        self._refuse_types()
        yield from self._newest.filled()

    def prepare(self) -> Iterator[Step]:
        """Yield what leaves one staged row of each key and place in time."""
        staged, q = self.dialect.table(self.staged), self.dialect.quote
        for names, error in (
            (self.action.key, self._null_key),
            *(((name,), self._null_order(name)) for name in self.action.order),
        ):
            nulls = " OR ".join(f"{q(name)} IS NULL" for name in names)
            yield Refuse(f"SELECT count(*) FROM {staged} WHERE {nulls} HAVING count(*) > 0", error)
        yield from self._newest.keep_newest()

    @property
    def _newest(self) -> Merge:
        """What leaves one staged row of each key and place in time."""
        first, *rest = self.action.order
        flag = (self.flag,) if self.flag is not None and self._points.has_flags else ()
        one = KeepNewest(
            key=tuple(dict.fromkeys((*self.action.key, first))),
            order=tuple(rest),
            compare=(*self.action.compare, *(c.name for c in flag)),
        )
        pairs, columns = self._temp("pairs"), (*self.columns, *flag)
        return Merge(self.dialect, self.merging, self.target, self.staged, pairs, columns, one)

    def into(self) -> Iterator[Step]:
        """Yield what brings the versions into the target."""
        yield from self._find()
        yield Sql(f"CREATE TEMPORARY TABLE {self._name('points')} AS {self._points.query()}")
        yield from self._analyze("points")
        yield Sql(f"CREATE TEMPORARY TABLE {self._name('versions')} AS {self._versions()}")
        yield from self._analyze("versions")
        yield from self._count()
        yield from self._write()
        names = ("affected", "found", "points", "versions", "written", "left", "became")
        for name in names:
            yield Sql(f"DROP TABLE {self._name(name)}")
        if self.keys is not None and self.keys.deletes.detect == "missing":
            yield from self._end_missing(self.keys)

    def _find(self) -> Iterator[Step]:
        """Yield what finds the target's rows of the keys that the load concerns."""
        points, target, key = self._points, self.dialect.table(self.target), self.action.key
        affected, found = self._name("affected"), self._name("found")
        for text in self.merging.hold(target):
            yield Sql(text)
        yield Sql(
            f"CREATE TEMPORARY TABLE {affected} AS SELECT min({points.q(POSITION)}) AS {KEY_NO},"
            f" {points.listed(key)} FROM {self.dialect.table(self.staged)}"
            f" GROUP BY {points.listed(key)}"
        )
        if tombstones := self._told():
            yield Sql(
                f"INSERT INTO {affected} ({KEY_NO}, {points.listed(key)})"
                f" SELECT -(row_number() OVER ()), {points.listed(key)} FROM ({tombstones}) AS d"
            )
        for text in self.merging.filled(affected, points.listed(key)):
            yield Sql(text)
        begins = points.ranked(f"t.{points.q(VALID_FROM)}")
        spot = f"t.{self.place} AS {PLACE}, " if self.place else ""
        yield Sql(
            f"CREATE TEMPORARY TABLE {found} AS SELECT row_number() OVER (ORDER BY k.{KEY_NO},"
            f" {begins}) AS {ROW}, k.{KEY_NO}, {begins} AS {RANK}, {spot}"
            f"{points.listed(self._values(), 't')} FROM {affected} AS k JOIN {target} AS t"
            f" ON {points.same('t', 'k')}"
        )
        yield from self._analyze("found")
        yield from self._refuse_altered()

    def _told(self) -> str | None:
        """Return the query of keys that aren't staged and end by a tombstone; None: of none."""
        deletes = self.action.deletes
        if self.keys is None or deletes is None or deletes.time is None:
            return None
        points, time = self._points, self._points.ranked(f"d.{self.dialect.quote(deletes.time)}")
        begins, ends = (points.ranked(f"t.{points.q(n)}") for n in (VALID_FROM, VALID_TO))
        return (
            f"SELECT DISTINCT {points.listed(self.action.key, 'd')}"
            f" FROM {self.dialect.table(self.target)} AS t"
            f" JOIN {self.dialect.table(self.keys.keys)} AS d ON {points.same('t', 'd')}"
            f" WHERE {begins} <= {time} AND (t.{points.q(VALID_TO)} IS NULL OR {ends} > {time})"
            f" AND NOT EXISTS (SELECT 1 FROM {self.dialect.table(self.staged)} AS s"
            f" WHERE {points.same('d', 's')})"
        )

    def _refuse_altered(self) -> Iterator[Step]:
        found, q = self._name("found"), self.dialect.quote
        wrong = (
            f"SELECT {KEY_NO} FROM {found} WHERE {q(VALID_FROM)} IS NULL"
            f" UNION ALL SELECT {KEY_NO} FROM {found} GROUP BY {KEY_NO}, {RANK} HAVING count(*) > 1"
            f" UNION ALL SELECT {KEY_NO} FROM {found} WHERE {q(VALID_TO)} IS NULL"
            f" GROUP BY {KEY_NO} HAVING count(*) > 1"
        )
        sample = ", ".join(f"CAST(k.{q(name)} AS TEXT)" for name in self.action.key)
        yield Refuse(
            f"SELECT (SELECT count(DISTINCT {KEY_NO}) FROM ({wrong}) AS d), {sample}"
            f" FROM {self._name('affected')} AS k WHERE k.{KEY_NO} IN ({wrong})"
            f" ORDER BY 2 LIMIT {SAMPLE}",
            self._altered,
        )

    def _versions(self) -> str:
        """Return the query of the versions as they will be, but of keys that go.

        ``owner`` is the found row that it is now, if any; ``takes`` and ``moves`` say 1 where its
        values or its bounds aren't that row's. Its values are those of the staged row ``from_pos``,
        else of the found row ``from_row``.
        """
        points, q = self._points, self.dialect.quote
        compared = [name for name in self.action.compare if name not in self.action.key]
        differs = [f"{points.comparable(n, 'f')} IS DISTINCT FROM {points.comparable(n, 's')}"
                   for n in compared]  # fmt: skip
        ends = f"{points.ranked('p.until')} IS DISTINCT FROM {points.ranked(f'f.{q(VALID_TO)}')}"
        open_ = f"f.{q(IS_CURRENT)} IS DISTINCT FROM (p.until IS NULL)"
        last = points.ranked(f"f.{q(points.first.name)}")
        stays = ""
        if self._has_deleted:  # it ended where the next one begins now
            stays = f" OR (p.until_end IS NULL AND f.{q(DELETED_AT)} IS NOT NULL)"
        doomed = f" AND p.key_no NOT IN ({gone})" if (gone := self._doomed()) else ""
        return (
            "SELECT v.*, CASE WHEN v.takes = 1 THEN v.pos END AS from_pos,"
            " COALESCE(v.src, v.owner) AS from_row FROM"
            " (SELECT p.key_no, p.run_no, p.owner, p.start, p.spot AS last_spot, p.src, p.pos,"
            " p.until, CASE WHEN p.until IS NOT NULL THEN p.until_end END AS until_end,"
            " CASE WHEN p.owner IS NULL THEN 1 WHEN p.pos IS NULL THEN"
            f" CASE WHEN p.src <> p.owner OR {last} IS DISTINCT FROM p.spot_rank THEN 1 ELSE 0 END"
            f" WHEN {' OR '.join(differs) or '1 = 0'} THEN 1 ELSE 0 END AS takes,"
            f" CASE WHEN p.start_rank IS DISTINCT FROM f.{RANK} OR {ends} OR {open_}{stays}"
            " THEN 1 ELSE 0 END AS moves"
            f" FROM {self._name('points')} AS p LEFT JOIN {self._name('found')} AS f"
            f" ON f.{ROW} = p.owner LEFT JOIN {self.dialect.table(self.staged)} AS s"
            f" ON s.{q(POSITION)} = p.pos WHERE p.is_last = 1{doomed}) AS v"
        )

    def _doomed(self) -> str | None:
        """Return the query of the numbers of keys that go with all versions; None: none do."""
        deletes = self.action.deletes
        if deletes is None or deletes.soft or deletes.detect == "missing":
            return None
        points = self._name("points")
        return f"SELECT key_no FROM {points} WHERE is_newest = 1 AND until_end = 0"

    def _count(self) -> Iterator[Step]:
        """Yield what says of each staged row what became of it, and counts that."""
        became, points = self._name("became"), self._name("points")
        adopted = "p.owner IS NOT NULL AND p.head IS DISTINCT FROM p.owner"
        yield Sql(
            f"CREATE TEMPORARY TABLE {became} AS SELECT CASE WHEN w.key_no IS NULL THEN"
            " 'superseded' WHEN p.opens = 1 AND p.owner IS NULL THEN 'inserted'"
            " WHEN (p.is_last = 1 AND w.takes = 1) OR p.end_here = 1 OR p.comes_back = 1"
            f" OR ({adopted} AND (p.opens = 1 OR p.head IS NOT NULL)) THEN 'updated'"
            f" ELSE 'unchanged' END AS became FROM {points} AS p"
            f" LEFT JOIN {self._name('versions')} AS w"
            " ON w.key_no = p.key_no AND w.run_no = p.run_no WHERE p.pos IS NOT NULL"
        )
        for kind in ("inserted", "updated", "unchanged", "superseded"):
            yield Count(f"SELECT count(*) FROM {became} WHERE became = '{kind}'", kind)
        deletes = self.action.deletes
        if deletes is None or deletes.detect == "missing":
            return
        staged, q = self.dialect.table(self.staged), self.dialect.quote
        flagged = f"s.{q(DELETED_AT)} IS NOT NULL"
        gone = (
            f"{self._name('found')} AS f JOIN {points} AS p ON p.key_no = f.{KEY_NO}"
            f" WHERE f.{q(VALID_TO)} IS NULL AND p.is_newest = 1 AND p.until_end = 0"
        )
        yield Count(f"SELECT count(*) FROM {gone}", "gone")
        if deletes.detect == "flag":
            yield Count(f"SELECT count(*) FROM {staged} AS s WHERE {flagged}", "flagged", "deleted")
        else:  # also versions of before that end earlier now
            current = f"SELECT {KEY_NO} FROM {self._name('found')} WHERE {q(VALID_TO)} IS NULL"
            known = f"p.owner IS NOT NULL OR (p.is_newest = 1 AND p.key_no IN ({current}))"
            ended = f"p.is_last = 1 AND p.until_end = 0 AND ({known})"
            yield Count(f"SELECT count(*) FROM {points} AS p WHERE {ended}", "deleted")
        if self.sampled:
            yield Sample(key_sample(self.dialect, self.action.key, gone, "f."))

    def _write(self) -> Iterator[Step]:
        """Yield what deletes, updates and inserts the rows that aren't as they will be."""
        points, q, target = self._points, self.dialect.quote, self.dialect.table(self.target)
        found, left, written = (self._name(name) for name in ("found", "left", "written"))
        yield Sql(f"CREATE TEMPORARY TABLE {written} AS {self._rows()}")
        deletes = self.action.deletes
        if deletes is not None and deletes.soft and deletes.detect != "missing":
            yield Sql(
                f"UPDATE {written} SET {q(DELETED_AT)} = {self.dialect.param(1)}"
                " WHERE _conduit_end = 0",
                (datetime.fromisoformat(deletes.at),),
            )
        doomed = f" OR f.{KEY_NO} IN ({gone})" if (gone := self._doomed()) else ""
        spot = f"f.{PLACE}, " if self.place else ""
        yield Sql(
            f"CREATE TEMPORARY TABLE {left} AS SELECT {spot}f.{q(VALID_FROM)},"
            f" {points.listed(self.action.key, 'f')} FROM {found} AS f WHERE f.{ROW} IN"
            f" (SELECT head FROM {self._name('points')} WHERE head <> owner){doomed}"
        )
        yield from self._analyze("written")
        yield from self._analyze("left")
        if self.place and self.merging.place_is_unique:
            which = f"t.{self.place} IN (SELECT f.{PLACE} FROM {left} AS f)"
        else:
            at = f"t.{self.place} = f.{PLACE} AND " if self.place else ""
            begins = f"t.{q(VALID_FROM)} = f.{q(VALID_FROM)}"
            same = f"{at}{points.same('t', 'f')} AND {begins}"
            which = f"EXISTS (SELECT 1 FROM {left} AS f WHERE {same})"
        yield Sql(f"DELETE FROM {target} AS t WHERE {which}")
        names = self._values()
        sets = ", ".join(f"{q(n)} = n.{q(n)}" for n in names if n not in self.action.key)
        at = (
            f"t.{self.place} = n.{PLACE}"
            if self.place
            else f"t.{q(VALID_FROM)} = n._conduit_begins"
        )
        yield Sql(
            f"UPDATE {target} AS t SET {sets} FROM {written} AS n WHERE n.{ROW} IS NOT NULL"
            f" AND {at} AND {points.same('t', 'n')}"
        )
        yield Sql(
            f"INSERT INTO {target} ({points.listed(names)}){self.keeps}"
            f" SELECT {points.listed(names, 'n')} FROM {written} AS n WHERE n.{ROW} IS NULL"
        )

    def _rows(self) -> str:
        """Return the query of the rows to be written: versions that aren't so in the target."""
        q, found = self.dialect.quote, self._name("found")
        staged = {c.name for c in self.columns}
        values = []
        for name in self._values():
            if name in _OWN:
                continue
            if name == self._points.first.name:
                value = "w.last_spot"
            elif name in staged:
                value = f"CASE WHEN w.from_pos IS NOT NULL THEN s.{q(name)} ELSE f.{q(name)} END"
            else:
                value = f"f.{q(name)}"
            values.append(f"{value} AS {q(name)}")
        ended, deleted = "", ""
        if self._has_deleted:
            deleted = f", e.{q(DELETED_AT)}"
            ended = f" LEFT JOIN {found} AS e ON e.{ROW} = w.until_end"
        spot = f"o.{PLACE}" if self.place else f"o.{q(VALID_FROM)} AS _conduit_begins"
        return (
            f"SELECT w.owner AS {ROW}, w.until_end AS _conduit_end, {spot}, {', '.join(values)},"
            f" w.start AS {q(VALID_FROM)}, w.until AS {q(VALID_TO)},"
            f" (w.until IS NULL) AS {q(IS_CURRENT)}{deleted} FROM {self._name('versions')} AS w"
            f" LEFT JOIN {found} AS f ON f.{ROW} = w.from_row"
            f" LEFT JOIN {found} AS o ON o.{ROW} = w.owner{ended}"
            f" LEFT JOIN {self.dialect.table(self.staged)} AS s ON s.{q(POSITION)} = w.from_pos"
            " WHERE w.takes = 1 OR w.moves = 1"
        )

    def _end_missing(self, keys: KeySql) -> Iterator[Step]:
        """Yield what ends the versions whose key isn't at the source any more."""
        points, q, target = self._points, self.dialect.quote, self.dialect.table(self.target)
        gone = self.dialect.table(keys.gone)
        yield from keys.find_gone(self.place)
        if self.sampled:
            yield keys.sample_gone()
        if not keys.deletes.soft:
            yield Count(f"SELECT count(*) FROM {gone}", "gone", "deleted")
            same = f"SELECT 1 FROM {gone} AS g WHERE {points.same('t', 'g')}"
            yield Sql(f"DELETE FROM {target} AS t WHERE EXISTS ({same})")
        else:
            at = f"t.{self.place} = g._conduit_place AND " if self.place else ""
            last = f"t.{q(points.first.name)}"
            sets = f"{q(VALID_TO)} = {last}"
            values: tuple[Value, ...] = (keys.at,)
            if (ends_at := self.action.ends_at) is not None:
                param = self.merging.typed(points.first, self.dialect.param(2))
                ends = f"(SELECT {param} AS ends_at) AS e"
                later = f"{points.ranked(last)} > {points.ranked('e.ends_at')}"
                sets = f"{q(VALID_TO)} = CASE WHEN {later} THEN {last} ELSE e.ends_at END"
                gone, values = f"{gone} AS g CROSS JOIN {ends}", (keys.at, ends_at)
            else:
                gone = f"{gone} AS g"
            yield Sql(
                f"UPDATE {target} AS t SET {q(DELETED_AT)} = {self.dialect.param(1)},"
                f" {q(IS_CURRENT)} = (1 = 0), {sets} FROM {gone}"
                f" WHERE {at}{points.same('t', 'g')} AND t.{q(VALID_TO)} IS NULL",
                values, count="gone", also="deleted",
            )  # fmt: skip
        yield Sql(f"DROP TABLE {self.dialect.table(keys.gone)}")

    # --- names -----------------------------------------------------------------------------------

    @property
    def _points(self) -> Points:
        return Points(
            self.dialect, self.merging, self.action, self.columns, self.staged,
            self._temp("affected"), self._temp("found"), self.keys,
        )  # fmt: skip

    @property
    def _has_deleted(self) -> bool:
        return any(c.name == DELETED_AT for c in self.existing)

    def _values(self) -> list[str]:
        """Return the columns of the target that rows are written with."""
        staged = {c.name for c in self.columns}
        return [c.name for c in self.existing if c.name in staged or c.name not in self.fills]

    def _temp(self, role: str) -> Table:
        return Table("", temp_name(role, self.load_id))

    def _name(self, role: str) -> str:
        return self.dialect.table(self._temp(role))

    def _analyze(self, role: str) -> Iterator[Step]:
        for text in self.merging.paired(self._name(role)):
            yield Sql(text)

    # --- errors ----------------------------------------------------------------------------------

    def _refuse_types(self) -> None:
        for name in self.action.order:
            column = self._points.column(name)
            if not self.merging.can_order(column):
                raise SchemaError(
                    f"{self.target}: {name!r} can't be (part of) the cursor of scd2: values of"
                    f" {column.ddl} don't order there; cast it in a `query:`",
                    command="conduit plan",
                )

    def _null_key(self, found: list[Row]) -> ConduitError:
        return null_in_key(found, self.action.key, f"they are versions of no row of {self.target}")

    def _null_order(self, name: str) -> Callable[[list[Row]], ConduitError]:
        def refusal(found: list[Row]) -> ConduitError:
            return SourceDataError(
                f"{number(int(str(found[0][0])), 'row has', 'rows have')} a NULL in the cursor"
                f" column {name!r}, so when their version of a row of {self.target} began isn't"
                f" known: leave them out in a `query:` (WHERE {name} IS NOT NULL), or give them a"
                " time there",
                command="conduit plan",
            )

        return refusal

    def _altered(self, found: list[Row]) -> ConduitError:
        listed = "; ".join(", ".join(str(value) for value in row[1:]) for row in found)
        more = " ..." if int(str(found[0][0])) > len(found) else ""
        return PublishError(
            f"{self.target} was changed by another hand: {found[0][0]} of the load's keys"
            f" ({', '.join(self.action.key)}) have two current versions, two with the same"
            f" {VALID_FROM}, or one without ({listed}{more}). Mend them, or load everything again",
            retry="never",
            command="conduit run --full-refresh",
        )
