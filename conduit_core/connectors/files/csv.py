"""CSV: read as texts by Arrow's streaming parser, then turned into the sampled types.

Every column arrives as text first, so that NULL and the empty text stay two things (an unquoted
empty field is NULL, a quoted one is empty), codes with leading zeros stay as they are, and a value
that isn't of its column's type can be named with its line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.arrow import Column
from conduit_core.connectors.base import SAMPLE_BYTES
from conduit_core.connectors.files.convert import BadValueError, Inference, to_type
from conduit_core.connectors.files.csvlines import CsvLines
from conduit_core.connectors.files.formats import (
    Format,
    Sample,
    share,
    sliced,
    with_types,
)
from conduit_core.connectors.files.opening import File, head_of, what_is
from conduit_core.connectors.files.options import CsvOptions
from conduit_core.connectors.files.sifting import Unreadable, sift
from conduit_core.errors import SchemaError, SourceDataError

if TYPE_CHECKING:
    import pyarrow.csv as pacsv

_HEAD = 256 * 1024
_BLOCK = 1024 * 1024
_MAX_BLOCK = 256 * 1024 * 1024
_MIN_SAMPLE = 128 * 1024


@dataclass(frozen=True, slots=True)
class _Start:
    """What a file begins with: its columns' names, and its whole content where that is small."""

    names: list[str]
    content: bytes | None

    def open(self, file: File) -> AbstractContextManager[pa.NativeFile]:
        return file.open() if self.content is None else pa.BufferReader(self.content)


class CsvFormat(Format):
    """Reads ``.csv`` (and ``.tsv`` where the delimiter is a tab)."""

    def __init__(self, options: CsvOptions) -> None:
        self._o = options
        self._lines = CsvLines(options)
        self.suffixes = (".csv", ".tsv") if options.delimiter == "\t" else (".csv",)

    def sample(
        self, files: Sequence[File], *, whole: bool, limit: int | None = SAMPLE_BYTES
    ) -> Sample:
        """Infer each column's type from the texts of all sampled files together."""
        budget = share(limit, files, _MIN_SAMPLE)
        columns: dict[str, Inference] = {}
        rows = size = 0
        total: int | None = 0
        for file in files:
            start = self._start(file)
            names = start.names
            taken = 0
            for name in names:
                columns.setdefault(name, Inference())
            for batch in self._texts(file, start, names, min(_BLOCK, budget)):
                for name, column in zip(names, batch.columns, strict=True):
                    texts = cast("pa.StringArray", column)
                    columns[name].add(pa.chunked_array([texts], pa.string()))
                    taken += (pc.sum(pc.binary_length(texts)).as_py() or 0) + batch.num_rows
                rows += batch.num_rows
                if taken >= budget:
                    whole = False
                    break
            size += taken
            content = file.content_size()
            total = None if total is None or content is None else total + content
        if not columns:
            raise SchemaError(f"{', '.join(map(str, files[:3]))}: empty, without a header line")
        estimate = rows if whole else None if total is None else rows * total // max(size, 1)
        untyped = [n for n, c in columns.items() if c.kind is None and n not in self._o.types]
        notes = [f"{', '.join(untyped)}: no value in the sample, read as text"] if untyped else []
        fields = {name: pa.field(name, c.kind or pa.string()) for name, c in columns.items()}
        schema = with_types(fields, self._o.types, whole=whole)
        nulls = {n: rows - c.rows + c.nulls(schema.field(n).type) for n, c in columns.items()}
        return Sample(schema, estimate, tuple(notes), rows, whole, nulls)

    def batches(
        self,
        file: File,
        wanted: pa.Schema,
        *,
        strict: bool,
        batch_bytes: int,
        lenient: frozenset[str] = frozenset(),
    ) -> Iterator[pa.RecordBatch]:
        """Read the wanted columns as texts, then convert each batch."""
        start = self._start(file)
        names = start.names
        extra = [name for name in names if name not in wanted.names]
        if extra and strict:
            raise SourceDataError(
                f"{file}: has a column {extra[0]!r} that the files looked at by the plan don't"
                " have: add it under the source's types:, or name the stream's columns"
            )
        fields = [field for field in wanted if field.name in names]
        include = [field.name for field in fields]
        include += [] if not names or names[-1] in include else names[-1:]
        done = 0
        for batch in self._texts(file, start, include, _BLOCK):
            arrays: list[Column] = []
            unreadable = Unreadable()
            for field, column in zip(fields, batch.columns, strict=False):
                try:
                    if field.name not in lenient:
                        arrays.append(to_type(column, field.type))
                        continue
                    typed, marks = sift(column, field.type)
                    arrays.append(typed)
                    if marks is not None:
                        unreadable.add(field.name, marks, column.filter(marks).to_pylist())
                except BadValueError as bad:
                    raise self._lines.bad_value(file, field, bad, done + bad.row) from None
            done += batch.num_rows
            if not fields:
                yield batch
            else:
                made = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
                yield from sliced(unreadable.beside(made), batch_bytes)

    def _start(self, file: File) -> _Start:
        """Return the file's column names (none for an empty file), and all of a small one."""
        with file.open() as stream:
            head = head_of(stream, _HEAD)
        if not head.strip():
            return _Start([], b"")
        self._sniff(file, head)
        small = len(head) < _HEAD
        whole = small or b"\n" in head
        first = next(
            self._lines.rows(file) if not whole else self._lines.parse(io.BytesIO(head)), None
        )
        if first is None:
            return _Start([], b"")
        if not self._o.header or self._o.columns is not None:
            names = list(self._o.columns or (f"column_{i + 1}" for i in range(len(first.values))))
            if len(names) != len(first.values):
                raise SchemaError(
                    f"{file}: columns: names {len(names)}, the first line has {len(first.values)}"
                )
        else:
            names = [value or f"column_{i + 1}" for i, value in enumerate(first.values)]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise SchemaError(f"{file}: column {twice[0]!r} is there twice: name them by columns:")
        if len(names) == 1 and self._o.delimiter == ",":
            other = next((d for d in ";\t|" if d in names[0]), None)
            if other is not None:
                raise SchemaError(f"{file}: one column {names[0]!r}: set delimiter: {other!r}")
        return _Start(names, head if small else None)

    def _sniff(self, file: File, head: bytes) -> None:
        if self._o.encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
            return  # half its bytes may be zero
        what = what_is(head)
        if what is None and head.lstrip()[:2] in (b'{"', b"[{"):
            what = "JSON"
        if what is not None:
            raise SourceDataError(f"{file}: not a CSV file; it is {what}")

    def _texts(
        self, file: File, start: _Start, include: list[str], block: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the included columns as texts; a row longer than a block grows the block."""
        done, names = 0, start.names
        while names:
            with start.open(file) as stream:
                try:
                    with self._reader(stream, start, include, block, done) as reader:
                        last: pa.RecordBatch | None = None
                        for last in reader:
                            done += last.num_rows
                            yield last
                    self._lines.refuse_open_quote(file, names[-1], last)
                    return
                except (pa.ArrowInvalid, UnicodeError) as error:
                    message = str(error)
                    if "Empty CSV file" in message:
                        return
                    if "straddl" not in message or block >= _MAX_BLOCK:
                        raise self._lines.malformed(file, len(names), message) from None
                    block *= 4

    def _reader(
        self, stream: pa.NativeFile, start: _Start, include: list[str], block: int, done: int
    ) -> pacsv.CSVStreamingReader:
        import pyarrow.csv as pacsv

        return pacsv.open_csv(
            cast("IO[bytes]", stream),
            read_options=pacsv.ReadOptions(
                use_threads=start.content is None,
                block_size=block,
                column_names=start.names,
                skip_rows_after_names=done + (1 if self._o.header else 0),
                encoding=self._o.encoding,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._o.delimiter,
                quote_char=self._o.quote or False,
                newlines_in_values=self._o.quote is not None,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(start.names, pa.string()),
                include_columns=include,
                null_values=["", *self._o.null_values],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
