"""`conduit run` and `conduit plan`: what loads, what is told, and that planning changes nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SHOP, Conduit, fill


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_run_loads_then_finds_nothing_new(shop: Conduit) -> None:
    first = shop("run")
    assert (first.code, shop.query("SELECT count(*) FROM raw.orders")) == (0, [(5,)])
    heading, _, customers, orders = (line.split() for line in first.out.splitlines())
    told = "stream outcome rows became bytes rows/s watermark load id guarantee"
    assert " ".join(heading) == told
    assert customers[:3] == ["customers", "published", "3"]
    assert orders[:3] == ["orders", "published", "5"]
    assert "2024-01-05T00:00:00" in first.out
    assert "orders: published 5 rows" in first.err

    fill(shop.folder / "shop.db", "INSERT INTO orders VALUES (6, '2024-01-05 00:00:00', 6.5)")
    again = shop("run", "--stream", "orders", "--json")
    (load,) = again.document["results"]
    assert (load["outcome"], load["counts"]["read"]) == ("published", 1)
    assert shop("run", "--stream", "orders", "--json").document["results"][0]["outcome"] == "empty"
    assert shop.query("SELECT count(*) FROM raw.orders") == [(6,)]


def test_a_load_that_fails_midway_leaves_nothing_open_at_exit(conduit: Conduit) -> None:
    query = "SELECT CASE WHEN i = 500 THEN 'nan'::FLOAT ELSE 1.0 END AS x FROM range(1000) r(i)"
    conduit.write(
        "name: p\nsource: duckdb:///a.duckdb\ndestination: sqlite:///b.db\n"
        f'streams: [{{name: q, query: "{query}"}}]\n'
    )
    import duckdb

    duckdb.connect(str(conduit.folder / "a.duckdb")).close()
    ended = conduit("run")
    assert ended.code == 1
    assert ended.last_lines[2] == "a retry will not help"  # the end, and no driver's words


def test_the_ledger_says_who_ran_without_secrets(here: Any, shop: Conduit) -> None:
    here("run", "--stream", "customers")
    ((runner,),) = shop.query("SELECT runner FROM raw._conduit_ledger")
    assert json.loads(runner).keys() == {"runner", "host", "pid", "user"}
    assert json.loads(runner)["runner"] == "cli"
    here("state", "reset", "--stream", "customers", "--replace-after")
    newest = shop.query("SELECT mode, runner FROM raw._conduit_ledger ORDER BY version")[-1]
    assert (newest[0], json.loads(newest[1])["runner"]) == ("state_reset", "cli")


@pytest.mark.parametrize("command", [("plan",), ("plan", "--sql"), ("run", "--dry-run")])
def test_planning_makes_no_file(here: Any, shop: Conduit, command: tuple[str, ...]) -> None:
    ended = here(*command)
    assert ended.code == 0
    assert "raw.orders" in ended.out.replace('"', "")
    assert sorted(p.name for p in shop.folder.iterdir()) == ["pipeline.yml", "shop.db"]


@pytest.mark.parametrize("command", [("plan",), ("plan", "--sql"), ("run", "--dry-run")])
def test_planning_leaves_the_target_identical(
    here: Any, shop: Conduit, command: tuple[str, ...]
) -> None:
    assert here("run").code == 0
    fill(shop.folder / "shop.db", "INSERT INTO orders VALUES (6, '2024-01-06 00:00:00', 6.5)")
    before = {p.name: digest(p) for p in shop.folder.iterdir()}
    assert here(*command).code == 0
    assert {p.name: digest(p) for p in shop.folder.iterdir()} == before


def test_plan_names_window_rows_ddl_and_guarantee(here: Any, shop: Conduit) -> None:
    text = here("plan", "--stream", "orders").out
    assert "(start, 2024-01-05T00:00:00.000000, 5]" in text
    assert "about 5" in text
    assert "append, exactly-once" in text
    assert "updated_at TIMESTAMP" in text

    document = here("plan", "--sql", "--json").document
    assert [p["stream"] for p in document["plans"]] == ["customers", "orders"]
    assert any("_conduit_ledger" in s for s in document["plans"][1]["sql"])


def test_plan_tells_every_stream_that_cannot_be_planned(here: Any, shop: Conduit) -> None:
    shop.write(SHOP + "  - absent\n  - {table: orders, name: o2, mode: append, cursor: nothere}\n")
    ended = here("plan", "--json")
    assert ended.code == ended.document["error"]["exit_code"] == 4
    assert [p["stream"] for p in ended.document["plans"]] == ["customers", "orders"]
    assert "absent (shop): " in ended.err
    assert "o2 (shop): " in ended.err


def test_to_caps_and_from_loads_a_slice_again(here: Any, shop: Conduit) -> None:
    assert here("run", "--stream", "orders", "--to", "2024-01-02").code == 0
    assert shop.query("SELECT max(id) FROM raw.orders") == [(2,)]
    window = ("--from", "2024-01-01", "--to", "2024-01-02")
    refused = here("run", "--stream", "orders", *window)
    assert (refused.code, "cursor_timezone" in refused.err) == (2, True)
    shop.write(SHOP.replace("id]}", "id], cursor_timezone: UTC}"))
    assert here("run", "--stream", "orders", *window).code == 0
    assert shop.query("SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,)]


def test_request_key_loads_once_and_reload_loads_again(here: Any, shop: Conduit) -> None:
    key = ("run", "--stream", "customers", "--request-key", "k1", "--json")
    assert here(*key).document["results"][0]["outcome"] == "published"
    assert here(*key).document["results"][0]["outcome"] == "replayed"
    assert here(*key, "--reload").document["results"][0]["outcome"] == "published"


def test_full_refresh_replaces(here: Any, shop: Conduit) -> None:
    here("run")
    fill(shop.folder / "shop.db", "DELETE FROM orders WHERE id < 3")
    assert here("run", "--full-refresh", "--jobs", "2").code == 0
    assert shop.query("SELECT min(id), count(*) FROM raw.orders") == [(3, 3)]


def test_an_empty_extract_needs_allow_empty(here: Any, shop: Conduit) -> None:
    here("run")
    fill(shop.folder / "shop.db", "DELETE FROM customers")
    refused = here("run", "--stream", "customers")
    assert refused.code == 7
    assert shop.query("SELECT count(*) FROM raw.customers") == [(3,)]
    assert here("run", "--stream", "customers", "--allow-empty").code == 0
    assert shop.query("SELECT count(*) FROM raw.customers") == [(0,)]


def test_siblings_of_a_failed_stream_go_on(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("  - customers\n", "  - absent\n  - customers\n"))
    ended = here("run", "--json", "--debug")
    document = ended.document
    assert ended.code == document["exit_code"] == document["error"]["exit_code"] == 4
    assert [r["stream"] for r in document["results"]] == ["customers", "orders"]
    assert [f["stream"] for f in document["failures"]] == ["absent"]
    assert document["error"]["class"] == "SchemaError"
    assert document["error"]["stream"] == "absent"
    assert "Traceback" in ended.err
    assert ended.last_lines == document["failures"][0]["lines"]

    text = here("run")
    assert "failed: SchemaError" in text.out
    assert "Traceback" not in text.err

    shop.write((shop.folder / "pipeline.yml").read_text() + "on_error: stop\n")
    stopped = here("run", "--json").document
    assert stopped["not_started"] == ["customers", "orders"]


def test_listeners_from_the_environment(here: Any, shop: Conduit) -> None:
    ended = here("run", CONDUIT_LISTENERS="tests.cli.listeners:broken")
    assert ended.code == 0
    assert "not today" in ended.err


@pytest.mark.parametrize(
    "value",
    [
        "tests.cli.listeners",
        "no.such.module:x",
        "tests.cli.listeners:gone",
        "tests.cli.listeners:not_a_listener",
    ],
)
def test_a_bad_listener_is_refused(here: Any, shop: Conduit, value: str) -> None:
    ended = here("run", CONDUIT_LISTENERS=value)
    assert ended.code == 2
    assert f"CONDUIT_LISTENERS: '{value}'" in ended.err
    assert not (shop.folder / "warehouse.duckdb").exists()
