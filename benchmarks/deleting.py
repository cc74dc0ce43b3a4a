"""What `deletes: snapshot` costs where nothing else is new: time, and memory above all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import psycopg

from benchmarks.measure import Row, load_seconds, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.__main__ import Bench

KEYS = 5_000_000


class DeleteBench:
    """The cases over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def snapshot(self, kind: str, keys: int = KEYS) -> Row:
        """Find one row in a hundred gone, by comparing all keys; the rows are in random order."""
        bench, name = self.bench, f"gone_{kind}"
        destination = (
            f'{{type: postgres, url: "{bench.url}", schema: bench}}'
            if kind == "postgres"
            else f"{{type: {kind}, path: {name}.db}}"
        )
        command = bench.pipeline(
            name,
            f'{{type: postgres, url: "{bench.url}"}}',
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
        return Row(
            name=f"deletes: snapshot over {keys // 1_000_000}M keys, 1% gone, {kind}",
            ours=sample.seconds,
            load=load_seconds(sample),
            reference=None,
            ratio=None,
            load_ratio=None,
            peak_mib=sample.peak_mib,
            limit="350 MiB",
        )


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    deleting = DeleteBench(bench)
    kinds = ("postgres", "duckdb", "sqlite")
    return {f"deletes-{kind}": partial(deleting.snapshot, kind) for kind in kinds}
