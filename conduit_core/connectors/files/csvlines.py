"""Finding a CSV file's errors: read again, slowly, with Python's reader, to name the line."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from conduit_core.connectors.arrow import Field
from conduit_core.connectors.files.convert import BadValueError
from conduit_core.connectors.files.opening import File
from conduit_core.connectors.files.options import CsvOptions
from conduit_core.errors import SourceDataError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a file: its number (from 0, header included) and the line it starts on."""

    number: int
    line: int
    values: list[str]


class CsvLines:
    """A CSV dialect's records with the lines they start on, and the errors that need them."""

    def __init__(self, options: CsvOptions) -> None:
        self._o = options

    def rows(self, file: File, *, strict: bool = False) -> Iterator[Row]:
        """Read a file's records one by one; ``strict``: stray quotes are errors."""
        with file.open() as stream:
            yield from self.parse(cast("IO[bytes]", stream), strict=strict)

    def parse(self, stream: IO[bytes], *, strict: bool = False) -> Iterator[Row]:
        """Read records one by one (blank lines aside, as Arrow does)."""
        codec = "utf-8-sig" if self._o.encoding.lower() in ("utf-8", "utf8") else self._o.encoding
        limit = csv.field_size_limit(sys.maxsize)
        try:
            text = io.TextIOWrapper(stream, codec, errors="surrogateescape", newline="")
            reader = csv.reader(
                text,
                strict=strict,
                delimiter=self._o.delimiter,
                quotechar=self._o.quote,
                quoting=csv.QUOTE_MINIMAL if self._o.quote else csv.QUOTE_NONE,
            )
            line, number = 1, 0
            for values in reader:
                if values:
                    yield Row(number, line, values)
                    number += 1
                line = reader.line_num + 1
        finally:
            csv.field_size_limit(limit)

    def refuse_open_quote(self, file: File, name: str, last: pa.RecordBatch | None) -> None:
        """Refuse a quote open at the end: Arrow takes the rest of the file for its value."""
        if last is None or not last.num_rows or name not in last.schema.names:
            return
        value = last.column(name)[-1].as_py()
        if value is None or "\n" not in value:
            return
        line = 1
        try:
            for row in self.rows(file, strict=True):
                line = row.line + 1 + sum(v.count("\n") for v in row.values)
        except csv.Error as error:
            if "end of data" in str(error):
                raise SourceDataError(
                    f"{file}, line {line}: a quote is opened and never closed"
                ) from None

    def _find(self, file: File, wrong: Callable[[Row], bool]) -> Row | None:
        try:
            return next((row for row in self.rows(file) if wrong(row)), None)
        except csv.Error:
            return None

    def malformed(self, file: File, columns: int, message: str) -> SourceDataError:
        """Return the error for what Arrow's parser refused, with the line."""
        if "UTF8" in message or "codec can't decode" in message:
            row = self._find(file, lambda r: _broken(r.values))
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

    def bad_value(
        self, file: File, field: Field, bad: BadValueError, record: int
    ) -> SourceDataError:
        """Return the error for a value (of the ``record``-th, from 0) that isn't of its type."""
        number = record + (1 if self._o.header else 0)
        row = self._find(file, lambda r: r.number == number)
        where = f", line {row.line}" if row else f", record {number}"
        return SourceDataError(
            f"{file}{where}, column {field.name!r}: {_short(bad.value)} is not {field.type}, the"
            f" type of the values sampled. Remedy: types: {{{field.name}: text}} on the source, or"
            " a type that fits all values; or `contradictions: widen`"
        )


def _broken(values: list[str]) -> bool:
    return any("\udc80" <= char <= "\udcff" for value in values for char in value)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
