"""What a file format must do: sample files for a schema, and read one file as record batches."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from conduit_core.connectors.arrow import Column, Field
from conduit_core.connectors.base import SAMPLE_BYTES
from conduit_core.connectors.files.convert import named_field
from conduit_core.connectors.files.opening import File
from conduit_core.errors import SchemaError


@dataclass(frozen=True, slots=True)
class Sample:
    """What sampling gave: every column that was seen, and estimates where they cost nothing.

    Args:
        schema: the columns.
        rows_estimate: rows of all files; those there are where ``whole``.
        notes: for people.
        rows: how many were looked at; None: none, the files say their types themselves.
        whole: whether these are all.
        nulls: in how many of these rows each column is NULL.
    """

    schema: pa.Schema
    rows_estimate: int | None = None
    notes: tuple[str, ...] = ()
    rows: int | None = None
    whole: bool = False
    nulls: Mapping[str, int] = field(default_factory=dict)


class Format(ABC):
    """A file format. Holds options only, so it is safe between threads."""

    suffixes: tuple[str, ...]

    @abstractmethod
    def sample(
        self, files: Sequence[File], *, whole: bool, limit: int | None = SAMPLE_BYTES
    ) -> Sample:
        """Return the one schema of these files.

        Args:
            files: those to look at.
            whole: whether the stream has no others.
            limit: about how many bytes to look at, over all files; None: everything.

        Raises:
            SchemaError: two files disagree; both are named, with the column.
            SourceDataError: a file isn't of this format.
        """

    @abstractmethod
    def batches(
        self,
        file: File,
        wanted: pa.Schema,
        *,
        strict: bool,
        batch_bytes: int,
        lenient: frozenset[str] = frozenset(),
    ) -> Iterator[pa.RecordBatch]:
        """Read the wanted columns that the file has, in the wanted types.

        Args:
            file: the file, read from its start to its end.
            wanted: names and types; a batch may lack columns that the file lacks.
            strict: whether columns that aren't wanted are an error.
            batch_bytes: about how large a batch should be.
            lenient: columns in which a value of another type is no error: a batch that has one has
                a column ``UNREADABLE`` more.

        Raises:
            SourceDataError: with file, line or record, column, value and remedy.
        """


def with_types(
    inferred: Mapping[str, Field], types: Mapping[str, str], *, whole: bool
) -> pa.Schema:
    """Put the user's ``types:`` over what was inferred.

    A typed column that wasn't seen is added (NULL where a file lacks it), unless every file was
    seen from start to end: then it is a misspelling.
    """
    fields = dict(inferred)
    for name, text in types.items():
        if name not in fields and whole:
            raise SchemaError(
                f"types: there is no column {name!r}; there are {', '.join(fields) or 'none'}"
            )
        fields[name] = named_field(name, text)
    return pa.schema(list(fields.values()))


def share(limit: int | None, files: Sequence[File], least: int) -> int:
    """Return how many bytes of each file to look at."""
    return sys.maxsize if limit is None else max(limit // max(len(files), 1), least)


def conform(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """Return the batch in exactly the wanted names, order and types; NULL for what it lacks."""
    if batch.schema.equals(wanted, check_metadata=True):
        return batch
    arrays: list[Column] = []
    for f in wanted:
        position = batch.schema.get_field_index(f.name)
        if position < 0:
            arrays.append(pa.nulls(batch.num_rows, f.type))
        else:
            column = batch.column(position)
            arrays.append(column if column.type == f.type else column.cast(f.type))
    if not arrays:
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def sliced(batch: pa.RecordBatch, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a batch into pieces of about ``batch_bytes``; an empty one into none."""
    if batch.num_rows == 0:
        return
    pieces = min(batch.num_rows, max(1, round(batch.nbytes / max(batch_bytes, 1))))
    step = -(-batch.num_rows // pieces)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)
