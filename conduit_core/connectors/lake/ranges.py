"""The least and the greatest value of columns, gathered while a file is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conduit_core.connectors.lake.manifest import Range
from conduit_core.state.cursor import to_text

_LONGEST = 256
"""A longer text isn't kept: the file then has to be looked into."""


class Ranges:
    """Looks at tables of one schema; columns without an order are left out."""

    def __init__(self, schema: pa.Schema, columns: Sequence[str]) -> None:
        self._types = {name: schema.field(name).type for name in columns}
        self._found: dict[str, tuple[pa.Scalar[Any], pa.Scalar[Any]] | None] = {}
        self._others = dict.fromkeys(columns, 0)

    def add(self, table: pa.Table) -> None:
        """Look at rows."""
        for name in list(self._types):
            column = table.column(name)
            try:
                if pa.types.is_floating(column.type):
                    column = column.filter(pc.invert(pc.is_nan(column)))
                both = pc.min_max(column)
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
                del self._types[name]
                continue
            self._others[name] += table.num_rows - len(column) + column.null_count
            low, high = both["min"], both["max"]
            if not low.is_valid:
                continue
            known = self._found.get(name)
            if known is not None:
                low = known[0] if pc.less_equal(known[0], low).as_py() else low
                high = known[1] if pc.greater_equal(known[1], high).as_py() else high
            self._found[name] = (low, high)

    def found(self) -> tuple[Range, ...]:
        """Return what was found, a column each."""
        out = []
        for name, kind in self._types.items():
            pair = self._found.get(name)
            try:
                low, high = (None, None) if pair is None else (to_text(pair[0]), to_text(pair[1]))
            except (ValueError, pa.ArrowException):
                continue
            if max(len(low or ""), len(high or "")) > _LONGEST:
                continue
            others = self._others[name]
            out.append(Range(column=name, type=str(kind), low=low, high=high, others=others))
        return tuple(out)
