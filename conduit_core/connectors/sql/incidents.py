"""The table ``_conduit_incidents`` of a SQL destination: what people were told of."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

from conduit_core.connectors.base import CleanItem
from conduit_core.connectors.incidents import LASTING, About, Incident, Telling
from conduit_core.connectors.sql.hooks import KeptHooks
from conduit_core.connectors.sql.ledger import time_of
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.types.dialect import Table

INCIDENTS = "_conduit_incidents"
COLUMNS = (
    "id", "pipeline", "stream", "about", "opened_at", "seen_at", "times", "told_at", "closed_at",
    "error", "exit_code", "load_id", "runner", "facts", "told", "revision",
)  # fmt: skip
_NUMBERS = ("times", "exit_code", "revision")
_NULLABLE = ("told_at", "closed_at")
_LOCK = "conduit:incidents"
_AT_ONCE = 100
"""Incidents in a statement, of 16 values each; libpq takes no more than about 7,000."""


class KeptIncidents(KeptHooks):
    """What a destination remembers; see :class:`conduit_core.connectors.incidents.KeepsIncidents`.

    They are written under one lock, so that what is compared is what is replaced.
    """

    def incidents(
        self, pipeline: str, since: datetime | None = None, ids: Collection[str] = ()
    ) -> list[Incident]:
        """Return a pipeline's incidents, the oldest first."""
        q, param = self.dialect.quote, self.dialect.param
        values: list[Value] = [pipeline]
        where = f"{q('pipeline')} = {param(1)}"
        if since is not None:
            values += [since.astimezone(UTC), *ids]
            wanted = [f"{q('closed_at')} IS NULL", f"{q('closed_at')} >= {param(2)}"]
            if ids:
                marks = ", ".join(param(i) for i in range(3, 3 + len(ids)))
                wanted.append(f"{q('id')} IN ({marks})")
            where += f" AND ({' OR '.join(wanted)})"
        sql = (
            f"SELECT {self.dialect.columns(COLUMNS)} FROM {self._incidents} WHERE {where}"
            f" ORDER BY {q('opened_at')}, {q('id')}"
        )
        return [_from_row(row) for row in self._rows(INCIDENTS, sql, tuple(values))]

    def keep_incidents(self, changed: Sequence[Incident]) -> bool:
        """Write these incidents in one transaction, unless one has been written since."""
        if not changed:
            return True
        with self.writing(_LOCK, self._missing_incidents) as session:
            if not self._as_read(session, changed):
                return False
            for some in _parts(changed):
                session.execute(*self._write(some))
            return True

    def _as_read(self, session: SqlSession, changed: Sequence[Incident]) -> bool:
        """Say whether each is as it was read, and none is open already under another id."""
        q, param = self.dialect.quote, self.dialect.param

        def found(names: tuple[str, ...], where: str, values: Collection[str]) -> list[Row]:
            marks = ", ".join(param(n) for n in range(1, len(values) + 1))
            sql = f"SELECT {self.dialect.columns(names)} FROM {self._incidents}"
            return session.rows(f"{sql} WHERE {where} IN ({marks})", tuple(values))

        there: dict[object, int] = {}
        for some in _parts(changed):
            revisions = found(("id", "revision"), q("id"), [i.id for i in some])
            there |= {name: int(str(revision)) for name, revision in revisions}
        if any(there.get(i.id, 0) != i.revision for i in changed):
            return False
        closing = {i.id for i in changed if i.closed_at is not None}
        names, pipelines = ("id", "pipeline", "stream", "about"), {i.pipeline for i in changed}
        rows = found(names, f"{q('closed_at')} IS NULL AND {q('pipeline')}", pipelines)
        goes_on = {tuple(what) for name, *what in rows if name not in closing}
        new = (i for i in changed if i.revision == 0 and i.about in LASTING)
        return not any((i.pipeline, i.stream, i.about) in goes_on for i in new)

    def _write(self, changed: Sequence[Incident]) -> tuple[str, tuple[Value, ...]]:
        """Return the statement that inserts what is new and replaces what isn't."""
        q, param = self.dialect.quote, self.dialect.param
        width, values, rows = len(COLUMNS), list[Value](), []
        for place, incident in enumerate(changed):
            marks = (param(place * width + n) for n in range(1, width + 1))
            rows.append(f"({', '.join(marks)})")
            values += _to_row(replace(incident, revision=incident.revision + 1))
        sets = ", ".join(f"{q(name)} = excluded.{q(name)}" for name in COLUMNS[1:])
        sql = (
            f"INSERT INTO {self._incidents} ({self.dialect.columns(COLUMNS)})"
            f" VALUES {', '.join(rows)} ON CONFLICT ({q('id')}) DO UPDATE SET {sets}"
        )
        return sql, tuple(values)

    def clean_incidents(self, border: datetime, *, dry_run: bool) -> list[CleanItem]:
        """Forget incidents that were over before ``border``; return what was, or would be."""
        q, param = self.dialect.quote, self.dialect.param
        where = f"{q('closed_at')} < {param(1)}"
        told = f"SELECT count(*) FROM {self._incidents} WHERE {where}"
        found = self._rows(INCIDENTS, told, (border,))
        count = int(str(found[0][0])) if found else 0
        if not count:
            return []
        if not dry_run:
            with self.writing(_LOCK) as session:
                session.execute(f"DELETE FROM {self._incidents} WHERE {where}", (border,))
        return [CleanItem("incidents", f"{count} told to people", f"over before {border:%Y-%m-%d}")]

    @property
    def _incidents(self) -> str:
        return self.dialect.table(Table(self.ledger.schema, INCIDENTS))

    def _missing_incidents(self, session: SqlSession) -> list[str]:
        if self.has_tables(session, INCIDENTS):
            return []
        q, types = self.dialect.quote, self.ledger.types
        parts = []
        for name in COLUMNS:
            kind = types.bigint if name in _NUMBERS else types.text
            kind = types.timestamptz if name.endswith("_at") else kind
            null = "" if name in _NULLABLE else " NOT NULL"
            parts.append(f"{q(name)} {kind}{null}")
        parts.append(f"PRIMARY KEY ({q('id')})")
        create = f"CREATE TABLE IF NOT EXISTS {self._incidents} ({', '.join(parts)})"
        return [*self.create_schema(session, self.ledger.schema), create]


def _parts(changed: Sequence[Incident]) -> Iterator[Sequence[Incident]]:
    for start in range(0, len(changed), _AT_ONCE):
        yield changed[start : start + _AT_ONCE]


def _to_row(incident: Incident) -> tuple[Value, ...]:
    told = {
        key: {"at": t.at.isoformat(), "count": t.count, "sent": t.sent, "over": t.over}
        for key, t in incident.told.items()
    }
    data: dict[str, Value] = {
        name: getattr(incident, name) for name in COLUMNS if name not in {"facts", "told"}
    }
    data["facts"] = json.dumps(dict(incident.facts), separators=(",", ":"), default=str)
    data["told"] = json.dumps(told, separators=(",", ":"))
    return tuple(data[name] for name in COLUMNS)


def _from_row(row: Row) -> Incident:
    data = dict(zip(COLUMNS, row, strict=True))
    told: dict[str, dict[str, object]] = json.loads(str(data["told"]))
    return Incident(
        id=str(data["id"]),
        pipeline=str(data["pipeline"]),
        stream=str(data["stream"]),
        about=cast("About", data["about"]),
        opened_at=time_of(data["opened_at"]),
        seen_at=time_of(data["seen_at"]),
        times=int(str(data["times"])),
        told_at=None if data["told_at"] is None else time_of(data["told_at"]),
        closed_at=None if data["closed_at"] is None else time_of(data["closed_at"]),
        error=str(data["error"]),
        exit_code=int(str(data["exit_code"])),
        load_id=str(data["load_id"]),
        runner=str(data["runner"]),
        facts=json.loads(str(data["facts"])),
        told={key: _telling(item) for key, item in told.items()},
        revision=int(str(data["revision"])),
    )


def _telling(item: dict[str, object]) -> Telling:
    count = int(str(item["count"]))
    return Telling(time_of(item["at"]), count, sent=bool(item["sent"]), over=bool(item["over"]))
