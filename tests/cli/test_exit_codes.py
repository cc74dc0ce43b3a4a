"""Each exit code of the command, with the four lines that close it and no traceback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import SHOP, Conduit, Ended, fill

RETRY = {"a retry may help", "run it again: a new plan is needed", "a retry will not help"}


def closes(ended: Ended, code: int) -> list[str]:
    """Check the form of a failure, and return its four lines."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err + ended.out
    what, state, retry, command = ended.last_lines
    assert what
    assert state
    assert retry in RETRY
    assert command.startswith(("conduit ", "pip install ", "GRANT ")), command
    return ended.last_lines


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("run", "absent.yml"), "absent.yml: there is no such file"),
        (("run", "--strem", "x"), "No such option: --strem"),
        (("rnu",), "Did you mean 'run'?"),
        (("run", "--jobs", "0"), "--jobs"),
        (("run", "--log-format", "xml"), "--log-format"),
        (("run", "--stream", "order"), "did you mean 'orders'?"),
        (("state",), "Missing command"),
        (("state", "set", "--stream", "orders"), "--cursor"),
        (("state", "set", "--stream", "customers", "--cursor", "1"), "has no cursor"),
        (("state", "set", "--stream", "orders", "--cursor", "x,1"), "'x' is not a value"),
        (("run", "--to", "yesterday", "--stream", "orders"), "'yesterday' is not a value"),
        (("run", "--from", "2024-01-01", "--full-refresh", "--stream", "orders"), "together"),
        (("run", "--only", "region"), "--only takes COLUMN=VALUE"),
        (("plan", "--only", "=eu"), "--only takes COLUMN=VALUE"),
        (("run", "--only", "a=1", "--only", "b=1"), "more than one column: a, b"),
        (("run", "--only", "id=x", "--stream", "orders"), "'x' is not a value"),
        (("clean",), "how old?"),
        (("clean", "--older-than", "7"), "--older-than"),
        (("runs", "show", "--load", "zz"), "no published load"),
        (("init",), "is there already"),
        (("init", "x.toml"), "writes YAML"),
    ],
)
def test_2_for_a_wrong_argument(
    here: Any, shop: Conduit, args: tuple[str, ...], words: str
) -> None:
    ended = here(*args)
    assert words in " ".join(closes(ended, 2)[0].split())
    assert not (shop.folder / "warehouse.duckdb").exists()
    if args == ("state",):
        return  # a group of commands takes no options
    told = here(*args, "--json")
    assert told.document["error"]["exit_code"] == told.code == 2
    assert words in " ".join(told.document["error"]["message"].split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SHOP.replace("streams:", "sterams:"), "pipeline.yml:4"),
        (SHOP.replace("sqlite:///shop.db", "{type: sqlit, path: shop.db}"), "sqlite"),
        (SHOP.replace("sqlite:///shop.db", "{type: sqlite, paht: shop.db}"), "path"),
        (SHOP.replace("sqlite:///shop.db", "'${NOT_SET}'"), "NOT_SET"),
        (SHOP.replace("sqlite:///shop.db", "{connection: nowhere}"), "nowhere"),
        (SHOP.replace("duckdb,", "json,"), "can't be a destination"),
        ("name: [", "not valid YAML"),
        ("", "is empty"),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan", "run", "status", "discover"])
def test_2_for_a_wrong_file(here: Any, shop: Conduit, command: str, text: str, words: str) -> None:
    shop.write(text)
    if command == "discover" and "sterams" in text:
        words = "sterams"
    assert words in here(command).err
    closes(here(command), 2)
    assert sorted(p.name for p in shop.folder.iterdir()) == ["pipeline.yml", "shop.db"]


def test_3_for_what_cannot_be_reached(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("shop.db", "gone.db"))
    closes(here("run"), 3)
    ended = here("check")
    assert "FAILED" in ended.out
    assert "gone.db" in closes(ended, 3)[0]
    assert not (shop.folder / "gone.db").exists()
    assert here("check", "--json").document["checks"][0]["ok"] is False


def test_3_for_a_server_that_is_not_there(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("sqlite:///shop.db", "postgres://u:pw12345@127.0.0.1:9/db"))
    what, *_ = closes(here("check"), 3)
    assert "source (postgres)" in what
    assert "pw12345" not in what


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_3_for_a_folder_that_cannot_be_written(here: Any, shop: Conduit, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    shop.write(SHOP.replace("path: warehouse", "path: locked/warehouse"))
    closes(here("check"), 3)


def test_4_for_a_missing_table(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("  - customers", "  - custmers"))
    what, state, retry, _ = closes(here("run"), 4)
    assert what.startswith("custmers (shop): ")
    assert "customers" in what
    assert state.startswith("nothing published")
    assert retry == "a retry will not help"


def test_p15_5_for_a_stream_past_its_freshness(here: Any, shop: Conduit) -> None:
    shop.write(SHOP.replace("id]}", "id], freshness: 24h}"))
    closes(here("status"), 5)  # never loaded
    assert here("run").code == 0
    assert here("status").code == 0
    fill(shop.folder / "shop.db", "INSERT INTO orders VALUES (6, '2024-01-05 20:00:00', 1)")
    assert here("status").code == 0  # behind, within its freshness
    fill(shop.folder / "shop.db", "INSERT INTO orders VALUES (7, '2024-01-08 00:00:00', 1)")
    ended = here("status", "--json")
    customers, orders = ended.document["streams"]
    assert (customers["is_stale"], orders["is_stale"]) == (False, True)
    assert orders["lag_seconds"] == 3 * 86400
    assert ended.document["error"]["exit_code"] == 5
    what, state, _, command = closes(here("status"), 5)
    assert what == "shop: past its freshness: orders (3d 00h behind)"
    assert "2024-01-05" in state
    assert command == "conduit run pipeline.yml"
    assert here("run").code == 0
    assert here("status").code == 0


def test_6_for_a_target_of_another_stream(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    shop.write(SHOP.replace("name: shop", "name: other"), "other.yml")
    what, state, _, command = closes(here("run", "other.yml", "--stream", "orders"), 6)
    assert "shop" in what
    assert "watermark unchanged at 2024-01-05" in state
    assert "conduit state adopt" in command
    assert here("state", "adopt", "other.yml", "--stream", "orders").code == 0
    assert here("run", "other.yml", "--stream", "orders").code == 0


def test_7_for_a_refused_publish(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    fill(shop.folder / "shop.db", "DELETE FROM customers")
    closes(here("run", "--stream", "customers"), 7)


def test_1_for_data_that_is_not_what_it_claims(here: Any, conduit: Conduit) -> None:
    rows = "\n".join(f"{i},{i}" for i in range(10))
    (conduit.folder / "numbers.csv").write_text(f"a,b\n{rows}\n7,8,9\n")
    conduit.write(
        "name: files\nsource: {type: csv, path: .}\n"
        "destination: {type: duckdb, path: w.duckdb}\nstreams: [numbers.csv]\n"
    )
    what, *_ = closes(here("run"), 1)
    assert "numbers.csv" in what
    assert "12" in what


def test_1_for_a_bug_inside_a_stream(shop: Conduit) -> None:
    env = {"CONDUIT_LISTENERS": "tests.cli.listeners:crash_engine", "CANARY": "xyz-canary"}
    ended = shop("run", **env)
    what, *_ = closes(ended, 1)
    assert what == "orders (shop): unexpected LookupError: no key for xyz-canary; this is a bug"
    shown = shop("run", "--debug", "--json", **env)
    assert "Traceback" in shown.err
    assert shown.document["error"]["exit_code"] == 1


def test_1_for_a_bug_anywhere(here: Any, shop: Conduit, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise LookupError("oh")

    monkeypatch.setattr("conduit_core.engine.standing.status", explode)
    what, _, _, command = closes(here("status"), 1)
    assert what == "shop: unexpected LookupError: oh; this is a bug"
    assert command == "conduit status pipeline.yml --debug"
    assert "Traceback" in here("status", "--debug").err


def test_the_first_failure_decides_the_code(here: Any, shop: Conduit) -> None:
    assert here("run").code == 0
    fill(shop.folder / "shop.db", "DELETE FROM customers")
    shop.write(SHOP + "  - absent\n")
    ended = here("run", "--json")
    assert [f["exit_code"] for f in ended.document["failures"]] == [7, 4]
    assert ended.code == 7
