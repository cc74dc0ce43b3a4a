"""Deletes in SQLite: tables without rowids, and keys whose collation folds case."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.testing.deleting import Upserts
from tests.connectors.sqlite.files import destination_at, sqlite

_FLAGGED = datetime(2026, 1, 1, tzinfo=UTC)
_DELETED = ", _conduit_deleted_at TIMESTAMPTZ"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.sqlite"


@pytest.fixture
def destination(path: Path) -> Iterator[Destination]:
    made = destination_at(path, lock_wait=0.5)
    yield made
    made.close()


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", ["WITHOUT ROWID", ""])
def test_rows_without_a_place_are_deleted_by_key(
    path: Path, destination: Destination, kind: str, *, soft: bool
) -> None:
    deleted = _DELETED if soft else ""
    sqlite(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, v TEXT{deleted}) {kind};")
    it = Upserts(destination, "main", soft=soft)
    it.missing([(n, 1, "a") for n in range(1, 6)], [(n, 1) for n in range(1, 6)])
    assert it.missing([], [(1, 1), (3, 1), (4, 1), (5, 1)]) == {"deleted": 1}
    assert it.flag((1, 1, "a", _FLAGGED), (3, 1, "a", None)) == {
        "read": 2, "unchanged": 1, "deleted": 1,
    }  # fmt: skip
    assert it.listed([], [(4, 9), (4, 10), (2, 9)]) == {"deleted": 1}
    assert [row[0] for row in it.content() if len(row) == 3] == [3, 5]
    assert len(it.content()) == (5 if soft else 2)


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])
def test_keys_are_equal_where_the_target_says_so(
    path: Path, destination: Destination, *, soft: bool
) -> None:
    sqlite(path, f"CREATE TABLE t (id TEXT COLLATE NOCASE, n INTEGER{_DELETED if soft else ''});")
    rows = pa.table({"id": [""], "n": [0]}).schema
    it = Upserts(destination, "main", soft=soft, rows=rows, order=())
    it.missing([("a", 1), ("b", 1), ("c", 1)], [("a",), ("b",), ("c",)])
    assert it.missing([("C", 2)], [("A",), ("C",)]) == {"read": 1, "updated": 1, "deleted": 1}
    assert not it.done.notes
    assert [row[:2] for row in it.content()] == [("a", 1), *([("b", 1)] if soft else []), ("c", 2)]
