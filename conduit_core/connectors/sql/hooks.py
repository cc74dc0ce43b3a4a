"""The table ``_conduit_hooks`` of a SQL destination: what each hook has finished with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime

from conduit_core.connectors.sql.kept import KeptLetters
from conduit_core.connectors.sql.session import SqlSession
from conduit_core.types.dialect import Table

HOOKS = "_conduit_hooks"
_KEY = ("pipeline", "hook", "target_schema", "target_table")


class KeptHooks(KeptLetters):
    """What a destination says of hooks; see :class:`conduit_core.connectors.hooks.KeepsHooks`."""

    @abstractmethod
    def create_schema(self, session: SqlSession, schema: str) -> list[str]:
        """Return the DDL that makes ``schema`` if it isn't there and the system has schemas."""

    def hook_marks(self, pipeline: str, hook: str) -> dict[Table, int]:
        """Return the version that a pipeline's hook last finished with, by target."""
        q, param = self.dialect.quote, self.dialect.param
        sql = (
            f"SELECT {self.dialect.columns(('target_schema', 'target_table', 'version'))}"
            f" FROM {self._hooks} WHERE {q('pipeline')} = {param(1)} AND {q('hook')} = {param(2)}"
        )

        def look(session: SqlSession) -> dict[Table, int]:
            if not self.has_tables(session, HOOKS):
                return {}
            found = session.rows(sql, (pipeline, hook))
            return {Table(str(s), str(t)): int(str(version)) for s, t, version in found}

        return self.reading(look)

    def keep_hook_marks(self, pipeline: str, hook: str, marks: Mapping[Table, int]) -> None:
        """Write these versions in one transaction."""
        with self.writing("conduit:hooks", self._missing_hooks) as session:
            now = datetime.now(UTC)
            for target, version in marks.items():
                values = (pipeline, hook, target.schema, target.name, version, now)
                session.execute(self._upsert(), values)

    @property
    def _hooks(self) -> str:
        return self.dialect.table(Table(self.ledger.schema, HOOKS))

    def _missing_hooks(self, session: SqlSession) -> list[str]:
        if self.has_tables(session, HOOKS):
            return []
        q, types = self.dialect.quote, self.ledger.types
        parts = [f"{q(name)} {types.text} NOT NULL" for name in _KEY]
        parts.append(f"{q('version')} {types.bigint} NOT NULL")
        parts.append(f"{q('finished_at')} {types.timestamptz} NOT NULL")
        parts.append(f"PRIMARY KEY ({self.dialect.columns(_KEY)})")
        create = f"CREATE TABLE IF NOT EXISTS {self._hooks} ({', '.join(parts)})"
        return [*self.create_schema(session, self.ledger.schema), create]

    def _upsert(self) -> str:
        q = self.dialect.quote
        names = (*_KEY, "version", "finished_at")
        marks = ", ".join(self.dialect.param(i) for i in range(1, len(names) + 1))
        newer = ", ".join(f"{q(n)} = excluded.{q(n)}" for n in ("version", "finished_at"))
        return (
            f"INSERT INTO {self._hooks} ({self.dialect.columns(names)}) VALUES ({marks})"
            f" ON CONFLICT ({self.dialect.columns(_KEY)}) DO UPDATE SET {newer}"
        )
