"""Makes a shop with four weeks of nightly loads, for `conduit report`: python weeks.py [FOLDER].

The loads are real, one after the other. Afterwards the ledger's times are moved back, a day for
each: something that only an example may do.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from conduit_core import Pipeline, raise_for_failures, run

DAYS = 28
HERE = Path(__file__).resolve().parent
TABLES = """
CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
  id INTEGER PRIMARY KEY, email TEXT, amount REAL NOT NULL, updated_at TIMESTAMP NOT NULL
);
CREATE TABLE IF NOT EXISTS visits (id INTEGER PRIMARY KEY, page TEXT NOT NULL);
"""


def a_day(shop: sqlite3.Connection, day: datetime, chance: random.Random) -> None:
    """Add what happens on a day: more on workdays; a form without a check in the third week."""
    age = (datetime.now(UTC) - day).days
    busy = (4 if day.weekday() < 5 else 1) * (10 + DAYS - age)
    wrong = 0.2 if 7 <= age < 12 else 0.01
    known = shop.execute("SELECT count(*) FROM orders").fetchone()[0]
    for n in range(busy):
        email = "no address" if chance.random() < wrong else f"c{chance.randrange(500)}@shop.test"
        amount = round(chance.uniform(-1, 200), 2)
        at = (day + timedelta(seconds=n)).strftime("%Y-%m-%d %H:%M:%S")
        shop.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (known + n + 1, email, amount, at))
        if known and n % 3 == 0:
            old = chance.randrange(1, known + 1)
            shop.execute("UPDATE orders SET updated_at = ?, amount = ? WHERE id = ?", (at, 5, old))
    shop.executemany("INSERT INTO customers (name) VALUES (?)", [("Ada",)] * (busy // 8))
    shop.executemany("INSERT INTO visits (page) VALUES (?)", [("/",)] * (busy * 3))
    if age == DAYS // 2:
        shop.execute("ALTER TABLE visits ADD COLUMN country TEXT")


def move_back(warehouse: sqlite3.Connection, day: datetime) -> None:
    """Say that the newest loads were of a day."""
    now = "(SELECT max(published_at) FROM _conduit_ledger)"
    back = f"{(day - datetime.now(UTC)).total_seconds():.0f} seconds"
    for column in ("started_at", "published_at"):
        moved = f"strftime('%Y-%m-%d %H:%M:%f000+00:00', {column}, '{back}')"
        warehouse.execute(
            f"UPDATE _conduit_ledger SET {column} = {moved}"
            f" WHERE julianday(published_at) > julianday({now}) - 0.01"
        )


def make(folder: Path, days: int = DAYS) -> Pipeline:
    """Make the shop in a folder, and load it once for each day."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("shop.db", "warehouse.db"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(HERE / "shop.yml", folder / "pipeline.yml")
    pipeline = Pipeline.from_file(folder / "pipeline.yml")
    chance = random.Random(1)  # noqa: S311 - a shop that is the same each time
    midnight = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
    for age in range(days, 0, -1):
        day = midnight - timedelta(days=age)
        with closing(sqlite3.connect(folder / "shop.db")) as shop, shop:
            shop.executescript(TABLES)
            a_day(shop, day, chance)
        raise_for_failures(run(pipeline))
        with closing(sqlite3.connect(folder / "warehouse.db")) as warehouse, warehouse:
            move_back(warehouse, day)
    return pipeline


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd() / "weeks"
    make(place)
    sys.stdout.write(f"cd {place} && conduit report --html report.html\n")
