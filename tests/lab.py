"""A small laboratory for whole loads: a source that tests write to, a destination they look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conduit_core import LoadPlan, LoadResult, Pipeline, RunRequest, RunResult, plan, read, run
from conduit_core.engine import admin
from conduit_core.state.ledger import LedgerRecord

if TYPE_CHECKING:
    import sqlite3

    import pytest

DESTINATIONS = ("duckdb", "sqlite", "postgres")


class Lab:
    """A SQLite source and a destination in one folder.

    Args:
        folder: where both lie.
        destination: ``duckdb``, ``sqlite``, or a PostgreSQL URL.
    """

    def __init__(self, folder: Path, destination: str = "duckdb") -> None:
        self.folder = folder
        self.source = folder / "source.db"
        files = {"duckdb": "warehouse.duckdb", "sqlite": "warehouse.db"}
        name = files.get(destination)
        self.file = folder / name if name else None
        self.destination: dict[str, object] = (
            {"type": destination, "path": name}
            if name
            else {"type": "postgres", "url": destination}
        )

    def sql(self, *statements: str) -> None:
        """Run statements on the source."""
        with self._open() as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        import sqlite3

        with closing(sqlite3.connect(self.source)) as connection, connection:
            yield connection

    def orders(self, ids: Iterable[int], table: str = "orders") -> None:
        """Add rows ``(id, at, amount)`` to a source table, which is made when it isn't there."""
        rows = [(i, f"2024-01-01 00:{i // 60 % 60:02}:{i % 60:02}", f"v{i}") for i in ids]
        with self._open() as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER, at TIMESTAMP, v TEXT)"
            )
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)

    def pipeline(self, *streams: dict[str, object], **keys: object) -> Pipeline:
        """Return a pipeline; without streams, one that appends ``orders`` by ``id``."""
        return Pipeline.from_mapping(
            {
                "name": "shop",
                "source": {"type": "sqlite", "path": self.source.name},
                "destination": self.destination,
                "streams": list(streams) or [stream()],
                **keys,
            },
            self.folder,
        )

    def run(self, pipeline: Pipeline | None = None, **request: Any) -> LoadResult:
        """Run a pipeline of one stream and return its result; a failure is raised as it was."""
        return only(run(pipeline or self.pipeline(), request=RunRequest(**request)))

    def plan(self, pipeline: Pipeline | None = None, **request: Any) -> LoadPlan:
        """Plan a pipeline of one stream."""
        (made,) = plan(pipeline or self.pipeline(), request=RunRequest(**request))
        return made

    def ids(self, name: str = "orders", pipeline: Pipeline | None = None) -> list[int]:
        """Return the target's ids, sorted."""
        return sorted(row["id"] for row in self.rows(name, pipeline))

    def rows(self, name: str = "orders", pipeline: Pipeline | None = None) -> list[dict[str, Any]]:
        """Return the target's rows."""
        with read(pipeline or self.pipeline(stream(name)), name) as reader:
            return reader.read_all().to_pylist()

    def chain(self, pipeline: Pipeline | None = None) -> list[LedgerRecord]:
        """Return the ledger's records of the pipeline's targets, oldest first."""
        return admin.runs(pipeline or self.pipeline())[::-1]


def in_turn(name: str, *values: str) -> pytest.MarkDecorator:
    """Give ``each_lab`` another value each time: all values are tried, and all destinations.

    What each destination does with each value is for the contract suites to say.
    """
    import pytest

    count = max(len(values), len(DESTINATIONS))
    pairs = [(DESTINATIONS[n % len(DESTINATIONS)], values[n % len(values)]) for n in range(count)]
    return pytest.mark.parametrize(("each_lab", name), pairs, indirect=["each_lab"])


def stream(table: str = "orders", **keys: object) -> dict[str, object]:
    """Return a stream that appends a table by ``id``; ``cursor=None`` leaves the cursor out."""
    return {
        k: v
        for k, v in {"table": table, "mode": "append", "cursor": "id", **keys}.items()
        if v is not None
    }


def only(result: RunResult) -> LoadResult:
    """Return a run's one result, or raise its first failure."""
    if result.failures:
        raise result.failures[0].to_error()
    (one,) = result.results
    return one


def column(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """Return one column of rows, sorted."""
    return sorted(row[name] for row in rows)
