"""One table of rows in each kind of source, by other means than the sources' own code."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from conduit_core import LoadResult, Pipeline, RunRequest, read, run
from conduit_core.state.cursor import to_text
from tests.lab import only

SOURCES = ("postgres", "duckdb", "sqlite", "parquet")


@dataclass(frozen=True)
class Kind:
    """A column type: Arrow's, and its name in each database; None where it has no such type."""

    arrow: pa.DataType
    postgres: str | None
    duckdb: str | None
    sqlite: str | None


KINDS = {
    "int16": Kind(pa.int16(), "smallint", "smallint", "SMALLINT"),
    "int64": Kind(pa.int64(), "bigint", "bigint", "BIGINT"),
    "decimal": Kind(pa.decimal128(12, 2), "numeric(12,2)", "decimal(12,2)", "DECIMAL(12,2)"),
    "wide decimal": Kind(pa.decimal128(38, 9), "numeric(38,9)", "decimal(38,9)", None),
    "float": Kind(pa.float64(), "float8", "double", "DOUBLE"),
    "text": Kind(pa.string(), "text", "varchar", "TEXT"),
    "uuid": Kind(pa.string(), "uuid", "uuid", None),
    "date": Kind(pa.date32(), "date", "date", "DATE"),
    "timestamp": Kind(pa.timestamp("us"), "timestamp", "timestamp", "TIMESTAMP"),
    "timestamptz": Kind(
        pa.timestamp("us", "UTC"), "timestamptz", "timestamptz", "TIMESTAMP WITH TIME ZONE"
    ),
    "timestamp s": Kind(pa.timestamp("s"), "timestamp(0)", "timestamp_s", "TIMESTAMP"),
    "timestamp ms": Kind(pa.timestamp("ms"), "timestamp(3)", "timestamp_ms", "TIMESTAMP"),
    "timestamp ns": Kind(pa.timestamp("ns"), None, "timestamp_ns", "TIMESTAMP_NS"),
    "timestamptz s": Kind(
        pa.timestamp("s", "UTC"), "timestamptz(0)", "timestamptz", "TIMESTAMP WITH TIME ZONE"
    ),
}


class Rows:
    """A table ``t (id, at)`` in a source, and a pipeline that loads it into DuckDB.

    Args:
        source: one of ``SOURCES``.
        kind: one of ``KINDS``: the type of ``at``.
        folder: where the files lie.
        database: PostgreSQL's URL.
        stream: what the stream says beside its table; ``cursor`` is ``[at, id]`` by default.
    """

    def __init__(
        self, source: str, kind: str, folder: Path, database: str = "", **stream: Any
    ) -> None:
        self.source, self.kind, self.folder, self.database = source, KINDS[kind], folder, database
        self.stream = {"name": "t", "mode": "append", "cursor": ["at", "id"], **stream}
        self.made = False

    def add(self, ids: list[int], values: list[Any]) -> None:
        """Add rows; a value is what Arrow takes for the type."""
        table = pa.table({"id": pa.array(ids, pa.int64()), "at": pa.array(values, self.kind.arrow)})
        getattr(self, f"_{self.source}")(table)
        self.made = True

    def _postgres(self, table: pa.Table) -> None:
        with psycopg.connect(self.database) as connection, connection.cursor() as cursor:
            if not self.made:
                cursor.execute(f'CREATE TABLE t (id bigint, "at" {self.kind.postgres})')  # type: ignore[arg-type,unused-ignore]
            rows = [(row["id"], row["at"]) for row in table.to_pylist()]
            cursor.executemany("INSERT INTO t VALUES (%s, %s)", rows)

    def _duckdb(self, table: pa.Table) -> None:
        import duckdb

        with duckdb.connect(self.folder / "source.duckdb") as con:
            if not self.made:
                con.execute(f'CREATE TABLE t (id bigint, "at" {self.kind.duckdb})')
            con.register("new", table)
            con.execute(f'INSERT INTO t SELECT id, CAST("at" AS {self.kind.duckdb}) FROM new')

    def _sqlite(self, table: pa.Table) -> None:
        import sqlite3

        is_text = pa.types.is_temporal(self.kind.arrow)
        zone = "Z" if "ZONE" in str(self.kind.sqlite) else ""
        values = [
            (to_text(v) + zone if is_text else _plain(v.as_py())) if v.is_valid else None
            for v in table.column("at")
        ]
        rows = list(zip(table.column("id").to_pylist(), values, strict=True))
        with closing(sqlite3.connect(self.folder / "source.db")) as con, con:
            if not self.made:
                con.execute(f'CREATE TABLE t (id INTEGER, "at" {self.kind.sqlite})')
            con.executemany("INSERT INTO t VALUES (?, ?)", rows)

    def _parquet(self, table: pa.Table) -> None:
        number = len(list(self.folder.glob("t/*.parquet")))
        (self.folder / "t").mkdir(exist_ok=True)
        pq.write_table(table, self.folder / "t" / f"{number:04}.parquet")

    def pipeline(self) -> Pipeline:
        """Return the pipeline."""
        sources: dict[str, dict[str, object]] = {
            "postgres": {"type": "postgres", "url": self.database},
            "duckdb": {"type": "duckdb", "path": "source.duckdb"},
            "sqlite": {"type": "sqlite", "path": "source.db"},
            "parquet": {"type": "parquet", "path": "."},
        }
        where = {"path": "t/*.parquet"} if self.source == "parquet" else {"table": "t"}
        return Pipeline.from_mapping(
            {
                "name": "shop",
                "source": sources[self.source],
                "destination": {"type": "sqlite", "path": "warehouse.db"},
                "streams": [{**where, **self.stream}],
            },
            self.folder,
        )

    def run(self, **request: Any) -> LoadResult:
        """Load once; a failure is raised."""
        return only(run(self.pipeline(), request=RunRequest(**request)))

    def ids(self) -> list[int]:
        """Return the target's ids, sorted."""
        with read(self.pipeline(), "t") as reader:
            return sorted(row["id"] for row in reader.read_all().to_pylist())


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)
