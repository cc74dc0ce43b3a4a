"""The ``_conduit_*`` tables in SQL: their DDL, the record as a row, and back. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import Row, Value
from conduit_core.errors import StateError
from conduit_core.state.ledger import Counts, LedgerRecord
from conduit_core.types.dialect import Dialect, Table

LEDGER = "_conduit_ledger"
SCHEMAS = "_conduit_schemas"

_COUNTS = tuple(Counts.model_fields)
_TIMES = ("started_at", "published_at")
_NULLABLE = ("request_key", "cursor")
COLUMNS: tuple[str, ...] = (
    "target_schema", "target_table", "version", "pipeline", "stream", "load_id", "request",
    "request_key", "mode", "load_window", "cursor", *(f"rows_{c}" for c in _COUNTS),
    "schema_fingerprint", "spec_fingerprint", "target_fingerprint", "runner", "schema_changes",
    "stages",
    *_TIMES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LedgerTypes:
    """The DDL types the internal tables use in one system."""

    text: str
    bigint: str
    timestamptz: str


@dataclass(frozen=True, slots=True)
class LedgerSql:
    """The statements on the internal tables of one destination.

    Args:
        dialect: quoting and placeholders.
        types: DDL types.
        schema: where the internal tables lie.
    """

    dialect: Dialect
    types: LedgerTypes
    schema: str

    def table(self, name: str) -> Table:
        """Return an internal table."""
        return Table(self.schema, name)

    def create(self) -> list[str]:
        """Return the DDL of the internal tables; the caller holds the database-wide lock."""
        q = self.dialect.quote
        lines = []
        for column in COLUMNS:
            if column == "version" or column.startswith("rows_"):
                kind = self.types.bigint
            elif column in _TIMES:
                kind = self.types.timestamptz
            else:
                kind = self.types.text
            null = "" if column in _NULLABLE else " NOT NULL"
            lines.append(f"{q(column)} {kind}{null}")
        keys = self.dialect.columns(("target_schema", "target_table"))
        lines.append(f"PRIMARY KEY ({keys}, {q('version')})")
        lines.append(f"UNIQUE ({q('load_id')})")
        lines.append(f"UNIQUE ({keys}, {q('request_key')})")
        schemas = (
            f"{q('schema_fingerprint')} {self.types.text} NOT NULL PRIMARY KEY",
            f"{q('schema_text')} {self.types.text} NOT NULL",
            f"{q('first_seen_at')} {self.types.timestamptz} NOT NULL",
        )
        return [
            f"CREATE TABLE IF NOT EXISTS {self.dialect.table(self.table(name))}"
            f" ({', '.join(parts)})"
            for name, parts in ((LEDGER, tuple(lines)), (SCHEMAS, schemas))
        ]

    def check(self, found: tuple[Column, ...] | None) -> None:
        """Look whether the ledger has all its columns.

        Raises:
            StateError: it was altered, or made by another version.
        """
        there = {c.name.lower() for c in found or ()}
        missing = [c for c in COLUMNS if c not in there]
        if found is not None and missing:
            ledger = self.table(LEDGER)
            add = ""
            if missing == ["stages"]:
                text = f"ADD COLUMN stages {self.types.text} DEFAULT '{{}}' NOT NULL"
                add = f": ALTER TABLE {self.dialect.table(ledger)} {text}"
            raise StateError(
                f"the ledger, {ledger}, lacks {', '.join(missing)}: it was altered, or made by"
                f" another version. Give it its columns back{add}",
                command="conduit state show",
            )

    def select(self, where: tuple[str, ...] = (), *, folds: bool = False) -> str:
        """Return the query for records, by version; ``where`` names columns bound in order.

        With ``folds`` case doesn't count in them.
        """
        sql = (
            f"SELECT {self.dialect.columns(COLUMNS)} FROM {self.dialect.table(self.table(LEDGER))}"
        )
        if where:
            form = "lower({})" if folds else "{}"
            conditions = [
                f"{form.format(self.dialect.quote(c))} = {form.format(self.dialect.param(i))}"
                for i, c in enumerate(where, 1)
            ]
            sql += f" WHERE {' AND '.join(conditions)}"
        return f"{sql} ORDER BY {self.dialect.quote('version')}"

    def insert(self) -> str:
        """Return the insert of one record, all values bound in the order of ``COLUMNS``."""
        marks = ", ".join(self.dialect.param(i) for i in range(1, len(COLUMNS) + 1))
        return (
            f"INSERT INTO {self.dialect.table(self.table(LEDGER))}"
            f" ({self.dialect.columns(COLUMNS)}) VALUES ({marks})"
        )

    def select_schema(self) -> str:
        """Return the query for a schema's text by its fingerprint, bound."""
        q = self.dialect.quote
        return (
            f"SELECT {q('schema_text')} FROM {self.dialect.table(self.table(SCHEMAS))}"
            f" WHERE {q('schema_fingerprint')} = {self.dialect.param(1)}"
        )

    def insert_schema(self) -> str:
        """Return the insert of a schema's text that leaves one already there alone (3 values)."""
        q = self.dialect.quote
        names = ("schema_fingerprint", "schema_text", "first_seen_at")
        marks = ", ".join(self.dialect.param(i) for i in range(1, 4))
        return (
            f"INSERT INTO {self.dialect.table(self.table(SCHEMAS))} ({self.dialect.columns(names)})"
            f" VALUES ({marks}) ON CONFLICT ({q('schema_fingerprint')}) DO NOTHING"
        )


def to_row(record: LedgerRecord) -> tuple[Value, ...]:
    """Return the record's values in the order of ``COLUMNS``."""
    data = record.model_dump()
    counts = data.pop("counts")
    data.update({f"rows_{name}": value for name, value in counts.items()})
    return tuple(data[c] for c in COLUMNS)


def time_of(value: object) -> datetime:
    """Return a time as a driver gives it, in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise TypeError(f"not a time: {value!r}")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def from_row(row: Row) -> LedgerRecord:
    """Return the record of a row in the order of ``COLUMNS``."""
    data: dict[str, object] = dict(zip(COLUMNS, row, strict=True))
    for name in _TIMES:
        data[name] = time_of(data[name])
    data["counts"] = {c: data.pop(f"rows_{c}") for c in _COUNTS}
    return LedgerRecord.model_validate(data)


def with_files(window: str, files: tuple[str, ...]) -> str:
    """Return the window's JSON with the digests of the files that were read, to know them again."""
    if not files:
        return window
    return json.dumps({**json.loads(window), "files": list(files)}, separators=(",", ":"))
