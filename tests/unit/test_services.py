"""The fixtures that find a PostgreSQL keep what they promise."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.services import PostgresServer, local_binaries, missing, sql, with_user

ROOT = Path(__file__).parents[2]


def test_a_database_is_fresh_and_gone_afterwards(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database()
    name = database.rpartition("/")[2]
    assert sql(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    with psycopg.connect(database):
        postgres_server.drop_database(database)
    assert sql(postgres_server.url, "SELECT 1 FROM pg_database WHERE datname = %s", [name]) == []


def test_a_database_that_is_given_back_is_as_new(postgres_server: PostgresServer) -> None:
    dirt = (
        'CREATE SCHEMA "o\'dd"; CREATE TABLE "o\'dd".t (a serial PRIMARY KEY);'
        " CREATE VIEW v AS SELECT * FROM \"o'dd\".t; CREATE TYPE mood AS ENUM ('ok');"
        " CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    seen = (
        "SELECT (SELECT array_agg(nspname::text ORDER BY nspname) FROM pg_namespace),"
        " (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_type),"
        " (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public')"
    )
    database = postgres_server.create_database()
    fresh = sql(database, seen)
    sql(database, dirt)
    with contextlib.closing(psycopg.connect(database)) as held:
        held.execute('LOCK TABLE "o\'dd".t')
        postgres_server.give_back(database)
    again = postgres_server.take_database()
    assert again == database
    assert sql(again, seen) == fresh
    sql(again, f"ALTER DATABASE {again.rpartition('/')[2]} SET work_mem = '1MB'")
    postgres_server.give_back(again)
    other = postgres_server.take_database()
    assert other != again
    postgres_server.give_back(other)


def test_the_server_can_stream_changes_and_serve_parallel_loads(postgres_url: str) -> None:
    assert sql(postgres_url, "SHOW wal_level") == [("logical",)]
    assert int(sql(postgres_url, "SHOW max_connections")[0][0]) >= 50


def test_a_role_can_only_do_what_it_was_granted(
    postgres_server: PostgresServer, postgres_database: str
) -> None:
    sql(postgres_database, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    role = postgres_server.role(postgres_database, "SELECT ON t")
    assert sql(role.url, "SELECT a, current_user FROM t") == [(1, role.name)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sql(role.url, "INSERT INTO t VALUES (2)")


def test_a_wrong_password_is_refused(postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(with_user(postgres_url, "postgres", "wrong"))


def test_our_own_server_stops_when_its_owner_is_killed() -> None:
    binaries = local_binaries()
    if binaries is None:
        missing("no PostgreSQL binaries, neither the wheel's nor on PATH")
    script = (
        "import os, pathlib, signal, sys; from tests.services import LocalPostgres\n"
        "print(LocalPostgres(pathlib.Path(sys.argv[1])).__enter__().url, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", script, str(binaries)]
    owner = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert owner.stdout.startswith("postgresql://"), owner.stderr
    deadline = time.monotonic() + 30
    while _answers(owner.stdout.strip()):
        assert time.monotonic() < deadline, "the server outlived its owner"


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
