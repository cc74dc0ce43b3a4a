"""Loads of what a Python function made: each mode, exactly once, and from run to run."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conduit_core import LoadResult, Pipeline, RunRequest, destination_facts, plan, read, run
from conduit_core.errors import ConfigError, GuardError, SchemaError, SourceDataError
from conduit_core.events import Event, Notice
from conduit_core.spec import FileConnections
from tests.lab import only
from tests.services import sql


class Warehouse:
    """A destination that data is loaded into."""

    def __init__(self, folder: Path, destination: dict[str, object]) -> None:
        self.folder = folder
        self.destination = destination

    def pipeline(self, data: object, **keys: Any) -> Pipeline:
        given = {"name": "shop", "into": "orders", "destination": self.destination, **keys}
        return Pipeline.from_data(data, base_dir=self.folder, **given)

    def load(
        self, data: object, request: dict[str, object] | None = None, **keys: Any
    ) -> LoadResult:
        asked = RunRequest.model_validate(request or {})
        return only(run(self.pipeline(data, **keys), request=asked))

    def rows(self, **keys: Any) -> list[dict[str, Any]]:
        with read(self.pipeline(None, **keys), "orders") as reader:
            rows = reader.read_all().to_pylist()
        kept = [{k: v for k, v in row.items() if not k.startswith("_")} for row in rows]
        return sorted(kept, key=str)


@pytest.fixture
def duck(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path, {"type": "duckdb", "path": "w.duckdb", "schema": "raw"})


def orders(*ids: int, v: str = "a") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "v": pa.array([v] * len(ids), pa.string())})


def parts(*ids: int) -> Iterator[pa.Table]:
    for i in ids:
        yield orders(i)


def _never() -> Iterator[pa.Table]:
    raise AssertionError("taken")
    yield


# --- exactly once ---------------------------------------------------------------------------------


def test_a_request_key_is_loaded_once(duck: Warehouse) -> None:
    first = duck.load(parts(1, 2), {"request_key": "run 1"})
    assert (first.outcome, first.guarantee, first.counts.inserted) == (
        "published",
        "exactly-once",
        2,
    )
    again = duck.load(parts(1, 2), {"request_key": "run 1"})
    assert (again.outcome, again.load_id) == ("replayed", first.load_id)
    assert duck.load(None, {"request_key": "run 1"}).outcome == "replayed"
    assert duck.load(_never(), {"request_key": "run 1"}).notes == (
        "published before: the data isn't taken again",
    )
    assert duck.load(parts(3), {"request_key": "run 2"}).outcome == "published"
    assert [row["id"] for row in duck.rows()] == [1, 2, 3]


def test_append_without_cursor_and_key_says_so(duck: Warehouse) -> None:
    assert duck.load(orders(1)).guarantee == "at-least-once"
    duck.load(orders(1))
    assert [row["id"] for row in duck.rows()] == [1, 1]


def test_a_cursor_goes_on_from_run_to_run(duck: Warehouse) -> None:
    assert duck.load(orders(1, 2, 3), cursor="id").watermark == "3"
    result = duck.load(parts(2, 3, 4, 5), cursor="id")
    assert (result.counts.read, result.watermark) == (2, "5")
    assert duck.load(orders(4, 5), cursor="id").outcome == "empty"
    assert [row["id"] for row in duck.rows()] == [1, 2, 3, 4, 5]


def test_the_fingerprint_is_the_same_in_each_process(duck: Warehouse) -> None:
    (one,) = plan(duck.pipeline(orders(1)))
    (other,) = plan(duck.pipeline(parts(2, 3)))
    assert one.load_id == other.load_id
    assert one.publish.record.spec_fingerprint == other.publish.record.spec_fingerprint
    (named,) = plan(duck.pipeline(orders(1), name="another"))
    assert named.publish.record.spec_fingerprint != one.publish.record.spec_fingerprint


def test_a_plan_and_two_runs_of_one_generator(duck: Warehouse) -> None:
    pipeline = duck.pipeline(parts(1, 2), mode="replace")
    assert plan(pipeline)[0].rows_estimate == 2
    assert [only(run(pipeline)).counts.read for _ in range(2)] == [2, 2]


# --- modes ----------------------------------------------------------------------------------------


def _modes(warehouse: Warehouse) -> None:
    load = warehouse.load
    load(orders(1, 2), mode="upsert", key="id")
    counts = load(
        (part for part in (orders(2, v="b"), orders(3))), mode="upsert", key=["id"]
    ).counts
    assert (counts.inserted, counts.updated) == (1, 1)
    assert load(orders(3, 4, v="c"), mode="insert_only", key="id").counts.inserted == 1
    assert [(row["id"], row["v"]) for row in warehouse.rows()] == [
        (1, "a"),
        (2, "b"),
        (3, "a"),
        (4, "c"),
    ]
    with pytest.raises(GuardError):
        load(orders(), mode="replace")
    assert load(orders(7), mode="replace").counts.inserted == 1
    assert [row["id"] for row in warehouse.rows()] == [7]


def test_modes_into_duckdb(duck: Warehouse) -> None:
    _modes(duck)


@pytest.mark.postgres
def test_modes_into_postgres(tmp_path: Path, postgres_database: str) -> None:
    warehouse = Warehouse(tmp_path, {"type": "postgres", "url": postgres_database})
    _modes(warehouse)
    assert sql(postgres_database, "SELECT id, v FROM orders") == [(7, "a")]


def test_versions_and_slices(duck: Warehouse) -> None:
    keys: dict[str, Any] = {"mode": "scd2", "key": "id", "into": "versions"}
    duck.load(orders(1, 2), **keys)
    duck.load(orders(1, 2, v="b"), **keys)
    with read(duck.pipeline(None, **keys), "versions") as reader:
        assert reader.read_all().num_rows == 4
    keys = {"mode": "replace_window", "cursor": "id"}
    duck.load(orders(1, 2, 3), **keys)
    result = duck.load(orders(2, v="b"), {"window_from": "2", "window_to": "4"}, **keys)
    assert result.counts.inserted == 1
    assert [(row["id"], row["v"]) for row in duck.rows()] == [(1, "a"), (2, "b")]


def test_rules_transforms_and_deletes(duck: Warehouse) -> None:
    stream = {
        "quality": [{"rule": "range", "column": "id", "max": 10, "action": "dlq"}],
        "transform": [{"rename": {"v": "value"}}],
        "deletes": "snapshot",
    }
    keys: dict[str, Any] = {"mode": "upsert", "key": "id", "stream": stream}
    assert duck.load(parts(1, 2, 11), **keys).counts.rejected == 1
    duck.load(parts(2), {"allow_deletes": True}, **keys)
    assert {row["id"]: row["value"] for row in duck.rows()} == {1: "a", 2: "a"}
    with read(duck.pipeline(None), "orders") as reader:
        rows = reader.read_all().to_pylist()
    assert [row["id"] for row in rows if row["_conduit_deleted_at"] is not None] == [1]


# --- nothing, and columns without a type ----------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_nothing_is_an_empty_load_and_said(duck: Warehouse, mode: str) -> None:
    told: list[Event] = []
    duck.load(orders(1, 2), mode=mode, cursor="id")
    for data in (None, iter(()), pa.table({})):
        pipeline = duck.pipeline(data, mode=mode, cursor="id")
        result = only(run(pipeline, listeners=(told.append,)))
        assert (result.outcome, result.watermark) == ("empty", "2")
        assert "nothing to load" in result.notes[0]
    assert len([event for event in told if isinstance(event, Notice)]) == 3
    assert [row["id"] for row in duck.rows()] == [1, 2]


def test_nothing_before_there_is_a_table(duck: Warehouse) -> None:
    result = duck.load(None)
    assert (result.outcome, result.notes) == ("empty", ("the data is None: nothing to load",))
    (planned,) = plan(duck.pipeline(None), staged=True)
    assert planned.empty


def test_a_column_of_only_nulls_fits_the_column_there_is(duck: Warehouse) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": [1], "note": [None]})
    assert "note: no type in the data" in " ".join(duck.load(frame, into="fresh").notes)
    duck.load(pd.DataFrame({"id": [1], "n": [5]}))
    duck.load(pd.DataFrame({"id": [2], "n": [None]}))
    assert duck.rows() == [{"id": 1, "n": 5}, {"id": 2, "n": None}]


# --- what is wrong --------------------------------------------------------------------------------


def test_a_type_without_a_place_is_named(duck: Warehouse) -> None:
    views = pa.table({"id": [1], "v": pa.array([["a"]], pa.list_view(pa.string()))})
    with pytest.raises(SchemaError, match="'v'"):
        duck.load(views)


def test_data_that_fails_loads_nothing(duck: Warehouse) -> None:
    def failing() -> Iterator[pa.Table]:
        yield orders(1)
        raise ValueError("no more pages")

    def changing() -> Iterator[pa.Table]:
        yield orders(1)
        yield pa.table({"id": ["one"], "v": ["a"]})

    duck.load(orders(9))
    pipeline = duck.pipeline(failing())
    for _ in range(2):
        with pytest.raises(SourceDataError, match="raised ValueError") as failed:
            only(run(pipeline))
        assert isinstance(failed.value.__cause__, ValueError)
    with pytest.raises(SchemaError, match="column 'id' is int64 in the first part"):
        duck.load(changing())
    with pytest.raises(SchemaError, match="unique_key names 'key'"):
        duck.load(orders(1), mode="upsert", key="key")
    assert [row["id"] for row in duck.rows()] == [9]


KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "again": ({"stream": {"mode": "upsert"}}, "give it as the argument `mode`"),
    "key": ({"stream": {"unique_key": "id"}}, "give it as the argument `key`"),
    "table": ({"stream": {"table": "orders"}}, "its rows are the data"),
    "no_key": ({"mode": "upsert"}, "`mode: upsert` needs a `unique_key`"),
    "unknown": ({"stream": {"qualty": []}}, "did you mean"),
    "into": ({"into": "a.b.c"}, "more than two parts"),
    "destination": ({"destination": "nowhere"}, "`destination` names no known type"),
}


@pytest.mark.parametrize(("keys", "text"), KEYS.values(), ids=KEYS)
def test_keys_are_checked_when_it_is_made(duck: Warehouse, keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        duck.pipeline(orders(1), **keys)


def test_it_stays_in_its_process(duck: Warehouse) -> None:
    pipeline = duck.pipeline(orders(1))
    with pytest.raises(TypeError, match="its rows are in this process alone"):
        pickle.dumps(pipeline)
    staged = {**duck.destination, "staging": "staging"}
    with ProcessPoolExecutor(1) as pool:
        result = run(duck.pipeline(orders(1), destination=staged), executor=pool)
    assert "its rows are in this process alone" in str(result.failures[0].to_error())
    with pytest.raises(ConfigError, match="a frames source can't be split by range"):
        duck.load(orders(1), stream={"splits": 2}, key="id", destination=staged)


def test_no_file_can_name_its_type(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yml"
    file.write_text(
        "name: x\nsource: {type: frames}\ndestination: duckdb:///w.duckdb\nstreams: [orders]\n"
    )
    with pytest.raises(ConfigError, match=r"pipeline.yml:2: .*`Pipeline.from_data` takes"):
        plan(Pipeline.from_file(file))


def test_facts_of_the_destination_take_nothing(duck: Warehouse) -> None:
    pipeline = duck.pipeline(_never(), into="other.orders")
    assert destination_facts(pipeline).schema == "raw"
    assert [s.name for s in pipeline.streams] == ["orders"]
    assert "never" not in repr(pipeline)


def test_the_destination_may_be_a_named_connection(duck: Warehouse) -> None:
    file = duck.folder / "connections.yml"
    file.write_text("warehouse: {type: duckdb, path: w.duckdb, schema: raw}\n")
    named: dict[str, Any] = {
        "destination": {"connection": "warehouse"},
        "connections": FileConnections(file),
    }
    assert duck.load(parts(1), **named).counts.inserted == 1
    assert [row["id"] for row in duck.rows()] == [1]
