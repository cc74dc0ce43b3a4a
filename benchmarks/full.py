"""Full loads, their memory against size, and how long a start takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from benchmarks.bench import MILLION, Bench, counted
from benchmarks.measure import CONDUIT, Contestant, compare
from benchmarks.quality import KINDS as RULED
from benchmarks.quality import QualityBench
from benchmarks.results import Measured, Wanted

FULL, MEMORY, START = "full", "memory", "start"
FILES = Wanted(ratio=1.5, peak_mib=350)
TEN = (
    "import sqlite3; c = sqlite3.connect('ten.db'); c.execute('CREATE TABLE IF NOT EXISTS t"
    " (id INTEGER, name TEXT)'); c.execute('DELETE FROM t'); c.executemany('INSERT INTO t"
    " VALUES (?, ?)', [(i, str(i)) for i in range(10)]); c.commit()"
)
"""Makes a SQLite file of ten rows."""


def postgres_to_postgres(
    bench: Bench, rows: int, wanted: Wanted, *, view: bool = False, runs: int | None = None
) -> Measured:
    """Full replace against a pipe of two binary COPYs."""
    source = bench.source(rows)
    name = f"pg_{rows}{'_view' if view else ''}"
    before = bench.rested
    if view:
        made = (
            f"CREATE SCHEMA IF NOT EXISTS bench; DO \\$\\$ BEGIN IF to_regclass('bench.{name}')"
            f" IS NOT NULL THEN CREATE OR REPLACE VIEW bench.v_{name} AS SELECT id"
            f" FROM bench.{name}; END IF; END \\$\\$"
        )
        before = f'{bench.psql} "{bench.url}" -qXc "{made}" && {before}'
    ours = Contestant(
        "conduit",
        bench.pipeline(
            name,
            bench.postgres,
            bench.into_postgres,
            f"{{table: public.{source}, into: {name}, mode: replace}}",
        ),
        before,
        bench.same_in_postgres(source, f"bench.{name}"),
    )
    reference = Contestant(
        "binary COPY, piped",
        f"{bench.psql} '{bench.url}' -qXc 'COPY {source} TO STDOUT (FORMAT binary)' |"
        f" {bench.psql} '{bench.url}' -qXc 'COPY ref_{name} FROM STDIN (FORMAT binary)'",
        bench.fresh(f"ref_{name}", source),
        bench.same_in_postgres(source, f"ref_{name}"),
    )
    title = f"PostgreSQL to PostgreSQL, {counted(rows)} rows, `replace`"
    return compare(
        FULL,
        f"{title}{', a view on the target (in place)' if view else ''}",
        [ours, reference],
        cwd=bench.folder,
        wanted=wanted,
        runs=runs or bench.runs,
    )


def file_to_duckdb(bench: Bench, kind: str, reader: str) -> Measured:
    """A file into DuckDB against DuckDB's own reader."""
    bench.files()
    file = f"data.{kind}"
    ours = Contestant(
        "conduit",
        bench.pipeline(
            f"{kind}_duckdb",
            f"{{type: {kind}, path: .}}",
            f"{{type: duckdb, path: {kind}.duckdb}}",
            f"{{path: {file}, into: data, mode: replace}}",
        ),
        check=bench.same_as_file(file, "data", f"{kind}.duckdb"),
    )
    script = (
        f"import duckdb; c = duckdb.connect('ref_{kind}.duckdb');"
        f" c.execute(\"CREATE OR REPLACE TABLE data AS SELECT * FROM {reader}('{file}')\")"
    )
    reference = Contestant(
        f"DuckDB's {reader}",
        [sys.executable, "-c", script],
        check=bench.same_as_file(file, "data", f"ref_{kind}.duckdb"),
    )
    return compare(
        FULL,
        f"{kind.upper() if kind == 'csv' else 'Parquet'} to DuckDB, {counted(bench.million)} rows",
        [ours, reference],
        cwd=bench.folder,
        wanted=FILES,
        runs=bench.runs,
    )


def csv_to_postgres(bench: Bench) -> Measured:
    """A CSV file into PostgreSQL against \\copy."""
    bench.files()
    source = bench.source(bench.million)
    ours = Contestant(
        "conduit",
        bench.pipeline(
            "csv_pg",
            "{type: csv, path: .}",
            bench.into_postgres,
            "{path: data.csv, into: from_csv, mode: replace}",
        ),
        bench.rested,
        bench.same_as_file("data.csv", "bench.from_csv"),
    )
    reference = Contestant(
        "`\\copy`",
        bench.sql("\\copy ref_csv FROM 'data.csv' (FORMAT csv, HEADER)"),
        bench.fresh("ref_csv", source),
        bench.same_as_file("data.csv", "ref_csv"),
    )
    return compare(
        FULL,
        f"CSV to PostgreSQL, {counted(bench.million)} rows",
        [ours, reference],
        cwd=bench.folder,
        wanted=Wanted(ratio=1.3, peak_mib=300),
        runs=bench.runs,
    )


def memory(bench: Bench, kind: str, full: int) -> Measured:
    """One load of Parquet, whose memory is of interest and not its time."""
    rows = bench.rows(full)
    name = f"memory_{kind}_{rows}"
    file = QualityBench(bench).rows(rows)
    into = bench.into_postgres if kind == "postgres" else f"{{type: duckdb, path: {name}.duckdb}}"
    target, place = (f"bench.{name}", None) if kind == "postgres" else (name, f"{name}.duckdb")
    ours = Contestant(
        "conduit",
        bench.pipeline(
            name, "{type: parquet, path: .}", into, f"{{path: {file}, into: {name}, mode: replace}}"
        ),
        check=bench.same_as_file(file, target, place, RULED),
    )
    named = {"postgres": "PostgreSQL", "duckdb": "DuckDB"}[kind]
    made = compare(
        MEMORY,
        f"Parquet to {named}, {counted(rows)} rows",
        [ours],
        cwd=bench.folder,
        wanted=Wanted(peak_mib=350),
        runs=1,
        warm=False,
    )
    return made.model_copy(update={"rows": rows})


def help_text(bench: Bench) -> Measured:
    """``conduit --help``."""
    return compare(
        START,
        "`conduit --help`",
        [Contestant("conduit", [CONDUIT, "--help"])],
        cwd=bench.folder,
        wanted=Wanted(seconds=0.3),
        runs=bench.runs,
    )


def ten_rows(bench: Bench) -> Measured:
    """Ten rows from SQLite into DuckDB."""
    ours = bench.pipeline(
        "ten",
        "{type: sqlite, path: ten.db}",
        "{type: duckdb, path: ten.duckdb}",
        "{table: t, mode: replace}",
    )
    return compare(
        START,
        "ten rows, SQLite to DuckDB",
        [Contestant("conduit", ours, [sys.executable, "-c", TEN])],
        cwd=bench.folder,
        wanted=Wanted(seconds=1.2),
        runs=bench.runs,
    )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    pg = partial(postgres_to_postgres, bench)
    return {
        "help": partial(help_text, bench),
        "ten": partial(ten_rows, bench),
        "pg": partial(pg, bench.million, Wanted(load_ratio=1.2, ratio=1.5, peak_mib=300)),
        "pg-view": partial(pg, bench.million, Wanted(), view=True, runs=bench.few),
        "pg-5m": partial(pg, 5 * bench.million, Wanted(ratio=1.2, peak_mib=300), runs=bench.few),
        "csv-duckdb": partial(file_to_duckdb, bench, "csv", "read_csv"),
        "parquet-duckdb": partial(file_to_duckdb, bench, "parquet", "read_parquet"),
        "csv-pg": partial(csv_to_postgres, bench),
        **{
            f"memory-{kind}-{counted(full).lower()}": partial(memory, bench, kind, full)
            for kind in ("duckdb", "postgres")
            for full in (MILLION, 5 * MILLION, 20 * MILLION)
        },
    }
