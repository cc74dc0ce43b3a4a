"""Windows over a column of the rows, against a plain-Python model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.connectors.base import StreamRef
from conduit_core.connectors.windowing import Last, inside
from conduit_core.errors import SchemaError, StateError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from tests.connectors.files.helpers import load, source

CURSOR = ("a", "b")
Row = tuple[int | None, str | None]
some_rows = st.lists(
    st.tuples(st.none() | st.integers(0, 4), st.none() | st.sampled_from("abc")), max_size=12
)
no_deadline = settings(deadline=None)  # a busy machine is no failure
points = st.tuples(st.integers(0, 4), st.sampled_from("abc"))


def batch(some: list[Row]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array([r[0] for r in some], pa.int64()), pa.array([r[1] for r in some], pa.string())],
        names=list(CURSOR),
    )


def point(values: tuple[int, str]) -> Cursor:
    return Cursor(CURSOR, (pa.scalar(values[0]), pa.scalar(values[1])))


def read(some: list[Row], window: Window) -> list[Row]:
    found = inside(batch(some), window, CURSOR)
    return list(zip(found["a"].to_pylist(), found["b"].to_pylist(), strict=True))


@no_deadline
@given(some_rows, st.none() | points, st.none() | points, st.booleans())
def test_watermark_windows(
    some: list[Row], low: tuple[int, str] | None, high: tuple[int, str] | None, nulls: bool
) -> None:
    window = Window("watermark", low and point(low), high and point(high), null_cursor=nulls)
    expected = []
    for row in some:
        if None in row:
            keep = nulls or (low is None and high is None)
        else:
            keep = (low is None or row > low) and (high is None or row <= high)
        if keep:
            expected.append(row)
    assert read(some, window) == expected


@no_deadline
@given(some_rows, st.integers(0, 4), st.integers(0, 4))
def test_given_windows(some: list[Row], low: int, high: int) -> None:
    ends = [Cursor(("a",), (pa.scalar(v),)) for v in (low, high)]
    expected = [r for r in some if r[0] is not None and low <= r[0] < high]
    assert read(some, Window("given", ends[0], ends[1])) == expected


@no_deadline
@given(some_rows, st.integers(0, 4))
def test_an_initial_value_belongs_to_its_window(some: list[Row], low: int) -> None:
    window = Window("watermark", Cursor(("a",), (pa.scalar(low),)), None, closed_low=True)
    assert read(some, window) == [r for r in some if None not in r and r[0] >= low]  # type: ignore[operator]


@no_deadline
@given(st.lists(some_rows, max_size=3), st.none() | points, st.none() | st.integers(0, 4))
def test_the_last_row(
    batches: list[list[Row]], low: tuple[int, str] | None, cap: int | None
) -> None:
    bound = None if cap is None else Cursor(("a",), (pa.scalar(cap),))
    last = Last(CURSOR, low and point(low), bound)
    for some in batches:
        last.add(batch(some))
    flat = [r for some in batches for r in some]
    known = [r for r in flat if None not in r and (cap is None or r[0] <= cap)]  # type: ignore[operator]
    assert last.null_rows == sum(None in r for r in flat)
    assert last.rows == sum(low is None or r > low for r in known)
    if known:
        assert last.high is not None
        assert last.high.compare(point(max(known))) == 0  # type: ignore[arg-type]
    else:
        assert last.high is None


def test_nan_has_no_place() -> None:
    last = Last(("f",), None, None)
    last.add(pa.record_batch([pa.array([1.0, float("nan"), None])], names=["f"]))
    assert (last.null_rows, last.rows) == (2, 1)


def test_types_that_dont_compare() -> None:
    low = Cursor(("a",), (pa.scalar("x"),))
    with pytest.raises(StateError, match="string can't be compared with a column of type int64"):
        inside(batch([(1, "x")]), Window("watermark", low), ("a",))


CSV = "id,at,v\n" + "".join(
    f"{i},2013-01-{1 + i // 24:02}T{i % 24:02}:00:00Z,x\n" for i in range(240)
)


def at(text: str) -> Cursor:
    kind = pa.timestamp("us", tz="UTC")
    return Cursor(("at",), (pa.scalar(text).cast(kind),))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_every_format_by_a_column_of_its_rows(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.csv").write_text(CSV + "240,,y\n")
    table, _ = load(source("csv", tmp_path), "t.csv")
    if kind == "parquet":
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=50)
    elif kind != "csv":
        lines = [
            json.dumps(r | {"at": r["at"].isoformat() if r["at"] else None})
            for r in table.to_pylist()
        ]
        text = "\n".join(lines) if kind == "jsonl" else f"[{','.join(lines)}]"
        (tmp_path / f"t.{kind}").write_text(text)
    made = source(kind, tmp_path)
    ref = StreamRef(path=f"t.{kind}", cursor=("at",), columns=("v", "id"))
    shape = made.describe(ref)
    assert shape.cursor_types == (pa.timestamp("us", tz="UTC"),)
    assert shape.schema.names == ["v", "id"]
    low, cap = at("2013-01-02T00:00:00Z"), at("2013-01-03T12:30:00Z")
    bounds = made.bounds(ref, low, cap)
    assert bounds.high is not None
    assert bounds.high.compare(at("2013-01-03T12:00:00Z")) == 0
    assert (bounds.null_rows, bounds.rows_estimate) == (1, 36)
    window = Window("watermark", low, bounds.high, null_cursor=True)
    read, _ = load(made, ref.path, window, cursor=ref.cursor, columns=ref.columns)
    assert read["id"].to_pylist() == [*range(25, 61), 240]
    given_window = Window("given", at("2013-01-02T00:00:00Z"), at("2013-01-03T00:00:00Z"))
    read, _ = load(made, ref.path, given_window, cursor=ref.cursor, columns=ref.columns)
    assert read["id"].to_pylist() == list(range(24, 48))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_cursor_that_isnt_one(tmp_path: Path, kind: str) -> None:
    pq.write_table(pa.table({"a": [True], "l": [[1]]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("a\ntrue\n")
    made = source(kind, tmp_path)
    with pytest.raises(SchemaError, match="'a' is bool, which has no order"):
        made.describe(StreamRef(path=f"t.{kind}", cursor=("a",)))
    with pytest.raises(SchemaError, match="cursor column 'b' doesn't exist; there are a"):
        made.describe(StreamRef(path=f"t.{kind}", cursor=("b",)))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5, deadline=None
)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_slices_neither_lose_nor_double_a_row(tmp_path: Path, values: list[int]) -> None:
    (tmp_path / "t.csv").write_text("a\n" + "".join(f"{v}\n" for v in values))
    made = source("csv", tmp_path)
    middle = Cursor(("a",), (pa.scalar(25),))
    first, _ = load(made, "t.csv", Window("watermark", None, middle), cursor=("a",))
    second, _ = load(made, "t.csv", Window("watermark", middle, None), cursor=("a",))
    assert Counter(first["a"].to_pylist() + second["a"].to_pylist()) == Counter(values)
