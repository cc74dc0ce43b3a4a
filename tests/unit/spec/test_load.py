from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from conduit_core.errors import ConfigError
from conduit_core.spec import (
    ConnectionSpec,
    LoadedSpec,
    PipelineSpec,
    SplitsSpec,
    StreamSpec,
    load_spec,
    spec_from_mapping,
)
from tests.unit.spec.conftest import HEAD, Load

YAML = """\
name: shop
source: {type: postgres, url: "${SHOP_URL}"}
destination: {type: duckdb, path: warehouse.duckdb, schema: raw, lock_wait: 30s}
on_error: stop
freshness: 24h
defaults: {metadata: load, cursor_timezone: UTC}
streams:
  - public.customers
  - table: public.orders
    mode: append
    unique_key: id
    cursor: [updated_at, id]
    initial: 2024-01-01
    freshness: 1h
"""
TOML = """\
name = "shop"
on_error = "stop"
freshness = "24h"
streams = [
  "public.customers",
  {table = "public.orders", mode = "append", unique_key = "id", cursor = ["updated_at", "id"],\
   initial = 2024-01-01, freshness = "1h"},
]

[source]
type = "postgres"
url = "${SHOP_URL}"

[destination]
type = "duckdb"
path = "warehouse.duckdb"
schema = "raw"
lock_wait = "30s"

[defaults]
metadata = "load"
cursor_timezone = "UTC"
"""
ENV = {"SHOP_URL": "postgres://u:p@h/db"}
MAPPING: dict[str, object] = {
    "name": "shop",
    "source": {"type": "postgres", "url": "${SHOP_URL}"},
    "destination": {
        "type": "duckdb",
        "path": Path("warehouse.duckdb"),
        "schema": "raw",
        "lock_wait": timedelta(seconds=30),
    },
    "on_error": "stop",
    "freshness": timedelta(days=1),
    "defaults": {"metadata": ("load",), "cursor_timezone": "UTC"},
    "streams": (
        "public.customers",
        {
            "table": "public.orders",
            "mode": "append",
            "unique_key": ["id"],
            "cursor": ("updated_at", "id"),
            "initial": date(2024, 1, 1),
            "freshness": "1h",
        },
    ),
}


def test_yaml_toml_and_python_give_one_model(load: Load, tmp_path: Path) -> None:
    from_yaml = load(YAML, ENV)
    from_toml = load(TOML, ENV, "pipeline.toml")
    from_python = spec_from_mapping(MAPPING, tmp_path, env=ENV)
    assert from_yaml.spec == from_toml.spec == from_python.spec
    assert from_yaml.base_dir == from_toml.base_dir == from_python.base_dir == tmp_path.resolve()
    assert [x.origin for x in (from_yaml, from_toml, from_python)] == [
        "pipeline.yml",
        "pipeline.toml",
        "<python>",
    ]


def test_what_the_model_holds(load: Load) -> None:
    spec = load(YAML, ENV).spec
    customers, orders = spec.streams
    assert (customers.name, customers.mode, customers.into) == ("customers", "replace", "customers")
    assert customers.cursor_timezone is None  # a default for cursors only
    assert customers.freshness == timedelta(days=1)
    assert orders.unique_key == ("id",)
    assert orders.cursor == ("updated_at", "id")
    assert orders.initial == "2024-01-01"
    assert orders.freshness == timedelta(hours=1)
    assert orders.cursor_timezone == "UTC"
    assert orders.source_table == ("public", "orders")
    assert (orders.into_schema, orders.into_table) == (None, "orders")
    assert spec.destination.schema_name == "raw"
    assert spec.destination.lock_wait == timedelta(seconds=30)
    assert spec.source.reveal() == {"url": "postgres://u:p@h/db"}
    assert spec.resume_within == timedelta(hours=24)
    assert spec.stream("orders") is orders
    assert spec.stream("nothing") is None


def test_a_spec_given_as_models_is_the_same(load: Load, tmp_path: Path) -> None:
    built = PipelineSpec(
        name="shop",
        source=ConnectionSpec.model_validate("postgres://h/db"),
        destination=ConnectionSpec.model_validate(
            {"type": "duckdb", "path": "warehouse.duckdb", "schema": "raw"}
        ),
        streams=(StreamSpec(table="public.orders", mode="append", cursor=("id",)),),
    )
    loaded = load(HEAD + "streams: [{table: public.orders, mode: append, cursor: id}]\n")
    assert loaded.spec == built
    again = spec_from_mapping({**dict(built), "streams": list(built.streams)}, tmp_path, env={})
    assert again.spec == built


def test_a_stream_survives_json() -> None:
    stream = StreamSpec(table="a.b", mode="append", cursor=("x",), freshness=timedelta(hours=1))
    assert StreamSpec.model_validate_json(stream.model_dump_json(exclude_defaults=True)) == stream


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgres://u@h:5/db?sslmode=require",
            ("postgres", {"url": "postgres://u@h:5/db?sslmode=require"}),
        ),
        ("postgresql://h/db", ("postgres", {"url": "postgresql://h/db"})),
        ("duckdb:///w.duckdb", ("duckdb", {"path": "w.duckdb"})),
        ("duckdb:////data/w.duckdb", ("duckdb", {"path": "/data/w.duckdb"})),
        ("sqlite:///shop.db", ("sqlite", {"path": "shop.db"})),
        ("data/shop.sqlite", ("sqlite", {"path": "data/shop.sqlite"})),
        ("w.duckdb", ("duckdb", {"path": "w.duckdb"})),
        ("s3://bucket/dir/*.parquet", ("parquet", {"path": "s3://bucket/dir"})),
        ("s3://b/d/*.csv.gz?region=eu", ("csv", {"path": "s3://b/d?region=eu"})),
        ("data/**/x-*.jsonl", ("jsonl", {"path": "data"})),
        ("/data/x.json", ("json", {"path": "/data"})),
        ("/x.csv", ("csv", {"path": "/"})),
        ("x.csv", ("csv", {"path": "."})),
    ],
)
def test_a_url_string_names_type_and_options(
    text: str, expected: tuple[str, dict[str, str]]
) -> None:
    spec = ConnectionSpec.model_validate(text)
    assert (spec.type, spec.reveal()) == expected


def test_a_url_in_a_mapping_names_the_type() -> None:
    spec = ConnectionSpec.model_validate({"url": "postgres://h/db", "sslmode": "require"})
    assert spec.type == "postgres"
    assert spec.reveal() == {"url": "postgres://h/db", "sslmode": "require"}


def test_the_option_that_is_called_options_reaches_the_connector() -> None:
    spec = ConnectionSpec.model_validate({"type": "postgres", "options": "-c search_path=x"})
    assert spec.reveal() == {"options": "-c search_path=x"}


def test_plain_streams_are_paths_for_files_and_tables_elsewhere(load: Load) -> None:
    text = "name: x\nsource: {type: csv, path: data}\ndestination: w.duckdb\n"
    text += "streams: [flights.csv, big]\n"
    flights, big = load(text).spec.streams
    assert (flights.path, flights.name) == ("flights.csv", "flights")
    assert (big.path, big.name) == ("big", "big")
    named = text.replace("{type: csv, path: data}", "{connection: files}")
    flights, big = load(named).spec.streams
    assert flights.path == "flights.csv"
    assert big.table == "big"


def test_one_stream_needs_no_list(load: Load) -> None:
    assert load(HEAD + "streams: orders\n").spec.streams[0].table == "orders"


def test_yaml_reads_as_version_1_2(load: Load) -> None:
    stream = load(
        HEAD + "streams:\n  - {table: no, mode: append, cursor: on, initial: 2024-01-01 10:00:00}\n"
    ).spec.streams[0]
    assert (stream.table, stream.cursor, stream.initial) == ("no", ("on",), "2024-01-01 10:00:00")


def test_a_stream_overrides_defaults_even_with_null(load: Load) -> None:
    spec = load(
        HEAD
        + "defaults: {mode: append, cursor: updated_at}\n"
        + "streams: [a, {table: b, cursor: null, mode: replace}, {table: c, cursor: id}]\n"
    ).spec
    assert [s.cursor for s in spec.streams] == [("updated_at",), (), ("id",)]
    assert [s.mode for s in spec.streams] == ["append", "replace", "append"]


def test_into_names_the_target(load: Load) -> None:
    spec = load(
        HEAD
        + "streams:\n  - {table: a, into: other.b}\n  - {table: c, into: '\"x.y\"'}\n"
        + "  - {name: with.dot, query: SELECT 1}\n"
    ).spec
    assert [(s.into_schema, s.into_table) for s in spec.streams] == [
        ("other", "b"),
        (None, "x.y"),
        (None, "with.dot"),
    ]


def test_places_have_lines(load: Load) -> None:
    loaded = load(YAML, ENV)
    assert loaded.locate(("streams", 1, "cursor")) == "pipeline.yml:12"
    assert loaded.locate(("streams", 1, "nothing")) == "pipeline.yml:9"
    assert loaded.locate(("streams", 1, "cursor_timezone")) == "pipeline.yml:6"
    assert loaded.locate(("streams", 0, "freshness")) == "pipeline.yml:5"
    assert loaded.locate_stream("orders", "mode") == "pipeline.yml:10"
    assert loaded.problem(("source", "url"), "is down").message == "pipeline.yml:2: source: is down"


def test_toml_places_have_lines(load: Load) -> None:
    text = (
        'name = "x"\n[source]\ntype = "csv"\npath = "d"\n[destination]\ntype = "duckdb"\n'
        '[[streams]]\npath = "a.csv"\n\n[[streams]]\npath = "b.csv"\nmode = "append"\n'
    )
    loaded = load(text, name="pipeline.toml")
    assert loaded.locate(("source", "path")) == "pipeline.toml:4"
    assert loaded.locate(("streams", 1, "mode")) == "pipeline.toml:12"
    assert loaded.locate(("streams", 1, "cursor")) == "pipeline.toml:10"


def test_the_file_defaults_to_pipeline_yml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline.yml").write_text(HEAD + "streams: [a]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_spec(), LoadedSpec)


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_bytes(b"\xef\xbb\xbf" + (HEAD + "streams: [a]\n").encode())
    assert load_spec(tmp_path / "p.yml", env={}).spec.name == "shop"


def test_python_values_that_no_file_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"<python>: source\.url: a bytes can't stand"):
        spec_from_mapping({"name": "x", "source": {"url": b"x"}}, tmp_path)
    with pytest.raises(ConfigError, match="a key must be text"):
        spec_from_mapping({"name": "x", "source": {1: 2}}, tmp_path)


def test_splits_are_a_number_or_say_by_what(load: Load) -> None:
    text = (
        "defaults: {splits: 8}\nstreams:\n  - a\n  - {table: b, splits: {count: 4, by: hash}}\n"
        "  - {table: c, splits: {column: d, values: [eu, 5, 1.5, true, 2024-01-31]}}\n"
        "  - {table: d, splits: null}\n  - {table: e, splits: '${N}'}\n"
    )
    spec = load(HEAD + text, {"N": "12"}).spec
    a, b, c, d, e = (stream.splits for stream in spec.streams)
    assert a == SplitsSpec(count=8)
    assert b == SplitsSpec(count=4, by="hash")
    assert c is not None
    assert (c.column, c.values) == ("d", ("eu", "5", "1.5", "true", "2024-01-31"))
    assert d is None
    assert e == SplitsSpec(count=12)


def test_the_path_in_commands_has_no_detour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dags").mkdir()
    Path("shop.yml").write_text(HEAD + "streams: [orders]\n")
    assert load_spec("dags/../shop.yml").path == Path("shop.yml")
    Path("bad.yml").write_text("name: [")
    with pytest.raises(ConfigError) as caught:
        load_spec("dags/../bad.yml")
    assert caught.value.command == "conduit check bad.yml"
    with pytest.raises(ConfigError) as caught:
        load_spec(tmp_path / "dags" / ".." / "gone.yml")
    assert caught.value.command == f"conduit init {tmp_path / 'gone.yml'}"


def test_a_detour_behind_a_link_leads_elsewhere_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("far/dags").mkdir(parents=True)
    Path("far/shop.yml").write_text(HEAD + "streams: [orders]\n")
    Path("dags").symlink_to("far/dags")
    assert load_spec("dags/../shop.yml").path == Path("dags/../shop.yml")
