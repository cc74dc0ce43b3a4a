"""The source as a list of rows: how steps change it, and how it is written where loads read it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.soak.schedule import SHOPS, Row, Spec, Step

if TYPE_CHECKING:
    import sqlite3


@dataclass
class Rows:
    """What the source holds, and the clock that orders its changes.

    No two different rows of a key have the same cursor: which of them counts isn't promised.
    """

    spec: Spec
    rows: list[Row] = field(default_factory=list)
    graves: list[Row] = field(default_factory=list)
    clock: int = 1
    last_id: int = 0

    def apply(self, step: Step) -> bool:
        """Change the rows as a step says; return whether it does."""
        change = getattr(self, f"_{step.kind}", None)
        if change is None:
            return False
        self.clock += 1
        change(step.chance)
        return True

    def _insert(self, dice: random.Random) -> None:
        for _ in range(dice.randint(1, 8)):
            self.last_id += 1
            self._add(self._row(dice, dice.choice(SHOPS), self.last_id, self._now(dice)))

    def _late(self, dice: random.Random) -> None:
        """Add rows with a time that is over; the lookback may reach them, or not."""
        for _ in range(dice.randint(1, 3)):
            reach = max(self.spec.lookback, 2) + 2
            at = max(self.clock - dice.randint(0, reach), 0) * self.spec.unit
            shop, id_ = self._known(dice) if self.spec.log and self.rows else (0, 0)
            if not shop or any((r.shop, r.id, r.at) == (shop, id_, at) for r in self.rows):
                self.last_id += 1
                shop, id_ = dice.choice(SHOPS), self.last_id
            self._add(self._row(dice, shop, id_, at))

    def _update(self, dice: random.Random) -> None:
        for _ in range(min(dice.randint(1, 5), len(self.rows))):
            self.clock += 1
            old = dice.choice(self.rows)
            shop = (
                dice.choice(SHOPS)
                if dice.random() < 0.3 and "shop" not in self.spec.key
                else old.shop
            )
            new = self._row(dice, shop, old.id, self._now(dice))
            if dice.random() < 0.2:
                new = old._replace(at=new.at)
            self._change(old, new)

    def _delete(self, dice: random.Random) -> None:
        for _ in range(min(dice.randint(1, 4), len(self.rows))):
            if not self.rows:
                return
            old = dice.choice(self.rows)
            if dice.random() < 0.8:  # seldom the newest: without it, the cursor went backwards
                old = min(old, dice.choice(self.rows), key=lambda r: r.at)
            self.clock += 1
            if self.spec.deletes == "flag":
                self._change(old, old._replace(at=self._now(dice), gone=1))
                continue
            if self.spec.deletes == "tracking_table":
                self._bury(old, dice)
            self.rows = [r for r in self.rows if self._key(r) != self._key(old)]

    def _bury(self, row: Row, dice: random.Random) -> None:
        """List a key as deleted; now and then at the very time of its newest row."""
        newest = max(r.at for r in self.rows if self._key(r) == self._key(row))
        self.graves.append(row._replace(at=newest if dice.random() < 0.2 else self._now(dice)))

    def _reinsert(self, dice: random.Random) -> None:
        """Bring back an id that may have been deleted."""
        here = {r.id for r in self.rows}
        gone = [i for i in range(1, self.last_id + 1) if i not in here]
        if gone:
            self._add(self._row(dice, dice.choice(SHOPS), dice.choice(gone), self._now(dice)))

    def _repeat(self, dice: random.Random) -> None:
        """Have a row twice."""
        if self.rows:
            self._add(dice.choice(self.rows))

    def _empty(self, dice: random.Random) -> None:
        self.rows = []

    def _now(self, dice: random.Random) -> int:
        return self.clock * self.spec.unit + (dice.randint(0, 9) if self.spec.is_time else 0)

    def _row(self, dice: random.Random, shop: int, id_: int, at: int) -> Row:
        text = None if dice.random() < 0.2 else f"{dice.choice('abcde')} ü"
        return Row(shop, id_, at, text, dice.randint(0, 5))

    def _add(self, row: Row) -> None:
        self.rows.append(row)

    def _change(self, old: Row, new: Row) -> None:
        if self.spec.log:
            self._add(new)
        elif self.spec.cursor:
            self.rows[self.rows.index(old)] = new
        else:  # without a cursor nothing says which of two rows of a key is newer
            self.rows = [new if r.id == old.id else r for r in self.rows]

    def _known(self, dice: random.Random) -> tuple[int, int]:
        row = dice.choice(self.rows)
        return row.shop, row.id

    def _key(self, row: Row) -> tuple[int, ...]:
        return (row.shop, row.id) if "shop" in self.spec.key else (row.id,)


class Store(ABC):
    """Where loads read the rows from."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return what stands under ``source:``."""

    @abstractmethod
    def write(self, rows: list[Row], graves: list[Row]) -> None:
        """Make these the rows and the deleted keys, all in one transaction."""

    table = "items"
    graves = "graves"


def _values(spec: Spec, rows: list[Row]) -> list[tuple[object, ...]]:
    if not spec.is_time:
        return [tuple(r) for r in rows]
    return [tuple(r._replace(at=spec.text(r.at))) for r in rows]  # type: ignore[arg-type]


class SqliteStore(Store):
    """A SQLite file, open only while it is written: a fork must not inherit it."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self._spec = spec
        self.path = folder / "source.db"
        kind = "TIMESTAMP" if spec.is_time else "INTEGER"
        columns = f"shop INTEGER, id INTEGER, at {kind}, v TEXT, n INTEGER, gone INTEGER"
        with self._open() as connection:
            for table in (self.table, self.graves):
                connection.execute(f"CREATE TABLE {table} ({columns})")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        import sqlite3

        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")  # it need not outlive a power cut
            yield connection

    def config(self) -> dict[str, Any]:
        return {"type": "sqlite", "path": str(self.path)}

    def write(self, rows: list[Row], graves: list[Row]) -> None:
        with self._open() as connection:
            for table, content in ((self.table, rows), (self.graves, graves)):
                connection.execute(f"DELETE FROM {table}")
                places = ", ".join("?" for _ in Row._fields)
                connection.executemany(
                    f"INSERT INTO {table} VALUES ({places})", _values(self._spec, content)
                )


class PostgresStore(Store):
    """A schema of a PostgreSQL database."""

    def __init__(self, spec: Spec, url: str, name: str) -> None:
        self._spec, self._url = spec, url
        self.table, self.graves = f"{name}.items", f"{name}.graves"
        kind = "timestamp" if spec.is_time else "bigint"
        columns = f"shop bigint, id bigint, at {kind}, v text, n bigint, gone bigint"
        with closing(psycopg.connect(url)) as connection, connection:
            connection.execute(f"CREATE SCHEMA {name}")
            for table in (self.table, self.graves):
                connection.execute(f"CREATE TABLE {table} ({columns})")

    def config(self) -> dict[str, Any]:
        return {"type": "postgres", "url": self._url}

    def write(self, rows: list[Row], graves: list[Row]) -> None:
        with (
            closing(psycopg.connect(self._url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            for table, content in ((self.table, rows), (self.graves, graves)):
                cursor.execute(f"TRUNCATE {table}")
                with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                    for row in _values(self._spec, content):
                        copy.write_row(row)
