"""Bounds and windows of every kind of cursor, against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd  # noqa: TID253 - what is tested
import polars as pl  # noqa: TID253
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit_core.connectors.base import ReadRequest, StreamRef
from conduit_core.connectors.frames import Data, FrameSource
from conduit_core.errors import SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window

START = datetime(2024, 3, 31, 0, 59, 59)  # noqa: DTZ001 - a time without a zone
KINDS: dict[str, tuple[pa.DataType, Callable[[int], object]]] = {
    "int": (pa.int32(), lambda i: i),
    "float": (pa.float64(), lambda i: i / 4),
    "decimal": (pa.decimal128(9, 2), lambda i: Decimal(i) / 4),
    "date": (pa.date32(), lambda i: date(2024, 2, 28) + timedelta(days=i)),
    "timestamp": (pa.timestamp("us"), lambda i: START + timedelta(microseconds=i)),
    "zoned": (
        pa.timestamp("ms", "Europe/Oslo"),
        lambda i: (START + timedelta(hours=i)).replace(tzinfo=UTC),
    ),
    "time": (pa.time64("us"), lambda i: time(1, 2, 3, i)),
    "text": (pa.string(), lambda i: "ab"[i % 2] + str(i)),
    "large": (pa.large_string(), str),
    "binary": (pa.binary(), lambda i: bytes([i])),
}
WAYS: dict[str, Callable[[pa.Table], object]] = {
    "table": lambda table: table,
    "parts": lambda table: (table.slice(i, 3) for i in range(0, max(len(table), 1), 3)),
    "polars": pl.DataFrame,
    "pandas": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
}
spots = st.none() | st.integers(0, 6)


def source(table: pa.Table, way: str) -> FrameSource:
    return FrameSource("frames:x/t", {"t": Data(WAYS[way](table))})


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    way=st.sampled_from(sorted(WAYS)),
    some=st.lists(st.tuples(spots, st.integers(0, 3)), max_size=12),
    low=st.none() | st.tuples(st.integers(0, 6), st.integers(0, 3)),
    high=spots,
    closed=st.booleans(),
)
def test_bounds_and_windows(
    kind: str,
    way: str,
    some: list[tuple[int | None, int]],
    low: tuple[int, int] | None,
    high: int | None,
    closed: bool,
) -> None:
    arrow, value = KINDS[kind]
    column = [None if at is None else value(at) for at, _ in some]
    ids = pa.array(range(len(some)), pa.int64())
    table = pa.table({"id": ids, "at": pa.array(column, arrow), "k": [k for _, k in some]})
    table = table.set_column(2, "k", table.column("k").cast(pa.int64()))
    made = source(table, way)
    ref = StreamRef(table="t", cursor=("at", "k"))
    shape = made.describe(ref)

    def cursor(at: int, k: int | None = None) -> Cursor:
        first: Any = pa.scalar(value(at), arrow).cast(shape.cursor_types[0])
        values = (first,) if k is None else (first, pa.scalar(k, shape.cursor_types[1]))
        return Cursor(ref.cursor[: len(values)], values)

    order: Any = {spot: value(spot) for spot in range(7)}
    keys = [(order[at], k) for at, k in some if at is not None]
    cap = None if high is None else cursor(high)
    bounds = made.bounds(ref, None, cap)
    under = [key for key in keys if high is None or key[0] <= order[high]]
    expected = max(under, default=None)
    assert bounds.null_rows == sum(at is None for at, _ in some)
    if expected is None:
        assert bounds.high is None
    else:
        spot = next(s for s, v in order.items() if v == expected[0])
        assert bounds.high is not None
        assert bounds.high.compare(cursor(spot, expected[1])) == 0

    def read(window: Window) -> list[int]:
        request = ReadRequest(ref, shape.schema, window, batch_bytes=64)
        return list(made.read(request).reader.read_all().column("id").to_pylist())

    since = low and (order[low[0]], low[1])
    rows = [(i, (order[at], k)) for i, (at, k) in enumerate(some) if at is not None]
    window = Window("watermark", low and cursor(*low), bounds.high, closed_low=closed)
    wanted = [
        i
        for i, key in rows
        if (since is None or key > since or (closed and key == since))
        and (expected is None or key <= expected)
    ]
    if window.low is None and window.high is None:
        wanted = list(range(len(some)))
    assert read(window) == wanted
    if low is not None and high is not None:
        given_ = Window("given", cursor(low[0]), cursor(high))
        wanted = [i for i, key in rows if order[low[0]] <= key[0] < order[high]]
        assert read(given_) == wanted


def test_a_cursor_without_an_order_is_refused() -> None:
    made = source(pa.table({"at": pa.array([[1]])}), "table")
    with pytest.raises(SchemaError, match=r"cursor column 'at' is list.*, which has no order"):
        made.describe(StreamRef(table="t", cursor=("at",)))


def test_the_clock_stood_when_the_data_was_given() -> None:
    before = datetime.now(UTC)
    made = source(pa.table({"id": [1]}), "table")
    after = datetime.now(UTC)
    clock = made.bounds(StreamRef(table="t", cursor=("id",)), None, None).clock
    assert clock is not None
    assert before <= clock <= after
