"""CSV: read as texts by Arrow's streaming parser, then turned into the sampled types.

Every column arrives as text first, so that NULL and the empty text stay two things (an unquoted
empty field is NULL, a quoted one is empty), codes with leading zeros stay as they are, and a value
that isn't of its column's type can be named with its line.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.files.columns import Column, Field
from conduit_core.connectors.files.convert import BadValueError, infer, to_type
from conduit_core.connectors.files.formats import SAMPLE_BYTES, Format, Sample, sliced, with_types
from conduit_core.connectors.files.opening import File, head_of, what_is
from conduit_core.connectors.files.options import CsvOptions
from conduit_core.errors import SchemaError, SourceDataError

if TYPE_CHECKING:
    import pyarrow.csv as pacsv

_HEAD = 256 * 1024
_BLOCK = 1024 * 1024
_MAX_BLOCK = 256 * 1024 * 1024
_MIN_SAMPLE = 128 * 1024
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class _Row:
    """A record of a file: its number (from 0, header included) and the line it starts on."""

    number: int
    line: int
    values: list[str]


class CsvFormat(Format):
    """Reads ``.csv`` (and ``.tsv`` where the delimiter is a tab)."""

    def __init__(self, options: CsvOptions) -> None:
        self._o = options
        self.suffixes = (".csv", ".tsv") if options.delimiter == "\t" else (".csv",)

    def sample(self, files: Sequence[File], *, whole: bool) -> Sample:
        """Infer each column's type from the texts of all sampled files together."""
        budget = max(SAMPLE_BYTES // max(len(files), 1), _MIN_SAMPLE)
        texts: dict[str, list[pa.StringArray]] = {}
        rows = size = 0
        total: int | None = 0
        for file in files:
            names = self._names(file)
            taken = 0
            for name in names:
                texts.setdefault(name, [])
            for batch in self._texts(file, names, names, min(_BLOCK, budget)) if names else ():
                columns = cast("list[pa.StringArray]", batch.columns)
                for name, column in zip(names, columns, strict=True):
                    texts[name].append(column)
                    taken += (pc.sum(pc.binary_length(column)).as_py() or 0) + batch.num_rows
                rows += batch.num_rows
                if taken >= budget:
                    whole = False
                    break
            size += taken
            content = file.content_size()
            total = None if total is None or content is None else total + content
        if not texts:
            raise SchemaError(f"{', '.join(map(str, files[:3]))}: empty, without a header line")
        estimate = rows if whole else None if total is None else rows * total // max(size, 1)
        fields: dict[str, Field] = {}
        untyped = []
        for name, arrays in texts.items():
            kind = infer(pa.chunked_array(arrays, pa.string()))
            if kind is None and name not in self._o.types:
                untyped.append(name)
            fields[name] = pa.field(name, kind or pa.string())
        notes = [f"{', '.join(untyped)}: no value in the sample, read as text"] if untyped else []
        return Sample(with_types(fields, self._o.types, whole=whole), estimate, tuple(notes))

    def batches(
        self, file: File, wanted: pa.Schema, *, strict: bool, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        """Read the wanted columns as texts, then convert each batch."""
        names = self._names(file)
        extra = [name for name in names if name not in wanted.names]
        if extra and strict:
            raise SourceDataError(
                f"{file}: has a column {extra[0]!r} that the files looked at by the plan don't"
                " have: add it under the source's types:, or name the stream's columns"
            )
        fields = [field for field in wanted if field.name in names]
        include = [field.name for field in fields] or names[:1]
        done = 0
        for batch in self._texts(file, names, include, _BLOCK) if names else ():
            arrays: list[Column] = []
            for field, column in zip(fields, batch.columns, strict=False):
                try:
                    arrays.append(to_type(column, field.type))
                except BadValueError as bad:
                    raise self._bad_value(file, field, bad, done + bad.row) from None
            done += batch.num_rows
            if not fields:
                yield batch
            else:
                typed = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
                yield from sliced(typed, batch_bytes)

    # --- one file ---------------------------------------------------------------------------------

    def _names(self, file: File) -> list[str]:
        """Return the file's column names; none for an empty file."""
        with file.open() as stream:
            head = head_of(stream, _HEAD)
        if not head.strip():
            return []
        self._sniff(file, head)
        cut = len(head) == _HEAD and b"\n" not in head
        first = next(self._rows(file) if cut else self._parse(io.BytesIO(head)), None)
        if first is None:
            return []
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
        return names

    def _sniff(self, file: File, head: bytes) -> None:
        if self._o.encoding.lower().startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
            return  # half its bytes may be zero
        what = what_is(head)
        if what is None and head.lstrip()[:2] in (b'{"', b"[{"):
            what = "JSON"
        if what is not None:
            raise SourceDataError(f"{file}: not a CSV file; it is {what}")

    def _texts(
        self, file: File, names: list[str], include: list[str], block: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the included columns as texts; a row longer than a block grows the block."""
        done = 0
        while True:
            with file.open() as stream:
                try:
                    with self._reader(stream, names, include, block, done) as reader:
                        for batch in reader:
                            done += batch.num_rows
                            yield batch
                    return
                except pa.ArrowInvalid as error:
                    message = str(error)
                    if "Empty CSV file" in message:
                        return
                    if "straddl" not in message or block >= _MAX_BLOCK:
                        raise self._malformed(file, len(names), message) from None
                    block *= 4

    def _reader(
        self, stream: pa.NativeFile, names: list[str], include: list[str], block: int, done: int
    ) -> pacsv.CSVStreamingReader:
        import pyarrow.csv as pacsv

        return pacsv.open_csv(
            cast("IO[bytes]", stream),
            read_options=pacsv.ReadOptions(
                block_size=block,
                column_names=names,
                skip_rows_after_names=done + (1 if self._o.header else 0),
                encoding=self._o.encoding,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._o.delimiter,
                quote_char=self._o.quote or False,
                newlines_in_values=self._o.quote is not None,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=include,
                null_values=["", *self._o.null_values],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    # --- errors: found again, slowly, with Python's reader, to name the line ----------------------

    def _rows(self, file: File) -> Iterator[_Row]:
        with file.open() as stream:
            yield from self._parse(cast("IO[bytes]", stream))

    def _parse(self, stream: IO[bytes]) -> Iterator[_Row]:
        """Read records one by one (blank lines aside, as Arrow does)."""
        codec = "utf-8-sig" if self._o.encoding.lower() in ("utf-8", "utf8") else self._o.encoding
        limit = csv.field_size_limit(sys.maxsize)
        try:
            text = io.TextIOWrapper(stream, codec, errors="surrogateescape", newline="")
            reader = csv.reader(
                text,
                delimiter=self._o.delimiter,
                quotechar=self._o.quote,
                quoting=csv.QUOTE_MINIMAL if self._o.quote else csv.QUOTE_NONE,
            )
            line, number = 1, 0
            for values in reader:
                if values:
                    yield _Row(number, line, values)
                    number += 1
                line = reader.line_num + 1
        finally:
            csv.field_size_limit(limit)

    def _find(self, file: File, wrong: Callable[[_Row], bool]) -> _Row | None:
        try:
            return next((row for row in self._rows(file) if wrong(row)), None)
        except csv.Error:
            return None

    def _malformed(self, file: File, columns: int, message: str) -> SourceDataError:
        if "UTF8" in message or "codec can't decode" in message:
            row = self._find(
                file, lambda r: any("\udc80" <= c <= "\udcff" for v in r.values for c in v)
            )
            where = f", line {row.line}" if row else ""
            return SourceDataError(
                f"{file}{where}: not {self._o.encoding} text: set the source's encoding:"
                " (latin-1, cp1252, utf-16)"
            )
        row = self._find(file, lambda r: len(r.values) != columns)
        if row is None:
            return SourceDataError(f"{file}: {message.removeprefix('CSV parse error: ')}")
        text = self._o.delimiter.join(row.values)
        return SourceDataError(
            f"{file}, line {row.line}: {len(row.values)} values where the header has {columns}:"
            f" {_short(text)}"
        )

    def _bad_value(
        self, file: File, field: Field, bad: BadValueError, record: int
    ) -> SourceDataError:
        number = record + (1 if self._o.header else 0)
        row = self._find(file, lambda r: r.number == number)
        where = f", line {row.line}" if row else f", record {number}"
        return SourceDataError(
            f"{file}{where}, column {field.name!r}: {_short(bad.value)} is not {field.type}, the"
            f" type of the values sampled. Remedy: types: {{{field.name}: text}} on the source, or"
            " a type that fits all values"
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
