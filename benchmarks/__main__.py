"""``python -m benchmarks [NAME ...]``: measure and print a Markdown table; asserts nothing."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import airflow_parse, dbt_after, deleting, merging, observe, quality, spread
from benchmarks.data import fill_postgres, write_files
from benchmarks.measure import CONDUIT, Row, compare, table
from tests.services import LocalPostgres, local_binaries

if TYPE_CHECKING:
    from collections.abc import Callable

MILLION = 1_000_000


class Bench:
    """One server, one folder, the data made once, and the cases over them."""

    def __init__(self, folder: Path, url: str, psql: Path, runs: int) -> None:
        self.folder = folder
        self.url = url
        self.psql = psql
        self.runs = runs
        self.root = Path(__file__).parents[1]
        self._made: set[str] = set()

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
            write_files(self.url, self.source(MILLION), self.folder)
            self._made.add("files")

    def pipeline(self, name: str, source: str, destination: str, stream: str) -> list[str]:
        """Write a pipeline file and return the command that runs it."""
        path = self.folder / f"{name}.yml"
        path.write_text(
            f"name: {name}\nsource: {source}\ndestination: {destination}\nstreams:\n  - {stream}\n"
        )
        return [CONDUIT, "run", path.name, "--json"]

    def sql(self, text: str) -> list[str]:
        """Return the psql command for a statement."""
        return [str(self.psql), self.url, "-qXc", text]

    def fresh(self, table: str, like: str) -> list[str]:
        """Return the command that makes an empty table."""
        return self.sql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (LIKE {like})")

    def postgres_to_postgres(self, rows: int, limit: str, *, view: bool = False) -> Row:
        """Full replace against a pipe of two binary COPYs."""
        source = self.source(rows)
        name = f"pg_{rows}{'_view' if view else ''}"
        ours = self.pipeline(
            name,
            f'{{type: postgres, url: "{self.url}"}}',
            f'{{type: postgres, url: "{self.url}", schema: bench}}',
            f"{{table: public.{source}, into: {name}, mode: replace}}",
        )
        reference = (
            f"{self.psql} '{self.url}' -qXc 'COPY {source} TO STDOUT (FORMAT binary)' |"
            f" {self.psql} '{self.url}' -qXc 'COPY ref_{name} FROM STDIN (FORMAT binary)'"
        )
        # What a load before has left for autovacuum and the checkpointer is done, not measured.
        rested = f'{self.psql} "{self.url}" -qXc "VACUUM ANALYZE" -c CHECKPOINT'
        fresh = (
            f"{self.psql} '{self.url}' -qXc 'DROP TABLE IF EXISTS ref_{name};"
            f" CREATE TABLE ref_{name} (LIKE {source})' && {rested}"
        )
        before = rested
        if view:
            made = (
                f"CREATE SCHEMA IF NOT EXISTS bench; DO \\$\\$ BEGIN IF to_regclass('bench.{name}')"
                f" IS NOT NULL THEN CREATE OR REPLACE VIEW bench.v_{name} AS SELECT id"
                f" FROM bench.{name}; END IF; END \\$\\$"
            )
            before = f'{self.psql} "{self.url}" -qXc "{made}" && {rested}'
        title = f"PostgreSQL to PostgreSQL, {rows // MILLION}M rows, replace"
        return compare(
            f"{title}{', a view on the target' if view else ''}",
            ours,
            reference,
            cwd=self.folder,
            limit=limit,
            runs=self.runs,
            before=before,
            before_reference=fresh,
        )

    def file_to_duckdb(self, kind: str, reader: str) -> Row:
        """A file into DuckDB against DuckDB's own reader."""
        self.files()
        ours = self.pipeline(
            f"{kind}_duckdb",
            f"{{type: {kind}, path: .}}",
            f"{{type: duckdb, path: {kind}.duckdb}}",
            f"{{path: data.{kind}, into: data, mode: replace}}",
        )
        script = (
            f"import duckdb; c = duckdb.connect('ref_{kind}.duckdb');"
            f" c.execute(\"CREATE OR REPLACE TABLE data AS SELECT * FROM {reader}('data.{kind}')\")"
        )
        return compare(
            f"{kind} 1M rows to DuckDB",
            ours,
            [sys.executable, "-c", script],
            cwd=self.folder,
            limit="process 1.5x, 350 MiB",
            runs=self.runs,
        )

    def csv_to_postgres(self) -> Row:
        """A CSV file into PostgreSQL against \\copy."""
        self.files()
        ours = self.pipeline(
            "csv_pg",
            "{type: csv, path: .}",
            f'{{type: postgres, url: "{self.url}", schema: bench}}',
            "{path: data.csv, into: from_csv, mode: replace}",
        )
        source = self.source(MILLION)
        return compare(
            "csv 1M rows to PostgreSQL",
            ours,
            self.sql("\\copy ref_csv FROM 'data.csv' (FORMAT csv, HEADER)"),
            cwd=self.folder,
            limit="process 1.3x, 300 MiB",
            runs=self.runs,
            before_reference=self.fresh("ref_csv", source),
        )

    def help(self) -> Row:
        """``conduit --help``."""
        return compare(
            "conduit --help",
            [CONDUIT, "--help"],
            None,
            cwd=self.folder,
            limit="0.3 s",
            runs=self.runs,
        )

    def ten_rows(self) -> Row:
        """Ten rows from SQLite into DuckDB."""
        script = (
            "import sqlite3; c = sqlite3.connect('ten.db'); c.execute('CREATE TABLE IF NOT EXISTS t"
            " (id INTEGER, name TEXT)'); c.execute('DELETE FROM t'); c.executemany('INSERT INTO t"
            " VALUES (?, ?)', [(i, str(i)) for i in range(10)]); c.commit()"
        )
        ours = self.pipeline(
            "ten",
            "{type: sqlite, path: ten.db}",
            "{type: duckdb, path: ten.duckdb}",
            "{table: t, mode: replace}",
        )
        return compare(
            "ten rows, SQLite to DuckDB",
            ours,
            None,
            cwd=self.folder,
            limit="1.2 s",
            runs=self.runs,
            before=[sys.executable, "-c", script],
        )


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    return {
        "help": bench.help,
        "ten": bench.ten_rows,
        "pg": lambda: bench.postgres_to_postgres(MILLION, "load 1.2x, process 1.5x, 300 MiB"),
        "pg-view": lambda: bench.postgres_to_postgres(MILLION, "measured", view=True),
        "csv-duckdb": lambda: bench.file_to_duckdb("csv", "read_csv"),
        "parquet-duckdb": lambda: bench.file_to_duckdb("parquet", "read_parquet"),
        "csv-pg": bench.csv_to_postgres,
        "pg-5m": lambda: bench.postgres_to_postgres(5 * MILLION, "process 1.2x, memory as at 1M"),
        **merging.cases(bench),
        **deleting.cases(bench),
        **quality.cases(bench),
        **dbt_after.cases(bench),
        **spread.cases(bench),
        **airflow_parse.cases(bench),
        **observe.cases(bench),
    }


def main() -> None:
    """Run the named cases, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="cases to run (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="counted pairs per case")
    options = parser.parse_args()
    binaries = local_binaries()
    if binaries is None or not (binaries / "psql").exists():
        parser.error("needs PostgreSQL's own programs (psql), from the wheel or on PATH")
    durable = {"fsync": "on", "full_page_writes": "on"}
    with tempfile.TemporaryDirectory() as name, LocalPostgres(binaries, durable) as server:
        bench = Bench(Path(name), server.url, binaries / "psql", options.runs)
        known = cases(bench)
        rows = []
        for case in options.names or known:
            print(f"measuring {case}", file=sys.stderr, flush=True)
            rows.append(known[case]())
        print(table(rows))


if __name__ == "__main__":
    main()
