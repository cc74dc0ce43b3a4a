"""Commands that look at state, history, schema and connectors, for people and as documents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import SHOP, Conduit, fill
from tests.services import PostgresServer


def test_check_names_reach_version_rights_and_streams(here: Any, shop: Conduit) -> None:
    document = here("check", "--json").document
    assert {c["end"] for c in document["checks"]} == {"source", "destination"}
    assert all(c["ok"] for c in document["checks"])
    names = {(c["end"], c["name"]) for c in document["checks"]}
    assert {("source", "version"), ("destination", "version")} <= names
    assert [s["stream"] for s in document["streams"]] == ["customers", "orders"]
    assert "append, exactly-once" in here("check").out


def test_check_plans_every_stream(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("[updated_at, id]", "[updatd_at]"))
    ended = here("check", "--json")
    assert ended.code == 4
    customers, orders = ended.document["streams"]
    assert (customers["ok"], orders["ok"]) == (True, False)
    assert orders["error"]["exit_code"] == 4
    assert "updatd_at" in ended.err


def test_check_names_each_missing_right(
    here: Any, shop: Conduit, postgres_server: PostgresServer, postgres_database: str
) -> None:
    role = postgres_server.role(postgres_database)
    shop.write(
        "name: shop\nsource: sqlite:///shop.db\n"
        "destination: {type: postgres, url: '${WAREHOUSE}', schema: raw}\nstreams: [customers]\n"
    )
    ended = here("check", WAREHOUSE=role.url)
    assert ended.code == 3
    assert "CREATE" in ended.err
    assert here("check", WAREHOUSE=postgres_database).code == 0


def test_check_names_a_receiver_that_could_not_be_told(here: Any, shop: Conduit) -> None:
    fine = here("check", "--json", CONDUIT_OBSERVE="textfile:conduit.prom prometheus://:1")
    found = [c for c in fine.document["checks"] if c["end"] == "observe"]
    assert [(c["ok"], c["detail"]) for c in found] == [
        (True, "textfile:conduit.prom"),
        (True, "prometheus://:1"),
    ]
    assert fine.code == 0
    for wrong, told in (
        ("prometeus://:9464", "CONDUIT_OBSERVE: no receiver is called 'prometeus'; there are"),
        ("prometheus://:9464/metrics", "9464/metrics: the endpoint is `prometheus://host:port`"),
        ("textfile:conduit.txt", "CONDUIT_OBSERVE: textfile:conduit.txt: a textfile is `textf"),
        ("emf:gone/a.log", "emf:gone/a.log: there is no folder"),
        ("otlp+ftp://h", "otlp+ftp://h: write otlp+http://HOST:4318"),
    ):
        ended = here("check", CONDUIT_OBSERVE=f"emf: {wrong}")
        assert ended.code == 2
        assert told in ended.last_lines[0]
        assert told.removeprefix("CONDUIT_OBSERVE: ") in ended.out
    assert not (shop.folder / "conduit.prom").exists()


def test_check_says_of_a_block_that_it_is_for_prefect_alone(here: Any, shop: Conduit) -> None:
    ended = here("check", "--json", CONDUIT_OBSERVE="block:prod")
    (found,) = [c for c in ended.document["checks"] if c["end"] == "observe"]
    assert (ended.code, found["ok"]) == (0, True)
    assert found["detail"].startswith("warning: `block:NAME` is for flows of Prefect alone")
    loaded = here("run", CONDUIT_OBSERVE="block:prod")
    assert loaded.code == 0
    assert "`block:NAME` is for flows of Prefect alone" in loaded.err


def test_a_table_that_slices_alone_fill_is_fine(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("[updated_at, id]", "[updated_at, id], cursor_timezone: UTC"))
    days = ("--from", "2024-01-01", "--to", "2024-01-03")
    assert here("run", "--stream", "orders", *days).code == 0
    ended = here("check", "--json")
    assert ended.code == 0, ended.err
    _, orders = ended.document["streams"]
    assert orders["ok"]
    assert "replace_window, exactly-once; note: loaded by windows or slices" in orders["detail"]
    refused = here("plan", "--stream", "orders")
    assert refused.code == 6
    assert "values of updated_at, id, in this order, such as 2024-02-01T00:00:00,42" in refused.err
    assert refused.last_lines[3].endswith("--cursor VALUE,VALUE")
    shop.write(SHOP.replace("[updated_at, id]", "[updatd_at, id], cursor_timezone: UTC"))
    assert here("check").code == 4


@pytest.mark.parametrize(
    ("cursor", "is_told"),
    [
        ("updated_at", True),
        ("updated_at, cursor_timezone: UTC, settle: 1m", False),
        ("[updated_at, id]", False),
        ("id", False),
    ],
)
def test_check_notes_a_cursor_whose_ties_come_late(
    here: Any, shop: Conduit, cursor: str, is_told: bool
) -> None:
    shop.write(SHOP.replace("[updated_at, id]", cursor))
    for _ in range(2):  # before the first load, and when nothing is new
        (_, orders) = here("check", "--json").document["streams"]
        said = "a row that comes later with the newest updated_at of a load isn't read" in str(
            orders
        )
        assert (orders["ok"], said) == (True, is_told), orders
        assert here("run", "--stream", "orders").code == 0


def test_a_missing_source_has_one_answer_on_retries(here: Any, shop: Conduit) -> None:
    (shop.folder / "shop.db").unlink()
    for command in ("check", "run", "plan"):
        ended = here(command)
        assert (ended.code, ended.last_lines[2]) == (3, "a retry will not help"), command
    for where, path in ((".", "gone.csv"), (".", "gone/*.csv"), ("nowhere", "gone.csv")):
        shop.write(
            f"name: shop\nsource: {{type: csv, path: {where}}}\n"
            f"destination: duckdb:///warehouse.duckdb\nstreams: [{{path: {path}, name: gone}}]\n"
        )
        for command in ("check", "run"):
            assert here(command).last_lines[2] == "a retry will not help", (command, where, path)


def test_check_shows_no_secret_of_a_receiver(here: Any, shop: Conduit) -> None:
    ended = here("check", CONDUIT_OBSERVE="pushgateway://me:canary@h/a?jub=x otlp:p%canary@")
    assert ended.code == 2
    assert "a Pushgateway is `pushgateway://" in ended.err
    assert "canary" not in ended.out + ended.err


def test_state_set_rewinds_and_skips(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    one = ("--stream", "orders")
    assert here("state", "set", *one, "--cursor", "2024-01-02,2").code == 6  # rows would double
    back = here("state", "set", *one, "--cursor", "2024-01-02,2", "--replace-after")
    assert (back.code, "watermark 2024-01-02" in back.out) == (0, True)
    assert shop.query("SELECT max(id) FROM raw.orders") == [(2,)]
    assert here("run", *one).code == 0
    assert shop.query("SELECT count(*), max(id) FROM raw.orders") == [(5, 5)]

    ahead = ("state", "set", *one, "--cursor", "2024-02-01,9")
    assert here(*ahead).code == 6
    assert here(*ahead, "--skip").code == 0
    fill(shop.folder / "shop.db", "INSERT INTO orders VALUES (6, '2024-01-20 00:00:00', 1)")
    assert here("run", *one, "--json").document["results"][0]["outcome"] == "empty"
    (view,) = here("state", "show", *one, "--json").document["streams"]
    assert view["watermark"].startswith("2024-02-01")
    assert view["owner"] == "shop/orders"


def test_state_reset_reads_from_the_start(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    one = ("--stream", "orders")
    assert here("state", "reset", *one).code == 6
    assert here("state", "reset", *one, "--replace-after").code == 0
    (load,) = here("run", *one, "--json").document["results"]
    assert load["counts"]["read"] == 5
    assert shop.query("SELECT count(*) FROM raw.orders") == [(5,)]


def test_state_before_the_first_load(here: Any, shop: Conduit) -> None:
    ended = here("state", "show")
    assert ended.code == 0
    assert ended.out.count("never") == 2
    assert here("runs").out == "nothing published yet\n"
    assert here("status").code == 0
    assert not (shop.folder / "warehouse.duckdb").exists()


def test_runs_lists_newest_first_and_shows_one(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    assert here("run").code == 0
    document = here("runs", "--json").document
    assert [(r["stream"], r["version"]) for r in document["runs"]] == [
        ("customers", 2),
        ("orders", 1),
        ("customers", 1),
    ]
    assert len(here("runs", "list", "--limit", "1", "--json").document["runs"]) == 1
    only = here("runs", "pipeline.yml", "--stream", "orders", "--json").document["runs"]
    load_id = only[0]["load_id"]
    assert load_id in here("runs").out
    shown = here("runs", "show", "--load", load_id[:8])
    assert "5 read, 5 inserted" in shown.out
    assert here("runs", "show", "--load", load_id, "--json").document["run"] == only[0]


def test_clean_never_takes_the_newest(here: Any, shop: Conduit) -> None:
    for _ in range(3):
        assert here("run", "--stream", "customers").code == 0
    dry = here("clean", "--older-than", "0s", "--dry-run", "--json").document
    assert [i["kind"] for i in dry["items"]] == ["record"] * len(dry["items"])
    assert len(here("runs", "--json").document["runs"]) == 3
    done = here("clean", "--older-than", "0s", "--json").document
    assert [i["name"] for i in done["items"]] == [i["name"] for i in dry["items"]]
    assert here("runs", "--json").document["runs"][0]["version"] == 3
    shop.write("retention: 90d\n" + SHOP)
    assert here("clean").out.endswith("0 removed\n")


def test_connectors_lists_ours(here: Any) -> None:
    found = {c["type"]: c for c in here("connectors", "--json").document["connectors"]}
    assert {"postgres", "duckdb", "sqlite", "csv", "json", "jsonl", "parquet"} <= set(found)
    assert found["sqlite"]["destination"]
    assert not found["json"]["destination"]
    assert found["parquet"]["destination"]
    assert all(c["installed"] for c in found.values())
    assert "sqlite" in here("connectors").out


def test_a_missing_driver_is_named_with_its_extra(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conduit_core.cli import drivers

    monkeypatch.setattr(drivers, "_installed", lambda name: "postgresql" not in name)
    found = {c["type"]: c for c in here("connectors", "--json").document["connectors"]}
    assert found["postgres"]["missing"] == ["adbc-driver-postgresql"]
    assert found["postgres"]["install"] == "pip install 'conduit-load[postgres]'"
    assert found["duckdb"]["installed"]


def test_json_schema_is_the_pipeline_files(here: Any) -> None:
    from conduit_core.spec import json_schema

    found = here("json-schema").document
    assert found == here("json-schema", "--json").document
    assert "project_dir" in found["$defs"].pop("after_dbt")["properties"]  # what is installed
    del found["properties"]["after"]["properties"]
    assert found == json_schema()


def test_a_stream_that_cannot_be_looked_at_keeps_no_other_from_it(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    fill(shop.folder / "shop.db", "ALTER TABLE orders RENAME TO orders_old")
    fill(shop.folder / "shop.db", "INSERT INTO customers VALUES (9, 'new')")
    metrics = shop.folder / "conduit.prom"
    ended = here("status", "--json", CONDUIT_OBSERVE=f"textfile:{metrics}")
    (seen,) = ended.document["streams"]
    assert seen["stream"] == "customers"
    assert ended.code == ended.document["error"]["exit_code"] == 4
    assert "orders (shop)" in ended.last_lines[0]
    text = metrics.read_text()
    assert 'conduit_errors_total{error="SchemaError",pipeline="shop",stream="orders"} 1' in text
    assert 'conduit_last_look_timestamp_seconds{pipeline="shop",stream="customers"}' in text
    assert 'conduit_last_look_timestamp_seconds{pipeline="shop",stream="orders"}' not in text
    assert "customers" in here("status").out


def test_an_end_that_is_away_is_tried_once(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    (shop.folder / "shop.db").rename(shop.folder / "gone.db")
    ended = here("status")
    assert ended.code == 3
    assert len(ended.last_lines) == 4
    assert ended.err.count("shop.db") <= 2


def test_the_command_to_paste_names_the_file_that_was_given(here: Any, shop: Conduit) -> None:
    shop.write(SHOP, "other.yml")
    ended = here("state", "set", "other.yml", "--stream", "orders", "--cursor", "nonsense")
    assert ended.last_lines[-1] == "conduit state show other.yml --stream orders"
