"""What `deletes: snapshot` costs where nothing else is new: time, and memory above all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg

from benchmarks.bench import Bench, counted
from benchmarks.measure import side, timed
from benchmarks.results import Measured, Wanted


class DeleteBench:
    """The cases over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def snapshot(self, kind: str) -> Measured:
        """Find one row in a hundred gone, by comparing all keys; the rows are in random order."""
        bench, name = self.bench, f"gone_{kind}"
        keys = 5 * bench.million
        destination = (
            bench.into_postgres if kind == "postgres" else f"{{type: {kind}, path: {name}.db}}"
        )
        command = bench.pipeline(
            name,
            bench.postgres,
            destination,
            f"{{table: public.{name}_rows, into: {name}, mode: upsert, unique_key: id,"
            " cursor: updated, deletes: snapshot}",
        )
        with psycopg.connect(bench.url, autocommit=True) as connection:
            connection.execute(f"DROP TABLE IF EXISTS {name}_rows")
            connection.execute(
                f"CREATE TABLE {name}_rows AS SELECT i AS id, now() AS updated, md5(i::text) AS v"
                f" FROM generate_series(1, {keys}) AS i ORDER BY hashint4(i)"
            )
            timed(command, bench.folder)
            connection.execute(f"DELETE FROM {name}_rows WHERE id % 100 = 0")
        sample = timed(command, bench.folder)
        named = {"postgres": "PostgreSQL", "duckdb": "DuckDB", "sqlite": "SQLite"}[kind]
        return Measured(
            section="changes",
            what=f"`deletes: snapshot` over {counted(keys)} keys, 1% gone, {named}",
            sides=[side("conduit", [sample])],
            wanted=Wanted(peak_mib=350),
        )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    deleting = DeleteBench(bench)
    kinds = ("postgres", "duckdb", "sqlite")
    return {f"deletes-{kind}": partial(deleting.snapshot, kind) for kind in kinds}
