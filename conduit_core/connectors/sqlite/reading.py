"""Reading a SQLite relation as Arrow: what is selected, the typed SELECT, the batches.

The driver guesses a column's type from its first values and fails, or converts, when later ones
differ. So every read starts with a row of literals, one of each column's storage class, which is
dropped again; a last column counts values that the driver would convert unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.base import Reading
from conduit_core.connectors.sql.predicate import Predicate
from conduit_core.connectors.sqlite import catalogue
from conduit_core.connectors.sqlite.encoding import decode
from conduit_core.connectors.sqlite.file import Connection, as_int, explain
from conduit_core.connectors.sqlite.types import (
    Raw,
    SqliteColumn,
    SqliteDialect,
    column_of,
    inferred,
)
from conduit_core.errors import SchemaError, SourceDataError
from conduit_core.spec.names import did_you_mean, split_table

DIALECT = SqliteDialect()
_VIEW = "_conduit_query"
_MISMATCH = re.compile(r"Type mismatch in column (\d+)")
_SMALL_FILE_BYTES = 32 * 1024 * 1024
_FEWEST_ROWS, _MOST_ROWS = 16, 16_384


@dataclass(frozen=True, slots=True)
class Selected:
    """A relation as SQL text, with the columns that are read and those that order."""

    source: str
    columns: tuple[SqliteColumn, ...]
    all_columns: tuple[SqliteColumn, ...]
    primary_key: tuple[str, ...] = ()
    is_table: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The schema that reading gives."""
        return pa.schema([c.field for c in self.columns])

    def column(self, name: str) -> SqliteColumn:
        """Return a column by its name.

        Raises:
            SchemaError: there is none; the message lists what there is.
        """
        for column in self.all_columns:
            if column.field.name == name:
                return column
        names = [c.field.name for c in self.all_columns]
        raise SchemaError(
            f"there is no column {name!r}{did_you_mean(name, names)} there are: {', '.join(names)}",
            command="conduit discover",
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows, in which order, how many at a time."""

    where: Predicate
    tail: str = ""
    batch_bytes: int = 4 * 1024 * 1024

    @classmethod
    def everything(cls) -> Selection:
        """Every row."""
        return cls(Predicate("", ()))


def selected(
    connection: Connection,
    table: str | None,
    query: str | None,
    columns: tuple[str, ...] | None,
) -> Selected:
    """Find out what a table, view or query gives.

    Raises:
        SchemaError: there is no such relation or column; the message lists what there is.
    """
    if table is not None:
        listed = catalogue.find(connection, table)
        if listed is None:  # written as a stream writes it: main.orders, "a.b"
            schema, bare = split_table(table)
            listed = catalogue.find(connection, bare) if schema in {None, "main"} else None
        if listed is None:
            names = ", ".join(r.name for r in catalogue.relations(connection)) or "nothing"
            raise SchemaError(
                f"there is no table or view {table!r}; there are: {names}",
                command="conduit discover",
            )
        name, source, is_table = listed.name, f"main.{DIALECT.quote(listed.name)}", listed.is_table
    else:
        name, is_table = _VIEW, False
        text = (query or "").strip().rstrip(";")
        connection.execute(f"CREATE TEMP VIEW {_VIEW} AS SELECT * FROM (\n{text}\n)")
        source = f"temp.{_VIEW}"
    declared = catalogue.columns(connection, name)
    known = tuple(column_of(c.name, c.declared, nullable=_nullable(c)) for c in declared)
    open_names = [c.name for c, k in zip(declared, known, strict=True) if k is None]
    found = _storage_classes(connection, source, open_names)
    resolved = tuple(
        k or inferred(c.name, found[c.name]) for c, k in zip(declared, known, strict=True)
    )
    whole = Selected(source, resolved, resolved, catalogue.primary_key(declared), is_table)
    if columns is None:
        return whole
    some = tuple(whole.column(c) for c in columns)
    return Selected(source, some, resolved, whole.primary_key, is_table)


def _nullable(column: catalogue.Declared) -> bool:
    return column.nullable and not (column.key and column.declared.upper() == "INTEGER")


def _storage_classes(
    connection: Connection, source: str, names: list[str]
) -> dict[str, frozenset[str]]:
    """Return the storage classes that columns without a declared type hold, by one scan."""
    out: dict[str, frozenset[str]] = {}
    kinds = ("integer", "real", "text", "blob")
    for start in range(0, len(names), 400):
        some = names[start : start + 400]
        sums = [f"max(typeof({DIALECT.quote(n)}) = '{k}')" for n in some for k in kinds]
        values = connection.rows(f"SELECT {', '.join(sums)} FROM {source}")[0]
        for i, name in enumerate(some):
            held = zip(kinds, values[4 * i : 4 * i + 4], strict=True)
            out[name] = frozenset(kind for kind, has in held if has)
    return out


def select_sql(relation: Selected, selection: Selection) -> str:
    """Return the SELECT: the row of literals, then the rows; a last column counts misfits."""
    quoted = [DIALECT.quote(c.field.name) for c in relation.columns]
    literals = ", ".join(c.sentinel for c in relation.columns)
    guards = [g for c, q in zip(relation.columns, quoted, strict=True) if (g := c.guard(q))]
    guard = " + ".join(f"coalesce({g}, 0)" for g in guards) or "0"
    where = f" WHERE {selection.where.sql}" if selection.where.sql else ""
    values = ", ".join(c.select(q) for c, q in zip(relation.columns, quoted, strict=True))
    body = f"SELECT {values}, {guard} FROM {relation.source}{where}{selection.tail}"
    if selection.tail:
        body = f"SELECT * FROM ({body})"
    return f"SELECT {literals}, -1 UNION ALL {body}"


def read_few(connection: Connection, relation: Selected, selection: Selection) -> pa.Table:
    """Read a handful of rows; the connection stays the caller's."""
    stream = connection.stream(
        select_sql(relation, selection), selection.where.values, _FEWEST_ROWS
    )
    try:
        batches = [_decoded(b, relation) for b in _without_literals(stream.reader, relation)]
        return pa.Table.from_batches(batches, relation.schema)
    finally:
        stream.close()


_DRIVER_TYPES: dict[Raw, pa.DataType] = {
    "integer": pa.int64(),
    "real": pa.float64(),
    "text": pa.string(),
    "blob": pa.binary(),
}


def _without_literals(reader: pa.RecordBatchReader, relation: Selected) -> Iterator[pa.RecordBatch]:
    """Drop the row of literals; fail where the first batch made the driver choose another type."""
    for column, given in zip(relation.columns, reader.schema.types[:-1], strict=True):
        if given != _DRIVER_TYPES[column.raw]:
            raise _other_kind(column.field.name)
    first = True
    for batch in reader:
        yield batch.slice(1) if first else batch
        first = False


def _other_kind(name: str) -> SourceDataError:
    return SourceDataError(
        f"column {name!r} holds a value of another kind than its declared type",
        command="conduit discover",
    )


def stream_rows(
    connection: Connection, path: Path, relation: Selected, selection: Selection
) -> Reading:
    """Open the read; the reading owns the connection from here on."""
    try:
        rows = _batch_rows(connection, path, relation, selection.batch_bytes)
        stream = connection.stream(select_sql(relation, selection), selection.where.values, rows)
    except Exception as error:
        connection.close()
        raise explain(error, path) from error

    def close() -> None:
        stream.close()
        connection.close()

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in _without_literals(stream.reader, relation):
                yield _decoded(batch, relation)
        except SourceDataError as error:
            raise _with_value(connection, relation, selection, error) from error
        except OSError as error:
            raise _mismatch(connection, relation, selection, error, path) from error
        finally:
            close()

    return Reading(pa.RecordBatchReader.from_batches(relation.schema, batches()), close)


def _decoded(batch: pa.RecordBatch, relation: Selected) -> pa.RecordBatch:
    if pc.max(batch.columns[-1]).as_py():
        raise SourceDataError("a column holds a value of another kind than its declared type")
    arrays = [decode(c, a) for c, a in zip(relation.columns, batch.columns[:-1], strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=relation.schema)


def _mismatch(
    connection: Connection, relation: Selected, selection: Selection, error: OSError, path: Path
) -> Exception:
    found = _MISMATCH.search(str(error))
    if found is None:
        return explain(error, path)
    name = relation.columns[int(found[1])].field.name
    return _with_value(connection, relation, selection, _other_kind(name))


def _with_value(
    connection: Connection, relation: Selected, selection: Selection, error: SourceDataError
) -> SourceDataError:
    """Look for the value that broke a read, so that the error can show it."""
    where = f"({selection.where.sql}) AND " if selection.where.sql else ""
    for column in relation.columns:
        name = DIALECT.quote(column.field.name)
        misfit = " OR ".join(m for m in (column.misfit(name), column.guard(name)) if m)
        try:
            found = connection.rows(
                f"SELECT typeof({name}), substr(CAST({name} AS TEXT), 1, 80) FROM {relation.source}"
                f" WHERE {where}{name} IS NOT NULL AND ({misfit}) LIMIT 1",
                selection.where.values,
            )
        except (OSError, ValueError):
            continue
        if found:
            kind, text = found[0]
            return SourceDataError(
                f"column {column.field.name!r} is declared as {_declared(column)} but holds"
                f" {text!r} ({kind}), which is no {column.field.type}: mend it at the source, or"
                " read it through a query that casts it",
                command="conduit discover",
            )
    return error


def _declared(column: SqliteColumn) -> str:
    native = (column.field.metadata or {}).get(b"conduit:native", b"").decode()
    return native.partition(":")[2] or "nothing"


def _batch_rows(connection: Connection, path: Path, relation: Selected, batch_bytes: int) -> int:
    """Choose rows per batch by the widest row: the driver counts rows, memory counts bytes.

    Finding it reads the rows' headers, not long values; a small file isn't worth it.
    """
    fixed = 8 * len(relation.columns)
    size = path.stat().st_size
    wide = [DIALECT.quote(c.field.name) for c in relation.columns if c.raw in {"text", "blob"}]
    widest = fixed
    if wide:
        sums = " + ".join(f"coalesce(octet_length({q}), 0)" for q in wide)
        limited = (
            relation.source
            if size > _SMALL_FILE_BYTES
            else f"(SELECT * FROM {relation.source} LIMIT 1000)"
        )
        widest += as_int(connection.rows(f"SELECT max({sums}) FROM {limited}")[0][0])
    return max(_FEWEST_ROWS, min(_MOST_ROWS, batch_bytes // max(widest, 1)))
