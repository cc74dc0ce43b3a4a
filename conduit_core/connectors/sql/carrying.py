"""One publish's steps, carried out: what they count and find, and the keys that guards show."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from conduit_core.connectors.base import KeyRows, StagedRows, Tally
from conduit_core.connectors.letters import Letters
from conduit_core.connectors.publish import SAMPLE, Column, Guard, check_guard
from conduit_core.connectors.sql.deletes import READ_AGAIN
from conduit_core.connectors.sql.kept import take_open_letters
from conduit_core.connectors.sql.rows import NumberedRows, ingest_rows
from conduit_core.connectors.sql.session import Row, SqlSession, Value
from conduit_core.connectors.sql.staging import LetterRelations, StagedRelations
from conduit_core.connectors.sql.steps import (
    Count,
    Ingest,
    IngestKeys,
    IngestLetters,
    LookForRows,
    ReadAgain,
    ReadLetters,
    Refuse,
    Remark,
    Sample,
    Sql,
    Step,
    Tell,
)
from conduit_core.errors import PublishError, number
from conduit_core.state.ledger import Counts
from conduit_core.types.dialect import Table

_COUNTED_BY_READER = ("read", "deduplicated", "superseded", "rejected")
_COUNTED_HERE = (
    *("target_has_rows", "doubled_keys", "target_doubles"),
    *("flagged", "gone", "keys", "target_rows", "lacking"),
    *("letters", "open_letters", "letters_again"),
)
_CHUNK = 1000
_SHOWN = 60


class Carrying:
    """Carries out steps in an open transaction.

    Args:
        session: the transaction.
        rows: the staged rows, if the publish has any.
        keys: the key rows, if it needs them.
        insert_from: the statement that copies a relation's rows into a table.
        look_for_rows: the query of whether a table has rows: 0 or 1.

    Attributes:
        counts: what was counted so far, by name.
        files: digests of the files that were read.
        notes: what was found, for people.
        report: what the audit found, as JSON.
        stages: seconds that the rows took on their way, by stage.
    """

    def __init__(
        self,
        session: SqlSession,
        rows: StagedRows | None,
        keys: KeyRows | None,
        insert_from: Callable[[Table, Table, tuple[Column, ...]], str],
        look_for_rows: Callable[[Table], str],
    ) -> None:
        self.counts: dict[str, int] = dict.fromkeys((*Counts.model_fields, *_COUNTED_HERE), 0)
        self.files: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.report = ""
        self.stages: dict[str, float] = {}
        self._started = time.perf_counter()
        self._letters: list[Letters] = []
        self._session = session
        self._rows = rows
        self._keys = keys
        self._insert_from = insert_from
        self._look_for_rows = look_for_rows
        self._taken = 0
        self._sample: tuple[str, ...] = ()

    def do(self, step: Step) -> None:
        """Carry out one step."""
        match step:
            case Sql(when=str(when)) | Refuse(when=str(when)) | Sample(when=str(when)) if (
                not self.counts[when]
            ):
                return
            case Sql(text=text, values=values, count=count, also=also):
                self._add(self._session.execute(text, values), count, also)
            case Tell(text=text, read=read, total=total):
                for name, found in read(self._session.rows(text)).items():
                    self._add(found, name, total)
            case Ingest() | IngestKeys():
                self._take_rows(step)
            case ReadAgain():
                self._read_again(step)
            case ReadLetters() | IngestLetters():
                self._take_letters(step)
            case _:
                self._look(step)

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.perf_counter() - self._started

    def close(self) -> None:
        """Let go of the rejected rows."""
        with ExitStack() as stack:
            for letters in self._letters:
                stack.callback(letters.close)

    def _look(self, step: Count | Refuse | Remark | LookForRows | Sample | Guard) -> None:
        """Do what changes nothing."""
        match step:
            case Count(text=text, count=count, also=also, values=values):
                self._add(self._scalar(text, values), count, also)
            case Remark(text=text, note=note):
                if told := note(self._session.rows(text)):
                    self.notes = (*self.notes, told)
            case Refuse(text=text, error=error):
                if found := self._session.rows(text):
                    raise error(found)
            case LookForRows(table=table):
                self.counts["target_has_rows"] = self._scalar(self._look_for_rows(table))
            case Sample(text=text, values=values):
                if len(self._sample) < SAMPLE:
                    self._sample = (*self._sample, *self._shown(text, values))[:SAMPLE]
            case Guard():
                check_guard(step, self.counts, lambda: self._sample)

    def _add(self, rows: int, *names: str | None) -> None:
        for name in names:
            if name is not None:
                self.counts[name] += rows

    def _scalar(self, sql: str, values: tuple[Value, ...] = ()) -> int:
        value = self._session.rows(sql, values)[0][0]
        if not isinstance(value, int):
            raise TypeError(f"not a count: {value!r}")
        return value

    def _shown(self, sql: str, values: tuple[Value, ...] = ()) -> tuple[str, ...]:
        return tuple(_as_text(row) for row in self._session.rows(sql, values))

    # --- rows ------------------------------------------------------------------------------------

    def _take_rows(self, step: Ingest | IngestKeys) -> None:
        if isinstance(step, Ingest):
            self.files = self._ingest(step).files
            return
        keys = self._known_keys.all()
        taken, _ = ingest_rows(self._session, step.table, step.columns, keys)
        self._add(taken, "keys")

    def _ingest(self, step: Ingest) -> Tally:
        """Put the staged rows into a table, from wherever they are."""
        rows, columns = self._rows, step.columns
        if isinstance(rows, StagedRelations):
            taken = rows.move(self._session, lambda r: self._insert_from(step.table, r, columns))
            return self._counted(taken, rows.finish(), step)
        return self._take(step, rows)

    def _take(self, step: Ingest, rows: StagedRows | None) -> Tally:
        if rows is not None and step.numbered is not None:
            rows = NumberedRows(rows, step.numbered, self._taken)
        return self._counted(*ingest_rows(self._session, step.table, step.columns, rows), step)

    def _counted(self, taken: int, tally: Tally, step: Ingest) -> Tally:
        self._taken += taken
        self.report = tally.report or self.report
        for stage, seconds in tally.stages.items():
            self.stages[stage] = self.stages.get(stage, 0.0) + seconds
        if tally.letters is not None:
            self._letters.append(tally.letters)
            self._add(tally.letters.rows, "letters")
        for name in _COUNTED_BY_READER:
            self.counts[name] += getattr(tally.counts, name)
        self._add(taken, step.count)
        return tally

    def _take_letters(self, step: ReadLetters | IngestLetters) -> None:
        """Put open letters, or the rejected rows from wherever they are, into a table."""
        if isinstance(step, ReadLetters):
            if self.counts["open_letters"]:
                take_open_letters(self._session, step)
            return
        if not self.counts["letters"]:
            return
        for letters in self._letters:
            if isinstance(letters, LetterRelations):
                letters.move(
                    self._session, lambda r: self._insert_from(step.table, r, step.columns)
                )
            elif letters.rows:
                self._session.ingest(step.table, step.columns, letters.reader())
        if self.counts["open_letters"]:
            self.counts["letters_again"] = self.counts["letters"]

    @property
    def _known_keys(self) -> KeyRows:
        if self._keys is None:
            raise PublishError("this publish needs key rows and was given none")
        return self._keys

    def _read_again(self, step: ReadAgain) -> None:
        """Read the rows of keys that the target lacks, unless they are too many; say so."""
        lacking = self.counts["lacking"]
        if not lacking:
            return
        shown = "; ".join(self._shown(step.sample))
        what = f"{step.target} lacked {number(lacking, 'key', 'keys')} that the source has ({shown}"
        what += " ...)" if lacking > SAMPLE else ")"
        if lacking > READ_AGAIN:
            what += f": more than {READ_AGAIN}, so they were not read again;"
            self.notes = (*self.notes, f"{what} `conduit run --full-refresh` reads everything")
            return
        before = self.counts["read"]
        keys = self._session.rows(step.keys)
        for start in range(0, len(keys), _CHUNK):
            self._take(step.into, self._known_keys.again(keys[start : start + _CHUNK]))
        came = self.counts["read"] - before
        self.notes = (*self.notes, f"{what}: read again, {number(came, 'row', 'rows')} came")


def _as_text(row: Row) -> str:
    """Return a key for people."""
    text = ", ".join(str(value) for value in row)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
