"""What a publish does beside its rows: dead letters settled and kept, unique columns looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from conduit_core.connectors.publish import (
    DELETED_AT,
    FILE,
    IS_CURRENT,
    SAMPLE,
    AppendDeadLetters,
    CheckUnique,
    CloseVersions,
    Column,
    Deletes,
    MergeStaged,
    Publish,
    ResolveDeadLetters,
)
from conduit_core.connectors.sql.deletes import Where, key_deletes
from conduit_core.connectors.sql.letters import LettersSql
from conduit_core.connectors.sql.merging import comes_after
from conduit_core.connectors.sql.session import Row
from conduit_core.connectors.sql.steps import (
    Count,
    IngestLetters,
    ReadLetters,
    Refuse,
    Remark,
    Sql,
    Step,
    temp_name,
)
from conduit_core.errors import ConduitError, QualityError, number
from conduit_core.state.window import Window
from conduit_core.types.dialect import Table
from conduit_core.types.schema import schema_from_json

if TYPE_CHECKING:
    import pyarrow as pa

    from conduit_core.connectors.sql.actions import SqlActions

LETTER, PLACE, VERDICT = "_conduit_letter", "_conduit_place", "_conduit_verdict"
OPEN = "open_letters"
"""The count without which nothing is to be settled."""


@dataclass(frozen=True)
class Settling:
    """The SQL of one publish's letters.

    The open letters wait in a temporary relation ``o``: their key and order, and the verdict.

    Args:
        sql: the system's spelling.
        letters: the table of letters.
        publish: the publish.
        known: the target's columns, as they will be.
        exists: whether the target is there before the load.
        now: when letters are seen and settled.
    """

    sql: SqlActions
    letters: LettersSql
    publish: Publish
    known: tuple[Column, ...]
    exists: bool
    now: datetime

    @cached_property
    def resolve(self) -> ResolveDeadLetters | None:
        """The action that settles letters."""
        found = [a for a in self.publish.actions if isinstance(a, ResolveDeadLetters)]
        return found[0] if found else None

    @cached_property
    def append(self) -> AppendDeadLetters | None:
        """The action that keeps rejected rows."""
        found = [a for a in self.publish.actions if isinstance(a, AppendDeadLetters)]
        return found[0] if found else None

    @property
    def target(self) -> Table:
        """The target."""
        return Table(self.publish.target_schema, self.publish.target_table)

    # --- before the rows -------------------------------------------------------------------------

    def which(self) -> Where:
        """Return which open letters the load may settle."""
        spelled, replays = self.sql.spelled(self.target), self._replays
        which = replays.replays if replays else None
        where = self.letters.where(spelled, which, ("open",))
        if replays:  # those whose values weren't kept can't come again
            where = replace(where, sql=f"{where.sql} AND {self._q('redacted')} IS NULL")
        return where

    def look(self) -> Iterator[Step]:
        """Yield what brings open letters in, and says which are too old for a replay."""
        if self.resolve is None:
            return
        where = self.which()
        yield Count(self.letters.count(where), OPEN, values=where.values)
        texts = Column(name=LETTER, ddl=self.letters.types.text)
        place = Column(name=PLACE, ddl=self.letters.types.bigint)
        columns = (texts, place, *self._columns)
        verdict = Column(name=VERDICT, ddl=self.letters.types.text)
        yield Sql(self.sql.create_temp(self._open, (*columns, verdict)), when=OPEN)
        query = self.letters.select(("letter_id", "payload"), where)
        yield ReadLetters(query, where.values, self._open, columns, self._schema)
        if self._replays and self.exists and self._merges and self.resolve.key:
            same = self._same("t")
            newer = ""
            if not self._any_row_wins:
                after = comes_after("t", "o", self.resolve.order, self._q, self._ordered)
                newer = f" AND ({after})"
            rows = f"JOIN {self._table(self.target)} AS t ON {same}{newer}"
            yield self._mark("superseded", rows)

    # --- with the staged rows --------------------------------------------------------------------

    def must_wait(self) -> bool:
        """Say whether rows have to wait in a temporary relation, for letters to be held to them."""
        return bool(self.resolve and not self._replays and self.resolve.key)

    def watch(self, steps: Iterator[Step], waiting: Table) -> Iterator[Step]:
        """Yield steps; before the waiting rows are dropped, what holds the letters to them."""
        drop = f"DROP TABLE {self._table(waiting)}"
        dead = f"DROP TABLE {self._table(self._keys)}"
        for step in steps:
            if isinstance(step, Sql) and step.text in (drop, dead):
                yield from self._hold_to(waiting)
            if isinstance(step, Sql) and step.text == dead:
                yield from self._hold_to_keys()
            yield step

    def _hold_to_keys(self) -> Iterator[Step]:
        """Yield what supersedes letters whose key is gone: else a replay would bring it back."""
        deletes = key_deletes(self.publish)
        if not self.resolve or self._replays or not deletes:
            return
        if deletes.detect == "listed":
            yield self._hold_to_tombstones(deletes)
        elif self.resolve.key and all(self._has(name) for name in self.resolve.key):
            there = f"SELECT 1 FROM {self._table(self._keys)} AS s WHERE {self._same('s')}"
            whole = " AND ".join(f"o.{self._q(k)} IS NOT NULL" for k in self.resolve.key)
            yield self._mark("superseded", f"WHERE {whole} AND NOT EXISTS ({there})")

    def _hold_to_tombstones(self, deletes: Deletes) -> Sql:
        """Return what supersedes letters whose key is listed as deleted, not before their time."""
        late = ""
        order = self.resolve.order if self.resolve else ()
        if deletes.time is not None and order and self._has(order[0]):
            time = next(c for c in deletes.keys if c.name == deletes.time)
            died = self.sql.merging.ordered(time, f"s.{self._q(time.name)}")
            first = order[0]
            was = self._ordered(first, "o.")
            late = f" AND (o.{self._q(first)} IS NULL OR {died} >= {was})"
        keys = f"JOIN {self._table(self._keys)} AS s ON {self._same('s')}{late}"
        return self._mark("superseded", keys)

    def _hold_to(self, waiting: Table) -> Iterator[Step]:
        if self.resolve is None or self._replays:
            return
        staged = self._table(waiting)
        if self.resolve.key:
            rows = f"JOIN {staged} AS s ON {self._same('s')}"
            if self._flagged:
                flag = f"s.{self._q(DELETED_AT)}"
                yield self._mark("resolved", f"{rows} AND {flag} IS NULL")
                yield self._mark("superseded", f"{rows} AND {flag} IS NOT NULL")
            else:
                yield self._mark("resolved", rows)
        if self.resolve.covers == "files" and self._has(FILE):
            file = self._q(FILE)
            files = f"(SELECT DISTINCT {file} FROM {staged}) AS s"
            yield self._mark("superseded", f"JOIN {files} ON s.{file} = o.{file}")

    # --- after the rows --------------------------------------------------------------------------

    def after(self) -> Iterator[Step]:
        """Yield what comes after the rows: unique columns, letters settled, letters kept."""
        for action in self.publish.actions:
            if isinstance(action, CheckUnique):
                yield self._check_unique(action)
        if self.resolve is None and self.append is None:
            return
        names = self.letters.columns(("letter_id", "row_key", "reasons", "payload", "redacted"))
        columns = tuple(c.model_copy(update={"nullable": True}) for c in names)
        yield Sql(self.sql.create_temp(self._rejected, columns), when="letters")
        yield IngestLetters(self._rejected, columns)
        if self.resolve is not None:
            yield from self._settle(self.resolve)
        rejected, record = self._table(self._rejected), self.publish.record
        if self.append is not None:
            adds = self.append.adds_copies and not self._replays
            spelled = self.sql.spelled(self.target)
            yield self.letters.supersede(rejected, spelled, record, self.now)
            yield self.letters.tell(rejected, self.append, record, self.now, adds_copies=adds)
            yield self.letters.add(rejected, self.append, record, self.now)
        yield Sql(f"DROP TABLE {rejected}", when="letters")

    def _settle(self, resolve: ResolveDeadLetters) -> Iterator[Step]:
        opened, rejected = self._table(self._open), self._table(self._rejected)
        again = f"DELETE FROM {opened} WHERE {self._q(LETTER)} IN"
        ids = f"SELECT {self._q('letter_id')} FROM {rejected}"
        yield Sql(f"{again} ({ids})", when="letters_again")
        if self._replays:
            yield from self._settle_replayed(resolve)
        else:
            yield from self._settle_covered(resolve)
        text = self.letters.settle(opened, self._q(LETTER), self._q(VERDICT))
        yield Sql(text, (self.now, self.publish.record.load_id), when=OPEN)
        yield Sql(f"DROP TABLE {opened}", when=OPEN)

    def _settle_covered(self, resolve: ResolveDeadLetters) -> Iterator[Step]:
        """Yield the verdicts of what the load covers beside the keys that it brought."""
        if "replace_with_staged" in self.publish.action_kinds and resolve.key:
            yield self._mark(
                "resolved", f"JOIN {self._table(self.target)} AS s ON {self._same('s')}"
            )
        where = Where()
        if resolve.covers == "window" and resolve.window is not None:
            window = Window.from_json(resolve.window)
            if not all(self._has(name) for name in window.columns):
                return
            where = self.sql.window_where(window, self._columns)
        elif resolve.covers != "target":
            return
        condition = f" AND ({where.sql})" if where.sql else ""
        yield Sql(f"{self._set('superseded')}{condition}", where.values, when=OPEN)

    def _settle_replayed(self, resolve: ResolveDeadLetters) -> Iterator[Step]:
        """Yield the verdicts of letters that came again: of a key, one row goes in."""
        groups = () if "append_staged" in self.publish.action_kinds else resolve.key
        if groups and not self._merges:  # versions of a key, one for each time
            groups = (*groups, *resolve.order)
        if groups and all(self._has(name) for name in groups):
            key = ", ".join(self._q(name) for name in groups)
            order = [f"{self._ordered(n, '')} DESC NULLS LAST" for n in resolve.order]
            ordered = ", ".join((*order, f"{self._q(PLACE)} DESC"))
            letter, opened = self._q(LETTER), self._table(self._open)
            ranked = (
                f"SELECT {letter}, row_number() OVER (PARTITION BY {key} ORDER BY {ordered})"
                f" AS r FROM {opened} WHERE {self._q(VERDICT)} IS NULL"
            )
            losers = f"SELECT w.{letter} FROM ({ranked}) AS w WHERE w.r > 1"
            yield Sql(f"{self._set('superseded')} AND {letter} IN ({losers})", when=OPEN)
        yield Sql(self._set("resolved"), when=OPEN)

    # --- unique ----------------------------------------------------------------------------------

    def _check_unique(self, action: CheckUnique) -> Step:
        known = {c.name: c for c in self.known}
        q, target = self._q, self._table(self.target)
        keys = ", ".join(
            self.sql.merging.comparable(known[n], q(n)) if n in known else q(n)
            for n in action.columns
        )
        there = [f"{q(name)} IS NOT NULL" for name in action.columns]
        if any(isinstance(a, CloseVersions) for a in self.publish.actions):
            there.append(q(IS_CURRENT))
        shown = ", ".join(f"min(CAST({q(n)} AS TEXT))" for n in action.columns)
        groups = f"FROM {target} WHERE {' AND '.join(there)} GROUP BY {keys} HAVING count(*) > 1"
        if action.stops:

            def refuse(found: list[Row]) -> ConduitError:
                return _doubled(action, self.target, found)

            return Refuse(f"SELECT {shown} {groups} LIMIT {SAMPLE}", refuse)

        def tell(found: list[Row]) -> str | None:
            return _beside(action, self.target, found)

        doubles = f"(SELECT count(*) AS n {groups}) AS d"
        return Remark(f"SELECT coalesce(sum(d.n - 1), 0) FROM {doubles}", tell)

    # --- expressions -----------------------------------------------------------------------------

    @property
    def _replays(self) -> ResolveDeadLetters | None:
        return self.resolve if self.resolve and self.resolve.replays is not None else None

    @property
    def _merges(self) -> MergeStaged | None:
        found = [a for a in self.publish.actions if isinstance(a, MergeStaged)]
        return found[0] if found else None

    @property
    def _any_row_wins(self) -> bool:
        """Whether a row of the target wins over a replay's whatever its age."""
        order = self.resolve.order if self.resolve else ()
        return not order or (self._merges is not None and not self._merges.update)

    @property
    def _flagged(self) -> bool:
        """Whether the waiting rows say which of them are deleted."""
        deletes = (getattr(a, "deletes", None) for a in self.publish.actions)
        return any(d is not None for d in deletes)

    @cached_property
    def _fields(self) -> tuple[pa.Field[pa.DataType], ...]:
        if self.resolve is None:
            return ()
        schema = schema_from_json(json.loads(self.resolve.schema_text))
        names = [*self.resolve.key, *self.resolve.order]
        if self.resolve.covers == "files":
            names.append(FILE)
        if self.resolve.window is not None:
            names += Window.from_json(self.resolve.window).columns
        return tuple(schema.field(n) for n in dict.fromkeys(names) if n in schema.names)

    @property
    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([f.with_nullable(nullable=True) for f in self._fields])

    @property
    def _columns(self) -> tuple[Column, ...]:
        known = {c.name: c.ddl for c in self.known}
        return tuple(
            Column(name=f.name, ddl=known.get(f.name) or self.sql.dialect.landing(f).ddl)
            for f in self._fields
        )

    def _has(self, name: str) -> bool:
        return any(f.name == name for f in self._fields)

    @property
    def _open(self) -> Table:
        return Table("", temp_name("open", self.publish.record.load_id))

    @property
    def _keys(self) -> Table:
        return Table("", temp_name("keys", self.publish.record.load_id))

    @property
    def _rejected(self) -> Table:
        return Table("", temp_name("letters", self.publish.record.load_id))

    def _mark(self, verdict: str, rows: str) -> Sql:
        """Return what gives a verdict to the letters that ``rows`` (a join with ``o``) finds."""
        letter = self._q(LETTER)
        found = f"SELECT o.{letter} FROM {self._table(self._open)} AS o {rows}"
        return Sql(f"{self._set(verdict)} AND {letter} IN ({found})", when=OPEN)

    def _set(self, verdict: str) -> str:
        mark = self._q(VERDICT)
        return f"UPDATE {self._table(self._open)} SET {mark} = '{verdict}' WHERE {mark} IS NULL"

    def _same(self, other: str) -> str:
        key = self.resolve.key if self.resolve else ()
        if not all(self._has(name) for name in key):
            return "1 = 0"
        return " AND ".join(f"{other}.{self._q(k)} = o.{self._q(k)}" for k in key)

    def _ordered(self, name: str, alias: str) -> str:
        column = next(c for c in self._columns if c.name == name)
        return self.sql.merging.ordered(column, f"{alias}{self._q(name)}")

    def _q(self, name: str) -> str:
        return self.sql.dialect.quote(name)

    def _table(self, table: Table) -> str:
        return self.sql.dialect.table(table)


def settling_of(
    sql: SqlActions,
    letters: LettersSql,
    publish: Publish,
    known: tuple[Column, ...],
    *,
    there: bool,
) -> Settling:
    """Return the SQL of a publish's letters; ``there``: the target exists before the load."""
    return Settling(sql, letters, publish, known, there, datetime.now(UTC))


def _doubled(action: CheckUnique, target: Table, found: list[Row]) -> QualityError:
    shown = "; ".join(", ".join(str(value) for value in row) for row in found)
    shown = "" if action.hides else f" ({shown}{' ...' if len(found) == SAMPLE else ''})"
    text = f"{target} would have more than one row with the same {', '.join(action.columns)}{shown}"
    report = {"rule": action.rule, "action": "fail", "result": "failed", "text": text}
    return QualityError(
        f"rule {action.rule!r}: {text}, so nothing was published",
        reports=({**report, "kind": "unique"},),
        command="conduit runs",
    )


def _beside(action: CheckUnique, target: Table, found: list[Row]) -> str | None:
    rows = int(str(found[0][0]))
    if not rows:
        return None
    return (
        f"rule {action.rule!r}: {target} has {number(rows, 'row', 'rows')} beside the first of each"
        f" {', '.join(action.columns)}"
    )
