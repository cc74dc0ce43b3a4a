"""The sources and the destination of the DAGs in ``dags/``, and the Airflow that runs them."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import services
from tests.airflow.server import AirflowServer
from tests.examples.demos import EXAMPLES, data_folder

DAGS = Path(__file__).with_name("dags")
DEMO = EXAMPLES / "flights_airflow"
SLICES = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 16
GATE = 77
"""The advisory lock that the views of ``held.py`` wait for."""
_HELD = f"""
CREATE TABLE held AS SELECT i AS id, i * 10 AS amount FROM generate_series(1, 100) AS i;
CREATE FUNCTION gate() RETURNS text LANGUAGE plpgsql AS $$
  BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN 'through'; END $$;
"""


@dataclass(frozen=True)
class Scene:
    """An Airflow, the folder of its sources, and the PostgreSQL that it loads from and to."""

    folder: Path
    airflow: AirflowServer
    database: str
    metadata: str
    canaries: tuple[str, str]

    def sql(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        """Ask the PostgreSQL, as its superuser."""
        return services.sql(self.database, text, params or None)

    def duck(self, file: str, text: str) -> list[tuple[Any, ...]]:
        """Ask a DuckDB file."""
        import duckdb

        with duckdb.connect(str(self.folder / file), read_only=True) as connection:
            return connection.sql(text).fetchall()

    def metadata_text(self) -> str:
        """Return all that Airflow's database holds, as text."""
        names = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
        tables = [name for (name,) in services.sql(self.metadata, names)]
        return "\n".join(
            row
            for table in tables
            for (row,) in services.sql(self.metadata, f"SELECT t::text FROM {table} AS t")
        )

    def ledger(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        """Return columns of a target's ledger records, the oldest first."""
        return self.sql(
            f"SELECT {columns} FROM raw._conduit_ledger WHERE target_table = %s ORDER BY version",
            table,
        )

    def relations(self, beginning: str) -> list[str]:
        """List the tables of the destination whose names begin so."""
        text = "SELECT tablename FROM pg_tables WHERE schemaname = 'raw' AND tablename LIKE %s"
        return sorted(name for (name,) in self.sql(text, f"{beginning}%"))

    def insert(self, table: str, rows: list[tuple[int, str]]) -> None:
        """Write rows of an id and a time into a SQLite source."""
        import sqlite3

        with closing(sqlite3.connect(self.folder / f"{table}.db")) as connection, connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, at TIMESTAMP)"
            )
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)


def times(start: datetime, count: int, step: timedelta) -> list[str]:
    """Return times as SQLite's texts."""
    return [(start + i * step).strftime("%Y-%m-%d %H:%M:%S") for i in range(count)]


@contextmanager
def scene(folder: Path, server: services.PostgresServer) -> Iterator[Scene]:
    """Fill the sources and start Airflow."""
    sources, home = folder / "sources", folder / "airflow"
    sources.mkdir()
    home.mkdir()
    database, metadata = server.create_database(), server.create_database()
    roles = {f"{kind}_{secrets.token_hex(6)}": secrets.token_hex(12) for kind in ("conn", "file")}
    try:
        for role, password in roles.items():
            services.sql(server.url, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
            services.sql(server.url, f"GRANT CREATE ON DATABASE {_name(database)} TO {role}")
        (conn, conn_password), (file, file_password) = roles.items()
        env = {
            "SCENE_FOLDER": str(sources),
            "FLIGHTS_DATA": str(data_folder()),
            "WAREHOUSE": str(sources / "flights.duckdb"),
            "AIRFLOW_CONN_DUCK": json.dumps(
                {
                    "conn_type": "conduit",
                    "extra": {"type": "duckdb", "path": str(sources / "news.duckdb")},
                }
            ),
            "AIRFLOW_CONN_SHOP": _connection(database),
            "AIRFLOW_CONN_WAREHOUSE": _connection(_as(database, conn, conn_password)),
            "AIRFLOW_CONN_REFUSED": _connection(_as(database, "nobody", conn_password)),
        }
        # The one that a file names owns what the other one, of a connection, may use.
        services.sql(server.url, f"GRANT {file} TO {conn}")
        driver = metadata.replace("postgresql://", "postgresql+psycopg2://")
        airflow = AirflowServer(home, DAGS, driver, env)
        made = Scene(sources, airflow, database, metadata, (conn_password, file_password))
        _fill(made)
        shutil.copytree(DEMO / "dags", airflow.dags, dirs_exist_ok=True)
        for name, role in (("secret", file), ("refused", "nobody")):
            text = _secret_file(made, _as(database, role, file_password))
            (airflow.dags / f"{name}.yml").write_text(text)
        with airflow:
            yield made
    finally:
        for made_here in (database, metadata):
            server.drop_database(made_here)
        for role in roles:
            services.sql(server.url, f"DROP ROLE IF EXISTS {role}")


def _fill(made: Scene) -> None:
    second = timedelta(seconds=1)
    for table, count in (("orders", 50), ("edited", 100), ("secret", 10)):
        made.insert(table, list(enumerate(times(SLICES, count, second))))
    # Six-hourly, so that each day's first row is the day's first moment; and these days' too.
    slices = times(SLICES, DAYS * 4, timedelta(hours=6))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    slices += times(today - timedelta(days=2), 5 * 4, timedelta(hours=6))
    made.insert("slices", list(enumerate(slices)))
    made.sql(_HELD)
    for kind in ("failed", "cleared", "late"):
        made.sql(f"CREATE VIEW held_{kind} AS SELECT id, amount, gate() AS note FROM held")


def _secret_file(made: Scene, url: str) -> str:
    streams = [
        {"table": "secret", "name": f"by_{by}", "into": f"by_{by}", "mode": "append"}
        for by in ("file", "connection")
    ]
    return json.dumps(
        {
            "name": "secret",
            "source": {"type": "sqlite", "path": str(made.folder / "secret.db")},
            "destination": {"type": "postgres", "url": url, "schema": "secret"},
            "streams": streams,
        }
    )


def _name(database: str) -> str:
    return urlsplit(database).path[1:]


def _as(database: str, user: str, password: str) -> str:
    return services.with_user(database, user, password)


def _connection(database: str) -> str:
    parts = urlsplit(database)
    return json.dumps({
        "conn_type": "postgres", "host": parts.hostname, "port": parts.port,
        "login": parts.username, "password": parts.password, "schema": _name(database),
    })  # fmt: skip
