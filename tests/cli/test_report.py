"""``conduit runs show --html``: a load's report as a file, whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import Any

import pytest

from tests.cli.conftest import Conduit, fill

RULES = """\
name: shop
source: sqlite:///shop.db
destination: {type: duckdb, path: warehouse.duckdb, schema: raw}
streams:
  - table: orders
    mode: append
    cursor: [updated_at, id]
    redact: [total]
    quality:
      - {rule: range, column: id, max: 4, action: dlq, name: "<b>few</b>"}
      - {rule: range, column: total, max: 3, action: warn, description: "Why & wherefore"}
      - {rule: row_count, min: 2, action: warn}
"""


@pytest.fixture
def loads(here: Any, shop: Conduit) -> list[str]:
    """Two loads' ids, the newest first: 5 orders of which one is rejected, then 2."""
    shop.write(RULES)
    assert here("run").code == 0
    fill(
        shop.folder / "shop.db",
        "INSERT INTO orders VALUES (6, '2024-01-06', 777.25), (7, '2024-01-07', 1)",
    )
    assert here("run").code == 0
    return [r["load_id"] for r in here("runs", "--json").document["runs"]]


def test_the_report_is_written(here: Any, shop: Conduit, loads: list[str]) -> None:
    place = shop.folder / "report.html"
    shown = here("runs", "show", "--load", loads[1], "--html", "report.html")
    assert shown.code == 0, shown.err
    assert shown.out.endswith("wrote report.html\n")
    first = place.read_text(encoding="utf-8")
    assert first.startswith("<!DOCTYPE html>")
    assert "5 read, 4 passed, 1 rejected" in first
    assert "2 read" not in first  # the load after it
    assert "Why &amp; wherefore" in first

    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(place.stat().st_mode) == 0o666 & ~umask
    answer = here("runs", "show", "--load", loads[0], "--html", "report.html", "--json")
    assert answer.document["html"] == "report.html"
    second = place.read_text(encoding="utf-8")
    assert "&lt;b&gt;few&lt;/b&gt;" in second
    assert "<b>few" not in second
    assert "2 loads, the newest last" in second
    assert "2 read, 0 passed, 2 rejected" in second
    assert "5 read, 4 passed, 1 rejected" in second
    assert "777.25" not in second
    counts = {r["rule"]: r for r in answer.document["quality"]["rules"]}
    assert counts["<b>few</b>"]["failed"] == answer.document["run"]["counts"]["rejected"] == 2
    assert not [p for p in shop.folder.iterdir() if p.suffix == ".tmp"]

    only = here("runs", "show", "--load", loads[0], "--html", "report.html", "--last", "1")
    assert only.code == 0
    assert "5 read" not in place.read_text(encoding="utf-8")


def test_where_it_cant_be_written(here: Any, shop: Conduit, loads: list[str]) -> None:
    (shop.folder / "folder").mkdir()
    (shop.folder / "circle").symlink_to("circle")
    for name, why in (
        ("folder", "is a folder"),
        ("no/such/report.html", "can't be written: No such file or directory"),
        ("pipeline.yml/report.html", "can't be written: Not a directory"),
        ("/dev/null", "is no file that can be replaced"),
        ("circle", "can't be written"),
    ):
        ended = here("runs", "show", "--load", loads[0], "--html", name)
        assert ended.code == 2, name
        assert name in ended.last_lines[0]
        assert why in ended.last_lines[0]
        assert "--html report.html" in ended.last_lines[3]
        assert ended.out == ""


def test_a_link_is_followed(here: Any, shop: Conduit, loads: list[str]) -> None:
    (shop.folder / "real.html").write_text("old")
    (shop.folder / "link.html").symlink_to("real.html")
    assert here("runs", "show", "--load", loads[0], "--html", "link.html").code == 0
    assert (shop.folder / "link.html").is_symlink()
    assert (shop.folder / "real.html").read_text(encoding="utf-8").startswith("<!DOCTYPE")


def test_mended_state_is_no_load_of_the_charts(here: Any, shop: Conduit, loads: list[str]) -> None:
    assert (
        here("state", "set", "--cursor", "2024-02-01,9", "--skip", "--stream", "orders").code == 0
    )
    fill(shop.folder / "shop.db", "INSERT INTO orders VALUES (10, '2024-02-02', 1)")
    assert here("run").code == 0
    newest, mended, *_ = here("runs", "--json").document["runs"]
    for run, number in ((newest, 3), (mended, 3)):
        assert here("runs", "show", "--load", run["load_id"], "--html", "r.html").code == 0
        text = (shop.folder / "r.html").read_text(encoding="utf-8")
        assert f"{number} loads, the newest last" in text
        assert ("state_set" in text) == (run is mended)


def test_a_load_without_rules(here: Any, shop: Conduit) -> None:
    assert here("run", "--stream", "customers").code == 0
    (load,) = here("runs", "--json").document["runs"]
    assert here("runs", "show", "--load", load["load_id"], "--html", "r.html").code == 0
    assert "had no rules" in (shop.folder / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("stages", ["oops", "[1]", '{"read": "x"}'])
def test_a_record_with_stages_that_nobody_can_read_is_named(
    here: Any, shop: Conduit, loads: list[str], stages: str
) -> None:
    import duckdb

    with duckdb.connect(str(shop.folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "UPDATE raw._conduit_ledger SET stages = ? WHERE load_id = ?", [stages, loads[0]]
        )
    ended = here("report", "--html", "all.html")
    assert ended.code == 0, ended.err
    named = f"orders: the ledger's record of load {loads[0]} has `stages` that can't be read"
    assert named in ended.out
    assert loads[1] not in ended.out
    (stream,) = here("report", "--json").document["streams"]
    assert stream["unreadable"] == [loads[0]]
    shown = here("runs", "show", "--load", loads[0], "--html", "one.html")
    assert shown.code == 0, shown.err
    assert f"the record's can't be read: {stages!r}" in shown.out
