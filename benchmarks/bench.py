"""What the cases share: a server, a folder, the data made once, and commands over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks import checksum
from benchmarks.checksum import Digest
from benchmarks.data import KINDS, fill_postgres, write_files
from benchmarks.measure import CONDUIT

MILLION = 1_000_000


class Bench:
    """One server, one folder, the data made once.

    Args:
        folder: where everything is written.
        url: a superuser's URL of an empty database.
        psql: PostgreSQL's client.
        runs: counted turns of a case.
        scale: sizes are divided by this: for a quick look whether everything works.
    """

    def __init__(self, folder: Path, url: str, psql: Path, runs: int, scale: int = 1) -> None:
        self.folder = folder
        self.url = url
        self.psql = psql
        self.runs = runs
        self.scale = scale
        self.root = Path(__file__).parents[1]
        self._made: set[str] = set()
        self._digests: dict[str, Digest] = {}

    @property
    def million(self) -> int:
        """The size that most cases have."""
        return self.rows(MILLION)

    @property
    def few(self) -> int:
        """Counted turns of a case that nobody waits for: all must be done in half an hour."""
        return max(1, self.runs - 1)

    def rows(self, full: int) -> int:
        """Return a case's size: the full one, or a part of it."""
        return full // self.scale

    def source(self, rows: int) -> str:
        """Return a PostgreSQL table of so many rows, made when first asked for."""
        name = f"source_{rows}"
        if name not in self._made:
            fill_postgres(self.url, name, rows)
            self._made.add(name)
        return name

    def files(self) -> None:
        """Make data.csv and data.parquet of a million rows."""
        if "files" not in self._made:
            write_files(self.url, self.source(self.million), self.folder)
            self._made.add("files")

    def pipeline(self, name: str, source: str, destination: str, stream: str) -> list[str]:
        """Write a pipeline file and return the command that runs it."""
        path = self.folder / f"{name}.yml"
        path.write_text(
            f"name: {name}\nsource: {source}\ndestination: {destination}\nstreams:\n  - {stream}\n"
        )
        return [CONDUIT, "run", path.name, "--json"]

    @property
    def path(self) -> str:
        """What PYTHONPATH is for a program that imports the workspace, installed or not."""
        members = (
            "providers/airflow",
            "integrations/dagster",
            "integrations/prefect",
            "dbt_bridge",
        )
        return os.pathsep.join([str(self.root), *(str(self.root / name) for name in members)])

    @property
    def postgres(self) -> str:
        """The server as a pipeline's source."""
        return f'{{type: postgres, url: "{self.url}"}}'

    @property
    def into_postgres(self) -> str:
        """The server as a pipeline's destination: the schema bench."""
        return f'{{type: postgres, url: "{self.url}", schema: bench}}'

    def sql(self, text: str) -> list[str]:
        """Return the psql command for a statement."""
        return [str(self.psql), self.url, "-qXc", text]

    @property
    def rested(self) -> str:
        """The command that does what loads have left for autovacuum and the checkpointer."""
        return f'{self.psql} "{self.url}" -qXc "VACUUM ANALYZE" -c CHECKPOINT'

    def fresh(self, table: str, like: str) -> str:
        """Return the command that makes an empty table, and rests."""
        made = f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (LIKE {like})"
        return f"{self.psql} '{self.url}' -qXc '{made}' && {self.rested}"

    def same_in_postgres(self, source: str, target: str) -> Callable[[], str]:
        """Return the check that a table holds the rows of another one."""
        return lambda: checksum.differs(
            self._once(source, lambda: checksum.of_postgres(self.url, source, KINDS)),
            checksum.of_postgres(self.url, target, KINDS),
        )

    def same_as_postgres(self, source: str, target: str, duckdb: str) -> Callable[[], str]:
        """Return the check that a table in a DuckDB file holds the rows of one on the server."""
        return lambda: checksum.differs(
            self._once(source, lambda: checksum.of_postgres(self.url, source, KINDS)),
            checksum.of_duckdb(self.folder / duckdb, target, KINDS),
        )

    def same_as_file(
        self, file: str, target: str, duckdb: str | None = None, kinds: dict[str, str] = KINDS
    ) -> Callable[[], str]:
        """Return the check that a table, here or in a DuckDB file, holds a file's rows."""

        def of_target() -> Digest:
            if duckdb is None:
                return checksum.of_postgres(self.url, target, kinds)
            return checksum.of_duckdb(self.folder / duckdb, target, kinds)

        path = self.folder / file
        return lambda: checksum.differs(
            self._once(file, lambda: checksum.of_file(path, kinds)), of_target()
        )

    def _once(self, name: str, made: Callable[[], Digest]) -> Digest:
        if name not in self._digests:
            self._digests[name] = made()
        return self._digests[name]


def counted(rows: int) -> str:
    """Say a number of rows shortly: 1M, 500k, 10."""
    for size, letter in ((MILLION, "M"), (1000, "k")):
        if rows >= size:
            return f"{rows / size:g}{letter}"
    return str(rows)
