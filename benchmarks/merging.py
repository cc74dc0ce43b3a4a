"""Upserts against COPY into an unlogged table and one MERGE by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measure import Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.__main__ import Bench

MILLION = 1_000_000
HALF = 500_000


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


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    merging = MergeBench(bench)
    return {
        "upsert": lambda: merging.upsert(changes=True),
        "upsert-noop": lambda: merging.upsert(changes=False),
    }
