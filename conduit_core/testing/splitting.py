"""The part of a source's contract that is about splits: each kind claimed works, others don't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import ReadRequest, Snapshots, Source, StreamRef
from conduit_core.connectors.splits import WHOLE, Split, SplitBy
from conduit_core.engine.cutting import BoundsCheck
from conduit_core.errors import ConfigError, SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.torture import Case, tables

if TYPE_CHECKING:
    from conduit_core.testing.source import Fill

_FULL = Window("full")
_RANGE: Literal["range"] = "range"
_CUT_KINDS: tuple[Literal["range", "file"], ...] = ("range", "file")


def read_split(
    source: Source,
    ref: StreamRef,
    split: Split | None,
    window: Window = _FULL,
    snapshot: str | None = None,
) -> pa.Table:
    """Read one split whole, each batch checked against the split's bounds."""
    schema = source.describe(ref).schema
    request = ReadRequest(ref, schema, window, split=split, snapshot=snapshot)
    reading, bounds = source.read(request), BoundsCheck(split)
    batches = []
    try:
        for batch in reading.reader:
            bounds.check(batch)
            batches.append(batch)
    finally:
        reading.close()
    return pa.Table.from_batches(batches, schema)


def read_splits(
    source: Source, ref: StreamRef, by: SplitBy, window: Window = _FULL
) -> list[list[object]]:
    """Return the ids that each split holds."""
    return [
        read_split(source, ref, split, window).column("id").to_pylist() for split in by.splits()
    ]


def assert_together(parts: Sequence[Sequence[object]], ids: Sequence[object]) -> None:
    """Assert that the parts hold every row once; a failure shows a few of the rows that aren't."""
    found, wanted = Counter(value for part in parts for value in part), Counter(ids)
    lost, more = ([*(one - other)][:5] for one, other in ((wanted, found), (found, wanted)))
    assert (lost, more) == ([], []), f"rows are lost: {lost}; are there too often: {more}"


class SplitSuite:
    """What every source must do with splits; part of ``SourceSuite``, whose fixtures it uses."""

    unsupported: ClassVar[frozenset[str]]

    def test_kinds_that_are_not_claimed_are_refused_by_name(
        self, source: Source, fill: Fill
    ) -> None:
        ref = fill("t", pa.table({"id": [1, 2, 3]}))
        claimed = source.capabilities.splits
        kinds = {
            "range": SplitBy(kind="range", column="id", type="int64", cuts=("2",)),
            "hash": SplitBy(kind="hash", column="id", type="int64", buckets=2),
            "values": SplitBy(kind="values", column="id", type="int64", cuts=("2",)),
            "file": SplitBy(kind="file", cuts=("s",)),
        }
        assert claimed <= set(kinds)
        schema = source.describe(ref).schema
        for kind in set(kinds) - claimed:
            request = ReadRequest(ref, schema, _FULL, split=kinds[kind].splits()[0])
            with pytest.raises(ConfigError, match=f"can't be split by {kind}"):
                source.read(request)
        for cut_kind in _CUT_KINDS:
            if cut_kind not in claimed:
                with pytest.raises(ConfigError, match=f"can't be split by {cut_kind}"):
                    source.cut(ref, _FULL, cut_kind, "id", 2)

    def test_the_whole_split_is_everything(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [1, 2, 3]}))
        assert sorted(read_splits(source, ref, WHOLE)[0], key=str) == [1, 2, 3]

    # --- ranges ---------------------------------------------------------------------------------

    def test_ranges_hold_about_as_many_rows_each(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        ids = [*range(1, 51), *range(10**12, 10**12 + 50)]  # a gap: not by min and max
        ref = fill("t", pa.table({"id": ids}))
        by = source.cut(ref, _FULL, "range", "id", 10)
        assert (by.kind, by.column, by.count) == ("range", "id", 10)
        parts = read_splits(source, ref, by)
        assert_together(parts, [*ids])
        assert [len(part) for part in parts] == [10] * 10

    def test_ties_and_nulls_stay_in_one_range(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        keys = [None, *["m"] * 30, *[f"k{i:02}" for i in range(30)]]
        ref = fill("t", pa.table({"id": list(range(61)), "k": keys}))
        by = source.cut(ref, _FULL, "range", "k", 6)
        parts = read_splits(source, ref, by)
        assert 2 <= by.count <= 6
        assert_together(parts, list(range(61)))
        assert all(parts)
        assert 0 in parts[0]
        assert max(len(part) for part in parts) <= 30 + 61 // 6 + 1

    def test_there_are_no_more_ranges_than_values(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        ref = fill("t", pa.table({"id": [1, 2, 2, 3]}))
        by = source.cut(ref, _FULL, "range", "id", 1000)
        assert by.cuts == ("2", "3")
        assert_together(read_splits(source, ref, by), [1, 2, 2, 3])
        one = fill("one", pa.table({"id": [5, 5, 5]}))
        assert source.cut(one, _FULL, "range", "id", 8) == WHOLE

    def test_nothing_is_not_cut(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        ref = fill("t", pa.table({"id": pa.array([], pa.int64())}))
        assert source.cut(ref, _FULL, "range", "id", 8) == WHOLE

    def test_only_the_windows_rows_are_cut_and_read(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        ids = list(range(100))
        ref = replace(fill("t", pa.table({"id": ids, "k": [i % 7 for i in ids]})), cursor=("id",))
        low, high = (Cursor(("id",), (pa.scalar(v, pa.int64()),)) for v in (59, 79))
        window = Window("watermark", low, high)
        by = source.cut(ref, window, "range", "id", 4)
        assert by.count == 4
        parts = read_splits(source, ref, by, window)
        assert_together(parts, list(range(60, 80)))
        assert [len(part) for part in parts] == [5] * 4
        other = source.cut(ref, window, "range", "k", 3)
        assert_together(read_splits(source, ref, other, window), list(range(60, 80)))

    def test_ranges_of_every_type(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        for case, part, ids in self._by_type(fill):
            try:
                by = source.cut(part, _FULL, "range", case.name, 4)
            except SchemaError as error:
                assert case.name in error.message  # noqa: PT017 - some types have no order
                continue
            assert by == SplitBy.model_validate_json(by.model_dump_json())
            parts = read_splits(source, part, by)
            assert_together(parts, ids)
            assert all(parts), case.name

    def test_a_column_without_order_or_being_is_refused(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        ref = fill("t", pa.table({"id": [1, 2], "flag": [True, False]}))
        with pytest.raises(SchemaError, match="absent"):
            source.cut(ref, _FULL, "range", "absent", 2)

    def test_texts_are_compared_byte_by_byte(self, source: Source, fill: Fill) -> None:
        self._needs(source, "range")
        keys = ["Zoe", "adam", "zoe", "Ädam", "ädam", "\uffff", "\U0001f600", "", "a b", "a-b"]
        ref = fill("t", pa.table({"id": list(range(len(keys))), "k": keys}))
        by = source.cut(ref, _FULL, "range", "k", len(keys))
        assert by.count == len(keys)
        parts = read_splits(source, ref, by)
        in_order = [keys[int(str(part[0]))] for part in parts]
        assert in_order == sorted(keys, key=lambda key: key.encode())

    # --- hash, values ---------------------------------------------------------------------------

    def test_hashes_hold_every_row_once(self, source: Source, fill: Fill) -> None:
        self._needs(source, "hash")
        ids = list(range(400))
        keys = [None if i % 50 == 0 else f"key {i}" for i in ids]
        ref = fill("t", pa.table({"id": ids, "k": keys}))
        for column in ("id", "k"):
            by = SplitBy(kind="hash", column=column, buckets=4)
            parts = read_splits(source, ref, by)
            assert_together(parts, [*ids])
            assert min(len(part) for part in parts) > 40
            assert parts == read_splits(source, ref, by)

    def test_hashes_of_every_type(self, source: Source, fill: Fill) -> None:
        self._needs(source, "hash")
        for case, part, ids in self._by_type(fill):
            by = SplitBy(kind="hash", column=case.name, buckets=3)
            assert_together(read_splits(source, part, by), ids)

    def test_values_are_listed_and_the_rest_is_one(self, source: Source, fill: Fill) -> None:
        self._needs(source, "values")
        keys = ["eu", "us", None, "EU", "eu", "asia", "eu "]
        ref = fill("t", pa.table({"id": list(range(7)), "k": keys}))
        by = SplitBy(kind="values", column="k", cuts=("eu", "us", "none of these"))
        parts = [sorted(part, key=str) for part in read_splits(source, ref, by)]
        assert parts == [[0, 4], [1], [], [2, 3, 5, 6]]
        numbers = SplitBy(kind="values", column="id", type="int64", cuts=("3", "5"))
        parts = [sorted(part, key=str) for part in read_splits(source, ref, numbers)]
        assert parts == [[3], [5], [0, 1, 2, 4, 6]]

    # --- files ----------------------------------------------------------------------------------

    def test_files_are_balanced_by_bytes(self, source: Source, fill: Fill) -> None:
        self._needs(source, "file")
        names = [f"part_{i:02}" for i in range(12)]
        refs = [fill(name, pa.table({"id": [i]})) for i, name in enumerate(names)]
        path = (refs[0].path or "").replace("part_00", "part_*")
        ref = replace(refs[0], path=path)
        by = source.cut(ref, _FULL, "file", None, 4)
        assert by.count == 4
        parts = read_splits(source, ref, by)
        assert_together(parts, list(range(12)))
        assert [len(part) for part in parts] == [3] * 4
        assert source.cut(ref, _FULL, "file", None, 1000).count == 12
        assert source.cut(refs[0], _FULL, "file", None, 4) == WHOLE
        schema = source.describe(ref).schema
        first = source.read(ReadRequest(ref, schema, _FULL, split=by.splits()[0]))
        first.reader.read_all()
        first.close()
        assert len(first.files) == 3
        fill("part_055", pa.table({"id": [55]}))  # a file that came later is in one of them
        assert_together(read_splits(source, ref, by), [*range(12), 55])

    # --- snapshots ------------------------------------------------------------------------------

    def test_a_snapshot_is_one_moment(self, source: Source, fill: Fill) -> None:
        if not isinstance(source, Snapshots):
            pytest.skip("the source has no snapshots")
        ref = fill("t", pa.table({"id": [1, 2, 3, 4]}))
        by = source.cut(ref, _FULL, "range", "id", 2)
        one, other = by.splits()
        with source.snapshot() as held:
            assert read_split(source, ref, one, snapshot=held).num_rows == 2
            assert read_split(source, ref, other, snapshot=held).num_rows == 2

    def _by_type(self, fill: Fill) -> Iterator[tuple[Case, StreamRef, list[object]]]:
        """Return each case, what reads its column and ``id``, and the ids."""
        for name, (cases, table) in tables(self.unsupported).items():
            ref = fill(name, table)
            for case in cases:
                yield case, replace(ref, columns=("id", case.name)), list(range(table.num_rows))

    def _needs(self, source: Source, kind: str) -> None:
        if kind not in source.capabilities.splits:
            pytest.skip(f"the source isn't split by {kind}")
