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

from conduit_core.connectors.files.columns import Column, Field
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


def infer(texts: pa.ChunkedArray[Any]) -> pa.DataType | None:
    """Return the type of all texts of a column, None where there is no value.

    Casts come first, on a few values and then on all (a failing cast is slow: Arrow spells an error
    for each value); what they let through and we don't is looked for in columns that passed.
    """
    tokens = pc.is_in(texts, value_set=_tokens())
    values = texts.filter(pc.invert(pc.or_kleene(tokens, pc.is_null(texts))))
    if len(values) == 0:
        return None
    if _casts(values, pa.int64()):
        return pa.string() if _any(values, _CODE) else pa.int64()
    if _casts(values, pa.float64()):
        return _infer_number(values)
    for kind in (pa.bool_(), *_MOMENTS):
        if _casts(values, kind):
            return kind
    return pa.string()


def _infer_number(values: pa.ChunkedArray[Any]) -> pa.DataType:
    if _any(values, _CODE) or not _any(values, "[0-9]"):
        return pa.string()
    if not _any(values, "[^-0-9]"):
        longest = pc.max(pc.binary_length(pc.utf8_ltrim(values, "-"))).as_py()
        return pa.decimal128(38, 0) if longest <= 38 else pa.string()
    long = values.filter(pc.greater(pc.binary_length(values), pa.scalar(17)))
    if len(long):
        digits = pc.replace_substring_regex(long, r"[eE].*$", "")
        digits = pc.replace_substring_regex(digits, r"^-?[0.]*|\.", "")
        if pc.max(pc.binary_length(digits)).as_py() > 17:
            return pa.string()
    return pa.float64()


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
    tokens = pc.is_in(column, value_set=_tokens())
    if tokens.true_count:
        column = pc.if_else(tokens, pa.scalar(None, pa.string()), column)
    try:
        return _cast(column, kind)
    except pa.ArrowInvalid:
        row = _first_bad(column, kind)
        raise BadValueError(row, str(column[row].as_py())) from None


def _cast(column: Column, kind: pa.DataType) -> Column:
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
            _cast(column.slice(low, middle - low), kind)
        except (pa.ArrowInvalid, BadValueError):
            high = middle
        else:
            low = middle
    return low
