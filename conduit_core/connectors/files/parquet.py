"""Parquet: the schema from the footer, row groups streamed in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.arrow import Field
from conduit_core.connectors.base import SAMPLE_BYTES
from conduit_core.connectors.files.formats import Format, Sample, sliced
from conduit_core.connectors.files.opening import File, what_is
from conduit_core.connectors.plain import plain, plain_field
from conduit_core.errors import SchemaError, SourceDataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_COLUMN_BUFFER = 1024 * 1024
_MAX_BATCH_ROWS = 131_072


class ParquetFormat(Format):
    """Reads ``.parquet``."""

    suffixes = (".parquet", ".pq")

    def sample(
        self, files: Sequence[File], *, whole: bool, limit: int | None = SAMPLE_BYTES
    ) -> Sample:
        """Unite the footers' schemas; a column has one type in all files."""
        fields: dict[str, Field] = {}
        origin: dict[str, File] = {}
        notes: list[str] = []
        rows = 0
        for file in files:
            with file.raw() as handle:
                reader = _open(file, handle)
                rows += reader.metadata.num_rows
                for field in reader.schema_arrow:
                    mine = plain_field(field)
                    known = fields.setdefault(mine.name, mine)
                    origin.setdefault(mine.name, file)
                    if not known.equals(mine, check_metadata=True):
                        raise SchemaError(
                            f"column {mine.name!r} is {_spell(known)} in {origin[mine.name]} and"
                            f" {_spell(mine)} in {file}: make streams of their own"
                        )
        nulls = [f.name for f in fields.values() if pa.types.is_null(f.type)]
        if nulls:
            notes.append(f"{', '.join(nulls)}: no type in the file (all NULL), read as text")
            for name in nulls:
                fields[name] = pa.field(name, pa.string())
        schema = pa.schema(list(fields.values()))
        return Sample(schema, rows if whole else None, tuple(notes))

    def batches(
        self,
        file: File,
        wanted: pa.Schema,
        *,
        strict: bool,
        batch_bytes: int,
        lenient: frozenset[str] = frozenset(),
    ) -> Iterator[pa.RecordBatch]:
        """Stream the row groups' wanted columns."""
        with file.raw() as handle:
            reader = _open(file, handle)
            there = reader.schema_arrow
            self._compare(file, there, wanted, strict=strict)
            names = [field.name for field in wanted if field.name in there.names]
            rows = max(1, sum(reader.metadata.row_group(i).num_rows for i in _groups(reader)))
            size = sum(reader.metadata.row_group(i).total_byte_size for i in _groups(reader))
            step = int(min(max(batch_bytes * rows // max(size, 1), 1), _MAX_BATCH_ROWS))
            fields = [wanted.field(name) for name in names]
            for batch in reader.iter_batches(step, columns=names):
                if not names:
                    yield batch
                    continue
                arrays = [plain(batch.column(f.name), f.type) for f in fields]
                yield from sliced(
                    pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), batch_bytes
                )

    @staticmethod
    def _compare(file: File, there: pa.Schema, wanted: pa.Schema, *, strict: bool) -> None:
        for field in there:
            position = wanted.get_field_index(field.name)
            if position < 0:
                if strict:
                    raise SourceDataError(
                        f"{file}: has a column {field.name!r} that the files looked at by the plan"
                        " don't have: name the stream's columns, or make it a stream of its own"
                    )
                continue
            mine, known = plain_field(field), wanted.field(position)
            if not pa.types.is_null(mine.type) and mine.type != known.type:
                raise SourceDataError(
                    f"{file}: column {field.name!r} is {_spell(mine)} here and {_spell(known)} in"
                    " the files looked at by the plan: make it a stream of its own"
                )


def _open(file: File, handle: pa.NativeFile) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    head = handle.read(4) if file.entry.size >= 4 else b""
    if head != b"PAR1":
        raise SourceDataError(
            f"{file}: not a Parquet file; it is {what_is(head) or 'something else'}"
            if file.entry.size
            else f"{file}: not a Parquet file; it is empty"
        )
    reader = pq.ParquetFile(handle, buffer_size=_COLUMN_BUFFER, pre_buffer=False)
    names = reader.schema_arrow.names
    if len(set(names)) < len(names):
        raise SchemaError(f"{file}: a column's name is there twice: {', '.join(sorted(names))}")
    return reader


def _groups(reader: pq.ParquetFile) -> range:
    return range(reader.metadata.num_row_groups)


def _spell(field: Field) -> str:
    tag = (field.metadata or {}).get(b"conduit:type")
    return tag.decode() if tag else str(field.type)
