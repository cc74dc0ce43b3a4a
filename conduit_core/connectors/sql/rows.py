"""Staged rows on their way into a table: taken by the session, numbered where order matters."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.base import RawRows, StagedRows, Tally
from conduit_core.connectors.publish import Column
from conduit_core.connectors.sql.session import RawSession, SqlSession
from conduit_core.errors import PublishError
from conduit_core.types.dialect import Table


def ingest_rows(
    session: SqlSession,
    table: Table,
    columns: tuple[Column, ...],
    rows: StagedRows | None,
) -> tuple[int, Tally]:
    """Take the rows into a table; return the driver's count and the reader's."""
    if rows is None:
        raise PublishError("this publish needs rows and was given none")
    try:
        if isinstance(session, RawSession) and isinstance(rows, RawRows):
            taken = session.ingest_raw(table, columns, rows)
        else:
            taken = session.ingest(table, columns, rows.reader())
    except Exception:
        tally = rows.finish()  # raises what really broke the stream, if the stream was what broke
        _let_go(tally)
        raise
    tally = rows.finish()
    if not tally.complete:
        _let_go(tally)
        raise PublishError(
            f"the destination took {taken} rows and stopped before the last batch, without an error"
        )
    return taken, tally


def _let_go(tally: Tally) -> None:
    if tally.letters is not None:
        tally.letters.close()


class NumberedRows:
    """``StagedRows`` with a column that counts them in the order of reading, after ``start``."""

    def __init__(self, rows: StagedRows, column: str, start: int = 0) -> None:
        self._rows = rows
        self._start = start
        self.schema = rows.schema.append(pa.field(column, pa.int64()))

    def reader(self) -> pa.RecordBatchReader:
        """Return the batches, numbered."""
        return pa.RecordBatchReader.from_batches(self.schema, self._numbered(self._rows.reader()))

    def _numbered(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        seen = self._start
        for batch in batches:
            ones = pa.repeat(pa.scalar(1, pa.int64()), batch.num_rows)
            numbers = pc.cumulative_sum(ones, start=pa.scalar(seen, pa.int64()))
            yield pa.RecordBatch.from_arrays([*batch.columns, numbers], schema=self.schema)
            seen += batch.num_rows

    def finish(self) -> Tally:
        """Return what the rows' own reader counted."""
        return self._rows.finish()
