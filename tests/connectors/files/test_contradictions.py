"""A value that contradicts the sample: the load fails, a type holds it, or its row is set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from conduit_core.connectors.base import UNREADABLE, StreamRef
from conduit_core.errors import SourceDataError
from conduit_core.state.window import Window
from tests.connectors.files.helpers import load, source

ROWS = 1_000_000
SMALL = 60_000


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of a million rows, whose last price is none."""
    folder = tmp_path_factory.mktemp("million")
    with (folder / "a.csv").open("w") as out:
        out.write("id,day,price\n")
        out.writelines(f"{i},2024-01-31,{i % 997}.25\n" for i in range(1, ROWS))
        out.write(f"{ROWS},2024-01-31,n/b\n")
    return folder


def _schema(made: Any, path: str, **ref: Any) -> pa.Schema:
    described: pa.Schema = made.describe(StreamRef(path=path, **ref)).schema
    return described.append(pa.field(UNREADABLE, pa.string()))


def _set_aside(table: pa.Table) -> list[dict[str, Any]]:
    return table.filter(pc.is_valid(table.column(UNREADABLE))).to_pylist()


def test_fail_names_line_and_column(million: Path) -> None:
    made = source("csv", million)
    assert not made.capabilities.gives_unreadable
    with pytest.raises(SourceDataError, match=r"line 1000001, column 'price': 'n/b' is not double"):
        load(made, "a.csv")


def test_widen_looks_at_every_value(million: Path) -> None:
    made = source("csv", million, contradictions="widen")
    table, _ = load(made, "a.csv")
    assert table.schema.field("price").type == pa.string()
    assert table.num_rows == ROWS
    assert table.column("price")[-1].as_py() == "n/b"
    assert table.column("price").null_count == 0


def test_dlq_sets_the_row_aside(million: Path) -> None:
    made = source("csv", million, contradictions="dlq")
    assert made.capabilities.gives_unreadable
    table, _ = load(made, "a.csv", schema=_schema(made, "a.csv"))
    assert table.num_rows == ROWS
    (row,) = _set_aside(table)
    assert row["id"] == ROWS
    assert row["price"] is None
    assert json.loads(row[UNREADABLE]) == {"price": "n/b"}
    assert table.column("price").null_count == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_dlq_in_each_format(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    records: list[dict[str, Any]] = [
        {"id": i, "day": "2024-01-31", "price": i + 0.5, "note": "x" * 40} for i in range(SMALL)
    ]
    records[-2] |= {"id": "two", "day": "soon"}
    records[-1] |= {"price": "many"}
    if kind == "csv":
        lines = [",".join(map(str, r.values())) for r in records]
        text = "\n".join(["id,day,price,note", *lines, ""])
    elif kind == "jsonl":
        text = "".join(json.dumps(r) + "\n" for r in records)
    else:
        text = json.dumps(records)
    (folder / f"a.{kind}").write_text(text)
    made = source(kind, folder, contradictions="dlq")
    ref: dict[str, Any] = {"file_column": True}
    table, files = load(made, f"a.{kind}", schema=_schema(made, f"a.{kind}", **ref), **ref)
    assert files == [f"a.{kind}"]
    assert table.num_rows == SMALL
    one, two = _set_aside(table)
    assert json.loads(one[UNREADABLE]) == {"id": "two", "day": "soon"}
    assert (one["id"], one["day"], one["price"]) == (None, None, SMALL - 2 + 0.5)
    assert json.loads(two[UNREADABLE]) == {"price": "many"}
    assert table.column("id").null_count == 1
    assert set(table.column("_conduit_file").to_pylist()) == {f"a.{kind}"}
    with pytest.raises(SourceDataError, match=r"line \d|record \d"):
        load(made, f"a.{kind}")  # nobody asked for them


def test_a_cursor_is_never_set_aside(tmp_path: Path) -> None:
    lines = [f"{i},{'x' * 60}" for i in range(SMALL)]
    (tmp_path / "a.csv").write_text("\n".join(["id,note", *lines, "last,x", ""]))
    made = source("csv", tmp_path, contradictions="dlq")
    schema = _schema(made, "a.csv", cursor=("id",))
    with pytest.raises(SourceDataError, match="column 'id': 'last' is not int64"):
        load(made, "a.csv", Window("full"), schema=schema, cursor=("id",))


def test_widen_looks_at_every_file_and_record(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i:02}.jsonl").write_text(json.dumps({"n": 1, "at": "2024-01-31"}) + "\n")
    (tmp_path / "20.jsonl").write_text(json.dumps({"n": 1.5, "at": "soon", "more": True}) + "\n")
    made = source("jsonl", tmp_path, contradictions="widen")
    table, _ = load(made, ".")
    assert table.schema.names == ["n", "at", "more"]
    assert table.schema.types == [pa.float64(), pa.string(), pa.bool_()]


def test_infer_says_what_it_saw(million: Path) -> None:
    made = source("csv", million)
    some = made.infer(StreamRef(path="a.csv"), 300_000)
    assert some.rows is not None
    assert 10_000 < some.rows < 100_000
    assert not some.whole
    assert some.schema.field("price").type == pa.float64()
    everything = made.infer(StreamRef(path="a.csv"), None)
    assert (everything.rows, everything.whole) == (ROWS, True)
    assert everything.schema.field("price").type == pa.string()
    assert not everything.schema.field("price").nullable
