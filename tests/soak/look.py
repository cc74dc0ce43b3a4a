"""Looking at a target and its ledger by other drivers, in a copy, so that looking mends nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.soak.model import COUNTED, NOW, Point
from tests.soak.schedule import START, Row

LEDGER = ("version", "load_id", "mode", "cursor", "load_window", *(f"rows_{c}" for c in COUNTED))
_YEAR = START.year
Content = tuple[object, ...]
Ask = Callable[[str], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Seen:
    """A target's rows and its ledger's records, oldest first."""

    rows: list[Content]
    records: list[dict[str, Any]]

    @property
    def mark(self) -> Point | None:
        """The watermark that the ledger tells."""
        marks = [r["cursor"] for r in self.records if '"kind":"given"' not in r["load_window"]]
        if not marks or marks[-1] is None:
            return None
        values = [i["value"] for i in json.loads(marks[-1])]
        return tuple(_plain(v) if "T" in v else int(v) for v in values)


@dataclass(frozen=True)
class System:
    """A destination: what stands in the pipeline file, and how it is read."""

    kind: str
    place: str
    schema: str

    def config(self) -> dict[str, Any]:
        """Return what stands under ``destination:``."""
        where = "url" if self.kind == "postgres" else "path"
        return {"type": self.kind, where: self.place, "schema": self.schema}

    def look(self, extra: tuple[str, ...] = ()) -> Seen:
        """Read the target and its ledger; for DuckDB this starts threads.

        Args:
            extra: expressions to read beside the source's columns.
        """
        with self._open() as ask:
            there = {name for (name,) in ask(self._listing())}
            rows, records = [], []
            if "items" in there:
                names = ", ".join((*(f'"{c}"' for c in Row._fields), *extra))
                found = ask(f'SELECT {names} FROM "{self.schema}"."items"')
                rows = [tuple(map(_plain, r)) for r in found]
            if "_conduit_ledger" in there:
                found = ask(
                    f'SELECT {", ".join(LEDGER)} FROM "{self.schema}"."_conduit_ledger"'
                    " WHERE target_table = 'items' ORDER BY version"
                )
                records = [dict(zip(LEDGER, r, strict=True)) for r in found]
        return Seen(rows, records)

    def wait(self) -> None:
        """Wait until a server has noticed that its client was killed."""
        if self.kind == "postgres":
            with self._open() as ask:
                while ask(
                    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                ):
                    pass

    def _listing(self) -> str:
        if self.kind == "sqlite":
            return "SELECT name FROM sqlite_master WHERE type = 'table'"
        return (
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{self.schema}'"
        )

    @contextmanager
    def _open(self) -> Iterator[Ask]:
        if self.kind == "postgres":
            import psycopg

            with closing(psycopg.connect(self.place, autocommit=True)) as connection:
                yield lambda text: connection.execute(text).fetchall()
            return
        path = Path(self.place)
        if not path.exists():
            yield lambda _: []
            return
        with tempfile.TemporaryDirectory() as folder:
            for file in path.parent.glob(f"{path.name}*"):
                shutil.copy(file, folder)
            copy = str(Path(folder) / path.name)
            with _sqlite(copy) if self.kind == "sqlite" else _duckdb(copy) as ask:
                yield ask


@contextmanager
def _sqlite(path: str) -> Iterator[Ask]:
    import sqlite3

    with closing(sqlite3.connect(path)) as connection:
        yield lambda text: connection.execute(text).fetchall()


@contextmanager
def _duckdb(path: str) -> Iterator[Ask]:
    import duckdb

    with closing(duckdb.connect(path, config={"threads": 1})) as connection:
        yield lambda text: connection.execute(text).fetchall()


def _plain(value: Any) -> Any:
    """Return a time as the model's number; the source's are all of one year, loads of a later."""
    if isinstance(value, datetime):
        if value.year > _YEAR:
            return NOW
        return round((value - START).total_seconds() * 10**6)
    if isinstance(value, str) and value[:2] == "20":
        return _plain(datetime.fromisoformat(value))
    return value
