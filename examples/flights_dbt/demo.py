"""Loads the flights and lets dbt build exactly what that changed: make demo-dbt.

Run again, it goes on from where it is: nothing is new, so nothing is loaded or built.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "flights"))  # the data and the command are that demo's

from helpers import END_OF_JUNE, conduit  # noqa: E402 - it is found by the line above

RESULTS = HERE / "dbt" / "target" / "conduit" / "flights_dbt" / "run_results.json"

QUERY = """
SELECT loaded._conduit_load_id AS load, loaded.n AS loaded, fact.n AS "in the fact",
       fact.dbt_runs AS "by dbt's run"
FROM (SELECT _conduit_load_id, min(time_hour) AS since, count(*) AS n
      FROM raw.flights GROUP BY ALL) AS loaded
LEFT JOIN (SELECT _conduit_load_id, count(*) AS n, string_agg(DISTINCT left(dbt_run, 8)) AS dbt_runs
           FROM raw.fct_flights GROUP BY ALL) AS fact USING (_conduit_load_id)
ORDER BY loaded.since
"""


def load_and_build(text: str, *arguments: str) -> None:
    """Run the pipeline, and name what dbt built after it."""
    RESULTS.unlink(missing_ok=True)
    conduit(HERE, text, "run", *arguments)
    if RESULTS.exists():
        ids = [r["unique_id"].split(".") for r in json.loads(RESULTS.read_text())["results"]]
        models = " ".join(sorted(name for kind, _, name, *_ in ids if kind == "model"))
        print(f"\nbuilt: {models}; {sum(kind == 'test' for kind, *_ in ids)} tests", flush=True)
    else:
        print("\nbuilt: nothing", flush=True)


def compare() -> None:
    """Compare what was loaded with what the incremental fact has of it."""
    import duckdb

    print("\n-- each load, and its rows in the incremental fact\n", flush=True)
    with duckdb.connect(HERE / "warehouse.duckdb", read_only=True) as connection:
        found = connection.sql(QUERY)
        rows = found.fetchall()
        print(found)
    if any(loaded != in_fact for _, loaded, in_fact, _ in rows):
        sys.exit("the fact doesn't have the rows that were loaded")


def main() -> None:
    """Load and build the first half-year, then the rest, then nothing."""
    small = ("--stream", "airlines", "--stream", "planes")
    conduit(HERE, "two small tables, and no dbt yet", "run", "--no-after", *small)
    half = ("--stream", "flights", "--to", END_OF_JUNE)
    load_and_build("flights up to the end of June; dbt builds what reads the three tables", *half)
    load_and_build("the new half-year; dbt builds what reads flights, and nothing else")
    load_and_build("again: nothing is new, so dbt isn't even started")
    compare()


if __name__ == "__main__":
    main()
