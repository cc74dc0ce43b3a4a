"""JSON lines: blocks cut at line ends; Arrow's parser where it can, Python's for what it can't.

Arrow's parser gives columns but neither json text nor decimals; a stream with such a column takes
the slower way over records. Which line an error is in is found with Python's parser.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.arrow import Column, Field
from conduit_core.connectors.base import SAMPLE_BYTES
from conduit_core.connectors.files.convert import BadValueError, to_type
from conduit_core.connectors.files.formats import Format, Sample, sliced
from conduit_core.connectors.files.opening import File, head_of, what_is
from conduit_core.connectors.files.options import TypedOptions
from conduit_core.connectors.files.records import (
    Placed,
    Record,
    build,
    kind_of,
    mixed,
    sample_records,
    unknown,
)
from conduit_core.errors import SourceDataError
from conduit_core.types.schema import logical_type

_BLOCK = 1024 * 1024


class JsonlFormat(Format):
    """Reads ``.jsonl`` and ``.ndjson``: one object a line."""

    suffixes = (".jsonl", ".ndjson")

    def __init__(self, options: TypedOptions) -> None:
        self._types = options.types

    def sample(
        self, files: Sequence[File], *, whole: bool, limit: int | None = SAMPLE_BYTES
    ) -> Sample:
        """Infer the fields' types from the first lines of the sampled files together."""
        return sample_records(files, self._types, _sampled, whole=whole, limit=limit)

    def batches(
        self,
        file: File,
        wanted: pa.Schema,
        *,
        strict: bool,
        batch_bytes: int,
        lenient: frozenset[str] = frozenset(),
    ) -> Iterator[pa.RecordBatch]:
        """Parse block by block."""
        by_records = any(
            logical_type(f) == "json" or pa.types.is_decimal(f.type) or f.name in self._types
            for f in wanted
        )
        for line, block in _blocks(file, min(_BLOCK, batch_bytes)):
            if by_records or not len(wanted):
                batch = self._by_records(file, line, block, wanted, lenient, strict=strict)
            else:
                batch = self._by_arrow(file, line, block, wanted, lenient, strict=strict)
            yield from sliced(batch, batch_bytes)

    def _by_arrow(
        self,
        file: File,
        line: int,
        block: bytes,
        wanted: pa.Schema,
        lenient: frozenset[str],
        *,
        strict: bool,
    ) -> pa.RecordBatch:
        import pyarrow.json as paj

        raw = pa.schema([(f.name, _as_parsed(f.type)) for f in wanted])
        try:
            block.decode()  # Arrow takes broken UTF-8 as it is
            table = paj.read_json(
                cast("IO[bytes]", pa.BufferReader(block)),
                read_options=paj.ReadOptions(use_threads=False, block_size=len(block) + 1),
                parse_options=paj.ParseOptions(
                    explicit_schema=raw,
                    newlines_in_values=False,
                    unexpected_field_behavior="error" if strict else "ignore",
                ),
            )
            columns: list[Column] = [_one(table, f, file, line, block, lenient) for f in wanted]
            if any(pc.any(pc.is_inf(c)).as_py() for c in columns if pa.types.is_floating(c.type)):
                return self._by_records(file, line, block, wanted, lenient, strict=strict)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            # Python's parser names the line; if it finds nothing wrong, it also gives the batch.
            batch = self._by_records(file, line, block, wanted, lenient, strict=strict)
            if isinstance(error, UnicodeDecodeError):
                raise SourceDataError(f"{file}: not UTF-8 from line {line} on") from None
            return batch
        return pa.RecordBatch.from_arrays(columns, schema=wanted)

    def _by_records(
        self,
        file: File,
        line: int,
        block: bytes,
        wanted: pa.Schema,
        lenient: frozenset[str],
        *,
        strict: bool,
    ) -> pa.RecordBatch:
        numbered = list(_records(file, line, block))
        records = [record for _, record in numbered]
        places = [f"line {number}" for number, _ in numbered]
        if strict and (found := unknown(records, frozenset(wanted.names))) is not None:
            raise SourceDataError(
                f"{file}, {places[found[0]]}: a field {found[1]!r} that the records looked at by"
                f" the plan don't have: add types: {{{found[1]}: text}} on the source, or name the"
                " stream's columns"
            )
        return build(
            records, wanted, file=str(file), places=places, loose=self._types, lenient=lenient
        )


def _one(
    table: pa.Table, f: Field, file: File, line: int, block: bytes, lenient: frozenset[str]
) -> Column:
    column = table.column(f.name).combine_chunks()
    if column.type == f.type:
        return column
    try:
        return to_type(column, f.type)
    except BadValueError as bad:
        if f.name in lenient:
            raise pa.ArrowInvalid(bad.value) from None  # by records, then
        numbers = [number for number, _ in _records(file, line, block)]
        raise mixed(
            f"{file}, line {numbers[bad.row]}", f.name, repr(bad.value[:80]), f"it is {f.type}"
        ) from None


def _as_parsed(kind: pa.DataType) -> pa.DataType:
    """Return the type Arrow's parser is asked for: what is spelled as a text comes as a text."""
    t = pa.types
    plain = t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_list(kind)
    return kind if plain else pa.string()


def _blocks(file: File, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number of its first line, block of whole lines); a long line makes a long block."""
    with file.open() as stream:
        head = head_of(stream, size)
        what = what_is(head)
        if what is not None:
            raise SourceDataError(f"{file}: not JSON lines; it is {what}")
        rest = [head.removeprefix(b"\xef\xbb\xbf")]
        line = 1
        while True:
            cut = rest[-1].rfind(b"\n") + 1
            if cut:
                block = b"".join([*rest[:-1], rest[-1][:cut]])
                rest = [rest[-1][cut:]]
                if block.strip():
                    yield line, block
                line += block.count(b"\n")
            data = stream.read(size)
            if not data:
                break
            rest.append(data)
        block = b"".join(rest)
        if block.strip():
            yield line, block


def _records(file: File, line: int, block: bytes) -> Iterator[tuple[int, Record]]:
    """Parse a block line by line with Python, which says exactly where a line is wrong."""
    for offset, raw in enumerate(block.split(b"\n")):
        if not raw.strip():
            continue
        where = f"{file}, line {line + offset}"
        try:
            record = json.loads(raw, parse_float=Decimal)
        except UnicodeDecodeError as error:
            raise SourceDataError(f"{where}: not UTF-8 text: {error.reason}") from None
        except json.JSONDecodeError as error:
            hint = "; one object a line is JSON lines, one array is type: json" if line == 1 else ""
            raise SourceDataError(
                f"{where}, column {error.colno}: not JSON: {error.msg}{hint}"
            ) from None
        if not isinstance(record, dict):
            hint = " (an array of objects is type: json)" if isinstance(record, list) else ""
            raise SourceDataError(f"{where}: {kind_of(record)} where an object must be{hint}")
        yield line + offset, record


def _sampled(file: File, budget: int) -> Iterator[tuple[Iterable[Placed], int]]:
    """Yield the records of each block with their places, and the bytes taken so far."""
    taken = 0
    for line, block in _blocks(file, min(_BLOCK, budget)):
        taken += len(block)
        records = _records(file, line, block)
        yield ((f"{file}, line {number}", record) for number, record in records), taken
