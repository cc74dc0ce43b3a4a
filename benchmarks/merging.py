"""Upserts against one MERGE by hand after a COPY; increments against a COPY, and each other."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg

from benchmarks import checksum
from benchmarks.bench import Bench, counted
from benchmarks.data import KINDS
from benchmarks.measure import Contestant, compare
from benchmarks.results import Measured, Side, Wanted

INCREMENTS = 100
REST = "amount, price, created, updated, status, note, score, active"
NAMES = f"id, customer, {REST}".split(", ")


class MergeBench:
    """The cases over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.psql = f"{bench.psql} '{bench.url}' -qX -v ON_ERROR_STOP=1"

    def base(self) -> str:
        """Return the table that an upsert finds: 2M rows."""
        return self.bench.source(2 * self.bench.million)

    def changed(self, name: str, *, changes: bool = True) -> str:
        """Return SQL that makes the rows to upsert: a quarter of the base, half of them new."""
        half = self.bench.million // 2
        moved = f"id + {2 * self.bench.million - half // 2} AS id, customer + 1 AS customer"
        return (
            f"DROP TABLE IF EXISTS {name}_rows; CREATE TABLE {name}_rows AS SELECT"
            f" {f'{moved}, {REST}' if changes else '*'} FROM {self.base()} WHERE id <= {half};"
            " CREATE SCHEMA IF NOT EXISTS bench"
        )

    def filled(self, table: str, own: str = "") -> str:
        """Return the command that makes the target anew, and rests."""
        return (
            f'{self.psql} -c "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} AS SELECT *{own}'
            f' FROM {self.base()}" -c "VACUUM ANALYZE" -c CHECKPOINT'
        )

    def merged(self, name: str, target: str) -> Callable[[], str]:
        """Return the check that a target holds the base with the changed rows in it."""

        def check() -> str:
            with psycopg.connect(self.bench.url, autocommit=True) as connection:
                connection.execute(
                    f"CREATE OR REPLACE VIEW want_{name} AS SELECT * FROM {name}_rows UNION ALL"
                    f" SELECT * FROM {self.base()} b WHERE NOT EXISTS"
                    f" (SELECT FROM {name}_rows r WHERE r.id = b.id)"
                )
            return checksum.differs(
                checksum.of_postgres(self.bench.url, f"want_{name}", KINDS),
                checksum.of_postgres(self.bench.url, target, KINDS),
            )

        return check

    def upsert(self, *, changes: bool) -> Measured:
        """500k rows into 2M: half of them new, the other half changed; or none of them."""
        bench, name = self.bench, "upsert" if changes else "noop"
        own = ", '' AS _conduit_load_id, now() AS _conduit_loaded_at"
        sets = ", ".join(f"{n} = s.{n}" for n in NAMES[1:])
        values = ", ".join(f"s.{n}" for n in NAMES)
        differs = " OR ".join(f"t.{n} IS DISTINCT FROM s.{n}" for n in NAMES[1:])
        merge = (
            f"MERGE INTO ref_{name} t USING wait_{name} s ON t.id = s.id"
            f" WHEN MATCHED AND ({differs}) THEN UPDATE SET {sets}, _conduit_loaded_at = now()"
            f" WHEN NOT MATCHED THEN INSERT VALUES ({values}, '', now())"
        )
        by_hand = (
            f'{self.psql} -c "CREATE UNLOGGED TABLE wait_{name} (LIKE {name}_rows)" &&'
            f" {self.psql} -c 'COPY {name}_rows TO STDOUT (FORMAT binary)' |"
            f" {self.psql} -c 'COPY wait_{name} FROM STDIN (FORMAT binary)' &&"
            f' {self.psql} -c "{merge}" -c "DROP TABLE wait_{name}"'
        )
        ours = bench.pipeline(
            name,
            bench.postgres,
            bench.into_postgres,
            f"{{table: public.{name}_rows, into: {name}, mode: upsert, unique_key: id}}",
        )
        with psycopg.connect(bench.url, autocommit=True) as connection:
            connection.execute(self.changed(name, changes=changes))
        sides = [
            Contestant(who, command, self.filled(target, own), self.merged(name, target))
            for who, command, target in (
                ("conduit", ours, f"bench.{name}"),
                ("COPY and MERGE by hand", by_hand, f"ref_{name}"),
            )
        ]
        rows, base = counted(bench.million // 2), counted(2 * bench.million)
        return compare(
            "changes",
            f"upsert of {rows} rows into {base}, {'half new' if changes else 'none changed'}",
            sides,
            cwd=bench.folder,
            wanted=Wanted(load_ratio=1.3) if changes else Wanted(),
            runs=bench.runs if changes else bench.few,
        )

    def grown(self, name: str) -> str:
        """Return SQL that appends 1% to a source, each row newer than all before it."""
        step = self.bench.million // 100
        return (
            f"INSERT INTO {name}_rows SELECT (SELECT max(id) FROM {name}_rows) + id, customer,"
            f" {REST} FROM {self.bench.source(self.bench.million)} WHERE id <= {step}"
        )

    def started(self, name: str) -> None:
        """Make a source of 1M rows with an index on its cursor."""
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            source = self.bench.source(self.bench.million)
            connection.execute(f"CREATE TABLE {name}_rows AS SELECT * FROM {source}")
            connection.execute(f"CREATE INDEX ON {name}_rows (id)")
            connection.execute("CREATE SCHEMA IF NOT EXISTS bench")

    def appended(self) -> Measured:
        """1% that is new since the last load, appended by a cursor; COPY of the same rows."""
        bench, names = self.bench, ("appended", "ref_appended")
        for name in names:
            self.started(name)
        ours = bench.pipeline(
            names[0],
            bench.postgres,
            bench.into_postgres,
            f"{{table: public.{names[0]}_rows, into: {names[0]}, mode: append, cursor: id}}",
        )
        new = f"(SELECT * FROM {names[1]}_rows WHERE id > $(cat last))"
        copied = (
            f"{self.psql} -Atc 'SELECT coalesce(max(id), 0) FROM ref_target' > last &&"
            f' {self.psql} -c "COPY {new} TO STDOUT (FORMAT binary)" |'
            f" {self.psql} -c 'COPY ref_target FROM STDIN (FORMAT binary)'"
        )
        with psycopg.connect(bench.url, autocommit=True) as connection:
            source = bench.source(bench.million)
            connection.execute(f"CREATE TABLE ref_target AS SELECT * FROM {source}")
            connection.execute("CREATE INDEX ON ref_target (id)")
        sides = [
            Contestant(
                who,
                command,
                f'{self.psql} -c "{self.grown(name)}"',
                bench.same_in_postgres(f"{name}_rows", target),
            )
            for who, name, command, target in (
                ("conduit", names[0], ours, f"bench.{names[0]}"),
                ("COPY of what is new", names[1], copied, "ref_target"),
            )
        ]
        return compare(
            "changes",
            f"1% new on {counted(bench.million)} rows, `append` by a cursor",
            sides,
            cwd=bench.folder,
            runs=bench.runs,
        )

    def increments(self) -> Measured:
        """A hundred upserts of ten rows into 1M, in one process: the last ten, the first ten."""
        import conduit_core

        bench, name = self.bench, "increments"
        base = bench.source(bench.million)
        bench.pipeline(
            name,
            bench.postgres,
            bench.into_postgres,
            f"{{table: public.{name}_rows, into: {name}, mode: upsert, unique_key: id,"
            " cursor: updated}",
        )
        pipeline = conduit_core.Pipeline.from_file(bench.folder / f"{name}.yml")
        seconds, step = [], bench.million // 1000
        with psycopg.connect(bench.url, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {name}_rows AS SELECT * FROM {base}")
            connection.execute(f"CREATE INDEX ON {name}_rows (updated)")
            conduit_core.raise_for_failures(conduit_core.run(pipeline))
            connection.execute("VACUUM ANALYZE")
            for turn in range(1, INCREMENTS + 1):
                connection.execute(
                    f"UPDATE {name}_rows SET customer = customer + 1, updated = clock_timestamp()"
                    f" WHERE id IN (SELECT {turn * step} + i FROM generate_series(1, 5) AS i)"
                )
                connection.execute(
                    f"INSERT INTO {name}_rows SELECT id + {bench.million + turn * 5}, customer,"
                    " amount, price, created, clock_timestamp(), status, note, score, active"
                    f" FROM {base}"
                    " WHERE id <= 5"
                )
                started = time.perf_counter()
                conduit_core.raise_for_failures(conduit_core.run(pipeline))
                seconds.append(time.perf_counter() - started)
        same = bench.same_in_postgres(f"{name}_rows", f"bench.{name}")
        return Measured(
            section="changes",
            what=f"upsert of 10 rows into {counted(bench.million)}, a hundred times: the last ten",
            sides=[
                Side(
                    name=who,
                    seconds=[round(x, 3) for x in part],
                    check=check,
                )
                for who, part, check in (
                    ("conduit", seconds[-10:], same()),
                    ("the first ten", seconds[:10], ""),
                )
            ],
            wanted=Wanted(ratio=1),
            note="in one process",
        )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    merging = MergeBench(bench)
    return {
        "upsert": lambda: merging.upsert(changes=True),
        "upsert-noop": lambda: merging.upsert(changes=False),
        "append": merging.appended,
        "increments": merging.increments,
    }
