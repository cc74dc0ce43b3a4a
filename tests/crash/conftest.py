"""Fixtures of the crash tests: a destination, a source, a worker and the pipeline between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import services
from tests.crash.harness import Loaded, Worker, loaded
from tests.crash.source import FILES, Source
from tests.crash.systems import DuckDB, Postgres, SQLite, System

SYSTEMS = (pytest.param("postgres", marks=pytest.mark.postgres), "duckdb", "sqlite")
MODES: dict[str, dict[str, object]] = {
    "append": {"mode": "append", "cursor": "id"},
    "replace": {"mode": "replace"},
    "append_all": {"mode": "append"},
}


@dataclass(frozen=True)
class Scene:
    """A source, a destination, and a folder for pipeline files."""

    folder: Path
    system: System
    source: Source
    worker: Worker

    def pipeline(
        self,
        mode: str = "append",
        *,
        name: str = "crash",
        table: str = "items",
        url: str | None = None,
        **destination: object,
    ) -> Path:
        """Write a pipeline file and return it; ``url`` is another way to the same database."""
        config = {**self.system.config(), **destination}
        if url is not None:
            config["url"] = url
        stream = {"path": "*.parquet", "name": table, "into": table, **MODES[mode]}
        spec = {
            "name": name,
            "source": {"type": "parquet", "path": str(self.source.folder)},
            "destination": config,
            "streams": [stream],
        }
        file = self.folder / f"{name}-{table}.yml"
        file.write_text(json.dumps(spec))
        return file

    def loaded(self, table: str = "items") -> Loaded:
        """Return what the destination holds."""
        return loaded(self.system, table)


def make_system(name: str, folder: Path, request: pytest.FixtureRequest) -> System:
    """Return an empty destination."""
    if name == "postgres":
        return Postgres(request.getfixturevalue("postgres_database"))
    return (DuckDB if name == "duckdb" else SQLite)(folder)


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> System:
    """Each destination in turn, empty."""
    return make_system(request.param, tmp_path, request)


@pytest.fixture
def scene(tmp_path: Path, system: System) -> Iterator[Scene]:
    """A filled source, an empty destination, a worker."""
    source = Source(tmp_path / "source")
    source.fill(range(FILES))
    worker = Worker(tmp_path / "disk")
    yield Scene(tmp_path, system, source, worker)
    worker.stop_all()


Unharmed = Callable[[str, str], tuple[Loaded, Loaded]]


@pytest.fixture(scope="session")
def unharmed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Unharmed]:
    """Loads that never failed, by system and mode: content after the first and after the second.

    Made when first asked for, by the same command, and kept for the session.
    """
    made: dict[tuple[str, str], tuple[Loaded, Loaded]] = {}
    servers: list[tuple[services.PostgresServer, str]] = []

    def make(name: str, mode: str) -> tuple[Loaded, Loaded]:
        folder = tmp_path_factory.mktemp(f"unharmed-{name}-{mode}")
        system: System
        if name == "postgres":
            server = request.getfixturevalue("postgres_server")
            servers.append((server, server.create_database()))
            system = Postgres(servers[-1][1])
        else:
            system = (DuckDB if name == "duckdb" else SQLite)(folder)
        scene = Scene(folder, system, Source(folder / "source"), Worker(folder / "disk"))
        scene.source.fill(range(FILES))
        file = scene.pipeline(mode)
        scene.worker.run(file, *key(mode, "first")).fine()
        first = scene.loaded()
        assert [row[1] for row in first.rows] == list(range(len(first.rows)))
        change(scene.source, mode)
        scene.worker.run(file, *key(mode, "second")).fine()
        return first, scene.loaded()

    def get(name: str, mode: str) -> tuple[Loaded, Loaded]:
        if (name, mode) not in made:
            made[name, mode] = make(name, mode)
        return made[name, mode]

    yield get
    for server, database in servers:
        server.drop_database(database)


def change(source: Source, mode: str) -> None:
    """Change the source between two loads: new rows, or other ones."""
    if mode == "append":
        source.fill(range(FILES, 2 * FILES))
    else:
        source.empty()
        source.fill(range(1, FILES), "second")


def key(mode: str, name: str) -> tuple[str, ...]:
    """Return the options of a request: where no watermark tells what is loaded, a key does."""
    return () if mode == "append" else ("--request-key", name)
