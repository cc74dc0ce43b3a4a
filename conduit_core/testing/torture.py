"""The torture table: values, types and names that break loaders, one case each.

A case can be loaded alone, and many as the columns of one table.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from conduit_core.types.schema import LogicalType, tagged

Values = list[object]

MEBIBYTE = 1024 * 1024
_I64 = 2**63
_TICKS: dict[Literal["s", "ms", "us", "ns"], int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_YEAR_1 = -62_135_596_800
_YEAR_9999 = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Case:
    """One column to load and read back: its field (with tags) and its values."""

    name: str
    field: pa.Field[pa.DataType]
    values: pa.Array[pa.Scalar[pa.DataType]]

    def table(self) -> pa.Table:
        """Return the case as a table: ``id`` (int64, in order) and ``value``."""
        ids = pa.array(range(len(self.values)), pa.int64())
        schema = pa.schema([pa.field("id", pa.int64()), self.field])
        return pa.Table.from_arrays([ids, self.values], schema=schema)


def _case(name: str, kind: pa.DataType, values: Values, logical: LogicalType | None = None) -> Case:
    field = tagged(pa.field("value", kind), logical=logical)
    return Case(name, field, pa.array(values, kind))


def _integers() -> list[Case]:
    cases = []
    kinds: tuple[tuple[int, pa.DataType, pa.DataType], ...] = (
        (8, pa.int8(), pa.uint8()),
        (16, pa.int16(), pa.uint16()),
        (32, pa.int32(), pa.uint32()),
        (64, pa.int64(), pa.uint64()),
    )
    for bits, signed, unsigned in kinds:
        edge = 2 ** (bits - 1)
        cases.append(_case(f"int{bits}", signed, [0, -1, None, edge - 1, -edge]))
        cases.append(_case(f"uint{bits}", unsigned, [0, 1, None, 2 * edge - 1]))
    return cases


def _floats() -> list[Case]:
    special: Values = [0.0, -0.0, 1.5, None, math.nan, math.inf, -math.inf]
    return [
        _case("float64", pa.float64(), [*special, 0.1, 5e-324, 1.7976931348623157e308]),
        _case("float32", pa.float32(), [*special, 2.0**-149, 3.4028234663852886e38]),
        _case("float16", pa.float16(), special),
    ]


def _decimals() -> list[Case]:
    def numbers(*texts: str) -> Values:
        return [None if text == "" else Decimal(text) for text in texts]

    most = "9" * 38
    return [
        _case("decimal_9_2", pa.decimal128(9, 2), numbers("0.00", "-0.01", "", "9999999.99")),
        _case("decimal_38_0", pa.decimal128(38, 0), numbers(most, f"-{most}", "", "1")),
        _case(
            "decimal_38_10",
            pa.decimal128(38, 10),
            numbers(f"{'9' * 28}.{'9' * 10}", "0.0000000001", "", "-1.1000000000"),
        ),
        _case("decimal_38_38", pa.decimal128(38, 38), numbers(f"0.{most}", "", f"-0.{most}")),
        _case("decimal_50_10", pa.decimal256(50, 10), numbers("1.0000000001", "", "9" * 40)),
        _case(
            "decimal_unbounded",
            pa.string(),
            [f"{'9' * 60}.{'1' * 20}", "0", None, "-0.000000000000000000001"],
            "numeric",
        ),
    ]


def _moments() -> list[Case]:
    cases = []
    for unit, ticks in _TICKS.items():
        seconds: list[int] = [0, -1, 1_709_164_800, -2_208_988_800, 4_102_444_800]
        moments: Values = [s * ticks for s in seconds]
        moments += [None, -ticks + 1, 1_709_164_800 * ticks + ticks - 1]
        if unit == "ns":
            moments += [_I64 - 1, -_I64 + 1]
        else:
            moments += [_YEAR_1 * ticks, _YEAR_9999 * ticks + ticks - 1]
        cases.append(_case(f"timestamp_{unit}", pa.timestamp(unit), moments))
        cases.append(_case(f"timestamp_{unit}_utc", pa.timestamp(unit, tz="UTC"), moments))
    cases.append(
        _case(
            "timestamp_us_zone",
            pa.timestamp("us", tz="America/New_York"),
            [0, None, 1_710_054_000_000_000, 1_730_613_600_000_001],
        )
    )
    days: Values = [0, -1, None, 19_782, -25_567, _YEAR_1 // 86_400, _YEAR_9999 // 86_400]
    cases.append(_case("date", pa.date32(), days))
    cases.append(_case("time_s", pa.time32("s"), [0, None, 86_399]))
    cases.append(_case("time_ms", pa.time32("ms"), [0, None, 86_399_999]))
    cases.append(_case("time_us", pa.time64("us"), [0, None, 86_399_999_999, 1]))
    cases.append(_case("time_ns", pa.time64("ns"), [0, None, 86_399_999_999_999, 1]))
    cases.append(_case("duration_us", pa.duration("us"), [0, None, -1, 86_400_000_001]))
    cases.append(
        _case(
            "interval",
            pa.month_day_nano_interval(),
            [(0, 0, 0), None, (14, -3, 1000), (-1, 40, -86_400_000_001_000)],
        )
    )
    return cases


_TEXTS: Values = [
    "", None, " ", "  padded  ", "NULL", "\\N", "null", "'", '"', "''", "a'b\"c", "back\\slash",
    "\t",
    "line\nbreak", "carriage\r\nreturn", "comma, semicolon; pipe|", "%s %(a)s ? $1 :x {y}",
    "--", "/*",
    "ünïcödé", "e\u0301", "日本語", "עברית", "😀👩‍👩‍👧", "\u200b", "\ufeffbom", "\u2028",
    "\x01\x1f\x7f",
    "\uffff", "𝒳", "0", "1e5", "true", "2024-01-01",
]  # fmt: skip


def _texts() -> list[Case]:
    uuids: Values = [
        "00000000-0000-0000-0000-000000000000", None, "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "d546eb86-c18a-4b03-b086-d4c690b0a2ea",
    ]  # fmt: skip
    documents: Values = [
        "{}", None, "[]", "null", '""', "0", '{"a":[1,2.5,{"b":null}],"ü":"\\u00e9\\n"}',
    ]  # fmt: skip
    return [
        _case("text", pa.string(), _TEXTS),
        _case("text_large", pa.large_string(), _TEXTS),
        _case("text_nul", pa.string(), ["a\0b", "\0", None]),
        _case("text_mebibyte", pa.string(), ["x" * MEBIBYTE, None, "é" * (MEBIBYTE // 2)]),
        _case("text_dictionary", pa.dictionary(pa.int32(), pa.string()), ["a", None, "", "a"]),
        _case("json", pa.string(), documents, "json"),
        _case("uuid", pa.string(), uuids, "uuid"),
        _case("binary", pa.binary(), [b"", None, b"\0", b"\xff\xfe\0a", bytes(range(256))]),
        _case("binary_large", pa.large_binary(), [b"\0" * MEBIBYTE, None]),
        _case("binary_fixed", pa.binary(4), [b"\0\0\0\0", None, b"\xff\xff\xff\xff"]),
    ]


def _others() -> list[Case]:
    struct = pa.struct([("a b", pa.int64()), ("text", pa.string())])
    return [
        _case("boolean", pa.bool_(), [True, False, None]),
        _case("null", pa.null(), [None, None]),
        _case("list_int64", pa.list_(pa.int64()), [[1, None, -1], [], None]),
        _case("list_text", pa.list_(pa.string()), [["", None, 'a"b,c{}', "NULL"], [], None]),
        _case("list_nested", pa.list_(pa.list_(pa.int32())), [[[1], [2]], [], None]),
        _case("list_fixed", pa.list_(pa.int64(), 2), [[1, 2], None]),
        _case("struct", struct, [{"a b": 1, "text": "x"}, None, {"a b": None, "text": ""}]),
        _case("map", pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], [], None]),
    ]


CASES: tuple[Case, ...] = (
    *_integers(),
    *_floats(),
    *_decimals(),
    *_moments(),
    *_texts(),
    *_others(),
)
"""Every case; ``[c.name for c in CASES]`` are the names that suites' ``refused`` uses."""

NAMES: tuple[str, ...] = (
    "with space", 'quo"te', "quo'te", "select", "table", "UPPER", "MixedCase", "ünïcödé", "日本",
    "😀", "1digit", "per%cent", "per%%s", "semi;colon", "dash-ed", "dot.ted", "dollar$1",
    "question?", ":colon", "{brace}", "back\\slash", "`tick`", "[bracket]", "#hash", "--",
    "tab\tname", " lead", "trail ", "x" * 63,
)  # fmt: skip
"""Identifiers that every system of ours takes as they are."""

LONG_NAMES: tuple[str, ...] = ("y" * 64, "y" * 63 + "z", "é" * 40, "long" * 50)
"""Identifiers of more than 63 bytes; the first two differ from one another at byte 64 only."""


def tables(without: Collection[str]) -> dict[str, tuple[tuple[Case, ...], pa.Table]]:
    """Return all cases but these as tables with ``id`` and a column per case, named after it.

    Short columns begin again at their first value. Texts of a mebibyte have a table of their own.
    """
    taken = [case for case in CASES if case.name not in without]
    found: dict[str, tuple[tuple[Case, ...], pa.Table]] = {}
    for name, is_long in (("torture", False), ("torture_long", True)):
        cases = tuple(c for c in taken if (c.values.nbytes >= MEBIBYTE) == is_long)
        if cases:
            found[name] = (cases, _together(cases))
    return found


def _together(cases: tuple[Case, ...]) -> pa.Table:
    rows = max(len(case.values) for case in cases)
    fields: list[pa.Field[pa.DataType]] = [pa.field("id", pa.int64())]
    arrays: list[pa.Array[Any]] = [pa.array(range(rows), pa.int64())]
    for case in cases:
        fields.append(case.field.with_name(case.name))
        places = [n % len(case.values) for n in range(rows)]
        arrays.append(case.values.take(pa.array(places, pa.int64())))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def plain(column: pa.ChunkedArray[Any]) -> list[object]:
    """Return values that compare exactly: ticks for moments, text for floats (NaN, -0.0)."""
    kind = column.type
    if pa.types.is_floating(kind):
        return [None if v is None else repr(v) for v in column.to_pylist()]
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        ticks = pa.int64() if kind.bit_width == 64 else pa.int32()
        return list(column.cast(ticks).to_pylist())
    return list(column.to_pylist())
