"""Loads of versions, at random: DuckDB and SQLite end as a model in plain Python says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import DELETED_AT, VALID_FROM, VALID_TO
from conduit_core.testing.fixtures import scan
from conduit_core.testing.versions import Story
from tests.connectors.sqlite.files import destination_at
from tests.connectors.test_duckdb import destination_on
from tests.connectors.versions_model import Row, Target, Version

_KINDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.int64()),
    ("at", pa.int64()),
    ("v", pa.string()),
    ("note", pa.int64()),
    ("tie", pa.int64()),
]
STAGED = pa.schema(_KINDS)
ROWS = st.builds(
    Row,
    key=st.integers(1, 3),
    at=st.integers(1, 7),
    tie=st.integers(0, 1),
    value=st.sampled_from(["a", "b", None]),
    note=st.integers(0, 1),
)
LOADS = st.lists(st.lists(ROWS, max_size=6), min_size=1, max_size=5)
KINDS = st.sampled_from([None, *itertools.product(("flag", "missing", "listed"), (True, False))])
NUMBERS = itertools.count()


def found(destination: Destination, story: Story) -> dict[int, list[Version]]:
    """Read the target as the model has it."""
    history: dict[int, list[Version]] = {}
    rows = scan(destination, story.schema, story.name).to_pylist()
    for r in sorted(rows, key=lambda row: (row["id"], row[VALID_FROM])):
        row = Row(r["id"], r["at"], r["tie"], r["v"], r["note"])
        deleted: datetime | None = r.get(DELETED_AT)
        version = Version(r[VALID_FROM], row, r[VALID_TO], str(deleted.day) if deleted else None)
        history.setdefault(r["id"], []).append(version)
    return history


def check(
    destination: Destination,
    loads: list[list[Row]],
    kind: tuple[str, bool] | None,
    data: st.DataObject,
) -> None:
    """Load all of them, and the last again; compare counts and target with the model."""
    schema = destination.capabilities.default_schema
    story = Story(
        destination, schema, f"t{next(NUMBERS)}", STAGED, order=("at", "tie"), deletes=kind
    )
    model = Target(*kind) if kind else Target()  # type: ignore[arg-type]
    for number, drawn in enumerate([*loads, loads[-1]], 1):
        rows, at = drawn, str(number)
        if model.detect == "flag":
            flags = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
            rows = [replace(row, flagged=flag) for row, flag in zip(rows, flags, strict=True)]
        values = [(r.key, r.at, r.value, r.note, r.tie) for r in rows]
        if model.detect == "flag":
            expected = model.load(rows, at)
            counted = story.load(*values, flags=[row.flagged for row in rows])
        elif model.detect == "missing":
            present = data.draw(st.frozensets(st.integers(1, 3)))
            ends_at = data.draw(st.integers(3, 9))
            known = {k for k, versions in model.history.items() if versions[-1].until is None}
            present &= known | {row.key for row in rows}  # others would be read again
            present = present if number > 1 else frozenset({1, 2, 3})
            expected = model.load(rows, at, present=present, ends_at=ends_at)
            counted = story.snapshot(sorted(present), *values, ends_at=str(ends_at))
        elif model.detect == "listed":
            told = data.draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), max_size=3))
            expected = model.load(rows, at, tombstones=told)
            counted = story.tombstones(told, *values)
        else:
            expected = model.load(rows, at)
            counted = story.load(*values)
        for name in ("flagged", "gone"):
            expected.pop(name, None)
        assert counted == dict(expected)
        assert found(destination, story) == model.history


QUIET = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Destination]:
    made = destination_at(tmp_path / "t.sqlite")
    yield made
    made.close()


@pytest.fixture
def duckdb(tmp_path: Path) -> Iterator[Destination]:
    made = destination_on(tmp_path / "t.duckdb", "main")
    yield made
    made.close()


@settings(QUIET, max_examples=20)
@given(loads=LOADS, kind=KINDS, data=st.data())
def test_sqlite_ends_as_the_model_says(
    sqlite: Destination,
    loads: list[list[Row]],
    kind: tuple[str, bool] | None,
    data: st.DataObject,
) -> None:
    check(sqlite, loads, kind, data)


@settings(QUIET, max_examples=5)
@given(loads=LOADS, kind=KINDS, data=st.data())
def test_duckdb_ends_as_the_model_says(
    duckdb: Destination,
    loads: list[list[Row]],
    kind: tuple[str, bool] | None,
    data: st.DataObject,
) -> None:
    check(duckdb, loads, kind, data)
