"""JSON and JSON lines: types, bounded memory, and errors that name record, field and place."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import ReadRequest, StreamRef
from conduit_core.connectors.files import json as json_format
from conduit_core.connectors.files.records import build
from conduit_core.errors import ConfigError, SchemaError, SourceDataError
from conduit_core.state.window import Window
from conduit_core.types.schema import logical_type
from tests.connectors.files.helpers import load, rows, source

KINDS = ("json", "jsonl")
MANY = 4_500
"""Records of a thousand characters: twice what the sample takes."""


def write(folder: Path, kind: str, *records: Any, name: str = "t") -> str:
    path = folder / f"{name}.{kind}"
    if kind == "json":
        path.write_text(json.dumps(list(records), ensure_ascii=False), encoding="utf-8")
    else:
        lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        path.write_text(lines, encoding="utf-8")
    return path.name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "found", "read"),
    [
        ([1, None, -3], pa.int64(), [1, None, -3]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**63], pa.decimal128(38, 0), [Decimal(2**63)]),
        ([-(2**63), 2**63 - 1], pa.int64(), [-(2**63), 2**63 - 1]),
        ([True, False], pa.bool_(), [True, False]),
        (["", None, "ü\0😀"], pa.string(), ["", None, "ü\0😀"]),
        (["1", "2"], pa.string(), ["1", "2"]),
        (["2013-01-31"], pa.date32(), [date(2013, 1, 31)]),
        (
            ["2013-01-01T05:00:00Z"],
            pa.timestamp("us", tz="UTC"),
            [datetime(2013, 1, 1, 5, tzinfo=UTC)],
        ),
        ([[1, 2], [], None], pa.list_(pa.int64()), [[1, 2], [], None]),
        ([["a", None]], pa.list_(pa.string()), [["a", None]]),
        ([[1, 2.5]], pa.list_(pa.float64()), [[1.0, 2.5]]),
        ([None], pa.string(), [None]),
    ],
)
def test_types_of_values(
    tmp_path: Path, kind: str, values: list[object], found: pa.DataType, read: list[object]
) -> None:
    name = write(tmp_path, kind, *({"i": i, "v": v} for i, v in enumerate(values)))
    table, _ = load(source(kind, tmp_path), name)
    assert table.schema.field("v").type == found
    assert table["v"].to_pylist() == read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "values", [[{"a": 1, "ü": [1.5, None]}], [[1, "a"]], [[[1]], {"b": 1}], [[{"a": 1}]], [[]]]
)
def test_nested_values_travel_as_json(tmp_path: Path, kind: str, values: list[object]) -> None:
    name = write(tmp_path, kind, *({"v": v} for v in values))
    table, _ = load(source(kind, tmp_path), name)
    assert logical_type(table.schema.field("v")) == "json"
    assert [json.loads(text or "") for text in table["v"].to_pylist()] == values


@pytest.mark.parametrize("kind", KINDS)
def test_fields_missing_in_a_record_are_null(tmp_path: Path, kind: str) -> None:
    name = write(tmp_path, kind, {"a": 1}, {"b": "x"}, {})
    assert rows(source(kind, tmp_path), name) == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
        {"a": None, "b": None},
    ]
    assert rows(source(kind, tmp_path), name, columns=("b",))[1] == {"b": "x"}


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_types_in_the_sample(tmp_path: Path, kind: str) -> None:
    name = write(tmp_path, kind, {"a": 1}, {"a": 2}, {"a": "x"})
    unit = "record" if kind == "json" else "line"
    with pytest.raises(SourceDataError) as caught:
        source(kind, tmp_path).describe(StreamRef(path=name))
    for part in (f"{name}, {unit} 3", "'a'", "a text", "a whole number", "types: {a: json}"):
        assert part in caught.value.message
    for word, read in (("json", ["1", "2", '"x"']), ("text", ["1", "2", "x"])):
        table, _ = load(source(kind, tmp_path, types={"a": word}), name)
        assert table["a"].to_pylist() == read


def large(tmp_path: Path, kind: str, *last: dict[str, object], plain: bool = True) -> str:
    """Write more records than the sample holds, then these."""
    more: dict[str, object] = {} if plain else {"o": {"x": 1}}
    first = [{"a": i, "t": "x" * 1000, "l": [i]} | more for i in range(MANY)]
    return write(tmp_path, kind, *first, *last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"a": "x"}, ("'a'", "a text", "a whole number elsewhere")),
        ({"a": "x", "o": {}}, ("'a'", "a text", "a whole number elsewhere")),
        ({"o": 5}, ("'o'", "a whole number", "an object or a list elsewhere")),
        ({"a": 2**70}, ("'a'", "1180591620717411303424", "a whole number")),
        ({"a": 1.5}, ("'a'", "a number", "a whole number elsewhere")),
        ({"a": True}, ("'a'", "a boolean", "a whole number elsewhere")),
        ({"a": {"b": 1}}, ("'a'", "an object")),
        ({"t": 5}, ("'t'", "a whole number", "a text elsewhere")),
        ({"l": [1.5]}, ("'l'",)),
        ({"new": 1}, ("field 'new'", "types: {new: text}")),
    ],
)
def test_mixed_types_behind_the_sample(
    tmp_path: Path, kind: str, record: dict[str, object], parts: tuple[str, ...]
) -> None:
    name = large(tmp_path, kind, {"a": 5}, record, plain="o" not in record)
    unit = "record" if kind == "json" else "line"
    with pytest.raises(SourceDataError) as caught:
        load(source(kind, tmp_path), name)
    for part in (f"{name}, {unit} {MANY + 2}", *parts):
        assert part in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_field_is_read_where_its_type_is_given(tmp_path: Path, kind: str) -> None:
    name = large(tmp_path, kind, {"new": 1})
    table, _ = load(source(kind, tmp_path, types={"new": "bigint"}), name)
    assert table["new"][-1].as_py() == 1
    assert table["new"].null_count == MANY
    few = write(tmp_path, kind, {"a": 1}, name="few")
    with pytest.raises(SchemaError, match="no column 'new'"):
        source(kind, tmp_path, types={"new": "bigint"}).describe(StreamRef(path=few))


@pytest.mark.parametrize("kind", KINDS)
def test_decimals_keep_their_digits(tmp_path: Path, kind: str) -> None:
    name = "t." + kind
    text = '{"a": 1.10, "b": 12345678901234567890.5}'
    (tmp_path / name).write_text(f"[{text}]" if kind == "json" else text)
    made = source(kind, tmp_path, types={"a": "decimal(9, 2)", "b": "decimal(38, 4)"})
    assert rows(made, name) == [{"a": Decimal("1.10"), "b": Decimal("12345678901234567890.5000")}]


@pytest.mark.parametrize("kind", KINDS)
def test_doubles_beside_decimals_and_beyond(tmp_path: Path, kind: str) -> None:
    name = write(tmp_path, kind, {"d": 1, "f": 0.1, "l": [0.1, 2], "o": {"x": 0.1}})
    made = source(kind, tmp_path, types={"d": "decimal(38, 0)"})
    table, _ = load(made, name)
    assert table["f"].to_pylist() == [0.1]
    assert table["l"].to_pylist() == [[0.1, 2.0]]
    assert table["o"].to_pylist() == ['{"x":0.1}']
    text = '{"f": 1.5}, {"f": 1e400}'
    (tmp_path / name).write_text(f"[{text}]" if kind == "json" else text.replace(", ", "\n"))
    with pytest.raises(SourceDataError, match=r"'f'.*beyond a double"):
        rows(source(kind, tmp_path), name)
    text = '{"o": [{"x": 1e400}]}'
    (tmp_path / name).write_text(f"[{text}]" if kind == "json" else text)
    with pytest.raises(SourceDataError, match=r"'o'.*not a JSON number"):
        rows(source(kind, tmp_path), name)


def test_malformed_json_says_where(tmp_path: Path) -> None:
    records = ",\n".join(json.dumps({"a": i}) for i in range(20_000))
    (tmp_path / "t.json").write_text(f'[{records},\n{{"a": oops}}]')
    with pytest.raises(SourceDataError, match=r"t\.json, line 20001, byte \d+: not JSON"):
        source("json", tmp_path).describe(StreamRef(path="t.json"))
    (tmp_path / "t.json").write_text('[{"a": 1}')
    with pytest.raises(SourceDataError, match=r"t\.json, line 1, byte 9: not JSON: premature EOF"):
        rows(source("json", tmp_path), "t.json")


def test_malformed_json_lines_say_where(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n\n{"a": oops}\n')
    with pytest.raises(SourceDataError, match=r"t\.jsonl, line 3, column 7: not JSON"):
        rows(source("jsonl", tmp_path), "t.jsonl")
    name = large(tmp_path, "jsonl")
    with (tmp_path / name).open("a") as out:
        out.write('{"a": }\n')
    with pytest.raises(SourceDataError, match=rf"line {MANY + 1}, column 7: not JSON"):
        load(source("jsonl", tmp_path), name)


def test_broken_utf_8(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"a": "x"}\n{"a": "\xff"}\n')
    with pytest.raises(SourceDataError, match=r"t\.jsonl, line 2: not UTF-8"):
        rows(source("jsonl", tmp_path), "t.jsonl")
    (tmp_path / "t.json").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(SourceDataError, match=r"t\.json"):
        rows(source("json", tmp_path), "t.json")


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("json", b"PAR1\x15\x04", "not JSON; it is a Parquet file"),
        ("jsonl", b"PAR1\x15\x04", "not JSON lines; it is a Parquet file"),
        ("json", b"a,b\n1,2\n", "not JSON; it is something else"),
        ("jsonl", b"a,b\n1,2\n", "line 1, column 1: not JSON"),
        ("json", b"[1, 2]", "record 1: a whole number where an object must be"),
        ("jsonl", b'[{"a": 1}]', r"line 1: a list where an object must be \(an array .*type: json"),
        ("json", b'{"a": 1}\n{"a": 2}\n', "several objects, one a line, are type: jsonl"),
        ("jsonl", b'{\n "a": 1\n}\n', "one array is type: json"),
        ("json", b"", "no records, so no columns"),
        ("jsonl", b"\n", "no records, so no columns"),
        ("json", b"[]", "no records, so no columns"),
    ],
)
def test_not_what_its_name_says(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    (tmp_path / f"t.{kind}").write_bytes(content)
    with pytest.raises((SourceDataError, SchemaError), match=message):
        rows(source(kind, tmp_path), f"t.{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_one_object_crlf_bom_and_long_texts(tmp_path: Path, kind: str) -> None:
    long = "ü" * (1 << 20)
    text = json.dumps({"a": 1, "b": long}, ensure_ascii=False) + "\r\n"
    (tmp_path / f"t.{kind}").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert rows(source(kind, tmp_path), f"t.{kind}") == [{"a": 1, "b": long}]


def test_a_number_beyond_64_bits_behind_the_sample(tmp_path: Path) -> None:
    name = large(tmp_path, "json", {"a": 2**70})
    table, _ = load(source("json", tmp_path, types={"a": "decimal(38, 0)"}), name)
    assert table["a"][-1].as_py() == 2**70


@pytest.mark.parametrize("kind", KINDS)
def test_memory_and_batches_are_bounded(tmp_path: Path, kind: str) -> None:
    name = large(tmp_path, kind)
    made = source(kind, tmp_path)
    ref = StreamRef(path=name)
    schema = made.describe(ref).schema
    before, peak, largest = pa.total_allocated_bytes(), 0, 0
    reading = made.read(ReadRequest(ref, schema, Window("full"), batch_bytes=1 << 19))
    for batch in reading.reader:
        peak = max(peak, pa.total_allocated_bytes() - before)
        largest = max(largest, batch.nbytes)
    reading.close()
    assert largest < 1 << 20
    assert peak < 32 * 1024 * 1024


def test_without_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    name = write(tmp_path, "json", {"a": 1})
    monkeypatch.setitem(sys.modules, "ijson", None)
    with pytest.raises(ConfigError) as caught:
        rows(source("json", tmp_path), name)
    assert caught.value.command == "pip install 'conduit-load[json]'"


def test_uses_the_fast_parser() -> None:
    assert json_format._ijson().backend == "yajl2_c"


AT = pa.field("at", pa.timestamp("us", tz="UTC"))
PORT = pa.field("port", pa.int64())
LATE = "2026-11-05T10:00:00"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (PORT, "80", "a text ('80'), but the column is a whole number"),
        (PORT, 1.5, "a number ('1.5'), but the column is a whole number"),
        (PORT, {"a": 1}, "an object (\"{'a': 1}\"), but the column is a whole number"),
        (AT, LATE, f"a text ({LATE!r}, without a time zone: end it with Z or +01:00), but"),
        (AT, "soon", "a text ('soon'), but the column is timestamp[us, tz=UTC]"),
        (AT, datetime(2026, 11, 5, tzinfo=UTC), "Python's datetime ('2026-11-05 00:00:00+00:00')"),
        (AT, "x" * 1000, f"a text ('{'x' * 80}...'), but"),
    ],
)
def test_records_of_declared_columns_are_refused_with_their_value(
    field: pa.Field[Any], value: object, said: str
) -> None:
    """Who declares the columns has no other records that say what a column is."""
    with pytest.raises(SourceDataError) as caught:
        build([{}, {field.name: value}], pa.schema([field]), file="t", places=1, has_types=False)
    assert caught.value.message.startswith(f"t, record 2, field {field.name!r}: {said}")
    assert "elsewhere" not in caught.value.message
