"""Parquet: footers' schemas, logical types, bounded memory, files that disagree."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conduit_core.connectors.base import ReadRequest, StreamRef
from conduit_core.errors import SchemaError, SourceDataError
from conduit_core.state.window import Window
from conduit_core.types.schema import logical_type
from tests.connectors.files.helpers import load, rows, source


def test_types_come_from_the_footer(tmp_path: Path) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "d": pa.array([None, 2], pa.decimal128(20, 3)),
            "t": pa.array([0, -(10**15)], pa.timestamp("us", tz="UTC")),
            "b": pa.array([b"\0", b""], pa.binary()),
            "l": pa.array([[1], []], pa.list_(pa.field("element", pa.int64()))),
            "s": pa.array([{"x": 1}, None], pa.struct([("x", pa.int64())])),
            "f": pa.array([float("inf"), -0.0], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read, files = load(source("parquet", tmp_path), "*.parquet", file_column=True)
    assert read.drop_columns(["_conduit_file"]).equals(table)
    assert files == ["t.parquet"]
    shape = source("parquet", tmp_path).describe(StreamRef(path="t.parquet"))
    assert shape.rows_estimate == 2


def test_dictionaries_and_extension_types_are_plain(tmp_path: Path) -> None:
    ids = [uuid.uuid4(), None, uuid.uuid4()]
    stored = pa.array([None if u is None else u.bytes for u in ids], pa.binary(16))
    table = pa.table(
        {
            "d": pa.array(["x", "y", None]).dictionary_encode(),
            "u": pa.ExtensionArray.from_storage(pa.uuid(), stored),
            "j": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None, "[1]"])),
            "n": pa.nulls(3),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    read, _ = load(source("parquet", tmp_path), "t.parquet")
    assert set(read.schema.types) == {pa.string()}
    assert read["u"].to_pylist() == [None if u is None else str(u) for u in ids]
    assert read["d"].to_pylist() == ["x", "y", None]
    assert read["j"].to_pylist() == ["{}", None, "[1]"]
    assert [logical_type(f) for f in read.schema] == [None, "uuid", "json", None]
    shape = source("parquet", tmp_path).describe(StreamRef(path="t.parquet"))
    assert "n: no type" in shape.notes[0]


def test_files_unite_or_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["x"], "a": [2]}), tmp_path / "2.parquet")
    assert rows(source("parquet", tmp_path)) == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]
    pq.write_table(pa.table({"a": [2.5]}), tmp_path / "3.parquet")
    with pytest.raises(SchemaError, match=r"'a' is int64 in 1\.parquet and double in 3\.parquet"):
        source("parquet", tmp_path).describe(StreamRef(path="."))


def test_a_file_that_was_not_sampled_differs(tmp_path: Path) -> None:
    for i in range(50):
        table = pa.table({"a": ["x"]}) if i == 25 else pa.table({"a": [i]})
        pq.write_table(table, tmp_path / f"{i:02}.parquet")
    with pytest.raises(SourceDataError, match=r"25\.parquet: column 'a' is string here and int64"):
        load(source("parquet", tmp_path))


def test_some_columns_and_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [3]}), tmp_path / "2.parquet")
    assert rows(source("parquet", tmp_path), columns=("b",)) == [
        {"b": "x"}, {"b": "y"}, {"b": None},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a Parquet file; it is empty"),
        (b"a,b\n1,2\n", "not a Parquet file; it is something else"),
        (b"\x1f\x8b\x08\x00", "not a Parquet file; it is gzip"),
        (b"PAR1 cut off", "t.parquet"),
    ],
)
def test_not_parquet(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(SourceDataError, match=message):
        source("parquet", tmp_path).describe(StreamRef(path="t.parquet"))


def test_no_rows_and_many_columns(tmp_path: Path) -> None:
    table = pa.table({f"c{i}": pa.array([], pa.int64()) for i in range(500)})
    pq.write_table(table, tmp_path / "t.parquet")
    read, _ = load(source("parquet", tmp_path), "t.parquet")
    assert (read.num_rows, read.num_columns) == (0, 500)


def test_a_large_row_group_is_streamed(tmp_path: Path) -> None:
    number = 200_000
    table = pa.table({"i": range(number), "t": [f"{i:0100}" for i in range(number)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=number)
    made = source("parquet", tmp_path)
    ref = StreamRef(path="t.parquet")
    schema = made.describe(ref).schema
    before, peak, largest, total = pa.total_allocated_bytes(), 0, 0, 0
    reading = made.read(ReadRequest(ref, schema, Window("full"), batch_bytes=1 << 20))
    for batch in reading.reader:
        peak = max(peak, pa.total_allocated_bytes() - before)
        largest = max(largest, batch.nbytes)
        total += batch.num_rows
    assert total == number
    assert largest <= 2 << 20
    assert peak < 24 * 1024 * 1024


def test_long_texts_make_small_batches(tmp_path: Path) -> None:
    table = pa.table({"t": ["x" * (1 << 20)] * 20})
    pq.write_table(table, tmp_path / "t.parquet")
    made = source("parquet", tmp_path)
    ref = StreamRef(path="t.parquet")
    request = ReadRequest(ref, made.describe(ref).schema, Window("full"), batch_bytes=4 << 20)
    assert max(b.nbytes for b in made.read(request).reader) <= 6 << 20
