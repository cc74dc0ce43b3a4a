"""Whatever a Python function returns: which types its columns have, or what is wrong with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd  # noqa: TID253 - what is tested
import polars as pl  # noqa: TID253
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from conduit_core.connectors.frames import Data
from conduit_core.errors import ConduitError, ConfigError, SchemaError
from conduit_core.types.schema import logical_type


def taken(given: object) -> pa.Table:
    data = Data(given)
    schema = data.schema
    assert schema is not None
    return pa.Table.from_batches(data.batches(schema.names, 4096), schema)


ROWS = {"id": [1, 2, 3], "v": ["a", None, "ü"]}
SAME: dict[str, Callable[[], object]] = {
    "table": lambda: pa.table(ROWS),
    "batch": lambda: pa.RecordBatch.from_pydict(ROWS),
    "reader": lambda: pa.table(ROWS).to_reader(),
    "dataset": lambda: ds.dataset(pa.table(ROWS)),
    "dataset_of_a_reader": lambda: ds.dataset(pa.table(ROWS).to_reader()),
    "pandas": lambda: pd.DataFrame(ROWS),
    "polars": lambda: pl.DataFrame(ROWS),
    "lazy": lambda: pl.LazyFrame(ROWS),
    "list": lambda: [pa.table(ROWS).slice(0, 1), None, pa.table(ROWS).slice(1)],
    "generator_of_readers": lambda: (pa.table(ROWS).slice(i, 1).to_reader() for i in range(3)),
    "generator_of_polars": lambda: (pl.DataFrame(ROWS).slice(i, 1) for i in range(3)),
    "generator_of_lazy": lambda: (pl.LazyFrame(ROWS).slice(i, 1) for i in range(3)),
    "generator_of_pandas": lambda: (pd.DataFrame(ROWS).iloc[i : i + 1] for i in range(3)),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_each_kind_of_data_gives_its_rows_each_time(make: Callable[[], object]) -> None:
    data = Data(make())
    for _ in range(2):
        assert pa.Table.from_batches(data.batches(["v", "id"], 64)).to_pydict() == {
            "v": ROWS["v"],
            "id": ROWS["id"],
        }
    assert data.rows in (3, None)
    assert next(data.batches(["v"], 64)).schema.names == ["v"]


def test_a_relation_of_another_library_is_a_stream() -> None:
    import duckdb

    with duckdb.connect() as connection:
        found = taken(connection.sql("SELECT range AS id, 'x' AS v FROM range(5)"))
    assert found.to_pydict() == {"id": list(range(5)), "v": ["x"] * 5}


# --- types ----------------------------------------------------------------------------------------


def test_columns_of_polars() -> None:
    moment = datetime(2024, 3, 10, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "text": ["a", None, "long" * 10],
            "category": pl.Series(["u", "v", None], dtype=pl.Categorical),
            "enum": pl.Series(["u", "v", None], dtype=pl.Enum(["u", "v"])),
            "categories": pl.Series([["u"], ["v"], None], dtype=pl.List(pl.Categorical)),
            "binary": [b"x", None, b"y" * 20],
            "at": [moment, None, moment],
            "price": [Decimal("1.50"), None, Decimal("2.25")],
            "nothing": [None, None, None],
            "point": [{"x": 1, "t": "a"}, None, {"x": None, "t": None}],
        }
    )
    found = taken(frame)
    kinds = {f.name: f.type for f in found.schema}
    assert kinds["text"] == kinds["category"] == kinds["enum"] == pa.large_string()
    assert kinds["categories"] == pa.large_list(pa.large_string())
    assert kinds["binary"] == pa.large_binary()
    assert kinds["at"] == pa.timestamp("us", "UTC")
    assert pa.types.is_null(kinds["nothing"])
    assert found.to_pylist() == frame.to_dicts()


def test_columns_of_pandas() -> None:
    at = pd.to_datetime(["2024-03-10 01:00", None]).tz_localize("Europe/Oslo")
    frame = pd.DataFrame(
        {
            "text": pd.Series(["a", None], dtype=object),
            "category": pd.Categorical(["u", None]),
            "whole": pd.Series([1, None], dtype="Int64"),
            "at": at,
            "price": [Decimal("1.50"), None],
            "nothing": [None, None],
            "uuid": [uuid.UUID(int=1), None],
            "arrow": pd.Series(["x", None], dtype=pd.ArrowDtype(pa.string_view())),
        }
    )
    found = taken(frame)
    assert found.drop_columns(["at", "uuid"]).to_pylist() == [
        {
            "text": "a",
            "category": "u",
            "whole": 1,
            "price": Decimal("1.50"),
            "nothing": None,
            "arrow": "x",
        },
        dict.fromkeys(["text", "category", "whole", "price", "nothing", "arrow"]),
    ]
    assert found.schema.field("at").type.tz == "Europe/Oslo"
    assert found.column("uuid").to_pylist() == [str(uuid.UUID(int=1)), None]
    assert logical_type(found.schema.field("uuid")) == "uuid"


def test_an_index_is_loaded_where_it_has_a_name() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert taken(frame).schema.names == ["a"]
    assert taken(frame[frame.a > 1]).to_pydict() == {"a": [2, 3]}  # an index of numbers, unnamed
    assert taken(frame.rename_axis("id")).to_pydict() == {"a": [1, 2, 3], "id": [0, 1, 2]}
    levels = pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["k", None])
    both = pd.DataFrame({"a": [1, 2]}, index=levels)
    assert taken(both).to_pydict() == {"a": [1, 2], "k": [1, 2]}


def test_arrow_layouts_are_taken_apart() -> None:
    table = pa.table(
        {
            "views": pa.array(["a", None], pa.string_view()),
            "runs": pa.RunEndEncodedArray.from_arrays([2], ["x"]),
            "coded": pa.array(["a", None]).dictionary_encode(),
            "coded_views": pa.DictionaryArray.from_arrays(
                pa.array([0, None], pa.int8()), pa.array(["long" * 9], pa.string_view())
            ),
            "in_lists": pa.array([["a"], None], pa.list_(pa.string_view())),
            "in_maps": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string_view())),
            "truth": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
        }
    )
    found = taken(table)
    assert found.to_pydict() == {
        "views": ["a", None],
        "runs": ["x", "x"],
        "coded": ["a", None],
        "coded_views": ["long" * 9, None],
        "in_lists": [["a"], None],
        "in_maps": [[("k", "v")], None],
        "truth": [True, None],
    }


# --- what is wrong --------------------------------------------------------------------------------


async def _rows() -> Any:
    yield pa.table(ROWS)


def test_a_function_is_called_once_and_only_if_its_rows_are_needed() -> None:
    calls: list[int] = []

    def made() -> pa.Table:
        calls.append(1)
        return pa.table(ROWS)

    data = Data(made)
    assert calls == []
    assert data.rows == data.rows == pa.table(ROWS).num_rows
    assert calls == [1]
    with pytest.raises(ConfigError, match="the data is a str"):
        _ = Data(lambda: "id").rows


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([{"id": 1}], "a list of dict"),
        (({"id": 1},), "a tuple of dict"),
        ("id\n1\n", "a str"),
        (b"", "a bytes"),
        ({"id": [1]}, "a dict"),
        (5, "a int"),
        (int, "a type"),
        (_rows(), "a async_generator"),
        ([pa.table(ROWS), "x"], "a list of str"),
    ],
)
def test_what_has_no_columns_is_named_when_it_is_given(given: object, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"pyarrow\.Table\.from_pylist\(rows\)") as error:
        Data(given)
    assert error.value.message.startswith(f"the data is {kind}, ")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (({"id": i} for i in range(2)), "a generator of dict"),
        (iter("ab"), "a str_ascii_iterator of str"),
        (pd.Series([1]), "a pandas Series"),
        (pl.Series([1]), "a polars Series"),
        (pa.chunked_array([[1]]), "a pyarrow ChunkedArray"),
    ],
)
def test_what_has_no_columns_is_named_when_it_is_taken(given: object, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"the data is {kind}, "):
        taken(given)


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "mixed": (lambda: pd.DataFrame({"x": [1, "secret"]}), r"column 'x' .* holds int, str"),
    "objects": (lambda: pd.DataFrame({"a": [1], "x": [object()]}), "column 'x' .* holds object"),
    "complex": (lambda: pd.DataFrame({"x": [1 + 2j]}), "column 'x' .complex128."),
    "period": (lambda: pd.DataFrame({"x": pd.period_range("2024", periods=1)}), "only pandas has"),
    "number_as_name": (lambda: pd.DataFrame([[1]]), "named 0, a int"),
    "twins": (lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
    "index_twin": (
        lambda: pd.DataFrame({"a": [1]}, index=pd.Index([1], name="a")),
        "two columns are named 'a'",
    ),
    "arrow_twins": (lambda: pa.Table.from_arrays([[1], [2]], ["a", "a"]), "two columns are named"),
    "polars_objects": (
        lambda: pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)}),
        "column 'x' is polars' Object",
    ),
    "polars_int128": (
        lambda: pl.DataFrame({"x": pl.Series([1], dtype=pl.Int128)}),
        "column 'x' is polars' Int128",
    ),
}


@pytest.mark.parametrize(("make", "text"), WRONG.values(), ids=WRONG)
def test_a_column_without_a_type_is_named(make: Callable[[], object], text: str) -> None:
    with pytest.raises(SchemaError, match=text) as error:
        taken(make())
    assert "secret" not in str(error.value)


def _parts(*parts: object) -> Iterator[object]:
    yield from parts


OTHER: dict[str, tuple[pa.Table, str]] = {
    "type": (pa.table({"id": [1.5], "v": ["a"]}), "'id' is int64 in the first .* double in part 2"),
    "less": (pa.table({"id": [1]}), "part 2 of the data has no column 'v'"),
    "more": (pa.table({"id": [1], "v": ["a"], "w": [1]}), "part 2 .* has a column 'w'"),
}


@pytest.mark.parametrize(("part", "text"), OTHER.values(), ids=OTHER)
def test_a_part_with_other_columns_is_named(part: pa.Table, text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        taken(_parts(pa.table(ROWS), part))


def test_parts_may_differ_in_order_and_in_what_says_nothing() -> None:
    nothing = pa.table({"v": pa.nulls(1), "id": [4]})
    empty = pd.DataFrame(columns=["id", "v"])
    found = taken(_parts(pd.DataFrame(), empty, pa.table(ROWS), empty, nothing))
    assert found.to_pydict() == {"id": [1, 2, 3, 4], "v": ["a", None, "ü", None]}
    with pytest.raises(SchemaError, match=r"'v' is null \(only NULLs\) in the first part"):
        taken(_parts(nothing, pa.table(ROWS)))


def test_errors_are_of_ours() -> None:
    for make, _ in WRONG.values():
        with pytest.raises(ConduitError):
            taken(make())
