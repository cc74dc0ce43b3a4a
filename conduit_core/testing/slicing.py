"""The parts of the contracts that are about slices by value: what is read, and what makes room."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination, ReadRequest, Source, StreamRef
from conduit_core.connectors.publish import AppendStaged, DeleteWindow
from conduit_core.connectors.splits import WHOLE, SplitBy
from conduit_core.engine.slices import can_slice
from conduit_core.state.cursor import Cursor
from conduit_core.state.only import Only
from conduit_core.state.window import Window
from conduit_core.testing.doubles import publish, record
from conduit_core.testing.fixtures import DestinationFixtures, commit, load, scan
from conduit_core.testing.splitting import assert_together
from conduit_core.types.dialect import Table

if TYPE_CHECKING:
    from conduit_core.testing.source import Fill

TEXTS = (
    "eu", "EU", "eu ", " eu", "e'u", 'e"u', "e''u", "'; DROP TABLE t; --", "%", "e_", "\\", "$1",
    "?", "{}", ":a", "", "ü", "u\u0308", "ß", "SS", "日本", "\U0001f600", "a\tb", "0", "00", "NULL",
    "é" * 300,
)  # fmt: skip
"""Texts that are equal to themselves alone."""

_COLUMNS: dict[str, pa.Array[Any]] = {
    "text": pa.array([*TEXTS, None, "eu"]),
    "number": pa.array([0, 1, -1, 2**53, 2**53 + 1, 2**62, None, 1], pa.int64()),
    "truth": pa.array([True, False, None, True]),
    "digits": pa.array(
        [
            Decimal("1.10"),
            Decimal("1.01"),
            Decimal("-1.10"),
            Decimal("0.00"),
            None,
            Decimal("1.10"),
        ],
        pa.decimal128(12, 2),
    ),
    "day": pa.array([date(2024, 2, 29), date(2024, 3, 1), None, date(2024, 3, 1)]),
    "moment": pa.array(
        [datetime(2024, 3, 31, 1, 0, 0, n, UTC) for n in (0, 1, 999_999)] + [None],
        pa.timestamp("us", "UTC"),
    ),
    "local": pa.array(
        [datetime(2024, 3, 31, 2, 30, 0, n) for n in (0, 1, 999_999)] + [None],  # noqa: DTZ001
        pa.timestamp("us"),
    ),
}


def _table(name: str) -> pa.Table:
    column = _COLUMNS[name]
    return pa.table({"id": pa.array(range(len(column)), pa.int64()), "k": column})


def _given(*values: pa.Scalar[Any], low: int | None = None, high: int | None = None) -> Window:
    return Window("given", _at(low), _at(high), only=Only.of("k", values))


def _at(bound: int | None) -> Cursor | None:
    return None if bound is None else Cursor(("id",), (pa.scalar(bound, pa.int64()),))


def _distinct(table: pa.Table) -> list[pa.Scalar[Any]]:
    column = table.column("k").unique()
    return [value for value in column if value.is_valid]


def _having(table: pa.Table, *values: pa.Scalar[Any]) -> list[int]:
    """Return the ids of the rows with one of the values, by Python's own equality."""
    wanted = [value.as_py() for value in values]
    rows = table.to_pylist()
    return sorted(row["id"] for row in rows if row["k"] is not None and row["k"] in wanted)


class SourceSlices:
    """What a source that ``slices`` must do; part of ``SourceSuite``, whose fixtures it uses."""

    unsupported: ClassVar[frozenset[str]]

    @pytest.mark.parametrize("name", _COLUMNS)
    def test_a_slice_by_value_holds_its_rows_and_no_others(
        self, source: Source, fill: Fill, name: str
    ) -> None:
        if name == "digits" and "decimal_9_2" in self.unsupported:
            pytest.skip("the source has no such type")
        ref = self._filled(source, fill, name)
        whole = _read(source, ref, Window("full"))
        if not can_slice(whole.schema.field("k")):
            pytest.skip("the source has no such type")
        values = _distinct(whole)
        assert values
        for value in values:
            assert _ids(_read(source, ref, _given(value))) == _having(whole, value)
        some = values[::2]
        assert _ids(_read(source, ref, _given(*some))) == _having(whole, *some)

    def test_a_slice_by_value_within_a_window(self, source: Source, fill: Fill) -> None:
        ref = replace(self._filled(source, fill, "text"), cursor=("id",))
        whole = _read(source, ref, Window("full"))
        eu = pa.scalar("eu", whole.schema.field("k").type)
        last = whole.num_rows - 1
        assert _having(whole, eu) == [0, last]
        assert _ids(_read(source, ref, _given(eu, low=1))) == [last]
        assert _ids(_read(source, ref, _given(eu, low=0, high=last))) == [0]

    def test_a_slice_by_value_of_many_rows(self, source: Source, fill: Fill) -> None:
        """More than a page has, with rows of the value on each."""
        if not source.capabilities.slices:
            pytest.skip("not claimed")
        ids = range(12_000)
        ref = fill("t", pa.table({"id": ids, "k": [("eu", "us", "asia")[n % 3] for n in ids]}))
        us = pa.scalar("us", source.describe(ref).schema.field("k").type)
        assert_together([_ids(_read(source, ref, _given(us)))], ids[1::3])

    def test_a_slice_by_a_value_that_is_nowhere_is_empty(self, source: Source, fill: Fill) -> None:
        ref = self._filled(source, fill, "text")
        kind = source.describe(ref).schema.field("k").type
        assert _read(source, ref, _given(pa.scalar("nowhere", kind))).num_rows == 0

    def test_the_splits_of_a_slice_by_value_are_the_slice(self, source: Source, fill: Fill) -> None:
        ref = self._filled(source, fill, "number")
        whole = _read(source, ref, Window("full"))
        some = _distinct(whole)[1:4]
        window, kinds = _given(*some), source.capabilities.splits
        cuts: list[SplitBy] = [WHOLE]
        if "range" in kinds:
            cuts.append(source.cut(ref, window, "range", "id", 2))
        if "file" in kinds:
            cuts.append(source.cut(ref, window, "file", None, 2))
        if "hash" in kinds:
            cuts.append(SplitBy(kind="hash", column="id", type="int64", buckets=3))
        if "values" in kinds:
            cuts.append(SplitBy(kind="values", column="id", type="int64", cuts=("1", "7")))
        for by in cuts:
            parts = [_ids(_read(source, ref, window, split)) for split in by.splits()]
            assert sorted(i for part in parts for i in part) == _having(whole, *some)

    def _filled(self, source: Source, fill: Fill, name: str) -> StreamRef:
        if not source.capabilities.slices:
            pytest.skip("not claimed")
        return fill("t", _table(name))


def _read(source: Source, ref: StreamRef, window: Window, split: Any = None) -> pa.Table:
    part = None if split is None or split.kind == "whole" else split
    reading = source.read(ReadRequest(ref, source.describe(ref).schema, window, split=part))
    try:
        return reading.reader.read_all()
    finally:
        reading.close()


def _ids(table: pa.Table) -> list[int]:
    return sorted(int(row["id"]) for row in table.to_pylist())


class SliceContract(DestinationFixtures):
    """What a destination that ``slices_by`` a column must do."""

    @pytest.mark.parametrize("name", _COLUMNS)
    def test_delete_window_takes_the_rows_that_have_a_value(
        self, destination: Destination, schema: str, name: str
    ) -> None:
        table = _table(name)
        rows = load(destination, schema, "t", table)
        self._needs(destination, schema, rows)
        there = rows.to_pylist()
        for value in _distinct(rows):
            made = record("t", schema, window=_given(value))
            same = rows.filter(pa.compute.equal(rows.column("k"), value))
            delete = DeleteWindow(window=made.load_window)
            done = commit(destination, publish(made, rows.schema, delete, AppendStaged()), same)
            assert done.record is not None
            assert (done.record.counts.removed, done.record.counts.inserted) == (len(same),) * 2
            assert done.record.is_given
            assert scan(destination, schema, "t").to_pylist() == there

    def test_delete_window_keeps_to_a_window_and_a_value(
        self, destination: Destination, schema: str
    ) -> None:
        table = pa.table({"id": [1, 2, 3, 4, 5], "k": ["eu", "us", "eu", None, "EU"]})
        rows = load(destination, schema, "t", table)
        self._needs(destination, schema, rows)
        eu = pa.scalar("eu")
        for window, left in (
            (_given(eu, low=2, high=5), [1, 2, 4, 5]),
            (_given(eu, pa.scalar("us"), high=3), [4, 5]),
            (_given(pa.scalar("nowhere")), [4, 5]),
        ):
            made = record("t", schema, window=window)
            plan = publish(made, rows.schema, DeleteWindow(window=made.load_window), AppendStaged())
            assert destination.render(plan)
            commit(destination, plan, rows.slice(0, 0))
            assert scan(destination, schema, "t").column("id").to_pylist() == left
        assert [r.is_given for r in destination.records(Table(schema, "t"))] == [False, True, True]

    def _needs(self, destination: Destination, schema: str, rows: pa.Table) -> None:
        shape = destination.describe(Table(schema, "t"))
        assert shape is not None
        (ddl,) = (column.ddl for column in shape.columns if column.name == "k")
        if not destination.slices_by(rows.schema.field("k"), ddl):
            pytest.skip("not claimed")
