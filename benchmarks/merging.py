"""Upserts against one MERGE by hand after a COPY; small increments against each other."""

from __future__ import annotations

import resource
import statistics
import time
from typing import TYPE_CHECKING

import psycopg

from benchmarks.measure import Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.__main__ import Bench

MILLION = 1_000_000
HALF = 500_000
INCREMENTS = 100


class MergeBench:
    """The cases over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def upsert(self, *, changes: bool) -> Row:
        """500k rows into 2M: half of them new, the other half changed; or none of them."""
        bench = self.bench
        base, name = bench.source(2 * MILLION), "upsert" if changes else "noop"
        psql = f"{bench.psql} '{bench.url}' -qX -v ON_ERROR_STOP=1"
        moved = f"id + {2 * MILLION - HALF // 2} AS id, customer + 1 AS customer"
        rest = "amount, price, created, updated, status, note, score, active"
        rows = f"{moved}, {rest}" if changes else "*"
        made = (
            f"DROP TABLE IF EXISTS {name}_rows; CREATE TABLE {name}_rows AS SELECT {rows}"
            f" FROM {base} WHERE id <= {HALF}; CREATE SCHEMA IF NOT EXISTS bench"
        )
        own = "'' AS _conduit_load_id, now() AS _conduit_loaded_at"
        fresh = (
            f"{psql} -c '{made}' -c \"DROP TABLE IF EXISTS {{0}}; CREATE TABLE {{0}} AS SELECT *,"
            f' {own} FROM {base}" -c "VACUUM ANALYZE" -c CHECKPOINT'
        )
        names = f"id, customer, {rest}".split(", ")
        sets = ", ".join(f"{n} = s.{n}" for n in names[1:])
        values = ", ".join(f"s.{n}" for n in names)
        differs = " OR ".join(f"t.{n} IS DISTINCT FROM s.{n}" for n in names[1:])
        merge = (
            f"MERGE INTO ref_{name} t USING wait_{name} s ON t.id = s.id"
            f" WHEN MATCHED AND ({differs}) THEN UPDATE SET {sets}, _conduit_loaded_at = now()"
            f" WHEN NOT MATCHED THEN INSERT VALUES ({values}, '', now())"
        )
        reference = (
            f'{psql} -c "CREATE UNLOGGED TABLE wait_{name} (LIKE {name}_rows)" &&'
            f" {psql} -c 'COPY {name}_rows TO STDOUT (FORMAT binary)' |"
            f" {psql} -c 'COPY wait_{name} FROM STDIN (FORMAT binary)' &&"
            f' {psql} -c "{merge}" -c "DROP TABLE wait_{name}"'
        )
        ours = bench.pipeline(
            name,
            f'{{type: postgres, url: "{bench.url}"}}',
            f'{{type: postgres, url: "{bench.url}", schema: bench}}',
            f"{{table: public.{name}_rows, into: {name}, mode: upsert, unique_key: id}}",
        )
        return compare(
            f"upsert of 500k rows into 2M, {'half new' if changes else 'none changed'}",
            ours,
            reference,
            cwd=bench.folder,
            limit="load 1.3x" if changes else "measured",
            runs=bench.runs,
            before=fresh.format(f"bench.{name}"),
            before_reference=fresh.format(f"ref_{name}"),
        )

    def increments(self) -> Row:
        """A hundred upserts of ten rows into 1M, in one process: the last ten, the first ten."""
        import conduit_core

        bench, name = self.bench, "increments"
        base = bench.source(MILLION)
        bench.pipeline(
            name,
            f'{{type: postgres, url: "{bench.url}"}}',
            f'{{type: postgres, url: "{bench.url}", schema: bench}}',
            f"{{table: public.{name}_rows, into: {name}, mode: upsert, unique_key: id,"
            " cursor: updated}",
        )
        pipeline = conduit_core.Pipeline.from_file(bench.folder / f"{name}.yml")
        seconds = []
        with psycopg.connect(bench.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {name}_rows AS SELECT * FROM {base}")
            connection.execute(f"CREATE INDEX ON {name}_rows (updated)")
            conduit_core.raise_for_failures(conduit_core.run(pipeline))
            connection.execute("VACUUM ANALYZE")
            for turn in range(1, INCREMENTS + 1):
                connection.execute(
                    f"UPDATE {name}_rows SET customer = customer + 1, updated = clock_timestamp()"
                    f" WHERE id IN (SELECT {turn} * 1000 + i FROM generate_series(1, 5) AS i)"
                )
                connection.execute(
                    f"INSERT INTO {name}_rows SELECT id + {MILLION + turn * 5}, customer, amount,"
                    f" price, created, clock_timestamp(), status, note, score, active FROM {base}"
                    " WHERE id <= 5"
                )
                started = time.perf_counter()
                conduit_core.raise_for_failures(conduit_core.run(pipeline))
                seconds.append(time.perf_counter() - started)
        first, last = (statistics.median(part) for part in (seconds[:10], seconds[-10:]))
        return Row(
            name="upsert of 10 rows into 1M, the last ten of a hundred against the first ten",
            ours=last,
            load=None,
            reference=first,
            ratio=last / first,
            load_ratio=None,
            peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            limit="1",
        )


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    merging = MergeBench(bench)
    return {
        "upsert": lambda: merging.upsert(changes=True),
        "upsert-noop": lambda: merging.upsert(changes=False),
        "increments": merging.increments,
    }
