"""The same works by dlt and by Sling, in turn with ours; `make bench-peers` makes their home."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from benchmarks.bench import Bench, counted
from benchmarks.measure import CONDUIT, Contestant, compare, timed
from benchmarks.merging import NAMES, MergeBench
from benchmarks.peers.environment import (
    HOME,
    dlt_load,
    peer,
    python,
    settings,
    sling,
    sling_load,
    versions,
)
from benchmarks.results import Measured

__all__ = ["cases", "versions"]
SECTION = "peers"


class PeerBench:
    """The works over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def compared(self, what: str, sides: list[Contestant]) -> Measured:
        """Run them in turn."""
        return compare(SECTION, what, sides, cwd=self.bench.folder, runs=self.bench.runs)

    def same(self, source: str, target: str) -> Callable[[], str]:
        """Return the check that a target holds the source's rows."""
        return self.bench.same_in_postgres(source, target)

    def into_postgres(self, name: str, source: str, stream: str) -> list[str]:
        """Return our command."""
        return self.bench.pipeline(name, source, self.bench.into_postgres, stream)

    def full(self) -> Measured:
        """PostgreSQL to PostgreSQL."""
        bench = self.bench
        source, rested = bench.source(bench.million), bench.rested
        ours = self.into_postgres(
            "pg", bench.postgres, f"{{table: public.{source}, into: pg, mode: replace}}"
        )
        told = {"object": "bench.sling_pg", "mode": "full-refresh"}
        slings = sling_load(bench, "pg", f"public.{source}", told)
        return self.compared(
            f"PostgreSQL to PostgreSQL, {counted(bench.million)} rows, all replaced",
            [
                Contestant("conduit", ours, rested, self.same(source, "bench.pg")),
                peer(
                    bench, "dlt, connectorx, Parquet by ADBC",
                    dlt_load("full", source, "pg"),
                    before=rested, check=self.same(source, "dlt_bench.pg"),
                ),
                peer(
                    bench, "Sling", slings,
                    before=rested, check=self.same(source, "bench.sling_pg"),
                ),
            ],
        )  # fmt: skip

    def csv_to_postgres(self) -> Measured:
        """A CSV file to PostgreSQL."""
        bench = self.bench
        bench.files()
        path, rested = bench.folder / "data.csv", bench.rested
        ours = self.into_postgres(
            "csv", "{type: csv, path: .}", "{path: data.csv, into: csv, mode: replace}"
        )
        told = {"object": "bench.sling_csv", "mode": "full-refresh"}
        slings = sling_load(bench, "csv", f"file://{path}", told)

        def same(target: str) -> Callable[[], str]:
            return bench.same_as_file("data.csv", target)

        return self.compared(
            f"CSV to PostgreSQL, {counted(bench.million)} rows",
            [
                Contestant("conduit", ours, rested, same("bench.csv")),
                peer(
                    bench, "dlt, the file handed to COPY, its columns declared",
                    dlt_load("file", str(path), "csv_file"),
                    before=rested, check=same("dlt_bench.csv_file"),
                ),
                peer(
                    bench, "dlt, pyarrow, Parquet by ADBC",
                    dlt_load("arrow", str(path), "csv_arrow"),
                    before=rested, check=same("dlt_bench.csv_arrow"),
                ),
                peer(bench, "Sling", slings, before=rested, check=same("bench.sling_csv")),
            ],
        )  # fmt: skip

    def csv_to_duckdb(self) -> Measured:
        """A CSV file to DuckDB; Sling would download DuckDB's command line for it."""
        bench = self.bench
        bench.files()
        ours = bench.pipeline(
            "csv_duckdb",
            "{type: csv, path: .}",
            "{type: duckdb, path: csv.duckdb}",
            "{path: data.csv, into: data, mode: replace}",
        )
        return self.compared(
            f"CSV to DuckDB, {counted(bench.million)} rows",
            [
                Contestant(
                    "conduit", ours, check=bench.same_as_file("data.csv", "data", "csv.duckdb")
                ),
                peer(
                    bench, "dlt, pyarrow, Parquet",
                    dlt_load("arrow-duckdb", str(bench.folder / "data.csv"), "theirs"),
                    check=bench.same_as_file("data.csv", "dlt_bench.theirs", "theirs.duckdb"),
                ),
            ],
        )  # fmt: skip

    def append(self) -> Measured:
        """1% new since the last load, by a cursor."""
        bench, merging = self.bench, MergeBench(self.bench)
        names = {"ours": "bench.ours", "dlts": "dlt_bench.dlts", "slings": "bench.slings"}
        for name in names:
            merging.started(name)
        told = {"object": names["slings"], "mode": "incremental", "update_key": "id"}
        commands = {
            "ours": self.into_postgres(
                "ours",
                bench.postgres,
                "{table: public.ours_rows, into: ours, mode: append, cursor: id}",
            ),
            "dlts": dlt_load("append", "dlts_rows", "dlts"),
            "slings": sling_load(bench, "slings", "public.slings_rows", told),
        }
        sides = []
        titles = ("conduit", "dlt, connectorx, Parquet by ADBC", "Sling")
        for title, (name, target) in zip(titles, names.items(), strict=True):
            before = f'{merging.psql} -c "{merging.grown(name)}"'
            check = self.same(f"{name}_rows", target)
            if name == "ours":
                sides.append(Contestant(title, commands[name], before, check))
            else:
                sides.append(peer(bench, title, commands[name], before=before, check=check))
        return self.compared(f"1% new on {counted(bench.million)} rows, appended", sides)

    def upsert(self) -> Measured:
        """A quarter of rows into 2M, half of them new."""
        bench, merging, name = self.bench, MergeBench(self.bench), "merge"
        with psycopg.connect(bench.url, autocommit=True) as connection:
            connection.execute(merging.changed(name))
        timed(dlt_load("upsert-base", merging.base(), "merged"), bench.folder, settings(bench))
        told = {"object": "bench.sling_merged", "mode": "incremental", "primary_key": ["id"]}
        columns = ", ".join(NAMES)
        again = (
            f'{merging.psql} -c "TRUNCATE dlt_bench.merged; INSERT INTO dlt_bench.merged'
            f' ({columns}) SELECT {columns} FROM {merging.base()}" -c "VACUUM ANALYZE"'
            " -c CHECKPOINT"
        )
        ours = self.into_postgres(
            name,
            bench.postgres,
            f"{{table: public.{name}_rows, into: {name}, mode: upsert, unique_key: id}}",
        )
        own = ", '' AS _conduit_load_id, now() AS _conduit_loaded_at"
        rows, base = counted(bench.million // 2), counted(2 * bench.million)
        return self.compared(
            f"upsert of {rows} rows into {base}, half new, PostgreSQL",
            [
                Contestant(
                    "conduit", ours, merging.filled(f"bench.{name}", own),
                    merging.merged(name, f"bench.{name}"),
                ),
                peer(
                    bench, "dlt, connectorx, Parquet by ADBC, `upsert`",
                    dlt_load("upsert", f"{name}_rows", "merged"),
                    before=again, check=merging.merged(name, "dlt_bench.merged"),
                ),
                peer(
                    bench, "Sling", sling_load(bench, name, f"public.{name}_rows", told),
                    before=merging.filled("bench.sling_merged"),
                    check=merging.merged(name, "bench.sling_merged"),
                ),
            ],
        )  # fmt: skip

    def help_text(self) -> Measured:
        """What each takes to say what it can do."""
        return self.compared(
            "`--help`",
            [
                Contestant("conduit", [CONDUIT, "--help"]),
                peer(self.bench, "dlt", [str(HOME / "bin" / "dlt"), "--help"]),
                peer(self.bench, "Sling", [str(sling()), "--help"]),
            ],
        )

    def ten_rows(self) -> Measured:
        """Ten rows."""
        bench = self.bench
        source = bench.source(10)
        ours = self.into_postgres(
            "ten", bench.postgres, f"{{table: public.{source}, into: ten, mode: replace}}"
        )
        told = {"object": "bench.sling_ten", "mode": "full-refresh"}
        slings = sling_load(bench, "ten", f"public.{source}", told)
        return self.compared(
            "ten rows, PostgreSQL to PostgreSQL",
            [
                Contestant("conduit", ours, check=self.same(source, "bench.ten")),
                peer(
                    bench, "dlt, connectorx, Parquet by ADBC",
                    dlt_load("full", source, "ten"),
                    check=self.same(source, "dlt_bench.ten"),
                ),
                peer(bench, "Sling", slings, check=self.same(source, "bench.sling_ten")),
            ],
        )  # fmt: skip


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the works by name.

    Raises:
        SystemExit: there is no environment for them.
    """
    if not python().exists() or sling() is None:
        raise SystemExit(f"no {HOME.name} with dlt and Sling for Linux: make bench-peers makes it")
    made = PeerBench(bench)
    return {
        "peers-help": made.help_text,
        "peers-ten": made.ten_rows,
        "peers-pg": made.full,
        "peers-csv-pg": made.csv_to_postgres,
        "peers-csv-duckdb": made.csv_to_duckdb,
        "peers-append": made.append,
        "peers-upsert": made.upsert,
    }
