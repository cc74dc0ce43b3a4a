"""The window predicate against a plain-Python model; SQLite evaluates the SQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, get_args

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.connectors.sql.predicate import window_predicate
from conduit_core.connectors.sqlite.file import Connection
from conduit_core.connectors.sqlite.types import SqliteDialect
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window, WindowKind

Row = tuple[Any, ...]

COLUMNS = ("a", 'b "q"', "select")
DOMAINS: tuple[tuple[int | str, ...], ...] = ((0, 1, 2, 3), ("", "A", "a", "é"), (-1, 0))
KINDS: tuple[pa.DataType, ...] = (pa.int64(), pa.string(), pa.int64())
ROWS: list[Row] = list(itertools.product(*[(None, *domain) for domain in DOMAINS]))
QUOTE = SqliteDialect().quote


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A table with every combination of values and NULLs."""
    made = Connection(tmp_path_factory.mktemp("predicate") / "rows.sqlite", "rwc")
    a, b, c = (QUOTE(name) for name in COLUMNS)
    made.execute(f"CREATE TABLE t ({a} INTEGER, {b} TEXT, {c} INTEGER)")
    columns = [pa.array([row[i] for row in ROWS], KINDS[i]) for i in range(3)]
    table = pa.Table.from_arrays(columns, names=["x", "y", "z"])
    made.insert("INSERT INTO t VALUES (?, ?, ?)", table.to_reader())
    yield made
    made.close()


def cursor(values: Row) -> Cursor:
    scalars = tuple(pa.scalar(v, kind) for v, kind in zip(values, KINDS, strict=False))
    return Cursor(COLUMNS[: len(values)], scalars)


def positions(width: int) -> st.SearchStrategy[Row]:
    return st.tuples(*[st.sampled_from(domain) for domain in DOMAINS[:width]])


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, int, Row | None, Row | None]:
    """A window, the number of its cursor columns, and its bounds as plain values."""
    width = draw(st.integers(1, 3))
    kind: WindowKind = draw(st.sampled_from(get_args(WindowKind)))
    bound_width = 1 if kind == "given" else width
    high = draw(st.none() | positions(bound_width))
    closed = kind == "watermark" and draw(st.booleans())
    low = None if kind == "full" else draw(st.none() | positions(1 if closed else bound_width))
    window = Window(
        kind,
        cursor(low) if low is not None else None,
        cursor(high) if high is not None else None,
        null_cursor=draw(st.booleans()),
        closed_low=closed and low is not None,
    )
    return window, width, low, high


def inside(window: Window, low: Row | None, high: Row | None, row: Row) -> bool:
    """Say whether a row without NULLs is in the window: Python compares tuples as cursors do."""
    if low is not None:
        start = row[: len(low)]
        if not (start >= low if window.kind == "given" or window.closed_low else start > low):
            return False
    if high is not None:
        start = row[: len(high)]
        if not (start < high if window.kind == "given" else start <= high):
            return False
    return True


def selected(connection: Connection, window: Window, width: int) -> set[Row]:
    where = window_predicate(window, COLUMNS[:width], QUOTE, lambda _n, _value: "?")
    names = ", ".join(QUOTE(name) for name in COLUMNS)
    sql = f"SELECT {names} FROM t" + (f" WHERE {where.sql}" if where.sql else "")
    return set(connection.rows(sql, where.values))


@given(windows())
def test_rows_are_in_the_window_as_the_model_says(
    connection: Connection, drawn: tuple[Window, int, Row | None, Row | None]
) -> None:
    window, width, low, high = drawn
    found = selected(connection, window, width)
    bounded = low is not None or high is not None
    for row in ROWS:
        seen = row[:width]
        if None not in seen:
            assert (row in found) == inside(window, low, high, seen)
        elif window.null_cursor or not bounded:
            assert row in found
        elif seen[0] is None:
            assert row not in found


@given(st.integers(1, 3).flatmap(lambda width: st.lists(positions(width), max_size=4)))
def test_windows_end_to_end_lose_and_double_nothing(
    connection: Connection, cuts: list[Row]
) -> None:
    width = len(cuts[0]) if cuts else 1
    bounds: list[Row | None] = [None, *sorted(set(cuts)), None]
    seen: list[Row] = []
    for low, high in itertools.pairwise(bounds):
        ends = [None if end is None else cursor(end) for end in (low, high)]
        part = selected(connection, Window("watermark", ends[0], ends[1]), width)
        seen.extend(row for row in part if None not in row[:width])
    assert len(seen) == len(set(seen))
    assert set(seen) == {row for row in ROWS if None not in row[:width]}
