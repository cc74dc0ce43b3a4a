"""Slices by value: each mode, many at once, what they leave alone, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conduit_core import (
    Pipeline,
    RunRequest,
    SliceBy,
    after,
    audit,
    plan,
    publish,
    read,
    run,
    stage,
)
from conduit_core.engine import admin, deadletters
from conduit_core.errors import ConduitError, ConfigError, GuardError, SchemaError, StateError
from tests.lab import DESTINATIONS, Lab, only, stream


def by(*values: str, column: str = "region") -> SliceBy:
    return SliceBy(column=column, values=values)


@pytest.fixture(params=(*DESTINATIONS, "parquet"))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """SQLite to each destination, files too."""
    name = request.param
    database = request.getfixturevalue("postgres_database") if name == "postgres" else name
    made = Lab(tmp_path, "duckdb" if name == "parquet" else database)
    if name == "parquet":
        made.destination = {"type": "parquet", "path": "lake"}
    fill(made)
    return made


def fill(lab: Lab) -> None:
    lab.sql("CREATE TABLE orders (id INTEGER, at TIMESTAMP, region TEXT, v TEXT)")
    rows = [
        f"({n}, '2024-01-{n:02} 00:00:00', {region}, 'a{n}')"
        for n, region in enumerate(("'eu'", "'us'", "'eu'", "'EU'", "NULL", "''", "'us'"), 1)
    ]
    lab.sql(f"INSERT INTO orders VALUES {', '.join(rows)}")


def change(lab: Lab) -> None:
    """Change every row of the source, delete one of `eu` and one of `us`, add one to each."""
    lab.sql(
        "UPDATE orders SET v = 'b' || id",
        "DELETE FROM orders WHERE id IN (3, 7)",
        "INSERT INTO orders VALUES (8, '2024-01-08', 'eu', 'b8'), (9, '2024-01-09', 'us', 'b9')",
    )


def content(lab: Lab, pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Return the target's rows ``(id, region, v)``, those that hold now, sorted."""
    rows = [r for r in lab.rows("orders", pipeline) if r.get("is_current", True)]
    return sorted((r["id"], r["region"] or "", r["v"]) for r in rows)


BY_KEY = {"unique_key": "id", "cursor": None}
MODES: dict[str, dict[str, Any]] = {
    "append": {"mode": "append", "cursor": None},
    "append with a cursor": {"mode": "append", "cursor": "id"},
    "replace_window": {"mode": "replace_window", "cursor": "id"},
    "replace_window by key": {"mode": "replace_window", **BY_KEY},
    "upsert": {"mode": "upsert", **BY_KEY},
    "insert_only": {"mode": "insert_only", **BY_KEY},
    "scd2": {"mode": "scd2", "unique_key": "id", "cursor": "at"},
}


@pytest.mark.parametrize("mode", MODES)
def test_a_slice_twice_ends_the_same_and_leaves_the_rest_alone(place: Lab, mode: str) -> None:
    is_files = place.destination["type"] == "parquet"
    if is_files and "unique_key" in MODES[mode]:
        pytest.skip("files aren't merged by key")
    pipeline = place.pipeline(stream(**MODES[mode]))
    first = place.run(pipeline, only=by("eu", "us"))
    assert (first.outcome, first.counts.read, first.watermark) == ("published", 4, None)
    before = [(1, "eu", "a1"), (2, "us", "a2"), (3, "eu", "a3"), (7, "us", "a7")]
    assert content(place, pipeline) == before
    place.run(pipeline, only=by("us", "eu", "us"))
    assert content(place, pipeline) == before
    change(place)
    if mode == "scd2":
        place.sql("UPDATE orders SET at = '2024-02-01'")
    after_it = {
        "insert_only": [*before, (8, "eu", "b8")],
        "upsert": [(1, "eu", "b1"), *before[1:], (8, "eu", "b8")],
        "scd2": [(1, "eu", "b1"), *before[1:], (8, "eu", "b8")],
    }.get(mode, [(1, "eu", "b1"), before[1], before[3], (8, "eu", "b8")])
    for _ in range(2):
        got = place.run(pipeline, only=by("eu"))
        assert got.counts.read == 2
        assert content(place, pipeline) == after_it
    windows = {r.load_window for r in place.chain(pipeline)}
    kept = '{"kind":"given","only":{"column":"region","type":"string","values":%s}}'
    assert windows == {kept % '["eu","us"]', kept % '["eu"]'}


def test_a_slice_within_a_window(place: Lab) -> None:
    pipeline = place.pipeline(stream(cursor="at", cursor_timezone="UTC"))
    days = [("2024-01-01", "2024-01-03"), ("2024-01-03", "2024-01-09")]
    for low, high in days:
        for region in ("eu", "us"):
            place.run(pipeline, window_from=low, window_to=high, only=by(region))
    assert [row[0] for row in content(place, pipeline)] == [1, 2, 3, 7]
    change(place)
    place.run(pipeline, window_from="2024-01-03", window_to="2024-01-09", only=by("eu"))
    left = [(1, "eu", "a1"), (2, "us", "a2"), (7, "us", "a7"), (8, "eu", "b8")]
    assert content(place, pipeline) == left
    (view,) = admin.state_show(pipeline)
    assert (view.covered, view.gaps) == ((), ())
    assert view.slices[-1].endswith("2024-01-09T00:00:00.000000), region = 'eu'")


def test_an_empty_slice_stops_at_a_guard_where_it_has_rows(each_lab: Lab) -> None:
    fill(each_lab)
    pipeline = each_lab.pipeline(stream(cursor=None))
    assert each_lab.run(pipeline, only=by("nowhere")).outcome == "empty"
    each_lab.run(pipeline, only=by("eu", "us"))
    each_lab.sql("DELETE FROM orders WHERE region = 'eu'")
    with pytest.raises(GuardError, match="no rows in the slice") as caught:
        each_lab.run(pipeline, only=by("eu"))
    assert "--only region=eu --allow-empty" in caught.value.lines()[3]
    each_lab.run(pipeline, only=by("eu"), allow_empty=True)
    assert [row[0] for row in content(each_lab, pipeline)] == [2, 7]


def test_texts_are_equal_byte_by_byte_whatever_the_target_s_collation(tmp_path: Path) -> None:
    """Else a slice of `eu` would take the rows of `EU` away, and bring none."""
    import sqlite3

    import duckdb

    made = 'CREATE TABLE orders (id bigint, "at" timestamp, region {}, v text)'
    rows = "INSERT INTO orders VALUES (4, NULL, 'EU', 'kept'), (1, NULL, 'eu', 'gone')"
    with duckdb.connect(tmp_path / "warehouse.duckdb") as duck:
        duck.execute(made.format("varchar COLLATE NOCASE"))
        duck.execute(rows)
    con = sqlite3.connect(tmp_path / "warehouse.db")
    con.executescript(f"{made.format('text COLLATE NOCASE')}; {rows}")
    con.close()
    fill(Lab(tmp_path))
    for name in ("duckdb", "sqlite"):
        lab = Lab(tmp_path, name)
        pipeline = lab.pipeline(stream(cursor=None, metadata=[]))
        lab.run(pipeline, only=by("eu"))
        expected = [(1, "eu", "a1"), (3, "eu", "a3"), (4, "EU", "kept")]
        assert content(lab, pipeline) == expected


def test_a_target_that_pads_texts_is_refused(tmp_path: Path, postgres_database: str) -> None:
    """There `eu` is `eu   `, and the slice's old rows wouldn't be found."""
    with psycopg.connect(postgres_database) as pg:
        pg.execute("CREATE TABLE orders (id bigint, at timestamp, region char(5), v text)")
    lab = Lab(tmp_path, postgres_database)
    fill(lab)
    pipeline = lab.pipeline(stream(cursor=None, metadata=[], on_schema_change="warn"))
    with pytest.raises(ConfigError, match=r"exact values of 'region' \(character\(5\)\)"):
        lab.run(pipeline, only=by("eu"))


# --- many at once -----------------------------------------------------------------------------


def test_sixteen_slices_at_once_end_as_sixteen_records(each_lab: Lab) -> None:
    lab = each_lab
    lab.sql("CREATE TABLE orders (id INTEGER, customer INTEGER, v TEXT)")
    rows = [f"({n}, {n % 16}, 'v')" for n in range(160)]
    lab.sql(f"INSERT INTO orders VALUES {', '.join(rows)}")
    pipeline = lab.pipeline(stream(cursor=None))

    def load(customer: int) -> tuple[str, int]:
        got = lab.run(lab.pipeline(stream(cursor=None)), only=by(str(customer), column="customer"))
        return got.outcome, got.counts.read

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(load, range(16))) == [("published", 10)] * 16
    chain = lab.chain(pipeline)
    assert [r.version for r in chain] == list(range(1, 17))
    assert all(r.is_given and r.cursor is None for r in chain)
    assert lab.ids(pipeline=pipeline) == list(range(160))
    (view,) = admin.state_show(pipeline)
    assert sorted(view.slices) == sorted(f"customer = {n}" for n in range(16))
    assert (view.covered, view.gaps) == ((), ())


def test_the_same_slice_twice_at_once_holds_its_rows_once(each_lab: Lab) -> None:
    fill(each_lab)
    pipeline = each_lab.pipeline(stream(cursor=None))
    each_lab.run(pipeline, only=by("eu", "us"))

    def load(_: int) -> str:
        return each_lab.run(each_lab.pipeline(stream(cursor=None)), only=by("eu")).outcome

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(load, range(2))) <= {"published", "replayed"}
    assert [row[0] for row in content(each_lab, pipeline)] == [1, 2, 3, 7]


# --- the same slice by other roads ------------------------------------------------------------


def test_rows_undecoded_are_those_of_the_slice(tmp_path: Path, postgres_database: str) -> None:
    with psycopg.connect(postgres_database) as pg:
        pg.execute("CREATE SCHEMA src")
        pg.execute('CREATE TABLE src.orders (id bigint, region text, "group" varchar(5))')
        pg.execute(
            "INSERT INTO src.orders SELECT n, CASE n % 3 WHEN 0 THEN 'eu' WHEN 1 THEN 'e''u' END,"
            " 'g' || n % 2 FROM generate_series(1, 30) AS n"
        )
    here = {"type": "postgres", "url": postgres_database}
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": here,
            "destination": here,
            "streams": [
                {"table": "src.orders", "into": "public.orders", "name": "orders", "mode": "append"}
            ],
        },
        tmp_path,
    )
    for _ in range(2):
        for column, value, count in (("region", "e'u", 10), ("group", "g1", 15)):
            request = RunRequest(only=by(value, column=column))
            (made,) = plan(pipeline, request=request)
            assert made.publish.wire is not None
            assert only(run(pipeline, request=request)).counts.read == count
    with read(pipeline, "orders") as reader:
        rows = reader.read_all().to_pylist()
    expected = sorted(n for n in range(1, 31) if n % 3 == 1 or n % 2 == 1)
    assert sorted({r["id"] for r in rows}) == expected


def test_a_column_of_a_few_names_is_sliced_as_text(tmp_path: Path, postgres_database: str) -> None:
    """An enum, at the source and in the target."""
    import duckdb

    made = "CREATE TYPE region AS ENUM ('eu', 'us')"
    rows = "SELECT n AS id, CASE n % 2 WHEN 0 THEN 'eu' ELSE 'us' END::region AS region"
    with psycopg.connect(postgres_database) as pg:
        pg.execute(made)
        pg.execute(f"CREATE TABLE source AS {rows} FROM generate_series(1, 4) AS n")
    with duckdb.connect(tmp_path / "source.duckdb") as duck:
        duck.execute(made)
        duck.execute(f"CREATE TABLE source AS {rows} FROM range(1, 5) AS t(n)")
    here: dict[str, object] = {"type": "postgres", "url": postgres_database}
    there: dict[str, object] = {"type": "duckdb", "path": "source.duckdb"}
    for source in (here, there):
        destination = {**source, "path": "warehouse.duckdb"} if source is there else source
        pipeline = Pipeline.from_mapping(
            {
                "name": "shop",
                "source": source,
                "destination": destination,
                "streams": [{"table": "source", "into": "orders", "mode": "append"}],
            },
            tmp_path,
        )
        for _ in range(2):
            for region in ("eu", "us"):
                run_of_it = run(pipeline, request=RunRequest(only=by(region)))
                assert only(run_of_it).counts.read == 2
        with read(pipeline, "source") as reader:
            assert sorted(reader.read_all().column("id").to_pylist()) == [1, 2, 3, 4]


def test_a_slice_in_splits_and_in_steps(each_lab: Lab) -> None:
    lab = each_lab
    fill(lab)
    folder = {} if lab.file is None else {"staging": str(lab.folder / "staging")}
    lab.destination = {**lab.destination, **folder}
    for column in ("id", "region"):
        splits = {"count": 2, "column": column}
        pipeline = lab.pipeline(stream(cursor=None, splits=splits))
        (made,) = plan(pipeline, request=RunRequest(only=by("eu", "us")))
        assert made.splits.count == 2
        receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
        assert sum(receipt.counts.read for receipt in receipts) == 4
        report = audit(pipeline, made, receipts)
        result = publish(pipeline, made, receipts, report)
        after(pipeline, [result])
        assert content(lab, pipeline) == [
            (1, "eu", "a1"), (2, "us", "a2"), (3, "eu", "a3"), (7, "us", "a7"),
        ]  # fmt: skip


def test_data_of_python_is_sliced_too(tmp_path: Path) -> None:
    import pyarrow as pa

    regions = pa.array(["eu", "us", None, "eu"]).dictionary_encode()
    pipeline = Pipeline.from_data(
        pa.table({"id": [1, 2, 3, 4], "region": regions}),
        name="shop",
        into="orders",
        mode="append",
        destination={"type": "sqlite", "path": "w.db"},
        base_dir=tmp_path,
    )
    for _ in range(2):
        assert only(run(pipeline, request=RunRequest(only=by("eu")))).counts.read == 2
    with read(pipeline, "orders") as reader:
        assert reader.read_all().column("id").to_pylist() == [1, 4]


# --- dead letters -----------------------------------------------------------------------------


def test_a_slice_settles_the_letters_of_its_own_rows(each_lab: Lab) -> None:
    lab = each_lab
    fill(lab)
    lab.sql("UPDATE orders SET v = NULL WHERE id IN (1, 2)")
    rule = {"rule": "not_null", "column": "v", "action": "dlq"}
    pipeline = lab.pipeline(stream(cursor=None, quality=[rule]))
    for region in ("eu", "us"):
        assert lab.run(pipeline, only=by(region)).counts.rejected == 1
    lab.sql("UPDATE orders SET v = 'mended' WHERE id IN (1, 2)")
    lab.run(pipeline, only=by("eu"))
    found = deadletters.letters(pipeline, statuses=deadletters.ALL)
    assert sorted(letter.status for letter in found) == ["open", "superseded"]
    assert content(lab, pipeline) == [(1, "eu", "mended"), (3, "eu", "a3"), (7, "us", "a7")]


# --- a run after them -------------------------------------------------------------------------


def test_an_append_of_all_rows_over_slices_is_refused(each_lab: Lab) -> None:
    fill(each_lab)
    for keys in ({"cursor": None}, {"cursor": "id"}):
        pipeline = each_lab.pipeline(stream(**keys))
        each_lab.run(pipeline, only=by("eu"))
        match = "no watermark" if keys["cursor"] else "would double their rows"
        with pytest.raises(StateError, match=match):
            each_lab.run(pipeline)
    admin.state_set(pipeline, "orders", "2")
    with pytest.raises(StateError, match=r"region = 'eu'.*--only"):
        each_lab.run(pipeline)
    each_lab.run(pipeline, full_refresh=True)
    assert each_lab.run(pipeline).outcome == "empty"
    assert len(content(each_lab, pipeline)) == 7


def test_a_reset_forgets_slices_where_there_is_no_cursor(lab: Lab) -> None:
    fill(lab)
    pipeline = lab.pipeline(stream(cursor=None))
    lab.run(pipeline, only=by("eu"))
    lab.sql("DELETE FROM orders WHERE region = 'eu'")
    admin.state_reset(pipeline, "orders")
    assert lab.run(pipeline).counts.read == 5
    assert len(content(lab, pipeline)) == 7


def test_a_slice_leaves_the_watermark_as_it_was(each_lab: Lab) -> None:
    fill(each_lab)
    pipeline = each_lab.pipeline(stream(mode="upsert", unique_key="id"))
    assert each_lab.run(pipeline).watermark == "7"
    change(each_lab)
    assert each_lab.run(pipeline, only=by("eu")).watermark == "7"
    assert each_lab.run(pipeline).counts.read == 2
    assert content(each_lab, pipeline)[0] == (1, "eu", "b1")
    assert content(each_lab, pipeline)[1] == (2, "us", "a2")


# --- bad input --------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], dict[str, Any], type[ConduitError], str]] = {
    "unknown": ({}, {"only": by("x", column="Region")}, SchemaError, "no column 'Region'.*region"),
    "left out": ({"columns": ["id", "v"]}, {"only": by("eu")}, SchemaError, "no column 'region'"),
    "no number": ({}, {"only": by("x", column="id")}, ConfigError, "'id': 'x' is not a value"),
    "no time": ({}, {"only": by("x", column="at")}, ConfigError, "'at': 'x' is not a value"),
    "a float": ({}, {"only": by("1.5", column="f")}, ConfigError, "'f' is double"),
    "replace": ({"mode": "replace"}, {"only": by("eu")}, ConfigError, "replace_window.*upsert"),
    "refresh": ({}, {"only": by("eu"), "full_refresh": True}, ConfigError, "don't go together"),
    "to alone": ({}, {"only": by("eu"), "window_to": "5"}, ConfigError, "needs --from"),
    "no cursor": (
        {"cursor": None}, {"only": by("eu"), "window_from": "5"}, ConfigError, "with a cursor",
    ),
    "masked": (
        {"transform": [{"mask": "region"}]}, {"only": by("eu")}, ConfigError, "`transform` changes",
    ),
    "renamed to": (
        {"transform": [{"drop": "region"}, {"rename": {"v": "region"}}]}, {"only": by("eu")},
        ConfigError, "`transform` changes",
    ),
    "redacted": ({"redact": "region"}, {"only": by("eu")}, ConfigError, "`redact` hides"),
    "snapshot": (
        {"mode": "upsert", "unique_key": "id", "deletes": "snapshot"}, {"only": by("eu")},
        ConfigError, "deletes: snapshot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_and_nothing_is_written(lab: Lab, name: str) -> None:
    keys, request, kind, match = BAD[name]
    fill(lab)
    lab.sql("ALTER TABLE orders ADD COLUMN f DOUBLE")
    pipeline = lab.pipeline(stream(**keys))
    with pytest.raises(kind, match=match):
        lab.run(pipeline, **request)
    assert lab.chain(pipeline) == []


def test_a_column_of_another_type_in_the_target_is_refused(lab: Lab) -> None:
    fill(lab)
    pipeline = lab.pipeline(stream(cursor=None))
    lab.run(pipeline, only=by("1", column="id"))
    lab.sql(
        "ALTER TABLE orders RENAME COLUMN id TO old", "ALTER TABLE orders ADD COLUMN id BOOLEAN"
    )
    with pytest.raises(ConduitError, match="'id'"):
        lab.run(pipeline, only=by("true", column="id"))
    assert len(lab.chain(pipeline)) == 1


def test_a_request_without_values_is_none() -> None:
    for column, values in (("region", ()), ("", ("eu",))):
        with pytest.raises(ValueError, match="at least 1"):
            SliceBy(column=column, values=values)
