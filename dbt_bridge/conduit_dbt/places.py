"""Where a destination is, and whether a profile's database is that place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from conduit_core.errors import ConfigError
from conduit_dbt.profiles import Output, Unknown

_ASK_SECONDS = 5
# libpq has these in its environment; what else it has there, it finds by itself.
_FALLBACK = {
    "service": "PGSERVICE",
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
}
# How dbt-postgres names what it hands to libpq.
_OUTPUT_KEYS = ("host", "port", "user", "sslmode", "sslcert", "sslkey", "sslrootcert")


@dataclass(frozen=True, repr=False)
class Place:
    """A destination: its system, and what its driver needs to connect.

    ``values`` are libpq's keywords for ``postgres`` and ``path`` for ``duckdb``. They hold
    secrets: ``repr`` shows host and database only.
    """

    system: str
    values: Mapping[str, str]
    schema: str

    @classmethod
    def postgres(
        cls, conninfo: str, schema: str, environment: Mapping[str, str] | None = None
    ) -> Self:
        """Return the place that a URL or a libpq connection string names.

        What it doesn't say is taken from libpq's environment variables, then its defaults.

        Raises:
            ConfigError: libpq can't read it.
        """
        import getpass

        import psycopg2
        from psycopg2.extensions import parse_dsn

        env = os.environ if environment is None else environment
        try:
            given = {key: str(value) for key, value in parse_dsn(conninfo).items()}
        except psycopg2.ProgrammingError:
            # libpq's message quotes the string, which holds the password.
            raise ConfigError(
                "the destination's connection string isn't one that libpq can read; it looks like"
                " postgresql://user:password@host:port/database"
            ) from None
        for key, variable in _FALLBACK.items():
            if env.get(variable) and not (key == "host" and "hostaddr" in given):
                given.setdefault(key, env[variable])
        if "service" in given:  # its file has the rest
            return cls("postgres", given, schema)
        given.setdefault("user", getpass.getuser())
        given.setdefault("dbname", given["user"])
        given.setdefault("port", "5432")
        given.setdefault("host", "")  # libpq's default: its socket
        return cls("postgres", given, schema)

    @classmethod
    def duckdb(cls, path: Path, schema: str) -> Self:
        """Return the place of a DuckDB file."""
        return cls("duckdb", {"path": os.path.realpath(path)}, schema)

    def __repr__(self) -> str:
        where = ", ".join(
            f"{key}={self.values[key]}" for key in ("host", "dbname", "path") if key in self.values
        )
        return f"Place({self.system}, {where}, schema={self.schema})"


def mismatch(output: Output, place: Place, root: Path) -> str | Unknown | None:
    """Say why a profile's database isn't the destination; None if it is.

    Args:
        output: the profile's target.
        place: the destination.
        root: the dbt project's folder. dbt runs there, so a relative path starts there.

    Returns:
        The difference in words, ``Unknown`` with the reason if a server can't be asked, or None.
    """
    if output.type != place.system:
        return f"the profile is of type {output.type}, the destination is {place.system}"
    return _duckdb(output, place, root) if place.system == "duckdb" else _postgres(output, place)


def _duckdb(output: Output, place: Place, root: Path) -> str | None:
    attached = output.values.get("attach")
    paths = [output.text("path") or ":memory:"] + [
        str(each.get("path")) for each in (attached if isinstance(attached, list) else [])
        if isinstance(each, dict)
    ]  # fmt: skip
    wanted = Path(place.values["path"])
    if any(_same_file(root / Path(path).expanduser(), wanted) for path in paths):
        return None
    theirs = output.database
    if ":" not in theirs and not Path(theirs).expanduser().is_absolute():
        theirs += f" in the project's folder, {os.path.normpath(root / theirs)}"
    return f"the profile's database is {theirs}, the destination is {wanted}"


def _same_file(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def _postgres(output: Output, place: Place) -> str | Unknown | None:
    if "service" in place.values:
        return Unknown(f"the destination is libpq's service {place.values['service']}")
    theirs, ours = output.database, place.values["dbname"]
    if theirs != ours:
        return f"the profile's database is {theirs}, the destination is {ours}"
    host, port = output.text("host"), output.text("port") or "5432"
    if (host, port) == (place.values["host"], place.values["port"]):
        return None
    answers = []
    keywords = {key: text for key in _OUTPUT_KEYS if (text := output.text(key))}
    keywords |= {"dbname": theirs, "password": output.text("password", "pass")}
    for which, values in (("the profile's", keywords), ("the destination's", dict(place.values))):
        found = _ask(values)
        if isinstance(found, Unknown):
            return Unknown(f"{which} server can't be asked who it is: {found.reason}")
        answers.append(found)
    if answers[0] == answers[1]:
        return None
    return (
        f"the profile's server is {host}:{port}, the destination's is"
        f" {place.values['host']}:{place.values['port']}, and they aren't the same server"
    )


def _ask(values: Mapping[str, str]) -> tuple[str, str] | Unknown:
    """Return when the server started and which database this is: the same by any address."""
    from contextlib import closing

    import psycopg2
    from psycopg2.extensions import make_dsn

    dsn = make_dsn(**{**values, "connect_timeout": str(_ASK_SECONDS)})
    try:
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_catalog.pg_postmaster_start_time()::text, oid::text"
                " FROM pg_catalog.pg_database WHERE datname = current_database()"
            )
            row = cursor.fetchone()
    except psycopg2.Error as error:
        text = str(error).strip()
        password = values.get("password")
        return Unknown(text.replace(password, "*****") if password else text)
    return (str(row[0]), str(row[1])) if row else Unknown("it has no such database")
