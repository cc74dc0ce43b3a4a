"""Whether pipelines and connections are fit, as a runner's test button asks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conduit_core import (
    AirflowConnection,
    CheckItem,
    ConnectionSpec,
    check,
    check_connection,
    connection_from_airflow,
)
from tests.integration.test_merge import items
from tests.lab import Lab, stream
from tests.services import PostgresServer, sql

CANARY = "hunter2canary"


def names(found: list[CheckItem], *, ok: bool = True) -> list[str]:
    return [item.name for item in found if item.ok == ok]


def connection(**options: object) -> ConnectionSpec:
    return ConnectionSpec.model_validate(options)


def test_both_ends_of_a_pipeline_are_looked_at(lab: Lab) -> None:
    pipeline = lab.pipeline(stream("items"))
    assert names(check(pipeline), ok=False) == ["source: file"]
    items(lab, (1, 1, "a"))
    found = check(pipeline)
    assert not names(found, ok=False)
    assert {"source", "destination"} == {name.partition(":")[0] for name in names(found)}


def test_a_connection_is_looked_at_as_a_destination(tmp_path: Path) -> None:
    found = check_connection(connection(type="duckdb", path="new.duckdb", schema="raw"), tmp_path)
    assert names(found) == ["file", "version", "round trip", "schema raw"]
    assert not list(tmp_path.iterdir())  # nothing is made
    (item,) = check_connection(connection(type="duckdb", path="no/new.duckdb"), tmp_path)
    assert (item.ok, item.name) == (False, "file")


def test_a_connection_that_can_only_be_read_is_fine(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    sql(postgres_database, "CREATE TABLE orders (id int)")
    role = postgres_server.role(postgres_database)
    sql(postgres_database, f"GRANT SELECT ON orders TO {role.name}")
    spec = connection(url=role.url, schema="raw")
    *found, note = check_connection(spec)
    assert names(found) == ["reachable", "version", "right to read"]
    assert (note.ok, note.name) == (True, "destination")
    assert note.detail.startswith("can't be one: schema raw: does not exist")


def test_what_cannot_be_reached_is_told_without_its_secrets() -> None:
    for spec in (
        connection(type="postgres", host="127.0.0.1", port=1, user="u", password=CANARY),
        connection(url=f"postgres://u:{CANARY}@127.0.0.1:1/db"),
        connection(url=f"postgres://u:{CANARY}@h/db", host="twice"),
        connection(type="postgres", password=CANARY),
        connection(type="nope", password=CANARY),
        connection(type="csv", path="nowhere", delimiter=";", quote="''"),
    ):
        found = check_connection(spec)
        assert names(found, ok=False)
        assert CANARY not in repr(found)


def test_files_without_a_type_are_looked_at_as_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n", encoding="utf-8")
    spec = connection(type="csv", path=str(tmp_path)).model_copy(update={"type": ""})
    assert names(check_connection(spec)) == ["files"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert names(check_connection(spec, tmp_path / "a.csv")) == ["files"]
    nowhere = connection(type="csv", path=str(tmp_path / "no")).model_copy(update={"type": ""})
    assert names(check_connection(nowhere), ok=False) == ["files"]
    read = connection(type="csv", path=str(tmp_path), header=False)  # what only a source takes
    assert names(check_connection(read)) == ["files", "destination"]


@pytest.mark.parametrize("extra", [{}, {"options": "-c search_path=public -c work_mem=8MB"}])
def test_an_airflow_connection_reaches_the_server(
    postgres_server: PostgresServer, postgres_database: str, extra: dict[str, object]
) -> None:
    """A password of any characters arrives, in the parts and in a URL."""
    role, password = postgres_server.role(postgres_database), "p@s:s/w?o#r%d' \\&+=é"
    sql(
        postgres_database,
        f"ALTER ROLE {role.name} PASSWORD '{password.replace(chr(39), chr(39) * 2)}'",
    )
    at = urlsplit(role.url)
    conn = AirflowConnection(
        "postgres", at.hostname, at.port, role.name, password, at.path.lstrip("/"), extra
    )
    found = check_connection(connection_from_airflow(conn))
    assert not names(found, ok=False)
    wrong = check_connection(connection_from_airflow(replace(conn, password=CANARY)))
    assert names(wrong, ok=False) == ["reachable"]
    assert CANARY not in repr(wrong)
