"""Loads in splits: staged against fused, two workers against one, resume, and a thousand splits."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from benchmarks.measure import CONDUIT, Row, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.__main__ import Bench

MILLION = 1_000_000
KILL = "CONDUIT_LISTENERS=conduit_core.testing.faults:from_environment CONDUIT_FAULT=after_split:7"


class SpreadBench:
    """The cases over one bench's server, folder and data."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def staged(self, mode: str, destination: str, limit: str) -> Row:
        """A million rows staged by one worker, against the same load in one piece."""
        name = f"staged_{mode}_{destination}"
        pair = [
            self._million(f"{name}_{key}", mode, destination, key) for key in ("staged", "fused")
        ]
        fresh = [self._empty(f"{name}_{key}", destination) for key in ("staged", "fused")]
        return compare(
            f"staged on one worker, against fused: {mode}, {destination}",
            [*pair[0], "--workers", "1"],
            pair[1],
            cwd=self.bench.folder,
            limit=limit,
            runs=self.bench.runs,
            before=fresh[0],
            before_reference=fresh[1],
        )

    def _million(self, name: str, mode: str, destination: str, key: str) -> list[str]:
        bench = self.bench
        source = bench.source(MILLION)
        place = (
            f'{{type: postgres, url: "{bench.url}", schema: bench}}'
            if destination == "postgres"
            else f"{{type: duckdb, path: {name}.duckdb, staging: {name}_staging}}"
        )
        cursor = ", cursor: id" if mode == "append" else ""
        splits = ", splits: 1" if key == "staged" else ""
        return bench.pipeline(
            name,
            f'{{type: postgres, url: "{bench.url}"}}',
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
        rows = 75_000
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

    def workers(self, executor: str) -> Row:
        """Four splits of JSON by two workers, against the same by one."""
        self._json()
        names = [f"json_{executor}_{count}" for count in (2, 1)]
        commands = [
            self.bench.pipeline(
                name,
                "{type: json, path: json}",
                f"{{type: duckdb, path: {name}.duckdb, staging: {name}_staging}}",
                "{path: '*.json', name: data, mode: replace, splits: 4}",
            )
            for name in names
        ]
        if executor == "dask":
            commands = [
                [sys.executable, "-m", "benchmarks.dask_run", f"{name}.yml", count]
                for name, count in zip(names, ("2", "1"), strict=True)
            ]
        else:
            commands = [
                [*command, "--executor", executor, "--workers", count]
                for command, count in zip(commands, ("2", "1"), strict=True)
            ]
        return compare(
            f"four splits of JSON, two workers against one: {executor}",
            commands[0],
            commands[1],
            cwd=self.bench.folder,
            limit="1/1.4 = 0.71x",
            runs=self.bench.runs,
            env={"PYTHONPATH": str(self.bench.root)},
        )

    def resume(self) -> Row:
        """The run after a kill at seven of eight splits, against the whole load."""
        bench = self.bench
        self._json()
        cursor = "cursor: [_file_modified, _file_path]"
        commands = [
            bench.pipeline(
                name,
                "{type: json, path: json}",
                f"{{type: duckdb, path: {name}.duckdb, staging: {name}_staging}}",
                f"{{path: '*.json', name: data, mode: append, {cursor}, splits: 8}}",
            )
            for name in ("resumed", "whole")
        ]
        ours, whole = ([*c, "--workers", "1"] for c in commands)
        killed = f"{KILL} {CONDUIT} run resumed.yml --workers 1; true"
        return compare(
            "resume after a kill at 7 of 8 splits, against the whole load",
            ours,
            whole,
            cwd=bench.folder,
            limit="0.25x",
            runs=bench.runs,
            before=f"rm -rf resumed.duckdb resumed_staging; {killed}",
            before_reference="rm -rf whole.duckdb whole_staging",
        )

    def thousand(self) -> Row:
        """Planning a thousand splits of a million rows."""
        bench = self.bench
        source = bench.source(MILLION)
        bench.pipeline(
            "thousand",
            f'{{type: postgres, url: "{bench.url}"}}',
            f'{{type: postgres, url: "{bench.url}", schema: bench}}',
            f"{{table: public.{source}, into: thousand, mode: replace,"
            " splits: {count: 1000, column: id}}",
        )
        return compare(
            "conduit plan, 1,000 splits of 1M rows",
            [CONDUIT, "plan", "thousand.yml", "--json"],
            None,
            cwd=bench.folder,
            limit="2 s",
            runs=bench.runs,
        )


def cases(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return the cases by name."""
    spread = SpreadBench(bench)
    return {
        "staged-replace": lambda: spread.staged("replace", "postgres", "load 2x"),
        "staged-append": lambda: spread.staged("append", "postgres", "load 2.5x"),
        "staged-replace-duckdb": lambda: spread.staged("replace", "duckdb", "load 2x"),
        "staged-append-duckdb": lambda: spread.staged("append", "duckdb", "load 2.5x"),
        "workers-processes": lambda: spread.workers("processes"),
        "workers-threads": lambda: spread.workers("threads"),
        "workers-dask": lambda: spread.workers("dask"),
        "resume": spread.resume,
        "thousand": spread.thousand,
    }
