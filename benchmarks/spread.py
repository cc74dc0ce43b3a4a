"""Loads in splits: staged against fused, two workers against one, resume, and a thousand splits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.bench import Bench, counted
from benchmarks.measure import CONDUIT, Contestant, compare
from benchmarks.results import Measured, Wanted

KILL = "CONDUIT_LISTENERS=conduit_core.testing.faults:from_environment CONDUIT_FAULT=after_split:7"


class SpreadBench:
    """The cases over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def staged(self, mode: str, destination: str, limit: float) -> Measured:
        """A million rows staged by one worker, against the same load in one piece."""
        bench, name = self.bench, f"staged_{mode}_{destination}"
        sides = []
        for who, key, more in (
            ("conduit", "staged", ["--workers", "1"]),
            ("fused", "fused", []),
        ):
            made = f"{name}_{key}"
            command = self._million(made, mode, destination, key)
            source = bench.source(bench.million)
            check = (
                bench.same_in_postgres(source, f"bench.{made}")
                if destination == "postgres"
                else bench.same_as_postgres(source, made, f"{made}.duckdb")
            )
            sides.append(Contestant(who, [*command, *more], self._empty(made, destination), check))
        named = {"postgres": "PostgreSQL", "duckdb": "DuckDB"}[destination]
        return compare(
            "spread",
            f"{counted(bench.million)} rows staged on one worker, `{mode}`, {named}",
            sides,
            cwd=bench.folder,
            wanted=Wanted(load_ratio=limit),
            runs=bench.few,
            warm=False,
        )

    def _million(self, name: str, mode: str, destination: str, key: str) -> list[str]:
        bench = self.bench
        source = bench.source(bench.million)
        place = (
            bench.into_postgres
            if destination == "postgres"
            else f"{{type: duckdb, path: {name}.duckdb, staging: {name}_staging}}"
        )
        cursor = ", cursor: id" if mode == "append" else ""
        splits = ", splits: 1" if key == "staged" else ""
        return bench.pipeline(
            name,
            bench.postgres,
            place,
            f"{{table: public.{source}, into: {name}, mode: {mode}{cursor}{splits}}}",
        )

    def _empty(self, name: str, destination: str) -> list[str]:
        """Return the command that forgets a target and its chain."""
        if destination != "postgres":
            return ["rm", "-rf", f"{name}.duckdb", f"{name}_staging"]
        return self.bench.sql(
            f"CREATE SCHEMA IF NOT EXISTS bench; DROP TABLE IF EXISTS bench.{name};"
            " DO $$ BEGIN IF to_regclass('bench._conduit_ledger') IS NOT NULL THEN"
            f" DELETE FROM bench._conduit_ledger WHERE target_table = '{name}'; END IF; END $$"
        )

    def _json(self) -> None:
        """Make eight files of JSON, whose reading keeps a core busy."""
        folder = self.bench.folder / "json"
        if folder.exists():
            return
        folder.mkdir()
        rows = self.bench.rows(75_000)
        for part in range(8):
            with (folder / f"part-{part}.json").open("w") as out:
                out.write("[")
                for n in range(rows):
                    item = {
                        "id": part * rows + n, "name": f"name {n}", "amount": n / 7,
                        "at": "2024-01-01T00:00:00Z", "tags": {"a": n % 5, "b": [n % 3, n % 7]},
                    }  # fmt: skip
                    out.write(("," if n else "") + json.dumps(item))
                out.write("]")

    def workers(self, executor: str, limit: float | None) -> Measured:
        """Four splits of JSON by two workers, against the same by one."""
        self._json()
        sides = []
        for who, count in (("conduit", "2"), ("one worker", "1")):
            name = f"json_{executor}_{count}"
            command = self.bench.pipeline(
                name,
                "{type: json, path: json}",
                f"{{type: duckdb, path: {name}.duckdb, staging: {name}_staging}}",
                "{path: '*.json', name: data, mode: replace, splits: 4}",
            )
            if executor == "dask":
                command = [sys.executable, "-m", "benchmarks.dask_run", f"{name}.yml", count]
            else:
                command += ["--executor", executor, "--workers", count]
            sides.append(Contestant(who, command, env={"PYTHONPATH": self.bench.path}))
        named = {"dask": "workers of a Dask cluster"}.get(executor, executor)
        return compare(
            "spread",
            f"four splits of JSON, two {named}",
            sides,
            cwd=self.bench.folder,
            wanted=Wanted(load_ratio=limit),
            runs=self.bench.few,
            warm=False,
        )

    def resume(self) -> Measured:
        """The run after a kill at seven of eight splits, against the whole load."""
        self._json()
        cursor = "cursor: [_file_modified, _file_path]"
        sides = []
        for who, name, killed in (
            ("conduit", "resumed", f"{KILL} {CONDUIT} run resumed.yml --workers 1; true"),
            ("the whole load", "whole", "true"),
        ):
            command = self.bench.pipeline(
                name,
                "{type: json, path: json}",
                f"{{type: duckdb, path: {name}.duckdb, staging: {name}_staging}}",
                f"{{path: '*.json', name: data, mode: append, {cursor}, splits: 8}}",
            )
            before = f"rm -rf {name}.duckdb {name}_staging; {killed}"
            sides.append(Contestant(who, [*command, "--workers", "1"], before))
        return compare(
            "spread",
            "resume after a kill at 7 of 8 splits, JSON",
            sides,
            cwd=self.bench.folder,
            wanted=Wanted(load_ratio=0.25),
            runs=self.bench.few,
            warm=False,
        )

    def thousand(self) -> Measured:
        """Planning a thousand splits of a million rows."""
        bench = self.bench
        source = bench.source(bench.million)
        bench.pipeline(
            "thousand",
            bench.postgres,
            bench.into_postgres,
            f"{{table: public.{source}, into: thousand, mode: replace,"
            " splits: {count: 1000, column: id}}",
        )
        return compare(
            "spread",
            f"`conduit plan`, 1,000 splits of {counted(bench.million)} rows",
            [Contestant("conduit", [CONDUIT, "plan", "thousand.yml", "--json"])],
            cwd=bench.folder,
            wanted=Wanted(seconds=2),
            runs=bench.few,
            warm=False,
        )


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    spread = SpreadBench(bench)
    return {
        "staged-replace": partial(spread.staged, "replace", "postgres", 2),
        "staged-append": partial(spread.staged, "append", "postgres", 2.5),
        "staged-replace-duckdb": partial(spread.staged, "replace", "duckdb", 2),
        "staged-append-duckdb": partial(spread.staged, "append", "duckdb", 2.5),
        "workers-processes": partial(spread.workers, "processes", 0.71),
        "workers-threads": partial(spread.workers, "threads", None),
        "workers-dask": partial(spread.workers, "dask", 0.71),
        "resume": spread.resume,
        "thousand": spread.thousand,
    }
