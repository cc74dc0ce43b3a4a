"""What lineage tools are told: datasets by OpenLineage's names, columns by the stream's steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core import Dataset, Pipeline, column_lineage, datasets, source_facts
from conduit_core.connectors.datasets import files_dataset, query_tables
from conduit_core.errors import ConfigError
from conduit_core.types.dialect import Table

CANARY = "hunter2canary"
URL = f"postgres://loader:{CANARY}@db:5433/shop?sslmode=require"


def made(source: object, destination: object, *streams: object) -> Pipeline:
    mapping = {"name": "p", "source": source, "destination": destination, "streams": streams}
    return Pipeline.from_mapping(mapping, "/srv")


def test_tables_of_each_database_have_their_names() -> None:
    one = made(URL, {"type": "duckdb", "path": "w.v2.duckdb", "schema": "raw"}, "orders", "Sales.x")
    orders, x = datasets(one)
    assert orders.sources == (Dataset("postgres://db:5433", "shop.public.orders"),)
    assert orders.target == Dataset("duckdb:///srv/w.v2.duckdb", r"w\.v2.raw.orders")
    assert x.sources == (Dataset("postgres://db:5433", "shop.Sales.x"),)
    back = made("duckdb:///w.duckdb", {"url": URL, "schema": "raw"}, "orders")
    (found,) = datasets(back, ("orders",))
    assert found.sources == (Dataset("duckdb:///srv/w.duckdb", "w.main.orders"),)
    assert found.target == Dataset("postgres://db:5433", "shop.raw.orders")
    (found,) = datasets(made("sqlite:///a.db", "sqlite:////b.db", '"x.y"'))
    assert found.sources == (Dataset("sqlite:///srv/a.db", r"main.x\.y"),)
    assert found.target == Dataset("sqlite:///b.db", r"main.x\.y")
    assert CANARY not in repr(datasets(one) + datasets(back))


def test_files_are_named_by_folder_file_or_pattern() -> None:
    streams = ["a.csv", {"path": "orders/*.csv", "name": "o"}, {"path": "x-*.csv", "name": "x"}]
    lake = {"type": "parquet", "path": "/lake", "schema": "raw"}
    found = datasets(made({"type": "csv", "path": "data"}, lake, *streams))
    names = [s.sources[0].name for s in found]
    assert names == ["/srv/data/a.csv", "/srv/data/orders", "/srv/data/x-*.csv"]
    assert {s.sources[0].namespace for s in found} == {"file"}
    assert found[0].target == Dataset("file", "/lake/raw/a")
    (one,) = datasets(made({"type": "csv", "path": "data/a.csv"}, lake, "a.csv"))
    assert one.sources == (Dataset("file", "/srv/data/a.csv"),)


@pytest.mark.parametrize(
    ("root", "path", "wanted"),
    [
        ("s3://bucket/in", "x/**/*.parquet", ("s3://bucket", "in/x")),
        ("s3://bucket", "", ("s3://bucket", "/")),
        ("s3://bucket/in?region=eu", "a.csv", ("s3://bucket", "in/a.csv")),
        ("gs://key@bucket/in", "*", ("gs://bucket", "in")),
        ("az://box/in at acct", "t", ("abfss://box@acct.dfs.core.windows.net", "in/t")),
        ("az://box/in at host:10000", "t", ("abfss://box@host:10000", "in/t")),
        ("abfss://box@a.dfs.core.windows.net", "t", ("abfss://box@a.dfs.core.windows.net", "t")),
        ("file:///data", "./a", ("file", "/data/a")),
        ("hdfs://node:9000/data", "a", ("hdfs://node:9000", "data/a")),
    ],
)
def test_buckets_are_namespaces(root: str, path: str, wanted: tuple[str, str]) -> None:
    assert files_dataset(root, path) == Dataset(*wanted)


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ('SELECT * FROM orders o JOIN Sales."Items" i USING (id)', "orders sales.Items"),
        ("WITH a AS (SELECT * FROM x) SELECT * FROM a WHERE id IN (SELECT id FROM y.z)", "x y.z"),
        ("SELECT 1 UNION ALL SELECT id FROM t", "t"),
        ("SELECT * FROM (VALUES (1)) v, LATERAL (SELECT * FROM q) l, generate_series(1, 2)", "q"),
        ("SELECT * FROM a, a AS b", "a"),
        ("SELECT nothing (", ""),
        ("SELECT 1", ""),
        ("", ""),
    ],
)
def test_a_query_reads_its_tables(sql: str, wanted: str) -> None:
    assert {str(t) for t in query_tables(sql, "postgres")} == set(wanted.split())


def test_a_query_of_duckdb_may_read_files_which_are_no_tables() -> None:
    sql = "SELECT * FROM 'a.parquet', read_csv('b.csv'), T"
    assert query_tables(sql, "duckdb") == (Table("", "T"),)
    streams = [{"query": "SELECT * FROM raw.t", "name": "q"}]
    (found,) = datasets(made("duckdb:///w.duckdb", "sqlite:///b.db", *streams))
    assert found.sources == (Dataset("duckdb:///srv/w.duckdb", "w.raw.t"),)


def test_without_sqlglot_a_query_is_read_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlglot", None)
    assert query_tables("SELECT * FROM a", "postgres") == ()


STEPS = [
    {"rename": {"nr": "number", "a": "b", "b": "a"}},
    {"hash": {"columns": "email"}},
    {"rename": {"number": "no"}},
    {"drop": ["note"]},
]


def test_columns_are_followed_back_through_every_step() -> None:
    stream = {"table": "t", "transform": STEPS, "mode": "scd2", "unique_key": "id"}
    columns = ["id", "no", "a", "b", "email", "_conduit_load_id", "valid_from", "is_current"]
    found = column_lineage(made(URL, "w.duckdb", {**stream, "cursor": "at"}), "t", columns)
    assert found == {
        "id": ("id",), "no": ("nr",), "a": ("b",), "b": ("a",), "email": ("email",)
    }  # fmt: skip
    plain = made(URL, "w.duckdb", {"table": "t", "columns": ["id", "valid_from"]})
    assert column_lineage(plain, "t", ["id", "valid_from", "gone"]) == {
        "id": ("id",), "valid_from": ("valid_from",)
    }  # fmt: skip
    asked = made(URL, "w.duckdb", {"query": "SELECT 1 AS x", "name": "q"})
    assert column_lineage(asked, "q", ["x"]) == {}
    with pytest.raises(ConfigError, match="no stream"):
        column_lineage(asked, "nope", ["x"])


NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)


@given(NAMES, st.lists(st.permutations("abcdefgh"), max_size=4))
def test_renames_are_undone_as_they_were_done(names: list[str], orders: list[list[str]]) -> None:
    steps, now = [], {name: name for name in names}
    for order in orders:
        rename = dict(zip(sorted(order), order, strict=True))
        rename = {old: new for old, new in rename.items() if old in now.values()}
        steps.append({"rename": rename})
        now = {source: rename[name] for source, name in now.items()}
    pipeline = made(URL, "w.duckdb", {"table": "t", "transform": steps})
    found = column_lineage(pipeline, "t", now.values())
    assert found == {target: (source,) for source, target in now.items()}


def test_facts_of_a_source_hide_its_options(tmp_path: Path) -> None:
    facts = source_facts(made(URL, "w.duckdb", "orders"))
    assert (facts.system, facts.identity) == ("postgres", "postgres://db:5433/shop")
    assert (facts.options["url"], facts.base_dir) == (URL, Path("/srv"))
    assert CANARY not in repr(facts)
