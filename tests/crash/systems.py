"""The destinations from outside: by other drivers, and in copies, so that looking mends nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests import services

INTERNAL_TABLES = frozenset(
    {"_conduit_ledger", "_conduit_schemas", "_conduit_dead_letters", "_conduit_audits"}
)
"""What a destination has beside its targets."""


class System(ABC):
    """A destination, empty at first."""

    name: str
    schema: str

    @abstractmethod
    def config(self) -> dict[str, str]:
        """Return what stands under ``destination:``."""

    @abstractmethod
    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Read, without a trace."""

    @abstractmethod
    def relations(self) -> set[str]:
        """List every table and view there is, anyone's and temporary ones included."""

    def place(self, table: str) -> str:
        """Return a table's name with its schema."""
        return f'"{self.schema}"."{table}"'


class Postgres(System):
    """A PostgreSQL database of its own."""

    name = "postgres"
    schema = "raw"

    def __init__(self, url: str) -> None:
        self.url = url

    def config(self) -> dict[str, str]:
        return {"type": "postgres", "url": self.url, "schema": self.schema}

    def query(self, text: str) -> list[tuple[Any, ...]]:
        return services.sql(self.url, text)

    def relations(self) -> set[str]:
        rows = self.query(
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND nspname <> 'information_schema'"
            " AND nspname NOT IN ('pg_catalog', 'pg_toast')"
        )
        return {name for (name,) in rows}


class _File(System):
    """A database in a file. It is read in a copy: opening it would roll a journal back."""

    suffix: str

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"warehouse.{self.suffix}"

    def config(self) -> dict[str, str]:
        return {"type": self.name, "path": str(self.path), "schema": self.schema}


def _rows(connection: Any, text: str) -> list[tuple[Any, ...]]:
    table = connection.sql(text).to_arrow_table()  # DuckDB's own rows need pytz for times
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


class DuckDB(_File):
    """A DuckDB file."""

    name = "duckdb"
    schema = "raw"
    suffix = "duckdb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._seen: list[tuple[str, int, int]] = []
        self._opened: Any = None

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Read a copy, which stays open until the file has changed: to open one is what is slow."""
        if not self.path.exists():
            return []
        files = sorted(self.path.parent.glob(f"{self.path.name}*"))
        seen = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        if seen != self._seen:
            self.close()
            folder = self.path.parent / "looked at"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for file in files:
                shutil.copy(file, folder)
            self._opened, self._seen = self._open(folder / self.path.name), seen
        return _rows(self._opened, text)

    def close(self) -> None:
        """Let go of the copy."""
        if self._opened is not None:
            self._opened.close()
        self._opened, self._seen = None, []

    def _open(self, copy: Path) -> Any:
        import duckdb

        connection = duckdb.connect(str(copy))
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def relations(self) -> set[str]:
        rows = self.query("SELECT table_name FROM information_schema.tables")
        return {name for (name,) in rows}


class SQLite(_File):
    """A SQLite file."""

    name = "sqlite"
    schema = "main"
    suffix = "sqlite"

    def query(self, text: str) -> list[tuple[Any, ...]]:
        import sqlite3

        if not self.path.exists():
            return []
        with tempfile.TemporaryDirectory() as folder:
            for file in self.path.parent.glob(f"{self.path.name}*"):
                shutil.copy(file, folder)
            with closing(sqlite3.connect(Path(folder) / self.path.name)) as connection:
                return connection.execute(text).fetchall()

    def relations(self) -> set[str]:
        return {
            name for (name,) in self.query("SELECT name FROM sqlite_master WHERE type <> 'index'")
        }


class Parquet(System):
    """A folder of Parquet files: what its newest manifests name, read by DuckDB."""

    name = "parquet"
    schema = "raw"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lake"

    def config(self) -> dict[str, str]:
        return {"type": self.name, "path": str(self.path), "schema": self.schema}

    def query(self, text: str) -> list[tuple[Any, ...]]:
        import duckdb

        with closing(duckdb.connect()) as connection:
            connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA raw")
            records = [m["record"] for chain in self._chains().values() for m in chain]
            if records:
                flat = [
                    {**r, **{f"rows_{kind}": n for kind, n in r["counts"].items()}} for r in records
                ]
                names = [name for name in flat[0] if name != "counts"]
                columns = {n: [r[n] for r in flat] for n in names}
                connection.register("ledger", pa.table(columns))
                connection.execute("CREATE TABLE raw._conduit_ledger AS FROM ledger")
            for table, chain in self._chains().items():
                listed = json.loads((self.path / chain[-1]["files"]).read_text())["files"]
                paths = [str(self.path / file["path"]) for file in listed]
                connection.execute(
                    f'CREATE TABLE raw."{table}" AS FROM read_parquet($files)', {"files": paths}
                )
            return _rows(connection, text)

    def relations(self) -> set[str]:
        """List what is published, and what lies there though no load is open that staged it."""
        chains = self._chains()
        return {*chains, *({"_conduit_ledger", "_conduit_schemas"} if chains else ())}

    def _chains(self) -> dict[str, list[dict[str, Any]]]:
        chains: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(self.path.glob(f"_conduit/{self.schema}/*/*.json")):
            chains.setdefault(path.parent.name, []).append(json.loads(path.read_text()))
        return chains
