"""Points and runs: SQL that makes of a key's history, and of what arrives, its versions.

A row of ``points`` is where a key was seen (``is_end`` 0) or ended (1):

- ``key_no``: the number of its key; ``spot``: the value of the first order column, ``spot_rank``
  in a form that orders;
- ``src``: the number of the found row that it comes from, ``pos`` the position of the staged one;
- ``head``: the number of the found row that begins here;
- ``ends``: of an end, the number of the found row that ends here; 0: the load itself ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from conduit_core.connectors.publish import DELETED_AT, VALID_FROM, VALID_TO, CloseVersions, Column
from conduit_core.connectors.sql.deletes import KeySql
from conduit_core.connectors.sql.merging import POSITION, Merging
from conduit_core.types.dialect import Dialect, Table

KEY_NO, ROW, PLACE, RANK = (f"_conduit_{name}" for name in ("key", "row", "place", "rank"))
"""Columns of found rows beside the target's: the key's number, their own, where they lie, order."""

_NONE = "CAST(NULL AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Points:
    """The query of a load's points.

    Args:
        dialect, merging: the system's spelling.
        action: key, order, and the columns to track.
        columns: the staged columns.
        staged: the temporary relation of staged rows, one of each key and spot.
        affected: the temporary relation of the numbered keys.
        found: the temporary relation of the target's rows of these keys.
        keys: the key rows, where deletes need them.
    """

    dialect: Dialect
    merging: Merging
    action: CloseVersions
    columns: tuple[Column, ...]
    staged: Table
    affected: Table
    found: Table
    keys: KeySql | None

    @property
    def detect(self) -> str | None:
        """How the load learns of deletes."""
        return self.action.deletes.detect if self.action.deletes else None

    @property
    def first(self) -> Column:
        """The first order column."""
        return self.column(self.action.order[0])

    @property
    def has_flags(self) -> bool:
        """Whether staged rows may say that their key is gone."""
        return self.detect == "flag"

    def query(self) -> str:
        """Return the query of the points at which a key was seen, each with its run.

        ``run_no`` counts the runs of a key. ``opens`` and ``is_last`` say 1 of a run's first and
        last point, ``is_newest`` of a key's last. Of the run: ``start`` and ``start_rank`` are
        where it begins, ``owner`` is the number of the found row that it goes on with. On the last
        point, ``until`` is where the version ends, and ``until_end`` the ``ends`` of that end.
        ``end_here`` is 1 where an end of before gave way to a staged row; ``comes_back`` where the
        last end of the key did, for the newest staged row.
        """
        tracked = [f"t{n}" for n in range(len(self.action.track))]
        carried = "".join(f", {name}" for name in tracked)
        changed = "".join(f" OR lag({t}) OVER w IS DISTINCT FROM {t}" for t in tracked)
        basic = "key_no, spot, spot_rank, is_end, src, pos, ends"
        here = "PARTITION BY key_no, spot_rank"
        yields, gave_way = "", "0"
        if self.detect != "listed":  # a row that arrives knows better than an end of its time
            yields = " AND (COALESCE(ends, 0) = 0 OR staged IS NULL)"
            gave_way = f"max(CASE WHEN ends > 0 THEN 1 ELSE 0 END) OVER ({here})"
        until, back = "next_spot", "0"
        if self.detect == "missing":  # whoever is staged is there: nothing ends it
            until = "CASE WHEN is_newest = 1 THEN NULL ELSE next_spot END"
            newest = "CASE WHEN is_newest = 1 AND next_ends IS NOT NULL THEN 1 ELSE 0 END"
            mine = "PARTITION BY key_no, CASE WHEN pos IS NULL THEN 0 ELSE 1 END"
            back = (
                f"CASE WHEN pos IS NOT NULL AND max({newest}) OVER (PARTITION BY key_no) = 1 AND"
                f" row_number() OVER ({mine} ORDER BY spot_rank DESC) = 1 THEN 1 ELSE 0 END"
            )
        whole = "OVER (PARTITION BY key_no, run_no"
        return (
            f"WITH points AS ({' UNION ALL '.join(self._arms())}),"
            f" placed AS (SELECT {basic}{carried},"
            f" row_number() OVER ({here}, is_end ORDER BY first_is) AS nth,"
            f" max(head) OVER ({here}) AS head, max(pos) OVER ({here}) AS staged,"
            f" {gave_way} AS end_here FROM points),"
            f" looked AS (SELECT {basic}, head, end_here,"
            f" CASE WHEN is_end = 0 AND (COALESCE(lag(is_end) OVER w, 1) = 1{changed})"
            " THEN 1 ELSE 0 END AS opens, lead(spot) OVER w AS next_spot,"
            " lead(is_end) OVER w AS next_is_end, lead(ends) OVER w AS next_ends,"
            " CASE WHEN sum(1 - is_end) OVER w = sum(1 - is_end) OVER (PARTITION BY key_no)"
            f" THEN 1 ELSE 0 END AS is_newest FROM placed WHERE nth = 1{yields}"
            " WINDOW w AS (PARTITION BY key_no ORDER BY spot_rank, is_end)),"
            f" runs AS (SELECT {basic}, head, end_here, opens, next_spot, next_ends, is_newest,"
            " sum(opens) OVER w AS run_no, CASE WHEN is_newest = 1 OR next_is_end = 1"
            " OR lead(opens) OVER w = 1 THEN 1 ELSE 0 END AS is_last FROM looked"
            " WINDOW w AS (PARTITION BY key_no ORDER BY spot_rank, is_end))"
            " SELECT key_no, run_no, spot, spot_rank, src, pos, head, end_here, opens, is_last,"
            f" is_newest, min(head) {whole}) AS owner,"
            f" first_value(spot) {whole} ORDER BY spot_rank) AS start,"
            f" first_value(spot_rank) {whole} ORDER BY spot_rank) AS start_rank,"
            f" {until} AS until, next_ends AS until_end, {back} AS comes_back"
            " FROM runs WHERE is_end = 0"
        )

    def _arms(self) -> Iterator[str]:
        """Yield the queries of the points; ``first_is`` says which of two in one place counts."""
        found, staged = self.dialect.table(self.found), self.dialect.table(self.staged)
        affected, first = self.dialect.table(self.affected), self.first.name
        number, row, position = f"f.{KEY_NO}", f"f.{ROW}", f"s.{self.q(POSITION)}"
        joined = f"{staged} AS s JOIN {affected} AS k ON {self.same('s', 'k')}"
        alive, flagged = "", ""
        if self.has_flags:
            alive, flagged = (f" WHERE s.{self.q(DELETED_AT)} IS {n}NULL" for n in ("", "NOT "))
        last = self.ranked(f"f.{self.q(first)}")
        yield self._arm(number, f"f.{self.q(VALID_FROM)}", "f", (0, 1, row, row, _NONE, _NONE))
        yield (
            self._arm(number, f"f.{self.q(first)}", "f", (0, 2, row, _NONE, _NONE, _NONE))
            + f" WHERE {last} > f.{RANK}"
        )
        yield (
            self._arm(
                f"k.{KEY_NO}",
                f"s.{self.q(first)}",
                "s",
                (0, 0, _NONE, _NONE, position, _NONE),
                joined,
            )
            + alive
        )
        following = (
            f"(SELECT {KEY_NO}, {ROW}, {self.q(VALID_TO)}, lead({RANK}) OVER"
            f" (PARTITION BY {KEY_NO} ORDER BY {RANK}) AS following FROM {found}) AS f"
        )
        end = self.q(VALID_TO)
        yield (
            self._arm(number, f"f.{end}", "", (1, 0, _NONE, _NONE, _NONE, row), following)
            + f" WHERE f.{end} IS NOT NULL AND {self.ranked(f'f.{end}')}"
            " IS DISTINCT FROM f.following"
        )
        new_end = (1, 1, _NONE, _NONE, _NONE, "0")
        if self.has_flags:
            yield self._arm(f"k.{KEY_NO}", f"s.{self.q(first)}", "", new_end, joined) + flagged
        deletes = self.action.deletes
        if self.keys is not None and deletes is not None and deletes.time is not None:
            time = f"d.{self.q(deletes.time)}"
            rows = f"{self.dialect.table(self.keys.keys)} AS d"
            told = f"{rows} JOIN {affected} AS k ON {self.same('d', 'k')}"
            yield self._arm(f"k.{KEY_NO}", time, "", new_end, told) + f" WHERE {time} IS NOT NULL"

    def _arm(
        self, number: str, spot: str, alias: str, rest: tuple[object, ...], rows: str = ""
    ) -> str:
        """Return a query of points; ``alias``: whose tracked columns they have, if any."""
        is_end, first_is, src, head, pos, ends = rest
        tracked = "".join(
            f", {self.comparable(name, alias) if alias else 'NULL'} AS t{n}"
            for n, name in enumerate(self.action.track)
        )
        return (
            f"SELECT {number} AS key_no, {spot} AS spot, {self.ranked(spot)} AS spot_rank,"
            f" {is_end} AS is_end, {first_is} AS first_is, {src} AS src, {head} AS head,"
            f" {pos} AS pos, {ends} AS ends{tracked}"
            f" FROM {rows or f'{self.dialect.table(self.found)} AS f'}"
        )

    # --- expressions -----------------------------------------------------------------------------

    def q(self, name: str) -> str:
        """Return a column's name, quoted."""
        return self.dialect.quote(name)

    def listed(self, names: Iterable[str], alias: str = "") -> str:
        """Return columns, quoted and separated."""
        return ", ".join(f"{alias}.{self.q(n)}" if alias else self.q(n) for n in names)

    def same(self, one: str, other: str) -> str:
        """Return whether two rows have the same key."""
        return " AND ".join(f"{one}.{self.q(k)} = {other}.{self.q(k)}" for k in self.action.key)

    def ranked(self, value: str) -> str:
        """Return a value of the first order column in a form that orders."""
        return self.merging.ordered(self.first, value)

    def column(self, name: str) -> Column:
        """Return a staged column."""
        return next(c for c in self.columns if c.name == name)

    def comparable(self, name: str, alias: str) -> str:
        """Return a column of a row in a form that can be compared."""
        return self.merging.comparable(self.column(name), f"{alias}.{self.q(name)}")
