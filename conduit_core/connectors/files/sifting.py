"""Values that aren't of their column's type: kept beside the batch as texts, NULL in the column.

Only for streams that ask for it (``contradictions: dlq``), and only at work on batches with such a
value: others are turned into their types as ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.arrow import Column
from conduit_core.connectors.base import UNREADABLE
from conduit_core.connectors.files.convert import BadValueError, cast_texts, without_tokens

_DAY = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_SURELY: Mapping[pa.DataType, str] = {
    pa.int64(): r"^-?(0|[1-9][0-9]{0,17})$",
    pa.float64(): r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$",
    pa.date32(): f"^{_DAY}$",
    pa.timestamp("us"): f"^{_DAY}[ T]{_TIME}$",
    pa.timestamp("us", "UTC"): f"^{_DAY}[ T]{_TIME}Z$",
}
"""Spellings that surely are of a type."""

_WHOLE = r"^\s*[-+]?(0[xX][0-9a-fA-F]+|[0-9]+)\s*$"
_NUMBER = r"^\s*[-+]?([.0-9]+([eE][-+]?[0-9]+)?|(?i:nan.*|inf|infinity))\s*$"
_MOMENT = r"^[-+.:0-9TtZz\s]+$"
_TRUTH = r"^(?i:true|false|0|1)$"
"""Spellings that may be of a family of types: all others are none."""


def sift(column: Column, kind: pa.DataType) -> tuple[Column, pa.BooleanArray | None]:
    """Turn texts into ``kind``; those that aren't of it become NULL and are marked.

    Returns:
        The column, and which of its values were unreadable; None: none was.
    """
    if pa.types.is_string(kind):
        return column, None
    column = without_tokens(column)
    try:
        return cast_texts(column, kind), None
    except (pa.ArrowInvalid, BadValueError):
        unreadable = _unreadable(column.drop_null().unique(), kind)
    marks = pc.is_in(column, value_set=unreadable)
    return cast_texts(pc.if_else(marks, pa.scalar(None, pa.string()), column), kind), marks


def _unreadable(texts: Column, kind: pa.DataType) -> Column:
    """Return the texts that aren't of the type: a failing cast is slow, so it comes last."""
    surely = _SURELY.get(kind)
    if surely is not None:
        texts = texts.filter(pc.invert(_match(texts, surely)))
    maybe = _match(texts, _maybe(kind))
    return pa.concat_arrays([texts.filter(pc.invert(maybe)), *_halved(texts.filter(maybe), kind)])


def _maybe(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return _WHOLE
    if pa.types.is_temporal(kind):
        return _MOMENT
    return _TRUTH if pa.types.is_boolean(kind) else _NUMBER


def _match(texts: Column, pattern: str) -> pa.BooleanArray:
    return pc.match_substring_regex(cast("pa.StringArray", texts), pattern)


def _halved(texts: Column, kind: pa.DataType) -> Iterator[Column]:
    """Yield the texts that aren't of the type, whether they are many or few."""
    try:
        cast_texts(texts, kind)
    except (pa.ArrowInvalid, BadValueError):
        if len(texts) == 1:
            yield texts
            return
        half = len(texts) // 2
        yield from _halved(texts.slice(0, half), kind)
        yield from _halved(texts.slice(half), kind)


class Unreadable:
    """What was unreadable in a batch, column by column."""

    def __init__(self) -> None:
        self._found: list[tuple[str, pa.BooleanArray, list[Any]]] = []

    def add(self, name: str, marks: pa.BooleanArray, values: list[Any]) -> None:
        """Take a column's unreadable values, in the order of their rows."""
        self._found.append((name, marks, values))

    def beside(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the column that holds them, where there are some."""
        if not self._found:
            return batch
        rows: dict[int, dict[str, str]] = {}
        some = self._found[0][1]
        for name, marks, values in self._found:
            some = pc.or_(some, marks)
            marked = cast("list[int]", pc.indices_nonzero(marks).to_pylist())
            for row, value in zip(marked, values, strict=True):
                rows.setdefault(row, {})[name] = raw_text(value)
        encode = json.JSONEncoder(ensure_ascii=False).encode
        texts = [encode(rows[row]) for row in sorted(rows)]
        column = pc.replace_with_mask(
            pa.nulls(batch.num_rows, pa.string()), some, pa.array(texts, pa.string())
        )
        schema = batch.schema.append(pa.field(UNREADABLE, pa.string()))
        return pa.RecordBatch.from_arrays([*batch.columns, column], schema=schema)


def raw_text(value: object) -> str:
    """Return a value as it stood in the file: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
