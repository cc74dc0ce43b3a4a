"""The pages on moving from other tools, walked over tables as those tools leave them.

What dlt and Sling do isn't in this environment. Their tables are made here as they were found after
a real run; with ``CONDUIT_TEST_DLT`` (a Python that has dlt) or ``CONDUIT_TEST_SLING`` (Sling's
binary) they come from the real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from conduit_core import Pipeline, raise_for_failures, run
from tests import services
from tests.docs.pages import ROOT
from tests.docs.walk import Walk

HOWTO = ROOT / "docs" / "howto"
EXAMPLES = ROOT / "examples"
TABLES = ("flights", "planes", "airlines")
LOADED_BY_DLT = """
CREATE SCHEMA raw;
CREATE TABLE raw.airlines(
  carrier VARCHAR, "name" VARCHAR NOT NULL, _dlt_load_id VARCHAR NOT NULL,
  _dlt_id VARCHAR NOT NULL);
CREATE TABLE raw.flights(
  id BIGINT, carrier VARCHAR, flight BIGINT, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
  dep_delay BIGINT, arr_delay BIGINT, time_hour TIMESTAMP NOT NULL, _dlt_load_id VARCHAR NOT NULL,
  _dlt_id VARCHAR NOT NULL);
CREATE TABLE raw.planes(
  tailnum VARCHAR, "year" BIGINT, model VARCHAR, _dlt_load_id VARCHAR NOT NULL,
  _dlt_id VARCHAR NOT NULL);
"""
LOADED_BY_SLING = """
CREATE SCHEMA raw;
CREATE TABLE raw.airlines (carrier text, name text);
CREATE TABLE raw.planes (tailnum text, year bigint, model text);
CREATE TABLE raw.flights (
  id bigint, carrier text, flight bigint, tailnum text, origin text, dest text, dep_delay bigint,
  arr_delay bigint, time_hour timestamp);
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the source of January."""
    made = tmp_path / "flights"
    made.mkdir()
    script = EXAMPLES / "tutorial" / "flights_db.py"
    (made / script.name).write_text(script.read_text())
    monkeypatch.chdir(made)
    subprocess.run([sys.executable, script.name, "1"], cwd=made, check=True, capture_output=True)
    return made


def rows(folder: Path, table: str) -> list[tuple[Any, ...]]:
    """Return what the source has."""
    import sqlite3

    with closing(sqlite3.connect(folder / "flights.db")) as source:
        return source.execute(f"SELECT * FROM {table}").fetchall()


def as_dlt_leaves_it(folder: Path) -> None:
    """Load January by dlt, or as dlt does."""
    if python := os.environ.get("CONDUIT_TEST_DLT"):
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        env["DLT_DATA_DIR"] = str(folder.parent / "dlt")
        program = EXAMPLES / "from_dlt" / "load_flights.py"
        subprocess.run([python, program], cwd=folder, env=env, check=True)
        return
    import duckdb
    import pyarrow as pa

    with duckdb.connect(folder / "warehouse.duckdb") as warehouse:
        warehouse.execute(LOADED_BY_DLT)
        for table in TABLES:
            found = [tuple(map(_text, row)) for row in rows(folder, table)]
            columns = [pa.array(column) for column in zip(*found, strict=True)]
            warehouse.register("given", pa.table(columns, [f"c{n}" for n in range(len(columns))]))
            ids = "'1796031080.4167953', 'id' || row_number() OVER ()"
            warehouse.execute(f"INSERT INTO raw.{table} SELECT *, {ids} FROM given")


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def test_from_dlt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_dlt_leaves_it(folder)
    Walk(HOWTO / "from-dlt.md", folder, monkeypatch.setenv).go()


@pytest.mark.postgres
def test_from_sling(
    folder: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: services.PostgresServer
) -> None:
    shop, warehouse = (postgres_server.create_database() for _ in range(2))
    try:
        fill(shop)
        as_sling_leaves_it(folder, shop, warehouse)
        month(folder, 2)
        fill(shop)
        urls = {"SHOP_URL": shop, "WAREHOUSE_URL": warehouse}
        commands: dict[str, Callable[[Walk, str], str]] = {"export": lambda _, __: ""}
        for name, url in urls.items():
            monkeypatch.setenv(name, url)
        Walk(HOWTO / "from-sling.md", folder, monkeypatch.setenv, commands).go()
        found = services.sql(warehouse, "SELECT count(*), count(DISTINCT id) FROM raw.flights")
        assert found == [(51_801, 51_801)]
    finally:
        for url in (shop, warehouse):
            postgres_server.drop_database(url)


def month(folder: Path, number: int) -> None:
    """Let the source grow."""
    command = [sys.executable, "flights_db.py", str(number)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def fill(url: str) -> None:
    """Bring the shop's database up to the source file."""
    streams = [{"table": table, "mode": "replace"} for table in TABLES]
    spec = {
        "name": "fill",
        "source": "sqlite:///flights.db",
        "destination": {"type": "postgres", "url": url, "schema": "public"},
        "defaults": {"metadata": []},
        "streams": streams,
    }
    raise_for_failures(run(Pipeline.from_mapping(spec)))


def as_sling_leaves_it(folder: Path, shop: str, warehouse: str) -> None:
    """Load January by Sling, or as Sling does."""
    import psycopg

    if binary := os.environ.get("CONDUIT_TEST_SLING"):
        urls = {"SHOP": f"{shop}?sslmode=disable", "WAREHOUSE": f"{warehouse}?sslmode=disable"}
        env = {**os.environ, **urls, "HOME": str(folder.parent)}
        with psycopg.connect(warehouse, autocommit=True) as connection:
            connection.execute("SET scram_iterations = 4096")  # Sling refuses fewer
            password = urlsplit(warehouse).password
            connection.execute(f"ALTER ROLE postgres PASSWORD '{password}'")
        replication = EXAMPLES / "from_sling" / "replication.yaml"
        subprocess.run([binary, "run", "-r", replication], cwd=folder, env=env, check=True)
        return
    with psycopg.connect(warehouse, autocommit=True) as connection:
        connection.execute(LOADED_BY_SLING)
        for table in TABLES:
            with connection.cursor().copy(f"COPY raw.{table} FROM STDIN") as copy:
                for row in rows(folder, table):
                    copy.write_row(row)
