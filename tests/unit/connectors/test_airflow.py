"""What an Airflow connection becomes, by type; nothing secret shows on the way."""

from __future__ import annotations

import pickle
import traceback
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn

from conduit_core import AirflowConnection, ConnectionSpec, connection_from_airflow
from conduit_core.connectors import registry
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.errors import ConfigError

CANARY = "hunter2canary"


def read(conn_type: str, **fields: object) -> dict[str, object]:
    spec = connection_from_airflow(AirflowConnection(conn_type, **fields))  # type: ignore[arg-type]
    assert CANARY not in f"{spec!r}{spec.options!r}{spec.model_dump_json()}"
    registry.get(spec.type or "csv").options.model_validate(spec.reveal())
    return {"type": spec.type, **spec.reveal()}


def conduit(login: str | None = None, **extra: object) -> AirflowConnection:
    password = CANARY if login else None
    return AirflowConnection("conduit", login=login, password=password, extra=extra)


POSTGRES = {"host": "db", "port": 5433, "login": "me", "password": CANARY, "schema": "shop"}
PARTS = {"host": "db", "port": 5433, "user": "me", "password": CANARY, "database": "shop"}


@pytest.mark.parametrize(
    ("conn_type", "fields", "wanted"),
    [
        ("postgres", POSTGRES, {"type": "postgres", **PARTS}),
        ("postgresql", {"host": "db"}, {"type": "postgres", "host": "db"}),
        (
            "postgres",
            {**POSTGRES, "extra": {"sslmode": "require", "cursor": "dictcursor", "options": ""}},
            {"type": "postgres", **PARTS, "sslmode": "require"},
        ),
        (
            "postgres",
            {"host": "db", "password": "", "port": None},
            {"type": "postgres", "host": "db"},
        ),
        ("sqlite", {"host": "/data/a.db"}, {"type": "sqlite", "path": "/data/a.db"}),
        ("sqlite", {"host": "a.db"}, {"type": "sqlite", "path": "a.db"}),
        ("sqlite", {"host": "", "schema": "data/a.db"}, {"type": "sqlite", "path": "/data/a.db"}),
        ("sqlite", {"host": "data", "schema": "a.db"}, {"type": "sqlite", "path": "data/a.db"}),
        ("sqlite", {"host": "sqlite:///a.db"}, {"type": "sqlite", "path": "a.db"}),
        ("sqlite", {"host": "sqlite:////d/a.db"}, {"type": "sqlite", "path": "/d/a.db"}),
        ("duckdb", {"host": "/data/a.duckdb"}, {"type": "duckdb", "path": "/data/a.duckdb"}),
        ("duckdb", {"extra": {"file": "a.duckdb"}}, {"type": "duckdb", "path": "a.duckdb"}),
        ("fs", {"extra": {"path": "/data"}}, {"type": "", "path": "/data"}),
        (
            "conduit",
            {"extra": {"type": "csv", "path": "/data", "delimiter": ";", "quote": ""}},
            {"type": "csv", "path": "/data", "delimiter": ";"},
        ),
        (
            "Conduit",
            {"extra": {"url": "duckdb:////data/a.duckdb", "password": None}},
            {"type": "duckdb", "path": "/data/a.duckdb"},
        ),
        (
            "conduit",
            {"extra": {"type": "postgres", "host": "db"}, "login": "me", "password": CANARY},
            {"type": "postgres", "host": "db", "user": "me", "password": CANARY},
        ),
        (
            "conduit",
            {"extra": {"url": f"postgres://u:{CANARY}@db/shop?sslmode=require"}, "login": "m@e"},
            {"type": "postgres", "url": f"postgres://m%40e:{CANARY}@db/shop?sslmode=require"},
        ),
        (
            "conduit",
            {"extra": {"url": "postgres://db"}, "password": f"/{CANARY}"},
            {"type": "postgres", "url": f"postgres://:%2F{CANARY}@db"},
        ),
    ],
)
def test_each_type_gives_what_a_file_would_say(
    conn_type: str, fields: dict[str, object], wanted: dict[str, object]
) -> None:
    assert read(conn_type, **fields) == wanted


def test_what_else_libpq_knows_makes_a_url() -> None:
    extra = {"connect_timeout": 5, "options": "-c search_path=a b", "keepalives": True, "x": "y"}
    url = str(read("postgres", **POSTGRES, extra=extra)["url"])
    assert dict(parse_qsl(urlsplit(url).query)) == {
        "host": "db", "port": "5433", "dbname": "shop", "keepalives": "1",
        "connect_timeout": "5", "options": "-c search_path=a b",
    }  # fmt: skip
    assert "+" not in url  # libpq reads it as a plus
    parts = PostgresOptions.model_validate({**PARTS})
    assert PostgresOptions(url=url).identity == parts.identity  # type: ignore[arg-type]


def test_what_else_a_destination_takes_comes_from_a_conduit_connection() -> None:
    extra = {"type": "duckdb", "path": "a.duckdb", "schema": "raw", "lock_wait": "5s"}
    spec = connection_from_airflow(AirflowConnection("conduit", extra=extra))
    assert (spec.schema_name, spec.lock_wait.total_seconds()) == ("raw", 5)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(login=TEXT, password=TEXT, database=TEXT, as_url=st.booleans())
def test_a_login_of_any_characters_survives(
    login: str, password: str, database: str, *, as_url: bool
) -> None:
    conn = AirflowConnection(
        "postgres", "db", 5432, login, password, database,
        {"application_name": "me"} if as_url else {},
    )  # fmt: skip
    options = PostgresOptions.model_validate(connection_from_airflow(conn).reveal())
    told = parse_dsn(options.conninfo())  # by libpq itself
    assert (told["user"], told["password"], told["dbname"]) == (login, password, database)
    assert (told["host"], told["port"], "application_name" in told) == ("db", "5432", True)
    assert options.place() == ("db:5432", database)
    assert password in options.secrets()


@given(login=TEXT, password=TEXT)
def test_a_login_laid_over_a_url_survives(login: str, password: str) -> None:
    extra = {"url": f"postgres://u:{CANARY}@db:1/shop"}
    conn = AirflowConnection("conduit", login=login, password=password, extra=extra)
    options = PostgresOptions.model_validate(connection_from_airflow(conn).reveal())
    told = parse_dsn(options.conninfo())
    assert (told["user"], told["password"], told["host"]) == (login, password, "db")
    assert options.identity == "postgres://db:1/shop"


@pytest.mark.parametrize(
    ("conn", "told"),
    [
        (
            AirflowConnection("mysql", "db", conn_id="shop"),
            "`shop`: no connector takes the type 'mysql', only conduit, duckdb, fs, postgres",
        ),
        (AirflowConnection("", "db"), "no connector takes the type ''"),
        (AirflowConnection("postgres", login="me"), "`host` is empty"),
        (AirflowConnection("postgres", "h", extra={"iam": True}), "extra `iam`"),
        (AirflowConnection("sqlite"), "`host` is empty"),
        (AirflowConnection("duckdb", "a", password=CANARY), "MotherDuck"),
        (AirflowConnection("duckdb"), "`host` is empty"),
        (AirflowConnection("fs"), '{"path": "/data"}'),
        (AirflowConnection("conduit"), "its extra is empty"),
        (conduit(url=f"mysql://u:{CANARY}@h"), "`url` names no known type"),
        (conduit(host=CANARY), "`type` is missing"),
        (conduit(type="csv", api_token=1), "`api_token` must be text"),
        (conduit(connection="other"), "can't name another one"),
        (conduit("me", type="nope"), "no connector of type 'nope'"),
        (conduit("me", type="csv", path="a"), "has a login and password, which a csv connection"),
    ],
)
def test_what_is_wrong_is_told_without_a_value(conn: AirflowConnection, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connection_from_airflow(conn)
    assert told in caught.value.message
    text = "".join(traceback.format_exception(caught.value))
    assert CANARY not in text
    assert CANARY not in repr(conn)


def test_a_repr_shows_no_field() -> None:
    conn = AirflowConnection("x", CANARY, 1, CANARY, CANARY, CANARY, {"a": CANARY}, "shop")
    assert repr(conn) == "AirflowConnection(conn_type='x', conn_id='shop')"
    assert pickle.loads(pickle.dumps(conn)) == conn  # noqa: S301 - our own bytes


def test_a_connector_of_others_brings_its_own_type() -> None:
    theirs = registry.Connector(
        "tables",
        registry.get("sqlite").options,
        airflow_types=("tables_db", "fs"),
        from_airflow=lambda conn: {"type": "tables", "path": f"{conn.host}.t"},
    )
    with registry.added(theirs):
        assert read("tables-db", host="a") == {"type": "tables", "path": "a.t"}


def test_a_type_that_the_connection_leaves_open_is_the_files() -> None:
    named = connection_from_airflow(AirflowConnection("fs", extra={"path": "/data"}))
    mine = ConnectionSpec.model_validate({"type": "csv", "connection": "landing", "delimiter": ";"})
    laid = mine.over(named)
    assert (laid.type, laid.reveal()) == ("csv", {"path": "/data", "delimiter": ";"})
    with pytest.raises(ValueError, match="write `type:` beside it"):
        ConnectionSpec.model_validate({"connection": "landing"}).over(named)
