"""The tables of dead letters and audit reports in SQL: DDL, queries, and rows as models. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from conduit_core.connectors.letters import LETTER_SCHEMA, DeadLetter
from conduit_core.connectors.publish import AppendDeadLetters, Column, LetterFilter
from conduit_core.connectors.sql.deletes import Where
from conduit_core.connectors.sql.ledger import LedgerTypes, time_of
from conduit_core.connectors.sql.merging import Merging
from conduit_core.connectors.sql.session import Row, Value
from conduit_core.connectors.sql.steps import Sql
from conduit_core.errors import StateError
from conduit_core.state.ledger import LedgerRecord
from conduit_core.types.dialect import Dialect, Table

LETTERS = "_conduit_dead_letters"
AUDITS = "_conduit_audits"
LETTER_COLUMNS: tuple[str, ...] = tuple(DeadLetter.model_fields)
AUDIT_COLUMNS = ("load_id", "target_schema", "target_table", "version", "published_at", "report")
_NULLABLE = ("row_key", "payload", "redacted", "settled_at", "settled_by")
_NUMBERS = ("attempts", "copies", "version")
_FROM_LOAD = tuple(LETTER_SCHEMA.names)


@dataclass(frozen=True, slots=True)
class LettersSql:
    """The statements on both tables of one destination.

    Args:
        dialect: quoting and placeholders.
        merging: how parameters are typed.
        types: DDL types.
        schema: where the internal tables lie.
        folded: how SQL folds a name as the system does; ``{}`` stands for it. Where names are
            taken as they are, an index finds a target's letters.
        keyed: whether letters have a primary key; the target's lock keeps them apart without, and
            DuckDB would hold it in memory.
    """

    dialect: Dialect
    merging: Merging
    types: LedgerTypes
    schema: str
    folded: str = "{}"
    keyed: bool = True

    @property
    def letters(self) -> str:
        """The quoted table of dead letters."""
        return self.dialect.table(Table(self.schema, LETTERS))

    @property
    def audits(self) -> str:
        """The quoted table of audit reports."""
        return self.dialect.table(Table(self.schema, AUDITS))

    def columns(self, names: Sequence[str]) -> tuple[Column, ...]:
        """Return columns of these tables as they are made."""
        return tuple(
            Column(name=name, ddl=self._ddl(name), nullable=name in _NULLABLE) for name in names
        )

    def _ddl(self, name: str) -> str:
        if name.endswith("_at"):
            return self.types.timestamptz
        return self.types.bigint if name in _NUMBERS else self.types.text

    def create(self) -> list[str]:
        """Return the DDL of both tables; the caller holds the database-wide lock."""
        lines = []
        for table, names in ((self.letters, LETTER_COLUMNS), (self.audits, AUDIT_COLUMNS)):
            parts = [
                f"{self.dialect.quote(c.name)} {c.ddl}{'' if c.nullable else ' NOT NULL'}"
                for c in self.columns(names)
            ]
            if self.keyed or names is AUDIT_COLUMNS:
                parts.append(f"PRIMARY KEY ({self.dialect.quote(names[0])})")
            lines.append(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(parts)})")
        if self.folded == "{}":
            name = self.dialect.quote(f"{LETTERS}_by_target")
            by = self.dialect.columns(("target_schema", "target_table", "status"))
            lines.append(f"CREATE INDEX IF NOT EXISTS {name} ON {self.letters} ({by})")
        return lines

    # --- which letters ---------------------------------------------------------------------------

    def where(
        self,
        target: Table | None,
        which: LetterFilter | None = None,
        statuses: Sequence[str] = (),
        *,
        seen_before: datetime | None = None,
        load_id: str | None = None,
        start: int = 1,
    ) -> Where:
        """Return which rows of a table are meant; placeholders count from ``start``."""
        parts: list[str] = []
        values: list[Value] = []

        def bound(value: Value) -> str:
            values.append(value)
            return self.dialect.param(start + len(values) - 1)

        q = self.dialect.quote
        if target is not None:
            for column, name in (("target_schema", target.schema), ("target_table", target.name)):
                parts.append(f"{self.folded.format(q(column))} = {bound(name)}")
        which = which or LetterFilter()
        for column, value in (("load_id", which.load_id), ("load_id", load_id)):
            if value is not None:
                parts.append(f"{q(column)} = {bound(value)}")
        if which.rule is not None:  # as LetterSpool spells it; a text in JSON has no bare quote
            spelled = f'{{"rule":{json.dumps(which.rule, ensure_ascii=False)},'
            reasons = q("reasons")
            parts.append(f"{reasons} <> replace({reasons}, {bound(spelled)}, '')")
        if which.ids is not None:
            listed = ", ".join(bound(one) for one in which.ids)
            parts.append(f"{q('letter_id')} IN ({listed})" if listed else "1 = 0")
        if statuses:
            parts.append(f"{q('status')} IN ({', '.join(bound(one) for one in statuses)})")
        if seen_before is not None:
            parts.append(f"{q('last_seen_at')} < {bound(seen_before)}")
        return Where(" AND ".join(parts), tuple(values))

    def select(
        self, names: Sequence[str], where: Where, *, newest_first: bool = False, more: str = ""
    ) -> str:
        """Return the query for columns of letters, in the order they were seen in."""
        q = self.dialect.quote
        condition = f" WHERE {where.sql}" if where.sql else ""
        down = " DESC" if newest_first else ""
        return (
            f"SELECT {self.dialect.columns(tuple(names))} FROM {self.letters}{condition}"
            f" ORDER BY {q('last_seen_at')}{down}, {q('letter_id')}{more}"
        )

    def count(self, where: Where) -> str:
        """Return the query for the number of letters."""
        return f"SELECT count(*) FROM {self.letters} WHERE {where.sql}"

    def schemas(self, where: Where) -> str:
        """Return the query for the fingerprints of payloads' schemas."""
        name = self.dialect.quote("schema_fingerprint")
        return f"SELECT DISTINCT {name} FROM {self.letters} WHERE {where.sql} ORDER BY {name}"

    def count_by_status(self, where: Where) -> str:
        """Return the query for the number of letters of each status."""
        status = self.dialect.quote("status")
        return (
            f"SELECT {status}, count(*) FROM {self.letters} WHERE {where.sql}"
            f" GROUP BY {status} ORDER BY {status}"
        )

    # --- writing ---------------------------------------------------------------------------------

    def tell(
        self,
        rejected: str,
        action: AppendDeadLetters,
        record: LedgerRecord,
        now: datetime,
        *,
        adds_copies: bool,
    ) -> Sql:
        """Return what tells letters that are there of a load that rejected them again.

        Args:
            rejected: the quoted relation of the rejected rows.
            action: whose payloads.
            record: whose load.
            now: when.
            adds_copies: whether open letters get further copies.
        """
        q = self.dialect.quote
        given: dict[str, Value] = {
            "status": "open",
            "load_id": record.load_id,
            "schema_fingerprint": action.schema_fingerprint,
            "last_seen_at": now,
            "pipeline": record.pipeline,
            "stream": record.stream,
        }
        sets = [f"{q(name)} = {typed}" for name, typed in self._typed(given).items()]
        sets += [f"{q(n)} = r.{q(n)}" for n in _FROM_LOAD if n != "letter_id"]
        sets += [f"{q(n)} = NULL" for n in ("settled_at", "settled_by")]
        copies = f"r.{q('copies')}"
        if adds_copies:
            more = f"l.{q('copies')} + {copies}"
            copies = f"CASE WHEN l.{q('status')} = 'open' THEN {more} ELSE {copies} END"
        sets += [f"{q('attempts')} = l.{q('attempts')} + 1", f"{q('copies')} = {copies}"]
        found = ", ".join(f"{text} AS {q(name)}" for name, text in self._gathered().items())
        return Sql(
            f"UPDATE {self.letters} AS l SET {', '.join(sets)} FROM (SELECT {found} FROM {rejected}"
            f" GROUP BY {q('letter_id')}) AS r WHERE l.{q('letter_id')} = r.{q('letter_id')}",
            tuple(given.values()),
            when="letters",
        )

    def add(
        self, rejected: str, action: AppendDeadLetters, record: LedgerRecord, now: datetime
    ) -> Sql:
        """Return what makes letters of a load's rejected rows that have none; after ``tell``."""
        q = self.dialect.quote
        given: dict[str, Value] = {
            "target_schema": record.target_schema,
            "target_table": record.target_table,
            "pipeline": record.pipeline,
            "stream": record.stream,
            "status": "open",
            "load_id": record.load_id,
            "first_load_id": record.load_id,
            "schema_fingerprint": action.schema_fingerprint,
            "first_seen_at": now,
            "last_seen_at": now,
        }
        shown = {"attempts": "1", **self._typed(given), **self._gathered("r.")}
        known = f"SELECT 1 FROM {self.letters} AS l WHERE l.{q('letter_id')} = r.{q('letter_id')}"
        return Sql(
            f"INSERT INTO {self.letters} ({self.dialect.columns(tuple(shown))})"
            f" SELECT {', '.join(shown.values())} FROM {rejected} AS r WHERE NOT EXISTS ({known})"
            f" GROUP BY r.{q('letter_id')}",
            tuple(given.values()),
            when="letters",
        )

    def _typed(self, given: Mapping[str, Value]) -> dict[str, str]:
        """Return the placeholder of each value, in the type of its column."""
        columns = self.columns(tuple(given))
        param = self.dialect.param
        return {c.name: self.merging.typed(c, param(i)) for i, c in enumerate(columns, 1)}

    def _gathered(self, of: str = "") -> dict[str, str]:
        """Return what a letter takes of the rejected rows that are one."""
        q = self.dialect.quote
        gathered = {"copies": "count(*)"}
        for name in _FROM_LOAD:
            column = f"{of}{q(name)}"
            gathered[name] = column if name == "letter_id" else f"min({column})"
        return gathered

    def supersede(self, rejected: str, target: Table, record: LedgerRecord, now: datetime) -> Sql:
        """Return what settles open letters whose key was rejected with another payload."""
        q = self.dialect.quote
        where = self.where(target, statuses=("open",), start=3)
        ids, keys = (f"SELECT {q(n)} FROM {rejected}" for n in ("letter_id", "row_key"))
        return Sql(
            f"UPDATE {self.letters} SET {q('status')} = 'superseded', {self._settled()}"
            f" WHERE {where.sql} AND {q('row_key')} IN ({keys} WHERE {q('row_key')} IS NOT NULL)"
            f" AND {q('letter_id')} NOT IN ({ids})",
            (now, record.load_id, *where.values),
            when="letters",
        )

    def settle(self, settled: str, letter: str, verdict: str) -> str:
        """Return what gives letters the verdicts of a relation; its values: when, and by which.

        Args:
            settled: the quoted relation.
            letter: its quoted column of ids.
            verdict: its quoted column of what becomes of them.
        """
        q = self.dialect.quote
        return (
            f"UPDATE {self.letters} AS l SET {q('status')} = o.{verdict}, {self._settled()}"
            f" FROM {settled} AS o WHERE l.{q('letter_id')} = o.{letter}"
            f" AND o.{verdict} IS NOT NULL"
        )

    def _settled(self) -> str:
        q, param = self.dialect.quote, self.dialect.param
        return f"{q('settled_at')} = {param(1)}, {q('settled_by')} = {param(2)}"

    def purge(self, where: Where) -> str:
        """Return what forgets payloads; ``where`` counts from 2, the first value is when."""
        q = self.dialect.quote
        settled = q("settled_at")
        (column,) = self.columns(("settled_at",))
        when = self.merging.typed(column, self.dialect.param(1))
        return (
            f"UPDATE {self.letters} SET {q('status')} = 'purged', {q('payload')} = NULL,"
            f" {settled} = coalesce({settled}, {when}) WHERE {where.sql}"
        )

    def insert_audit(self) -> str:
        """Return the insert of a report, all values bound in the order of ``AUDIT_COLUMNS``."""
        marks = ", ".join(self.dialect.param(i) for i in range(1, len(AUDIT_COLUMNS) + 1))
        names = self.dialect.columns(AUDIT_COLUMNS)
        return f"INSERT INTO {self.audits} ({names}) VALUES ({marks})"

    def select_audits(self, where: Where, last: int | None) -> str:
        """Return the query for reports, newest first."""
        names = self.dialect.columns(("load_id", "version", "report"))
        limit = f" LIMIT {last:d}" if last is not None else ""
        return (
            f"SELECT {names} FROM {self.audits} WHERE {where.sql}"
            f" ORDER BY {self.dialect.quote('version')} DESC{limit}"
        )

    def delete_audit(self) -> str:
        """Return the delete of the report of a load."""
        return f"DELETE FROM {self.audits} WHERE {self.dialect.quote('load_id')} = " + (
            self.dialect.param(1)
        )

    # --- looking ---------------------------------------------------------------------------------

    def check(self, found: tuple[Column, ...]) -> None:
        """Compare the table of letters with what it was made as; further columns may be NULL.

        Raises:
            StateError: it was altered.
        """
        there = {c.name: c for c in found}
        wrong = []
        for column in self.columns(LETTER_COLUMNS):
            one = there.pop(column.name, None)
            if one is None:
                wrong.append(f"{column.name} is missing")
            elif one.ddl.lower() != column.ddl.lower():
                wrong.append(f"{column.name} is {one.ddl}, was {column.ddl}")
            elif column.nullable and not one.nullable:
                wrong.append(f"{column.name} refuses NULL")
        wrong += [f"{c.name} was added and refuses NULL" for c in there.values() if not c.nullable]
        if wrong:
            raise StateError(
                f"the table of dead letters, {Table(self.schema, LETTERS)}, was altered:"
                f" {'; '.join(wrong)}. Give it its columns back, or rename it: the next load makes"
                " a new one",
                command="conduit dlq list",
            )


def letter_of(row: Row) -> DeadLetter:
    """Return the letter of a row in the order of ``LETTER_COLUMNS``."""
    data: dict[str, object] = dict(zip(LETTER_COLUMNS, row, strict=True))
    for name, value in data.items():
        if name.endswith("_at") and value is not None:
            data[name] = time_of(value)
    data["redacted"] = tuple(json.loads(str(data["redacted"] or "[]")))
    return DeadLetter.model_validate(data)
