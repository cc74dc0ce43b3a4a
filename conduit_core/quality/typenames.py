"""The types that people write in ``cast:`` and CAST: Arrow's own names, and SQL's common ones."""

from __future__ import annotations

import re

import pyarrow as pa

from conduit_core.quality.literals import UnfitError
from conduit_core.types.schema import parse_type

_NAMES: dict[str, pa.DataType] = {
    "text": pa.string(), "varchar": pa.string(), "string": pa.string(),
    "smallint": pa.int16(), "int": pa.int32(), "integer": pa.int32(), "bigint": pa.int64(),
    "real": pa.float32(), "float": pa.float64(), "double": pa.float64(),
    "double precision": pa.float64(), "bool": pa.bool_(), "boolean": pa.bool_(),
    "date": pa.date32(), "time": pa.time64("us"), "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"), "bytea": pa.binary(), "binary": pa.binary(),
}  # fmt: skip
_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)")


def arrow_type(text: str) -> pa.DataType:
    """Return the type that ``text`` names.

    Raises:
        UnfitError: it names none.
    """
    name = text.strip()
    lower = " ".join(name.lower().split())
    if lower in _NAMES:
        return _NAMES[lower]
    try:
        if match := _DECIMAL.fullmatch(lower):
            precision, scale = int(match[1]), int(match[2] or 0)
            if scale > precision:
                raise UnfitError(f"type {text!r} has more decimals than digits")
            wide = pa.decimal128 if precision <= 38 else pa.decimal256
            return wide(precision, scale)
        return parse_type(name)
    except ValueError as error:
        if isinstance(error, UnfitError):
            raise
        known = "int64, float64, decimal(12, 2), text, bool, date, timestamp, timestamptz"
        raise UnfitError(f"{text!r} is no type; write one such as {known}") from error
