"""Which column a load is split by, and how; and rows that a source returns outside their split."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conduit_core.connectors.base import ReadRequest, Shape, StreamRef
from conduit_core.connectors.cuts import path_cuts
from conduit_core.connectors.splits import WHOLE, Split, SplitBy
from conduit_core.engine.cutting import BoundsCheck, by_unique_key, choose_splits
from conduit_core.errors import ConduitError, ConfigError, SchemaError, SourceDataError
from conduit_core.spec import StreamSpec
from conduit_core.state.window import Window
from conduit_core.testing import Faults, FaultySource
from conduit_core.types.schema import tagged
from tests.connectors.files.helpers import source as files_at

FULL = Window("full")
ORDERS = pa.table(
    {
        "id": list(range(12)),
        "region": ["eu", "us", None] * 4,
        "day": [date(2024, 1, n + 1) for n in range(12)],
        "flag": [True, False] * 6,
    }
)


def choose(
    splits: object, *, key: tuple[str, ...] = (), primary: tuple[str, ...] = (), **spec: Any
) -> SplitBy:
    source = FaultySource({"orders": ORDERS})
    stream = StreamSpec.model_validate(
        {"table": "orders", "unique_key": key, "splits": splits, **spec}
    )
    ref = StreamRef(table="orders", cursor=stream.cursor)
    shape = Shape(ORDERS.schema, primary_key=primary)
    return choose_splits(stream, source, ref, shape, FULL)


def test_one_split_is_the_whole() -> None:
    assert choose(None) == WHOLE
    assert choose(1) == WHOLE
    assert choose({"count": 1, "by": "hash"}) == WHOLE


def test_the_column_is_the_one_given_then_key_primary_key_cursor() -> None:
    given = {"count": 3, "column": "day"}
    cursor: dict[str, Any] = {"cursor": ("region", "id"), "mode": "append"}
    assert choose(given, key=("id",), **cursor).column == "day"
    assert choose(3, key=("id",), primary=("day",), **cursor).column == "id"
    assert choose(3, key=("id", "region"), primary=("day", "id"), **cursor).column == "day"
    assert choose(3, **cursor).column == "region"
    assert choose(3, primary=("flag",), **cursor).column == "region"
    assert choose(3, primary=("id",)).cuts == ("4", "8")


def test_without_a_column_one_is_to_be_named() -> None:
    with pytest.raises(ConfigError, match=r"splits: \{count: 3, column: ...\}") as caught:
        choose(3)
    assert "id, region, day" in caught.value.message
    assert "flag" not in caught.value.message


@pytest.mark.parametrize(
    ("splits", "kind", "told"),
    [
        ({"count": 2, "column": "ID"}, SchemaError, "no column 'ID' among those that are read: id"),
        ({"count": 2, "column": "flag"}, SchemaError, "'flag' is bool, whose values have no order"),
        ({"count": 2, "by": "hash"}, ConfigError, "faulty source can't be split by hash: it can"),
        ({"count": 2, "by": "file"}, ConfigError, "can't be split by file: it can be by range or"),
        ({"column": "id", "values": ["x"]}, ConfigError, "'x' in `values` is not a value of"),
        ({"column": "id", "values": ["1", "01"]}, ConfigError, "same value of column 'id' twice"),
        ({"column": "nothing", "values": ["x"]}, SchemaError, "no column 'nothing'"),
    ],
)
def test_what_can_not_be_is_refused(splits: object, kind: type[ConduitError], told: str) -> None:
    with pytest.raises(kind) as caught:
        choose(splits)
    assert told in caught.value.message
    assert caught.value.command == "conduit plan"


def test_values_are_read_as_the_columns_type() -> None:
    by = choose({"column": "region", "values": ["eu", "us"]})
    assert (by.kind, by.column, by.cuts, by.count) == ("values", "region", ("eu", "us"), 3)
    by = choose({"column": "day", "values": [date(2024, 1, 2)]})
    assert by.splits()[0].value == pa.scalar(date(2024, 1, 2))
    by = choose({"column": "flag", "values": [True]})
    assert by.splits()[0].value == pa.scalar(True)


def test_values_of_logical_types() -> None:
    bare = pa.field("c", pa.string())
    number, document, uuid = (
        tagged(bare, logical="numeric"), tagged(bare, logical="json"), tagged(bare, logical="uuid")
    )  # fmt: skip
    spec = {"table": "orders", "splits": {"column": "c", "values": []}}

    def cuts(field: pa.Field[pa.DataType], value: str) -> SplitBy:
        spec["splits"] = {"column": "c", "values": [value]}
        stream = StreamSpec.model_validate(spec)
        shape = Shape(pa.schema([field]))
        return choose_splits(stream, FaultySource({}), StreamRef(table="orders"), shape, FULL)

    assert cuts(number, "1.50").splits()[0].value == pa.scalar(
        Decimal("1.50"), pa.decimal256(76, 38)
    )
    shown = "d546eb86-c18a-4b03-b086-d4c690b0a2ea"
    assert cuts(uuid, shown.upper()).cuts == (shown,)
    with pytest.raises(ConfigError, match=r"not a value of column 'c' \(uuid\)"):
        cuts(uuid, "no uuid")
    with pytest.raises(SchemaError, match="is json, whose values can't be compared"):
        cuts(document, "{}")


def test_a_source_of_files_is_split_by_file(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / f"f{n}.csv").write_text("id\n1\n")
    source = files_at("csv", tmp_path)
    ref = StreamRef(path="f*.csv")

    def chosen(splits: object) -> SplitBy:
        stream = StreamSpec.model_validate({"path": "f*.csv", "name": "f", "splits": splits})
        return choose_splits(stream, source, ref, source.describe(ref), FULL)

    by = chosen(2)
    assert (by.kind, by.cuts) == ("file", ("f2",))
    assert chosen({"count": 9, "by": "file"}).count == 4
    with pytest.raises(ConfigError, match="csv source can't be split by range: it can be by file"):
        chosen({"count": 2, "by": "range", "column": "id"})
    with pytest.raises(ConfigError, match="leave out `column`"):
        chosen({"count": 2, "column": "id"})


def test_paths_are_cut_by_bytes() -> None:
    files = [("a", 1000), ("b", 1), ("c", 1), ("d/e", 998)]
    assert path_cuts(files, 2).cuts == ("b",)
    assert path_cuts([(f"{n:04}", 0) for n in range(1000)], 4).cuts == ("025", "05", "075")
    assert path_cuts([("a", 5)], 4) == WHOLE
    assert path_cuts([], 4) == WHOLE


# --- resume ---------------------------------------------------------------------------------------


def test_a_row_keeps_its_split_where_the_key_decides_it() -> None:
    stream = StreamSpec(table="orders", unique_key=("id", "region"))
    shape = Shape(ORDERS.schema, primary_key=("day",))
    for column in ("id", "region", "day"):
        assert by_unique_key(stream, shape, SplitBy(kind="range", column=column, cuts=("1",)))
        assert by_unique_key(stream, shape, SplitBy(kind="hash", column=column, buckets=2))
    assert by_unique_key(stream, shape, SplitBy(kind="file", cuts=("a",)))
    assert not by_unique_key(stream, shape, SplitBy(kind="range", column="flag", cuts=("1",)))
    assert not by_unique_key(stream, shape, WHOLE)


# --- bounds ---------------------------------------------------------------------------------------


def check(split: Split | None, values: list[Any], kind: pa.DataType | None = None) -> None:
    column: pa.Array[Any] = pa.array(values, kind) if kind else pa.array(values)
    BoundsCheck(split).check(pa.record_batch([column], names=["c"]))


def ranges(kind: pa.DataType, *cuts: str) -> list[Split]:
    return SplitBy(kind="range", column="c", type=str(kind), cuts=cuts).splits()


def test_rows_inside_are_fine() -> None:
    first, middle, last = ranges(pa.int64(), "10", "20")
    check(first, [None, -5, 9])
    check(middle, [10, 19])
    check(last, [20, 2**62])
    check(middle, [], pa.int64())
    check(None, [1])
    check(WHOLE.splits()[0], [None, 1])
    for kind in ("hash", "file"):
        by = SplitBy(kind=kind, column="c", cuts=("a",), buckets=2)
        check(by.splits()[0], [None, 5])


@pytest.mark.parametrize(
    ("kind", "cuts", "position", "values", "told"),
    [
        (pa.int64(), ("10", "20"), 0, [1, 10], "'c' is 10, but the split holds rows below 10 and"),
        (pa.int64(), ("10", "20"), 1, [15, 9], "'c' is 9, but the split holds rows [10, 20)"),
        (pa.int64(), ("10", "20"), 1, [None], "'c' is NULL, but the split holds rows [10, 20)"),
        (pa.int64(), ("10", "20"), 2, [19], "'c' is 19, but the split holds rows from 20 on"),
        (pa.string(), ("b",), 0, ["a", "é"], "'c' is é,"),
        (pa.float64(), ("1.5",), 0, [1.0, float("nan")], "'c' is nan,"),
        (pa.decimal128(5, 2), ("1.50",), 1, [Decimal("1.49")], "'c' is 1.49,"),
        (pa.binary(), ("ff",), 0, [b"\xff"], "'c' is ff,"),
        (
            pa.timestamp("us", "UTC"), ("2024-01-01T00:00:00.000000",), 1,
            [datetime(2023, 12, 31, tzinfo=UTC)], "'c' is 2023-12-31T00:00:00.000000,",
        ),
    ],
)  # fmt: skip
def test_a_row_outside_its_range_is_told(
    kind: pa.DataType, cuts: tuple[str, ...], position: int, values: list[object], told: str
) -> None:
    split = ranges(kind, *cuts)[position]
    with pytest.raises(SourceDataError) as caught:
        check(split, values, kind)
    assert told in caught.value.message
    assert f"outside split {split.id}" in caught.value.message
    assert caught.value.retry == "never"


def test_a_row_outside_its_value_is_told() -> None:
    eu, us, rest = SplitBy(kind="values", column="c", cuts=("eu", "us")).splits()
    check(eu, ["eu", "eu"])
    check(rest, ["asia", None, "EU"])
    for split, values, told in (
        (eu, ["eu", "us"], "'c' is us, but the split holds rows with eu"),
        (us, [None], "'c' is NULL"),
        (rest, [None, "eu"], "'c' is eu, but the split holds all but eu, us"),
    ):
        with pytest.raises(SourceDataError, match=told):
            check(split, list(values), pa.string())


def test_numbers_of_any_size_are_compared_as_numbers() -> None:
    low, high = ranges(pa.decimal256(76, 38), "10")
    check(low, ["9.5", "-1e3", None], pa.string())
    check(high, ["10.0", "NaN", "Infinity", "1e60"], pa.string())
    with pytest.raises(SourceDataError, match="'c' is 9"):
        check(high, ["9"], pa.string())


def test_a_bound_may_be_zero() -> None:
    for kind, values in ((pa.decimal256(76, 38), ["0.5", None]), (pa.int64(), [0, 5])):
        low, high = ranges(kind, "0")
        text = pa.string() if pa.types.is_decimal(kind) else kind
        check(high, values[:1], text)
        with pytest.raises(SourceDataError, match="but the split holds rows below 0 and NULL"):
            check(low, values[:1], text)


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(SourceDataError) as caught:
        check(ranges(pa.string(), "b")[0], ["z" * 5000])
    assert len(caught.value.message) < 400


def test_the_faulty_source_counts_reads_and_goes_astray() -> None:
    faults = Faults()
    source = FaultySource({"orders": ORDERS}, faults)
    ref = StreamRef(table="orders")
    by = source.cut(ref, FULL, "range", "id", 3)
    one, two, _ = by.splits()

    def read(split: Split) -> list[object]:
        bounds = BoundsCheck(split)
        reading = source.read(ReadRequest(ref, ORDERS.schema, FULL, split=split))
        ids: list[object] = []
        for batch in reading.reader:
            bounds.check(batch)
            ids += batch.column("id").to_pylist()
        return ids

    assert read(one) == [0, 1, 2, 3]
    assert read(one) == read(one)
    assert read(two) == [4, 5, 6, 7]
    assert faults.split_reads == {one.id: 3, two.id: 1}
    faults.stray = True
    with pytest.raises(SourceDataError, match="'id' is 4"):
        read(one)


def test_cuts_of_long_texts_are_fewer_so_that_a_plan_stays_small() -> None:
    """A thousand URLs that share a long beginning don't fit into 64 kB."""
    urls = sorted(f"https://shop.example/{'catalogue/' * 12}item-{n:06}" for n in range(2000))
    table = pa.table({"url": urls})
    source = FaultySource({"pages": table})
    stream = StreamSpec.model_validate(
        {"table": "pages", "splits": {"count": 1000, "column": "url"}}
    )
    made = choose_splits(stream, source, StreamRef(table="pages"), Shape(table.schema), FULL)
    assert 200 < made.count <= 1000
    assert len(made.model_dump_json().encode()) <= 40 * 1024
    assert list(made.cuts) == sorted(set(made.cuts))
