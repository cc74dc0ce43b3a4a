"""Kills a load at each of its fault points, and runs it again: no row is lost, none is there twice.

Each time the source has 500 rows more. The real command is killed (SIGKILL, as by the kernel or a
container's end), then run once more by nobody who knows of it. ``demo.py before_commit`` tries one.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from conduit_core.testing.faults import POINTS

CONDUIT = Path(sys.executable).with_name("conduit")
NEW_ROWS = 500
NOT_OF_A_LOAD = {
    "after_mirror",  # the command has no state store but the ledger
    "before_hooks",  # there is no `after:` here
    "after_hook",
}
PIPELINE = """
name: demo
source: {type: sqlite, path: source.db}
destination: {type: duckdb, path: warehouse.duckdb, schema: raw, staging: staging}
streams:
  - {table: events, mode: append, cursor: id, splits: {count: 2, column: id}}
"""
COUNTS = "SELECT count(*), count(DISTINCT id) FROM raw.events"


def grow(folder: Path) -> int:
    """Add rows to the source; return how many it has."""
    with closing(sqlite3.connect(folder / "source.db")) as source, source:
        source.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, what TEXT)")
        source.executemany("INSERT INTO events (what) VALUES (?)", [("event",)] * NEW_ROWS)
        return int(source.execute("SELECT count(*) FROM events").fetchone()[0])


def run(folder: Path, fault: str = "") -> int:
    """Run the command, to be killed at a fault point; return how it ended."""
    env = {**os.environ, "CONDUIT_FAULT": fault}
    if fault:
        env["CONDUIT_LISTENERS"] = "conduit_core.testing.faults:from_environment"
    with (folder / "log").open("a") as log:
        return subprocess.run(
            [CONDUIT, "run"], cwd=folder, env=env, stdout=log, stderr=log, check=False
        ).returncode


def counts(folder: Path) -> tuple[int, int]:
    """Return the target's rows and its different ids."""
    import duckdb

    with duckdb.connect(folder / "warehouse.duckdb", read_only=True) as warehouse:
        ((rows, ids),) = warehouse.sql(COUNTS).fetchall()
    return int(rows), int(ids)


def main() -> int:
    """Try each point; return 1 if a row was lost or doubled."""
    points = sys.argv[1:] or [point for point in POINTS if point not in NOT_OF_A_LOAD]
    wrong = 0
    print(f"{'killed at':14} {'source':>6}  {'target after the kill':21}  after the next run")
    with TemporaryDirectory(prefix="exactly-once-") as made:
        folder = Path(made)
        (folder / "pipeline.yml").write_text(PIPELINE)
        grow(folder)
        if run(folder):
            sys.exit((folder / "log").read_text())
        for point in points:
            rows = grow(folder)
            if run(folder, fault=point) != -signal.SIGKILL:
                sys.exit(f"it wasn't killed at {point}\n{(folder / 'log').read_text()}")
            killed = counts(folder)
            run(folder)
            again = counts(folder)
            is_right = again == (rows, rows)
            wrong += not is_right
            said = "each row once" if is_right else "WRONG"
            print(f"{point:14} {rows:6}  {killed[0]:6} rows          {again[0]:6} rows, {said}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
