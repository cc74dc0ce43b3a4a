"""One table is one table: under two spellings, as source and target, with columns of others."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from conduit_core import Pipeline, check, plan, run
from conduit_core.errors import ConfigError, StateError
from conduit_core.spec import FileConnections
from tests.lab import Lab, only, stream
from tests.services import sql


@pytest.mark.parametrize("destination", ["duckdb", "sqlite"])
def test_a_target_has_one_owner_however_it_is_spelled(destination: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path, destination)
    lab.orders(range(3))
    lab.run()
    other = lab.pipeline(stream(name="copy", into="ORDERS"))
    with pytest.raises(StateError, match="belongs to stream 'orders'"):
        lab.run(other)
    again = lab.pipeline(stream(name="orders", into="Orders"))
    assert lab.run(again).outcome == "empty"
    assert lab.ids() == [0, 1, 2]


@pytest.mark.parametrize("destination", ["duckdb", "sqlite"])
@pytest.mark.parametrize("into", ["ORDERS", "MAIN.Orders", "main.orders"])
def test_two_streams_do_not_feed_one_table_however_it_is_spelled(
    destination: str, into: str, tmp_path: Path
) -> None:
    """As the file says it, before the first of them is published."""
    lab = Lab(tmp_path, destination)
    lab.orders(range(3))
    pipeline = lab.pipeline(stream(), stream(name="copy", into=into))
    for look in (check, plan, run):
        with pytest.raises(ConfigError, match=r"streams\[1\].*same target") as caught:
            look(pipeline)
        assert "`into`" in caught.value.message
    assert lab.chain() == []


def test_tables_that_differ_by_case_are_two_where_names_keep_their_case(
    tmp_path: Path, postgres_database: str
) -> None:
    lab = Lab(tmp_path, postgres_database)
    lab.orders(range(3))
    lab.run()
    assert lab.run(lab.pipeline(stream(name="copy", into="ORDERS"))).counts.inserted == 3
    assert lab.ids() == [0, 1, 2]
    assert all(
        item.ok for item in check(lab.pipeline(stream(), stream(name="copy", into="ORDERS")))
    )


@pytest.mark.parametrize("into", ["orders", "ORDERS"])
def test_a_table_is_not_loaded_into_itself(lab: Lab, into: str) -> None:
    lab.orders(range(3))
    file = {"type": "sqlite", "path": lab.source.name}
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": file,
            "destination": file,
            "streams": [stream(metadata=[], into=into)],
        },
        lab.folder,
    )
    with pytest.raises(ConfigError, match="itself"):
        only(run(pipeline))


@pytest.mark.parametrize("system", ["duckdb", "postgres"])
def test_a_named_connections_schema_holds_and_is_not_the_sources(
    tmp_path: Path, system: str, request: pytest.FixtureRequest
) -> None:
    """From ``main`` (``public``) into a schema that only the named connection tells."""
    where: dict[str, object] = {"path": "w.duckdb"}
    if system == "postgres":
        where = {"url": request.getfixturevalue("postgres_database")}
    plain: dict[str, object] = {"type": system, **where}
    first = Lab(tmp_path, str(where.get("url", "duckdb")))
    first.destination = plain
    first.orders(range(3))
    first.run()
    named = tmp_path / "connections.yml"
    named.write_text(json.dumps({"wh": {**plain, "schema": "raw"}}), encoding="utf-8")
    again = Pipeline.from_mapping(
        {
            "name": "again",
            "source": plain,
            "destination": {"connection": "wh"},
            "streams": [stream(metadata=[])],
        },
        tmp_path,
        connections=FileConnections(named),
    )
    result = only(run(again))
    assert (result.target, result.counts.inserted) == ("raw.orders", 3)
    assert first.ids() == [0, 1, 2]


def test_a_replace_keeps_the_defaults_of_columns_that_the_source_lacks(each_lab: Lab) -> None:
    lab = each_lab
    lab.orders(range(3))
    pipeline = lab.pipeline(stream(mode="replace", cursor=None))
    lab.run(pipeline)
    add = "ALTER TABLE orders ADD COLUMN extra INTEGER DEFAULT 7"
    if lab.file is None:
        sql(str(lab.destination["url"]), add)
    elif lab.destination["type"] == "duckdb":
        import duckdb

        with duckdb.connect(str(lab.file)) as connection:
            connection.execute(add)
    else:
        import sqlite3

        with closing(sqlite3.connect(lab.file)) as connection, connection:
            connection.execute(add)
    lab.orders([3])
    lab.run(pipeline)
    assert [row["extra"] for row in lab.rows(pipeline=pipeline)] == [7] * 4
