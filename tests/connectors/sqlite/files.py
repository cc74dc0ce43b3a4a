"""SQLite files for tests, made by another program, and connectors on them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from conduit_core.connectors.base import Context, Destination, Source, StreamRef
from conduit_core.connectors.sqlite import connector
from conduit_core.connectors.sqlite.types import SqliteDialect

_SCRIPT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript(sys.stdin.read())
connection.close()
"""
_QUERY = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(repr(connection.execute(sys.argv[2]).fetchall()))
"""


def sqlite(path: Path, sql: str) -> None:
    """Run statements on a file in another process: here, only ADBC may open it."""
    command = [sys.executable, "-c", _SCRIPT, str(path)]
    subprocess.run(command, input=sql, text=True, check=True)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Run a query on a file in another process."""
    command = [sys.executable, "-c", _QUERY, str(path), sql]
    out = subprocess.run(command, text=True, check=True, capture_output=True).stdout
    rows: list[tuple[object, ...]] = eval(out, {"inf": float("inf")})  # noqa: S307 - our own repr
    return rows


def source_at(path: Path) -> Source:
    """Return a source on a file."""
    assert connector.source is not None
    return connector.source(connector.options(path=str(path)), Context(path.parent))


def destination_at(path: Path, *, lock_wait: float = 5.0) -> Destination:
    """Return a destination on a file."""
    assert connector.destination is not None
    options = connector.options(path=str(path))
    return connector.destination(options, Context(path.parent), None, None, lock_wait)


_FILL = """
import pickle, sqlite3, sys
drop, create, insert, rows = pickle.load(sys.stdin.buffer)
connection = sqlite3.connect(sys.argv[1])
connection.execute(drop)
connection.execute(create)
connection.executemany(insert, rows)
connection.commit()
connection.close()
"""


def fill(path: Path, name: str, table: pa.Table) -> StreamRef:
    """Make a table with the standard library's driver, replacing one of the same name."""
    dialect = SqliteDialect()
    target = dialect.quote(name)
    columns = ", ".join(f"{dialect.quote(f.name)} {dialect.landing(f).ddl}" for f in table.schema)
    marks = ", ".join("?" for _ in table.schema)
    values = [_plain(column) for column in table.columns]
    statements = (
        f"DROP TABLE IF EXISTS {target}",
        f"CREATE TABLE {target} ({columns})",
        f"INSERT INTO {target} VALUES ({marks})",
        list(zip(*values, strict=True)),
    )
    command = [sys.executable, "-c", _FILL, str(path)]
    subprocess.run(command, input=pickle.dumps(statements), check=True)
    return StreamRef(table=name)


_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def _plain(column: pa.ChunkedArray[Any]) -> list[object]:
    """Return a column's values as SQLite keeps them, written without our own encoder."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        wide = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        zone = "Z" if pa.types.is_timestamp(kind) and kind.tz else ""
        return [
            None if t is None else _moment(t, kind) + zone for t in column.cast(wide).to_pylist()
        ]
    if pa.types.is_duration(kind):
        return list(column.cast(pa.int64()).to_pylist())
    if pa.types.is_date(kind):
        return [None if d is None else d.isoformat() for d in column.to_pylist()]
    if pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return [
            None if d is None else f"{d:f}" if isinstance(d, Decimal) else str(d)
            for d in column.to_pylist()
        ]
    return list(column.to_pylist())


def _moment(ticks: int, kind: pa.DataType) -> str:
    digits = _DIGITS[kind.unit] if pa.types.is_timestamp(kind) or pa.types.is_time(kind) else 0
    seconds, rest = divmod(ticks, 10**digits)
    text = (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat(sep=" ")  # noqa: DTZ001
    if pa.types.is_time(kind):
        text = text.partition(" ")[2]
    return f"{text}.{rest:0{digits}d}" if digits else text
