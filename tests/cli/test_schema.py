"""`conduit schema infer | export | diff`: what is told, written, compared."""

from __future__ import annotations

import runpy
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.cli.conftest import Conduit, fill

EVENTS = """\
name: events
source: {type: csv, path: data}
destination: {type: duckdb, path: warehouse.duckdb, schema: raw}
streams: [{path: events.csv}]
"""


@pytest.fixture
def events(conduit: Conduit) -> Conduit:
    """A pipeline of one CSV file: 200,000 rows, the last with a text where numbers were."""
    (conduit.folder / "data").mkdir()
    lines = "".join(f"{i},2024-01-01,{'' if i % 10 == 0 else i / 2}\n" for i in range(199_999))
    data = f"id,day,price\n{lines}199999,soon,many\n"
    (conduit.folder / "data" / "events.csv").write_text(data)
    conduit.write(EVENTS)
    return conduit


def _kinds(ended: Any) -> list[tuple[str, str]]:
    return [(f["column"], f["kind"]) for f in ended.document["findings"]]


# --- infer ----------------------------------------------------------------------------------------


def test_infer_of_a_database_names_types_and_places(here: Any, shop: Conduit) -> None:
    told = here("schema", "infer", "--stream", "orders", "--json").document
    assert [(c["name"], c["type"], c["duckdb"]) for c in told["streams"]["orders"]] == [
        ("id", "int64", "BIGINT"),
        ("updated_at", "timestamp[us]", "TIMESTAMP"),
        ("total", "double", "DOUBLE"),
    ]
    assert told["seen"]["orders"]["rows"] is None
    columns = yaml.safe_load(here("schema", "infer").out)["streams"]
    assert list(columns) == ["customers", "orders"]
    assert columns["customers"][1]["nullable"] is False


def test_infer_says_how_sure_it_is(here: Any, events: Conduit) -> None:
    text = here("schema", "infer", "data/events.csv", "--sample", "500KiB").out
    assert "rows were looked at; if they are like the others, at most 0.0" in text
    assert "nullable: false says that no NULL was seen among them" in text
    id_, day, price = yaml.safe_load(text)["streams"]["events"]
    assert id_ == {"name": "id", "type": "int64", "nullable": False}
    assert day == {"name": "day", "type": "date32[day]", "nullable": False}
    assert price == {"name": "price", "type": "double"}
    seen = here("schema", "infer", "data/events.csv", "--json").document
    rows = seen["seen"]["events"]["rows"]
    assert not seen["seen"]["events"]["whole"]
    assert seen["seen"]["events"]["contradicting_at_most"] == pytest.approx(3 / rows, rel=0.1)
    assert seen["streams"]["events"][2]["nulls"] == -(-rows // 10)


def test_infer_of_everything_is_exact(here: Any, events: Conduit) -> None:
    ended = here("schema", "infer", "--sample", "all", "--output", "events.yml")
    assert "all rows (200,000) were looked at: every value is of its type" in ended.out
    assert "wrote events.yml" in ended.out
    told = yaml.safe_load((events.folder / "events.yml").read_text())["streams"]["events"]
    assert [c["type"] for c in told] == ["int64", "string", "string"]
    assert "# NULL in 20,000 of 200,000 rows" in (events.folder / "events.yml").read_text()


def test_infer_of_parquet_and_jsonl(here: Any, conduit: Conduit) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": pa.array([1], pa.int16())}), conduit.folder / "x.parquet")
    told = here("schema", "infer", "x.parquet", "--json").document
    assert told["streams"]["x"] == [{"name": "a", "type": "int16"}]
    (conduit.folder / "y.jsonl").write_text('{"a": 1, "at": "2024-01-01"}\n{"at": null}\n')
    told = here("schema", "infer", str(conduit.folder / "*.jsonl"), "--json").document
    (columns,) = told["streams"].values()
    assert [(c["type"], c["nulls"], c.get("nullable", True)) for c in columns] == [
        ("int64", 1, True), ("date32[day]", 1, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nowhere.csv",), "nowhere.csv"),
        (("--sample", "much"), "write 2MiB, 500KiB or `all`"),
        (("--stream", "order"), "did you mean 'orders'?"),
        (("--output", "no/such/folder.yml"), "can't be written"),
    ],
)
def test_infer_refuses(here: Any, shop: Conduit, args: tuple[str, ...], message: str) -> None:
    ended = here("schema", "infer", *args)
    assert ended.code in (1, 2, 4)
    assert message in ended.last_lines[0]
    assert ended.last_lines[3].startswith("conduit ")


# --- export, and back -----------------------------------------------------------------------------


def test_what_is_exported_differs_in_nothing(here: Any, shop: Conduit) -> None:
    for of in ("source", "target"):
        if of == "target":
            assert here("run").code == 0
        for form, name in (("yaml", "x.yml"), ("arrow", "x.arrow"), ("pandera", "x.py")):
            args = ("--format", form, "--of", of, "--output", name, "--stream", "orders")
            assert here("schema", "export", *args).code == 0
            ended = here("schema", "diff", name, of, "--stream", "orders")
            assert (ended.code, ended.out) == (0, "no difference in orders\n"), (form, of)
    args = ("--format", "dbt", "--of", "target", "--output", "dbt.yml", "--stream", "orders")
    assert here("schema", "export", *args).code == 0
    assert here("schema", "diff", "dbt.yml", "target").code == 0
    assert here("schema", "diff", "dbt.yml", "source").code == 0


def test_exported_files_say_the_same(here: Any, shop: Conduit) -> None:
    for form, name in (("yaml", "x.yml"), ("arrow", "x.arrow"), ("pandera", "x.py")):
        args = ("--format", form, "--output", name, "--stream", "orders")
        assert here("schema", "export", *args).code == 0
    for one, other in (("x.yml", "x.arrow"), ("x.py", "x.yml"), ("x.arrow", "x.py")):
        assert here("schema", "diff", one, other).code == 0
    (shop.folder / "pipeline.yml").unlink()
    assert here("schema", "diff", "x.arrow", "x.py", "--json").document["equal"]


def test_ddl_makes_a_table_that_the_source_fits(here: Any, shop: Conduit) -> None:
    import duckdb

    ddl = here("schema", "export", "--format", "sql").out
    with closing(duckdb.connect(str(shop.folder / "warehouse.duckdb"))) as con:
        con.execute("CREATE SCHEMA raw")
        con.execute(ddl)
    ended = here("schema", "diff", "--json")
    assert (ended.code, ended.document["findings"]) == (0, [])
    other = here("schema", "export", "--format", "sql", "--dialect", "postgres").out
    assert 'CREATE TABLE "orders"' in other
    assert "timestamp without time zone" in other


def test_ddl_in_postgres(here: Any, shop: Conduit, postgres_database: str) -> None:
    shop.write(
        "name: shop\nsource: sqlite:///shop.db\n"
        f"destination: {{type: postgres, url: '{postgres_database}'}}\nstreams: [customers, orders]"
    )
    run: Any
    with psycopg.connect(postgres_database) as con:
        run = con.execute
        run(here("schema", "export", "--format", "sql").out)
    assert here("schema", "diff", "target", "source").code == 0
    with psycopg.connect(postgres_database) as con:
        run = con.execute
        run("ALTER TABLE orders ALTER total TYPE real")
    ended = here("schema", "diff", "--json")
    assert (ended.code, _kinds(ended)) == (4, [("total", "widened")])


def test_a_pandera_module_runs(here: Any, shop: Conduit) -> None:
    args = ("--format", "pandera", "--stream", "orders", "--output", "shop_orders.py")
    assert here("schema", "export", *args).code == 0
    schema = runpy.run_path(str(shop.folder / "shop_orders.py"))["schema"]
    assert list(schema.columns) == ["id", "updated_at", "total"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--format", "arrow", "--stream", "orders"), "name a file for it by --output"),
        (("--format", "pandera"), "choose one of customers, orders"),
        (("--of", "target"), "there is no table raw.customers yet"),
        (("--stream", "x"), "no stream 'x'"),
    ],
)
def test_export_refuses(here: Any, shop: Conduit, args: tuple[str, ...], message: str) -> None:
    ended = here("schema", "export", *args)
    assert ended.code == 2
    assert message in ended.last_lines[0]


# --- diff -----------------------------------------------------------------------------------------


def test_all_findings_at_once(here: Any, shop: Conduit) -> None:
    ended = here("schema", "diff")
    assert ended.code == 0
    assert "orders: there is no table yet: the first load makes it" in ended.out
    assert here("run").code == 0
    assert here("schema", "diff").code == 0
    fill(
        shop.folder / "shop.db",
        "DROP TABLE orders",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TEXT, note TEXT)",
        "ALTER TABLE customers ADD COLUMN email TEXT",
    )
    ended = here("schema", "diff", "--json")
    assert ended.code == 4
    assert _kinds(ended) == [
        ("email", "added"), ("updated_at", "incompatible"), ("note", "added"), ("total", "removed"),
    ]  # fmt: skip
    assert all(
        f["remedy"] and f["between"] == ["target", "source"] for f in ended.document["findings"]
    )
    ended = here("schema", "diff")
    assert "incompatible" in ended.out
    assert ended.last_lines[0] == "shop: 4 differences in customers, orders"


def test_a_file_names_the_streams_it_is_of(here: Any, shop: Conduit) -> None:
    (shop.folder / "want.yml").write_text(
        "streams:\n  orders:\n    - {name: id, type: int32}\n    - {name: total, type: double}\n"
    )
    ended = here("schema", "diff", "want.yml", "source", "--json")
    assert ended.document["streams"] == ["orders"]
    assert sorted(_kinds(ended)) == [("id", "widened"), ("updated_at", "added")]
    same = here("schema", "diff", "pipeline.yml", "want.yml", "source", "--json")
    assert _kinds(same) == _kinds(ended)


def test_two_files(here: Any, conduit: Conduit) -> None:
    (conduit.folder / "a.yml").write_text("streams:\n  x:\n    - {name: id, type: int32}\n")
    (conduit.folder / "b.yml").write_text(
        "streams:\n  x:\n    - {name: id, type: string}\n  y:\n    - {name: id, type: int32}\n"
    )
    ended = here("schema", "diff", "a.yml", "b.yml", "--json")
    assert ended.code == 4
    assert [(f["stream"], f["kind"]) for f in ended.document["findings"]] == [
        ("x", "incompatible"), ("y", "added"),
    ]  # fmt: skip


def test_an_inferred_file_is_its_source(here: Any, events: Conduit) -> None:
    assert here("schema", "infer", "--output", "events.yml").code == 0
    assert here("schema", "diff", "events.yml", "source").code == 0
    assert here("schema", "infer", "--sample", "all", "--output", "all.yml").code == 0
    ended = here("schema", "diff", "events.yml", "all.yml", "--json")
    assert _kinds(ended) == [
        ("day", "incompatible"), ("price", "incompatible"),
    ]  # fmt: skip


def test_a_destination_of_files(here: Any, shop: Conduit) -> None:
    shop.write(
        "name: shop\nsource: sqlite:///shop.db\ndestination: {type: parquet, path: lake}\n"
        "streams: [customers, orders]\n"
    )
    assert here("run").code == 0
    assert here("schema", "diff").code == 0
    fill(shop.folder / "shop.db", "ALTER TABLE customers ADD COLUMN email TEXT")
    assert _kinds(here("schema", "diff", "--json")) == [("email", "added")]
    assert "the destination is none: say which" in here("schema", "export", "--format", "sql").err


def test_what_is_expected_is_compared_with_both(
    here: Any, shop: Conduit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conduit_core.engine import findings

    assert here("run").code == 0
    expected = shop.folder / "expected.yml"
    expected.write_text(
        "streams:\n  customers:\n    - {name: id, type: int64, nullable: false}\n"
        "    - {name: name, type: string, max_length: 9, nullable: false}\n"
        "    - {name: age, type: int8}\n"
    )
    monkeypatch.setattr(findings, "expected_path", lambda *_: expected)
    ended = here("schema", "diff", "--stream", "customers", "--json")
    told = [(f["column"], f["kind"], *f["between"]) for f in ended.document["findings"]]
    assert told == [
        ("name", "capacity", str(expected), "source"),
        ("age", "removed", str(expected), "source"),
        ("age", "added", "target", str(expected)),
    ]
    assert ended.document["findings"][1]["remedy"].startswith("if it is gone for good, take it out")
    named = here("schema", "diff", "expected", "source", "--stream", "customers", "--json")
    assert _kinds(named) == [("name", "capacity"), ("age", "removed")]


def test_columns_of_versions_are_no_difference(here: Any, shop: Conduit) -> None:
    shop.write(
        "name: shop\nsource: sqlite:///shop.db\ndestination: duckdb:///warehouse.duckdb\n"
        "streams: [{table: orders, mode: scd2, unique_key: id, cursor: updated_at}]\n"
    )
    assert here("run").code == 0
    assert here("schema", "diff").code == 0
    exported = here("schema", "export", "--of", "target", "--json").document["streams"]["orders"]
    assert [c["name"] for c in exported] == ["id", "updated_at", "total"]


def test_two_dbt_files_need_a_dialect(here: Any, shop: Conduit) -> None:
    args = ("--format", "dbt", "--stream", "orders", "--output", "a.yml")
    assert here("schema", "export", *args).code == 0
    ended = here("schema", "diff", "a.yml", "a.yml")
    assert (ended.code, "say which" in ended.err) == (2, True)
    assert here("schema", "diff", "a.yml", "a.yml", "--dialect", "duckdb").code == 0


def test_streams_that_cannot_be_compared_are_told_with_the_others(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    fill(shop.folder / "shop.db", "DROP TABLE customers", "ALTER TABLE orders ADD COLUMN x TEXT")
    ended = here("schema", "diff", "--json")
    assert ended.code == 4
    assert _kinds(ended) == [("x", "added")]
    assert "customers" in ended.document["error"]["message"]
    assert not ended.document["equal"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("x.sql", "target"), "SQL is not read back"),
        (("x.txt", "target"), "its name tells no format"),
        (("gone.yml", "target"), "gone.yml: No such file"),
        (("expected", "target"), "the stream has no `expected:` file"),
        (("a.yml", "b.yml", "c.yml", "d.yml"), "two things to compare, not 4"),
        (("bad.yml", "source"), "did you mean `nullable`?"),
        (("bad.arrow", "source", "--stream", "orders"), "not an Arrow schema"),
        (("bad.py", "source", "--stream", "orders"), "it doesn't run: ZeroDivisionError"),
        (("other.yml", "source", "--stream", "orders"), "it has no stream 'orders'"),
    ],
)
def test_diff_refuses(here: Any, shop: Conduit, args: tuple[str, ...], message: str) -> None:
    (shop.folder / "bad.yml").write_text(
        "streams:\n  orders:\n    - {name: id, type: int32, nulable: true}\n"
    )
    (shop.folder / "other.yml").write_text("streams:\n  x:\n    - {name: id, type: int32}\n")
    (shop.folder / "bad.arrow").write_text("nothing")
    (shop.folder / "bad.py").write_text("1 / 0")
    ended = here("schema", "diff", *args)
    assert ended.code == 2
    assert message in ended.err


def test_paths_are_those_of_the_working_directory(here: Any, shop: Conduit) -> None:
    deep = shop.folder / "deep"
    deep.mkdir()
    assert here("schema", "export", "--output", "deep/x.yml").code == 0
    assert here("schema", "diff", str(Path("deep") / "x.yml"), "source").code == 0
