"""SQLite files for tests, made by another program, and connectors on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conduit_core.connectors.base import Context, Destination, Source
from conduit_core.connectors.sqlite import connector

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
