"""Ctrl-C: what was and wasn't published is told, and the target agrees with it."""

from __future__ import annotations

from tests.cli.conftest import SHOP, Conduit

STREAMS = """\
  - {table: customers, name: first}
  - {table: orders, name: second}
  - {table: customers, name: third}
"""
LISTENER = "tests.cli.listeners:interrupt_second_stream"


def test_ctrl_c_tells_what_was_published(shop: Conduit) -> None:
    shop.write(SHOP.partition("  - customers")[0] + STREAMS)
    ended = shop("run", CONDUIT_LISTENERS=LISTENER)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert ended.last_lines == [
        "shop: interrupted",
        "published: first; not published: second, third",
        "run it again: it goes on from here",
        "conduit run pipeline.yml",
    ]
    outcomes = [line.split()[:2] for line in ended.out.splitlines()[2:]]
    assert outcomes == [["first", "published"], ["second", "interrupted"], ["third", "not"]]
    tables = shop.query(
        "SELECT table_name FROM duckdb_tables() WHERE table_name NOT LIKE '\\_%' ESCAPE '\\'"
    )
    assert tables == [("first",)]
    assert shop("run").code == 0
    assert shop.query("SELECT count(*) FROM raw.second") == [(5,)]


def test_ctrl_c_as_a_document(shop: Conduit) -> None:
    shop.write(SHOP.partition("  - customers")[0] + STREAMS)
    ended = shop("run", "--json", CONDUIT_LISTENERS=LISTENER)
    document = ended.document
    assert (ended.code, document["interrupted"], document["exit_code"]) == (130, True, 130)
    assert [r["stream"] for r in document["results"]] == ["first"]
    assert [f["stream"] for f in document["failures"]] == ["second"]
    assert document["not_started"] == ["third"]
