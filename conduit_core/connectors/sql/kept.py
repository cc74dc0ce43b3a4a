"""Dead letters and audit reports of a SQL destination, for people and for replays."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from conduit_core.connectors.letters import ArrowSpool, Audit, DeadLetter
from conduit_core.connectors.publish import Column, LetterFilter, Publish
from conduit_core.connectors.sql.actions import SqlActions
from conduit_core.connectors.sql.deletes import Where
from conduit_core.connectors.sql.letters import (
    AUDITS,
    LETTER_COLUMNS,
    LETTERS,
    letter_of,
)
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.connectors.sql.steps import ReadLetters
from conduit_core.errors import ConduitError, SchemaError
from conduit_core.types.dialect import Table
from conduit_core.types.payloads import from_payloads

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 20_000
"""Letters that are in memory at a time."""
_Found = TypeVar("_Found")


class KeptLetters(SqlActions):
    """What a destination says of its letters; see :class:`KeepsLetters`."""

    @abstractmethod
    def session(self) -> SqlSession:
        """Open a session (writes allowed)."""

    @abstractmethod
    def read_session(self) -> SqlSession:
        """Open a session that only reads."""

    @abstractmethod
    def bootstrap(self, session: SqlSession, missing: Callable[[], list[str]]) -> None:
        """Make what ``missing`` says in a transaction of its own."""

    @abstractmethod
    def explain(self, error: Exception, publish: Publish | None) -> ConduitError:
        """Turn a driver's error into ours."""

    @abstractmethod
    def lock_name(self, target: Table) -> str:
        """Return the name of the target's lock."""

    @abstractmethod
    def target_columns(self, session: SqlSession, target: Table) -> tuple[Column, ...] | None:
        """Return a table's columns from the catalogue; None where it doesn't exist."""

    def check_letters(self) -> None:
        """Look whether the table of dead letters is as it was made, or isn't there yet.

        Raises:
            StateError: it was altered; what is wrong, and what to do.
        """

        def look(session: SqlSession) -> None:
            found = self.target_columns(session, Table(self.ledger.schema, LETTERS))
            if found is not None:
                self.letters_sql.check(found)

        self.reading(look)

    def letters(
        self,
        target: Table | None,
        which: LetterFilter | None = None,
        *,
        statuses: tuple[str, ...] = ("open",),
        limit: int | None = None,
    ) -> list[DeadLetter]:
        """Return dead letters, the newest first; ``target`` None: of all targets."""
        where = self._where(target, which, statuses)
        more = f" LIMIT {limit:d}" if limit is not None else ""
        sql = self.letters_sql.select(LETTER_COLUMNS, where, newest_first=True, more=more)
        return [letter_of(row) for row in self._rows(LETTERS, sql, where.values)]

    def open_letters(self, target: Table) -> int:
        """Return how many open dead letters a target has."""
        where = self._where(target, None, ("open",))
        found = self._rows(LETTERS, self.letters_sql.count(where), where.values)
        return int(str(found[0][0])) if found else 0

    def letter_schemas(self, target: Table, which: LetterFilter) -> tuple[str, ...]:
        """Return the fingerprints of the schemas that open letters' payloads have."""
        where = self._where(target, which, ("open",))
        found = self._rows(LETTERS, self.letters_sql.schemas(where), where.values)
        return tuple(str(fingerprint) for (fingerprint,) in found)

    def letter_counts(self, target: Table, load_id: str | None = None) -> dict[str, int]:
        """Return how many dead letters a target has of each status that has any."""
        where = self.letters_sql.where(self.spelled(target), load_id=load_id)
        found = self._rows(LETTERS, self.letters_sql.count_by_status(where), where.values)
        return {str(status): int(str(count)) for status, count in found}

    def replayed_rows(
        self, target: Table, which: LetterFilter, schema: pa.Schema
    ) -> pa.RecordBatchReader:
        """Return the payloads of open letters as rows of ``schema``, each as often as it came.

        In the order they were seen in. They are copied to a file first, so that whoever holds the
        target's lock needn't wait for us, nor we for them.

        Raises:
            SchemaError: a payload's value doesn't fit its column of ``schema`` any more.
        """
        import pyarrow as pa

        where = self._where(target, which, ("open",))
        condition = f"{where.sql} AND {self.dialect.quote('redacted')} IS NULL"
        query = self.letters_sql.select(("payload", "copies"), Where(condition))
        columns: list[tuple[str, pa.DataType]] = [
            ("payload", pa.large_string()),
            ("copies", pa.int64()),
        ]
        copied = pa.schema(columns)
        spool = ArrowSpool(copied)

        def copy(session: SqlSession) -> None:
            if self.has_tables(session, LETTERS):
                for rows in _in_parts(session, query, where.values):
                    data: dict[str, list[Any]] = {
                        "payload": [str(text) for text, _ in rows],
                        "copies": [int(str(n)) for _, n in rows],
                    }
                    spool.add(pa.RecordBatch.from_pydict(data, schema=copied))

        try:
            self.reading(copy)
        except BaseException:
            spool.close()
            raise
        return pa.RecordBatchReader.from_batches(schema, _repeated(spool, schema))

    def purge_letters(
        self,
        target: Table | None,
        which: LetterFilter | None = None,
        *,
        statuses: tuple[str, ...] = ("open", "resolved", "superseded"),
        seen_before: datetime | None = None,
    ) -> int:
        """Forget the payloads of letters, which become ``purged``; return how many."""
        if not self.reading(lambda session: self.has_tables(session, LETTERS)):
            return 0
        where = self._where(target, which, statuses, seen_before=seen_before, start=2)
        with self.writing(self.lock_name(target) if target else "conduit:letters") as session:
            values = (datetime.now(UTC), *where.values)
            return session.execute(self.letters_sql.purge(where), values)

    def audits(
        self, target: Table, last: int | None = None, load_id: str | None = None
    ) -> list[Audit]:
        """Return the audit reports of a target's loads, the newest first."""
        where = self.letters_sql.where(self.spelled(target), load_id=load_id)
        found = self._rows(AUDITS, self.letters_sql.select_audits(where, last), where.values)
        return [Audit(str(load), int(str(version)), str(text)) for load, version, text in found]

    def _where(
        self,
        target: Table | None,
        which: LetterFilter | None,
        statuses: tuple[str, ...],
        *,
        seen_before: datetime | None = None,
        start: int = 1,
    ) -> Where:
        spelled = None if target is None else self.spelled(target)
        return self.letters_sql.where(
            spelled, which, statuses, seen_before=seen_before, start=start
        )

    def _rows(self, table: str, sql: str, values: tuple[Value, ...]) -> list[Row]:
        """Return a query's rows, none where the table isn't there yet."""
        return self.reading(
            lambda session: session.rows(sql, values) if self.has_tables(session, table) else []
        )

    def reading(self, what: Callable[[SqlSession], _Found]) -> _Found:
        """Return what a session that only reads finds; a driver's error is explained."""
        try:
            session = self.read_session()
            try:
                return what(session)
            finally:
                session.close()
        except Exception as error:
            raise self._explained(error) from error

    @contextmanager
    def writing(
        self, lock: str, missing: Callable[[SqlSession], list[str]] | None = None
    ) -> Iterator[SqlSession]:
        """Yield a session in a transaction of its own, committed where the block ends well.

        Args:
            lock: what it holds meanwhile.
            missing: says what is to be made before, as :meth:`bootstrap` takes it.
        """
        session = self.session()
        try:
            if missing is not None:
                make = missing
                self.bootstrap(session, lambda: make(session))
            session.begin(lock)
            yield session
            session.commit()
        except Exception as error:
            session.rollback()
            raise self._explained(error) from error
        finally:
            session.close()

    def _explained(self, error: Exception) -> ConduitError:
        return error if isinstance(error, ConduitError) else self.explain(error, None)


def take_open_letters(session: SqlSession, step: ReadLetters) -> None:
    """Bring open letters into a table; those that don't decode stay where they are."""
    import pyarrow as pa

    kinds = (pa.string(), pa.int64())
    own = [pa.field(c.name, k) for c, k in zip(step.columns[:2], kinds, strict=True)]
    spool = ArrowSpool(pa.schema([*own, *step.schema]))
    try:
        place = 0
        for rows in _in_parts(session, step.text, step.values):
            letters = [str(letter) for letter, _ in rows]
            kept, decoded = _decodable([str(payload) for _, payload in rows], step.schema)
            arrays: list[pa.Array[pa.Scalar[pa.DataType]]] = [
                pa.array([letters[i] for i in kept], pa.string()),
                pa.array([place + i for i in kept], pa.int64()),
                *decoded.columns,
            ]
            spool.add(pa.RecordBatch.from_arrays(arrays, schema=spool.schema))
            place += len(rows)
        session.ingest(step.table, step.columns, spool.reader())
    finally:
        spool.close()


def _decodable(payloads: list[str], schema: pa.Schema) -> tuple[list[int], pa.RecordBatch]:
    """Return which payloads decode, and their rows."""
    try:
        return list(range(len(payloads))), from_payloads(payloads, schema)
    except SchemaError:
        kept = [i for i, text in enumerate(payloads) if _decodes(text, schema)]
        return kept, from_payloads([payloads[i] for i in kept], schema)


def _decodes(payload: str, schema: pa.Schema) -> bool:
    try:
        from_payloads([payload], schema)
    except SchemaError:
        return False
    return True


def _in_parts(session: SqlSession, sql: str, values: tuple[Value, ...]) -> Iterator[list[Row]]:
    """Yield a query's rows, so many at a time."""
    start = 0
    while rows := session.rows(f"{sql} LIMIT {_AT_ONCE:d} OFFSET {start:d}", values):
        yield rows
        if len(rows) < _AT_ONCE:
            return
        start += len(rows)


def _repeated(spool: ArrowSpool, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of payloads, each as often as it came."""
    try:
        for batch in spool.reader():
            rows = from_payloads([str(p) for p in batch.column("payload").to_pylist()], schema)
            copies = [int(str(n)) for n in batch.column("copies").to_pylist()]
            if all(n == 1 for n in copies):
                yield rows
                continue
            places = (i for i, n in enumerate(copies) for _ in range(n))
            while some := list(itertools.islice(places, _AT_ONCE)):
                yield rows.take(some)
    finally:
        spool.close()
