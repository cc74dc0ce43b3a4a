"""Values that aren't of their column's type: kept beside the batch as texts, NULL in the column.

Only for streams that ask for it (``contradictions: dlq``), and only at work on batches with such a
value: others are turned into their types as ever.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.base import UNREADABLE
from conduit_core.connectors.files.columns import Column
from conduit_core.connectors.files.convert import BadValueError, to_type

_DAY = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_SURELY: Mapping[pa.DataType, str] = {
    pa.int64(): r"^-?(0|[1-9][0-9]{0,17})$",
    pa.float64(): r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$",
    pa.bool_(): r"^(true|false)$",
    pa.date32(): f"^{_DAY}$",
    pa.timestamp("us"): f"^{_DAY}[ T]{_TIME}$",
    pa.timestamp("us", "UTC"): f"^{_DAY}[ T]{_TIME}Z$",
}
"""Spellings that surely are of a type: the others are looked at one by one."""


def sift(column: Column, kind: pa.DataType) -> tuple[Column, pa.BooleanArray | None]:
    """Turn texts into ``kind``; those that aren't of it become NULL and are marked.

    Returns:
        The column, and which of its values were unreadable; None: none was.
    """
    try:
        return to_type(column, kind), None
    except BadValueError:
        odd = column.drop_null()
    if kind in _SURELY:
        texts = cast("pa.StringArray", odd)
        odd = odd.filter(pc.invert(pc.match_substring_regex(texts, _SURELY[kind])))
    unreadable = _unreadable(odd.unique(), kind)  # one at least, or it had been of its type
    marks = pc.is_in(column, value_set=pa.concat_arrays(unreadable))
    return to_type(pc.if_else(marks, pa.scalar(None, pa.string()), column), kind), marks


def _unreadable(texts: Column, kind: pa.DataType) -> list[Column]:
    """Return the texts that aren't of the type, halving: many are, or few."""
    try:
        to_type(texts, kind)
    except BadValueError:
        if len(texts) == 1:
            return [texts]
        half = len(texts) // 2
        return _unreadable(texts.slice(0, half), kind) + _unreadable(texts.slice(half), kind)
    return []


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
        texts = [json.dumps(rows[row], ensure_ascii=False) for row in sorted(rows)]
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
