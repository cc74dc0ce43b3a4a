"""Fixtures of the crash tests: a destination, a source, a worker and the pipeline between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import services
from tests.crash.harness import Loaded, Worker, loaded
from tests.crash.source import FILES, ROWS, Source
from tests.crash.systems import DuckDB, Parquet, Postgres, SQLite, System

SYSTEMS = (pytest.param("postgres", marks=pytest.mark.postgres), "duckdb", "sqlite", "parquet")
MODES: dict[str, dict[str, object]] = {
    "append": {"mode": "append", "cursor": "id"},
    "replace": {"mode": "replace", "cursor": "id"},
    "append without cursor": {"mode": "append"},
    "upsert": {"mode": "upsert", "unique_key": "id", "cursor": "id"},
    "append in splits": {"mode": "append", "cursor": "id", "splits": FILES},
    "replace in splits": {"mode": "replace", "cursor": "id", "splits": FILES},
}
APPEND = {"items": "append"}
BOTH = {"items": "append", "snapshot": "replace"}
SPREAD = {"items": "append in splits", "snapshot": "replace in splits"}


@dataclass(frozen=True)
class Scene:
    """A source, a destination, and a folder for pipeline files."""

    folder: Path
    system: System
    source: Source
    worker: Worker

    def pipeline(
        self, streams: Mapping[str, str] = APPEND, *, name: str = "crash", **destination: object
    ) -> Path:
        """Write a pipeline file of these tables and modes, and return it."""
        spec = {
            "name": name,
            "source": {"type": "parquet", "path": str(self.source.folder)},
            "destination": {**self.system.config(), **destination},
            "streams": [
                {"path": "*.parquet", "name": table, "into": table, **MODES[mode]}
                for table, mode in streams.items()
            ],
        }
        mark = "-spread" if any("splits" in MODES[mode] for mode in streams.values()) else ""
        file = self.folder / f"{name}-{'-'.join(streams)}{mark}.yml"
        file.write_text(json.dumps(spec))
        return file

    def loaded(self, table: str = "items") -> Loaded:
        """Return what a target holds."""
        return loaded(self.system, table)


def make_system(name: str, folder: Path, database: Callable[[], str]) -> System:
    """Return an empty destination; ``database`` makes one in PostgreSQL."""
    if name == "postgres":
        return Postgres(database())
    return {"duckdb": DuckDB, "sqlite": SQLite, "parquet": Parquet}[name](folder)


def killed_at(
    points: Sequence[str], fewer: Sequence[str], deep: Sequence[tuple[str, str]]
) -> list[Any]:
    """Return (system, point) pairs: all points on two systems, fewer on the two like them.

    ``deep`` are pairs that another test has, with or without splits.
    """
    pairs = [(name, point) for name in ("postgres", "duckdb") for point in points]
    pairs += [(name, point) for name in ("sqlite", "parquet") for point in fewer]
    return [
        pytest.param(
            *pair,
            marks=[
                *([pytest.mark.postgres] if pair[0] == "postgres" else []),
                *([pytest.mark.deep] if pair in deep else []),
            ],
        )
        for pair in pairs
    ]


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> System:
    """Each destination in turn, empty."""
    return make_system(
        request.param, tmp_path, lambda: request.getfixturevalue("postgres_database")
    )


@pytest.fixture
def scene(tmp_path: Path, system: System) -> Iterator[Scene]:
    """A filled source, an empty destination, a worker."""
    source = Source(tmp_path / "source")
    source.fill()
    worker = Worker(tmp_path / "disk")
    yield Scene(tmp_path, system, source, worker)
    worker.stop_all()


Content = dict[str, Loaded]
Unharmed = Callable[[str], tuple[Content, Content]]


@pytest.fixture(scope="session")
def unharmed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Unharmed]:
    """Loads that never failed, by system: each target after the first one and after the second.

    Made when first asked for, by the same command, and kept for the session.
    """
    made: dict[str, tuple[Content, Content]] = {}
    drops: list[Callable[[], None]] = []

    def database() -> str:
        server: services.PostgresServer = request.getfixturevalue("postgres_server")
        url = server.create_database()
        drops.append(lambda: server.drop_database(url))
        return url

    def get(name: str) -> tuple[Content, Content]:
        if name not in made:
            folder = tmp_path_factory.mktemp(f"unharmed-{name}")
            system = make_system(name, folder, database)
            scene = Scene(folder, system, Source(folder / "source"), Worker(folder / "disk"))
            made[name] = never_fails(scene)
        return made[name]

    yield get
    for drop in drops:
        drop()


def never_fails(scene: Scene) -> tuple[Content, Content]:
    """Load twice, and check the result against what the source was given."""
    file = scene.pipeline(BOTH)
    scene.source.fill()
    scene.worker.run(file).fine()
    first = {table: scene.loaded(table) for table in BOTH}
    scene.source.grow()
    scene.worker.run(file).fine()
    second = {table: scene.loaded(table) for table in BOTH}
    for content, rows in ((first, ROWS), (second, 2 * ROWS)):
        for found in content.values():
            assert [row[1] for row in found.rows] == list(range(rows))
    assert [row[0] for row in second["items"].rows] == [1] * ROWS + [2] * ROWS
    assert {row[0] for row in second["snapshot"].rows} == {2}
    return first, second
