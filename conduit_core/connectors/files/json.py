"""JSON: a top-level array of objects, or one object, parsed record by record in bounded memory.

The parser gives records, not columns, so this source is bound by the CPU; JSON lines are faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, cast

from conduit_core.connectors.base import SAMPLE_BYTES
from conduit_core.connectors.files.formats import Format, Sample, sliced
from conduit_core.connectors.files.opening import File, head_of, what_is
from conduit_core.connectors.files.options import JsonOptions
from conduit_core.connectors.files.records import (
    Placed,
    Record,
    build,
    exact,
    kind_of,
    sample_records,
    unknown,
)
from conduit_core.connectors.registry import missing_driver
from conduit_core.errors import SourceDataError

if TYPE_CHECKING:
    import pyarrow as pa

_BOM = b"\xef\xbb\xbf"
_BUFFER = 64 * 1024
_MAX_ROWS = 16_384


class _Counted:
    """A stream that counts bytes; from ``fine_from`` on it gives one at a time, to find a place."""

    def __init__(self, stream: pa.NativeFile, fine_from: int | None = None) -> None:
        self._stream = stream
        self._fine_from = fine_from
        self.position = 0
        self.before = 0
        self.lines = 0

    def read(self, size: int = -1) -> bytes:
        if self._fine_from is not None and size > 0:
            size = min(size, max(self._fine_from - self.position, 1))
        data = self._stream.read(size)
        self.before = self.position
        self.position += len(data)
        if self._fine_from is not None:
            self.lines += data.count(b"\n")
        return data


class JsonFormat(Format):
    """Reads ``.json``."""

    suffixes = (".json",)

    def __init__(self, options: JsonOptions) -> None:
        self._types = options.types

    def sample(
        self, files: Sequence[File], *, whole: bool, limit: int | None = SAMPLE_BYTES
    ) -> Sample:
        """Infer the fields' types from the first records of the sampled files together."""
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
        """Collect records up to about ``batch_bytes`` of the file, then make columns."""
        known = frozenset(wanted.names) if strict else None
        first, start = 1, 0
        rows: list[Record] = []

        def flush() -> Iterator[pa.RecordBatch]:
            if known is not None and (found := unknown(rows, known)) is not None:
                raise SourceDataError(
                    f"{file}, record {first + found[0]}: a field {found[1]!r} that the records"
                    f" looked at by the plan don't have: add types: {{{found[1]}: text}} on the"
                    " source, or name the stream's columns"
                )
            yield from sliced(
                build(
                    rows,
                    wanted,
                    file=str(file),
                    places=first,
                    loose=self._types,
                    lenient=lenient,
                ),
                batch_bytes,
            )

        for record, position in _records(file, digits=exact(wanted)):
            rows.append(record)
            if len(rows) >= _MAX_ROWS or position - start >= batch_bytes:
                yield from flush()
                first, start = first + len(rows), position
                rows = []
        if rows:
            yield from flush()


def _ijson() -> ModuleType:
    try:
        import ijson
    except ImportError as error:
        raise missing_driver("json", "json", error) from error
    return cast("ModuleType", ijson)


def _records(file: File, *, digits: bool) -> Iterator[tuple[Record, int]]:
    """Yield each object and how many bytes were taken; ``digits``: fractions as decimals.

    Where the parser meets a number that is too large for it, it starts again with digits.
    """
    ijson = _ijson()
    with file.open() as probe:
        head = head_of(probe, _BUFFER)
    if not head.strip():
        return
    what = what_is(head)
    start = head.removeprefix(_BOM).lstrip()[:1]
    if what is not None or start not in (b"[", b"{"):
        raise SourceDataError(f"{file}: not JSON; it is {what or 'something else'}")
    number = 0
    before, message = 0, ""
    for exactly in (digits, True):
        with file.open() as stream:
            counted = _Counted(stream)
            if head.startswith(_BOM):
                counted.read(len(_BOM))
            prefix = "item" if start == b"[" else ""
            items = ijson.items(counted, prefix, use_float=not exactly, buf_size=_BUFFER)
            try:
                for item in islice(items, number, None):
                    number += 1
                    if not isinstance(item, dict):
                        raise SourceDataError(
                            f"{file}, record {number}: {kind_of(item)} where an object must be"
                        )
                    yield item, counted.position
                return
            except ijson.JSONError as error:
                message = " ".join(str(error).split("\n")[0].split())
                before = counted.before
        if "overflow" not in message:
            break
    raise SourceDataError(_place(file, before, message.removeprefix("parse error: ")))


def _place(file: File, before: int, message: str) -> str:
    """Parse again, byte by byte near the error, to say where it is."""
    ijson = _ijson()
    with file.open() as stream:
        counted = _Counted(stream, fine_from=before)
        try:
            for _ in ijson.basic_parse(counted, use_float=False, buf_size=_BUFFER):
                pass
        except ijson.JSONError:
            pass
    hint = "; several objects, one a line, are type: jsonl" if "trailing garbage" in message else ""
    return f"{file}, line {counted.lines + 1}, byte {counted.position}: not JSON: {message}{hint}"


def _sampled(file: File, budget: int) -> Iterator[tuple[Iterable[Placed], int]]:
    """Yield each record with its place, and the bytes taken so far."""
    for number, (record, taken) in enumerate(_records(file, digits=True), start=1):
        yield [(f"{file}, record {number}", record)], taken
