"""Text to types, vectorised: what a column of texts is, and its values as that, none lost.

Pure: knows no files. Rules of inference (over a sample; NULL tokens aside):

- whole numbers are int64; beyond it decimal128(38, 0); beyond that text. A leading zero
  (``00501``), a plus sign or a hexadecimal prefix makes a column text: codes are not numbers.
- numbers with a point or an exponent are float64; with more than 17 significant digits text.
- ``true``/``false`` in any case are boolean; ``yes``, ``t``, ``1`` are not.
- ISO 8601: dates are date32, times of a day text, moments timestamp[us] (ns where a value has more
  digits), with a zone timestamp[us, tz=UTC]; a column that mixes zoned and naive moments is text.
- a column without a single value, and all else, is text.
"""

from __future__ import annotations

import array
import re
from functools import cache
from itertools import accumulate
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.arrow import Column, Field
from conduit_core.errors import ConfigError
from conduit_core.types.schema import parse_type, tagged

NULL_TOKENS = ("", "NA", "N/A", "NULL", "null", "None", "\\N")
"""Texts that mean NULL in a column that isn't text (no number, date or boolean is spelled so)."""

_TYPES = {
    "text": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
_MOMENTS = (
    pa.date32(),
    pa.timestamp("us"),
    pa.timestamp("us", tz="UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", tz="UTC"),
)
_CANDIDATES = (pa.int64(), pa.float64(), pa.bool_(), *_MOMENTS)
_EXACT = 17
"""The significant digits that a double keeps."""
_DECIMAL = re.compile(r"(?:decimal|numeric)\((\d+)\s*,\s*(\d+)\)")
_FEW = 32
_CODE = r"^-?0[0-9xX]|^\+"


class BadValueError(Exception):
    """A text isn't of the column's type: which row of the array, and the text."""

    def __init__(self, row: int, value: str) -> None:
        super().__init__(value)
        self.row = row
        self.value = value


def named_field(name: str, text: str) -> Field:
    """Return the field for a type that a user wrote under ``types:``.

    Raises:
        ConfigError: no such type; the message lists the words.
    """
    word = text.strip().lower()
    if word in ("json", "uuid"):
        return tagged(pa.field(name, pa.string()), logical="json" if word == "json" else "uuid")
    if word in _TYPES:
        return pa.field(name, _TYPES[word])
    if m := _DECIMAL.fullmatch(word):
        precision, scale = int(m[1]), int(m[2])
        if not 1 <= precision <= 38 or scale > precision:
            raise ConfigError(f"types: {name}: {text!r}: precision is 1 to 38, scale at most that")
        return pa.field(name, pa.decimal128(precision, scale))
    try:
        return pa.field(name, parse_type(text))
    except ValueError:
        words = ", ".join([*_TYPES, "decimal(p, s)", "json", "uuid"])
        raise ConfigError(f"types: {name}: no type {text!r}; there are {words}") from None


@cache
def _tokens() -> pa.StringArray:
    """Return the NULL tokens, built of buffers: ``pa.array`` would import pandas."""
    ends = array.array("i", accumulate(map(len, NULL_TOKENS), initial=0))
    data = pa.py_buffer("".join(NULL_TOKENS).encode())
    return pa.StringArray.from_buffers(len(NULL_TOKENS), pa.py_buffer(ends.tobytes()), data)


class Inference:
    """Settles a column's type from its texts, piece by piece, in bounded memory.

    A type stays possible as long as the texts of every piece cast to it; what a cast lets through
    and we don't (codes, rounded digits) is looked for in columns of numbers.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._nulls = self._tokens = 0
        self._kinds: tuple[pa.DataType, ...] = _CANDIDATES
        self._codes = self._digits = self._fractions = self._long = False
        self._longest = 0

    def add(self, texts: pa.ChunkedArray[Any]) -> None:
        """Look at more texts."""
        tokens = pc.is_in(texts, value_set=_tokens())
        empty = pc.is_null(texts)
        values = texts.filter(pc.invert(pc.or_kleene(tokens, empty)))
        self.rows += len(texts)
        self._nulls += texts.null_count
        self._tokens += len(texts) - texts.null_count - len(values)
        if len(values) == 0:
            return
        self._kinds = tuple(kind for kind in self._kinds if _casts(values, kind))
        if (pa.int64() in self._kinds or pa.float64() in self._kinds) and not self._codes:
            self._numbers(values)

    def _numbers(self, values: pa.ChunkedArray[Any]) -> None:
        self._codes = _any(values, _CODE)
        whole = pa.int64() in self._kinds
        self._digits = self._digits or whole or _any(values, "[0-9]")
        self._fractions = self._fractions or (not whole and _any(values, "[^-0-9]"))
        size = pc.max(pc.binary_length(values)).as_py()
        if size <= _EXACT:
            self._longest = max(self._longest, size)
            return
        long = values.filter(pc.greater(pc.binary_length(values), pa.scalar(_EXACT)))
        unsigned = pc.utf8_ltrim(long, "-")
        self._longest = max(self._longest, pc.max(pc.binary_length(unsigned)).as_py())
        digits = pc.replace_substring_regex(long, r"[eE].*$", "")
        digits = pc.replace_substring_regex(digits, r"^-?[0.]*|\.", "")
        self._long = self._long or pc.max(pc.binary_length(digits)).as_py() > _EXACT

    @property
    def values(self) -> int:
        """How many texts were no NULL, whatever the type."""
        return self.rows - self._nulls - self._tokens

    @property
    def kind(self) -> pa.DataType | None:
        """The type of all texts so far; None where there was no value."""
        if not self.values:
            return None
        if not self._kinds:
            return pa.string()
        first = self._kinds[0]
        if first not in (pa.int64(), pa.float64()):
            return first
        if self._codes or not self._digits:
            return pa.string()
        if first == pa.int64():
            return first
        if not self._fractions:
            return pa.decimal128(38, 0) if self._longest <= 38 else pa.string()
        return pa.string() if self._long else first

    def nulls(self, kind: pa.DataType) -> int:
        """Return how many of the texts are NULL in a column of this type."""
        return self._nulls if pa.types.is_string(kind) else self._nulls + self._tokens


def infer(texts: pa.ChunkedArray[Any]) -> pa.DataType | None:
    """Return the type of all texts of a column, None where there is no value."""
    inference = Inference()
    inference.add(texts)
    return inference.kind


def _any(values: pa.ChunkedArray[Any], pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())


def _casts(values: pa.ChunkedArray[Any], kind: pa.DataType) -> bool:
    try:
        values.slice(0, _FEW).cast(kind)
        values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def to_type(column: Column, kind: pa.DataType) -> Column:
    """Turn texts into ``kind``; NULL tokens become NULL.

    Raises:
        BadValueError: a text isn't of that type, or would lose something (``00501`` as a number).
    """
    if pa.types.is_string(kind):
        return column
    column = without_tokens(column)
    try:
        return cast_texts(column, kind)
    except pa.ArrowInvalid:
        row = _first_bad(column, kind)
        raise BadValueError(row, str(column[row].as_py())) from None


def without_tokens(column: Column) -> Column:
    """Return texts with NULL for those that mean it."""
    tokens = pc.is_in(column, value_set=_tokens())
    return pc.if_else(tokens, pa.scalar(None, pa.string()), column) if tokens.true_count else column


def cast_texts(column: Column, kind: pa.DataType) -> Column:
    """Turn texts without NULL tokens into ``kind``.

    Raises:
        pa.ArrowInvalid, BadValueError: a text isn't of that type.
    """
    texts = cast("pa.StringArray", column)
    if pa.types.is_integer(kind):
        size = pc.binary_length(texts)
        codes = pc.or_(
            pc.and_(pc.starts_with(texts, "0"), pc.greater(size, pa.scalar(1))),
            pc.and_(pc.starts_with(texts, "-0"), pc.greater(size, pa.scalar(2))),
        )
        if pc.any(codes).as_py():
            row = pc.index(codes, pa.scalar(True)).as_py()  # noqa: FBT003 - Arrow's value
            raise BadValueError(row, str(column[row].as_py()))
    if pa.types.is_time(kind):
        column = pc.replace_substring_regex(texts, "^", "1970-01-01T").cast(pa.timestamp("ns"))
    return column.cast(kind)


def _first_bad(column: Column, kind: pa.DataType) -> int:
    """Halve until one value is left: log2(n) casts, in the error path only."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            cast_texts(column.slice(low, middle - low), kind)
        except (pa.ArrowInvalid, BadValueError):
            high = middle
        else:
            low = middle
    return low
