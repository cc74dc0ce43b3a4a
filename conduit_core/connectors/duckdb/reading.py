"""Reading DuckDB relations as Arrow: their exact columns, and batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.duckdb.file import Lease
from conduit_core.connectors.duckdb.types import SYSTEM, DuckDBDialect, Read, read_as
from conduit_core.errors import SourceDataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BATCH_BYTES = 4 * 1024 * 1024
_TEXT_BYTES = 32
_FEWEST_ROWS, _MOST_ROWS = 2048, 65536
_dialect = DuckDBDialect()


def reads_of(con: DuckDBPyConnection, relation: str) -> tuple[Read, ...]:
    """Return how each column of ``relation`` (a FROM item) is read. Runs no query."""
    found = con.sql(f"SELECT * FROM {relation}")
    return tuple(read_as(n, k) for n, k in zip(found.columns, found.types, strict=True))


def select(reads: tuple[Read, ...], relation: str, where: str) -> str:
    """Return the query for columns of a relation, each cast as it is to be read."""
    columns = ", ".join(_expression(read) for read in reads)
    return f"SELECT {columns} FROM {relation}" + (f" WHERE {where}" if where else "")


def open_reader(
    lease: Lease,
    reads: tuple[Read, ...],
    relation: str,
    where: str,
    values: tuple[object, ...],
    batch_bytes: int = BATCH_BYTES,
) -> pa.RecordBatchReader:
    """Read columns of a relation; the cursor is given back after the last batch, or an error."""
    schema = pa.schema([read.field for read in reads])
    result = lease.con.sql(select(reads, relation, where), params=list(values))
    lease.reader = result.to_arrow_reader(_batch_rows(schema, batch_bytes))
    return pa.RecordBatchReader.from_batches(schema, _batches(lease.reader, schema, lease))


def _expression(read: Read) -> str:
    name = _dialect.quote(read.field.name)
    return f"CAST({name} AS {read.cast}) AS {name}" if read.cast else name


def _batches(
    source: pa.RecordBatchReader, schema: pa.Schema, lease: Lease
) -> Iterator[pa.RecordBatch]:
    import duckdb

    try:
        for batch in source:
            yield pa.RecordBatch.from_arrays(
                [_named(c, f.type) for c, f in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )
    except (duckdb.Error, pa.ArrowException) as error:
        raise SourceDataError(f"reading stopped: {brief(error)}", connector=SYSTEM) from error
    finally:
        lease.close()


def brief(error: Exception) -> str:
    """Return a driver's message without the statement that it quotes after a blank line."""
    return str(error).split("\n\n", 1)[0].strip()


def _named(
    column: pa.Array[pa.Scalar[pa.DataType]], kind: pa.DataType
) -> pa.Array[pa.Scalar[pa.DataType]]:
    """Give nested children the names of ``kind``; other columns are as they should be."""
    return column.cast(kind) if pa.types.is_nested(kind) else column


def _batch_rows(schema: pa.Schema, batch_bytes: int) -> int:
    """Guess how many rows fill a batch; DuckDB's own vectors have 2048."""
    width = 1
    for field in schema:
        try:
            width += max(field.type.bit_width // 8, 1)
        except ValueError:  # no fixed width
            width += _TEXT_BYTES
    return min(max(batch_bytes // width, _FEWEST_ROWS), _MOST_ROWS)
