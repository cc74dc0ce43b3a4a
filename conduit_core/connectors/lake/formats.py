"""The three formats a data file can have: how batches become bytes, and bytes batches again."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.lake.manifest import DataFile
from conduit_core.errors import PublishError, SchemaError
from conduit_core.types import texts
from conduit_core.types.casts import cast_column
from conduit_core.types.dialect import Landing
from conduit_core.types.schema import logical_type

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_READ_ROWS = 65_536
_BLOCK = 1024 * 1024
_COLUMN_BUFFER = 1024 * 1024
ParquetCodec = Literal["zstd", "snappy", "gzip", "lz4", "brotli", "none"]
TextCodec = Literal["none", "gzip", "zstd"]
_SUFFIXES = {"gzip": ".gz", "zstd": ".zst", "none": ""}
_DAMAGE = (pa.ArrowException, OSError, ValueError, EOFError)


class Encoder(Protocol):
    """A data file that is being written."""

    widest: int
    """Bytes of the longest row so far; 0 where it doesn't matter."""

    def write(self, table: pa.Table) -> None:
        """Write rows: a row group, in Parquet."""

    def close(self) -> None:
        """Write what comes last."""


class FileFormat(ABC):
    """A format of data files. Holds options only, so it is safe between threads."""

    suffix: str
    group_bytes: int
    """How many bytes of rows are better written together, at most."""

    @abstractmethod
    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source column lands.

        Raises:
            SchemaError: the format has no place for its type.
        """

    @abstractmethod
    def encoder(self, sink: BinaryIO, schema: pa.Schema) -> Encoder:
        """Begin a data file."""

    @abstractmethod
    def batches(
        self, source: BinaryIO, file: DataFile, schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Read ``columns`` of a data file in their types of ``schema``; NULL where it lacks one."""

    @abstractmethod
    def count(self, source: BinaryIO) -> int | None:
        """Return the rows that a file says it has; None: it doesn't say."""


class ParquetFormat(FileFormat):
    """Parquet: Arrow's types as they are.

    Args:
        compression: the codec of the column chunks.
    """

    suffix = ".parquet"
    group_bytes = 64 * 1024 * 1024

    def __init__(self, compression: ParquetCodec) -> None:
        self._compression = compression

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return the column's own type, or the nearest that Parquet holds."""
        if logical_type(field) == "numeric":
            return Landing("string", pa.string(), "numbers of any precision are kept as text")
        kind = _stored(field.type)
        if not _takes(kind):
            raise SchemaError(
                f"column {field.name!r}: Parquet has no place for the type {field.type}; leave it"
                " out by `columns:`, or cast it at the source",
                command="conduit discover",
            )
        loss = None
        if pa.types.is_duration(kind):
            loss = f"readers other than Arrow's see a duration as its number of {kind.unit}"
        return Landing(str(kind), kind, loss)

    def encoder(self, sink: BinaryIO, schema: pa.Schema) -> Encoder:
        """Begin a file whose row groups are the tables written."""
        return _ParquetEncoder(sink, schema, self._compression)

    def batches(
        self, source: BinaryIO, file: DataFile, schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Stream row groups, the wanted columns only."""
        reader = _parquet(source)
        wanted = pa.schema([schema.field(name) for name in columns])
        if not columns:
            yield from _only_rows(reader.metadata.num_rows)
            return
        there = [name for name in columns if name in reader.schema_arrow.names]
        for batch in reader.iter_batches(
            _READ_ROWS, columns=there or reader.schema_arrow.names[:1]
        ):
            arrays = [
                cast_column(batch.column(f.name), f.type, f.name)
                if f.name in there
                else pa.nulls(batch.num_rows).cast(f.type)
                for f in wanted
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted)

    def count(self, source: BinaryIO) -> int | None:
        """Return the footer's count."""
        return int(_parquet(source).metadata.num_rows)


def _parquet(source: BinaryIO) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, buffer_size=_COLUMN_BUFFER, pre_buffer=False)


def _stored(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type)
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_decimal(kind) and kind.scale < 0:
        precision = kind.precision - kind.scale
        return pa.decimal128(precision, 0) if precision <= 38 else pa.decimal256(precision, 0)
    return kind


def _takes(kind: pa.DataType) -> bool:
    import pyarrow.parquet as pq

    try:
        pq.ParquetWriter(io.BytesIO(), pa.schema([pa.field("x", kind)])).close()
    except (pa.ArrowException, OSError):
        return False
    return True


def _only_rows(rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches without columns: how many rows there are, and nothing of them."""
    empty = pa.RecordBatch.from_arrays([pa.nulls(min(rows, _READ_ROWS))], ["rows"])
    for start in range(0, rows, _READ_ROWS):
        yield empty.slice(0, min(_READ_ROWS, rows - start)).select([])


class _ParquetEncoder:
    def __init__(self, sink: BinaryIO, schema: pa.Schema, compression: ParquetCodec) -> None:
        import pyarrow.parquet as pq

        self.widest = 0
        self._writer = pq.ParquetWriter(sink, schema, compression=compression)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def close(self) -> None:
        self._writer.close()


class _TextFormat(FileFormat):
    """What CSV and JSON lines share: compression of the whole file, lines."""

    group_bytes = 1024 * 1024
    name: str

    def __init__(self, compression: TextCodec) -> None:
        self._compression = compression
        self.suffix = f".{self.name}{_SUFFIXES[compression]}"

    def encoder(self, sink: BinaryIO, schema: pa.Schema) -> Encoder:
        """Begin a file of lines."""
        out: IO[bytes] = sink
        if self._compression != "none":
            raw = pa.PythonFile(cast("io.IOBase", sink), mode="w")
            out = cast("IO[bytes]", pa.CompressedOutputStream(raw, self._compression))
        return _TextEncoder(self, out, schema)

    def count(self, source: BinaryIO) -> int | None:
        """Return None: lines would have to be counted."""
        return None

    def head(self, schema: pa.Schema) -> bytes:
        """Return what a file begins with."""
        return b""

    @abstractmethod
    def lines(self, batch: pa.RecordBatch) -> pa.Array[Any]:
        """Return the batch's lines (``large_string``), each with its line end."""

    def _plain(self, source: BinaryIO) -> pa.NativeFile:
        raw = pa.PythonFile(cast("io.IOBase", source), mode="r")
        if self._compression == "none":
            return raw
        return pa.CompressedInputStream(raw, self._compression)


class _TextEncoder:
    def __init__(self, form: _TextFormat, out: IO[bytes], schema: pa.Schema) -> None:
        self.widest = 0
        self._form, self._out = form, out
        self._out.write(form.head(schema))

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches(max_chunksize=_READ_ROWS):
            lines = self._form.lines(batch)
            longest = pc.max(pc.binary_length(cast("pa.LargeStringArray", lines))).as_py()
            self.widest = max(self.widest, longest or 0)
            self._out.write(_content(lines))

    def close(self) -> None:
        self._out.close()


def _content(lines: pa.Array[Any]) -> pa.Buffer | bytes:
    """Return the lines one after the other: they already lie so in the array's buffer."""
    data = lines.buffers()[2]
    if data is None or len(lines) == 0:
        return b""
    places = pa.Array.from_buffers(
        pa.int64(), len(lines) + 1, [None, lines.buffers()[1]], offset=lines.offset
    )
    first, last = places[0].as_py(), places[-1].as_py()
    return data.slice(first, last - first)


class CsvFormat(_TextFormat):
    """CSV: a header, texts in quotes (``""`` is empty, nothing is NULL), UTF-8, line feeds.

    Args:
        compression: ``none``, ``gzip`` or ``zstd``.
        delimiter: one character.
    """

    name = "csv"

    def __init__(self, compression: TextCodec, delimiter: str) -> None:
        super().__init__(compression)
        self._delimiter = delimiter

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a column lands as text."""
        return texts.text_landing(field, json=False)

    def head(self, schema: pa.Schema) -> bytes:
        """Return the header line."""
        names = ('"' + name.replace('"', '""') + '"' for name in schema.names)
        return (self._delimiter.join(names) + "\n").encode()

    def lines(self, batch: pa.RecordBatch) -> pa.Array[Any]:
        """Return the batch's lines."""
        large = pa.large_string()
        columns = [
            pc.fill_null(texts.csv_texts(column, name), pa.scalar("", large))
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        if len(columns) == 1 and batch.column(0).null_count:
            raise PublishError(
                f"column {batch.schema.names[0]!r}: a NULL in a CSV of one column is an empty line,"
                " which readers skip: load another column beside it, or keep `metadata: [load]`"
            )
        last = texts.joined(columns[-1], pa.scalar("\n", large), pa.scalar("", large))
        delimiter = pa.scalar(self._delimiter, large)
        return texts.joined(*columns[:-1], last, delimiter)

    def batches(
        self, source: BinaryIO, file: DataFile, schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Read the wanted columns as texts, then as what they are."""
        import pyarrow.csv as pacsv

        wanted = pa.schema([schema.field(name) for name in columns])
        included = list(columns) or schema.names[:1]
        reader = pacsv.open_csv(
            cast("IO[bytes]", self._plain(source)),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=max(_BLOCK, 2 * file.widest)
            ),
            parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(schema.names, pa.string()),
                include_columns=included,
                include_missing_columns=True,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            if not columns:
                yield batch.select([])
                continue
            arrays = [texts.from_texts(batch.column(f.name), f.type) for f in wanted]
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted)


class JsonlFormat(_TextFormat):
    """JSON lines: one object a line, every column in each, UTF-8.

    Args:
        compression: ``none``, ``gzip`` or ``zstd``.
    """

    name = "jsonl"

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a column lands as JSON."""
        return texts.text_landing(field, json=True)

    def lines(self, batch: pa.RecordBatch) -> pa.Array[Any]:
        """Return the batch's lines."""
        names = batch.schema.names
        columns = [
            texts.json_texts(column, name)
            for name, column in zip(names, batch.columns, strict=True)
        ]
        return texts.json_objects(names, columns, "}\n")

    def batches(
        self, source: BinaryIO, file: DataFile, schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Parse block by block: with Arrow's parser, or Python's where a number isn't finite."""
        wanted = pa.schema([schema.field(name) for name in columns])
        for block in _blocks(self._plain(source), max(_BLOCK, file.widest)):
            if not columns:
                yield from _only_rows(block.count(b"\n"))
                continue
            yield _parsed(block, wanted)


def _blocks(stream: pa.NativeFile, size: int) -> Iterator[bytes]:
    """Yield blocks of whole lines."""
    rest = b""
    while data := stream.read(size):
        block = rest + data
        cut = block.rfind(b"\n") + 1
        if cut:
            yield block[:cut]
        rest = block[cut:]
    if rest:
        yield rest


def _parsed(block: bytes, wanted: pa.Schema) -> pa.RecordBatch:
    import pyarrow.json as paj

    raw = pa.schema([(f.name, _as_parsed(f.type)) for f in wanted])
    try:
        table = paj.read_json(
            cast("IO[bytes]", pa.BufferReader(block)),
            read_options=paj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=paj.ParseOptions(explicit_schema=raw, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid as error:
        if "changed from" not in str(error):
            raise
        return _parsed_slowly(block, wanted)
    arrays: list[pa.Array[Any]] = []
    for f in wanted:
        column = table.column(f.name).combine_chunks()
        arrays.append(column if column.type == f.type else texts.from_texts(column, f.type))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _as_parsed(kind: pa.DataType) -> pa.DataType:
    t = pa.types
    plain = t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_decimal(kind)
    return kind if plain or t.is_nested(kind) else pa.string()


def _parsed_slowly(block: bytes, wanted: pa.Schema) -> pa.RecordBatch:
    """Parse a block that has a NaN or an infinity, which is a text among numbers."""
    import json

    records = [
        json.loads(line, parse_float=str, parse_int=str) for line in block.splitlines() if line
    ]
    arrays: list[pa.Array[Any]] = []
    for f in wanted:
        values = [record.get(f.name) for record in records]
        if pa.types.is_nested(f.type):
            arrays.append(pa.array([_restored(v, f.type) for v in values], f.type))
        elif pa.types.is_boolean(f.type):
            arrays.append(pa.array(values, f.type))
        else:
            spelled = [None if v is None else str(v) for v in values]
            arrays.append(texts.from_texts(pa.array(spelled, pa.string()), f.type))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _restored(value: Any, kind: pa.DataType) -> object:
    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_restored(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        members = [kind.field(i) for i in range(kind.num_fields)]
        return {m.name: _restored(value.get(m.name), m.type) for m in members}
    if pa.types.is_integer(kind):
        return int(value)
    return float(value) if pa.types.is_floating(kind) else value
