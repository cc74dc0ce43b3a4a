"""The contract of a source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar, Literal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import ReadRequest, Source, StreamRef
from conduit_core.errors import ConduitError, ConnectionFailedError, SchemaError
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import whole
from conduit_core.testing.slicing import SourceSlices
from conduit_core.testing.splitting import SplitSuite, assert_together
from conduit_core.testing.torture import NAMES, plain, tables
from conduit_core.types.casts import cast_column

Connect = Callable[[], Source]
Fill = Callable[[str, pa.Table], StreamRef]
FULL = Window("full")
_MANY = 12_000
"""More rows than most systems put into one page or one answer: 10,000 is a usual limit."""


def read(source: Source, ref: StreamRef, window: Window = FULL) -> pa.Table:
    """Read a window whole, in the types that ``describe`` says."""
    reading = source.read(ReadRequest(ref, source.describe(ref).schema, window))
    try:
        return reading.reader.read_all()
    finally:
        reading.close()


def at(*values: int | str, columns: tuple[str, ...] = ("id",)) -> Cursor:
    """Return a cursor over whole numbers and texts."""
    kinds = [pa.int64() if isinstance(v, int) else pa.string() for v in values]
    scalars = tuple(pa.scalar(v, kind) for v, kind in zip(values, kinds, strict=True))
    return Cursor(columns, scalars)


def _many(ids: Sequence[int]) -> pa.Table:
    """Return a row for each id, with a text by which it is known."""
    return pa.table({"id": ids, "v": [f"the text of row {n}" for n in ids]})


def _assert_many(found: pa.Table, ids: Sequence[int]) -> None:
    """Assert that each of these rows is there once, with its own text: a count would hide both."""
    there = found.column("id").to_pylist()
    assert_together([there], ids)
    texts = zip(there, found.column("v").to_pylist(), strict=True)
    assert [n for n, text in texts if text != f"the text of row {n}"][:5] == []


class SourceSuite(SplitSuite, SourceSlices):
    """What every source must do. Subclass it and supply fixtures.

    Fixtures:
        connect: ``Callable[[], Source]``: makes a source on a place that is empty when the test
            begins; each call another object, of the same options. The suite closes it.
        fill: ``Callable[[str, pa.Table], StreamRef]``: puts a table under a name into that place,
            by other means than the source's own code, and returns the reference that reads it
            (table or path; no cursor). Filling a name again replaces it. Column types should be
            the nearest that the system has.
        break_connection: optional, ``Callable[[], None]``: breaks what a read that is under way
            reads from, so that it fails before its next page. Without it, that test is skipped.

    Class attributes:
        unsupported: names of ``conduit_core.testing.torture.CASES`` that the system has no
            type for (or whose values it can't hold), so that ``fill`` isn't asked for them.
        any_name: whether any identifier names a table (not so where tables are files).
        null_cursors: whether a column can hold NULL among values.
    """

    unsupported: ClassVar[frozenset[str]] = frozenset()
    any_name: ClassVar[bool] = True
    null_cursors: ClassVar[bool] = True

    @pytest.fixture
    def connect(self) -> Connect:
        """What makes a source on the test's place."""
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def source(self, connect: Connect) -> Iterator[Source]:
        """The source under test, on an empty place, closed after the test."""
        made = connect()
        yield made
        made.close()

    @pytest.fixture
    def fill(self) -> Fill:
        """What puts a table under a name into that place, and returns its reference."""
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def break_connection(self) -> Callable[[], None]:
        """What breaks the connection that a read goes over."""
        pytest.skip("the subclass has no break_connection")

    # --- looking --------------------------------------------------------------------------------

    def test_check_finds_nothing_wrong(self, source: Source, fill: Fill) -> None:
        fill("t", pa.table({"id": [1]}))
        items = source.check()
        assert items
        assert [item for item in items if not item.ok] == []
        assert all(item.name and item.detail for item in items)

    def test_two_objects_are_one_source(self, connect: Connect, fill: Fill) -> None:
        """State goes by the identity: one that changed would begin every load anew."""
        one = connect()
        identity = one.identity
        ref = fill("t", pa.table({"id": [1, 2]}))
        assert identity
        assert read(one, ref).num_rows == 2
        other = connect()
        try:
            assert [one.identity, other.identity] == [identity] * 2
        finally:
            one.close()
            other.close()

    def test_discover_names_what_a_stream_can_write(self, source: Source, fill: Fill) -> None:
        fill("one", pa.table({"id": [1, 2], "v": ["a", "b"]}))
        fill("two", pa.table({"id": [1], "w": [1.5]}))
        relations = source.discover()
        tables = "table" in source.capabilities.kinds
        found = {tuple(relation.schema.names) for relation in relations}
        assert {("id", "v"), ("id", "w")} <= found
        for relation in relations:
            name = relation.name
            ref = StreamRef(table=name) if tables else StreamRef(path=name)
            assert source.describe(ref).schema.equals(relation.schema, check_metadata=True)

    def test_describe_says_what_reading_gives(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [1, 2], "v": ["a", None], "w": [1.5, 2.5]}))
        shape = source.describe(ref)
        assert shape.schema.names == ["id", "v", "w"]
        assert shape.rows_estimate is None or shape.rows_estimate >= 0
        assert read(source, ref).schema.equals(shape.schema, check_metadata=True)

    def test_columns_are_chosen_in_the_order_asked_for(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [1, 2], "v": ["a", "b"], "w": [1.5, 2.5]}))
        some = replace(ref, columns=("w", "id"))
        assert read(source, some).to_pydict() == {"w": [1.5, 2.5], "id": [1, 2]}

    def test_a_column_that_does_not_exist_is_named(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [1], "v": ["a"]}))
        with pytest.raises(SchemaError, match="absent"):
            source.describe(replace(ref, columns=("id", "absent")))
        with pytest.raises(SchemaError, match="absent"):
            source.describe(replace(ref, cursor=("absent",)))

    def test_a_relation_that_does_not_exist_is_named(self, source: Source, fill: Fill) -> None:
        ref = fill("there", pa.table({"id": [1]}))
        gone = replace(
            ref,
            table=ref.table and ref.table.replace("there", "absent"),
            path=ref.path and ref.path.replace("there", "absent"),
        )
        with pytest.raises(ConduitError, match="absent"):
            source.describe(gone)

    def test_a_column_that_holds_null_says_so(self, source: Source, fill: Fill) -> None:
        """In the first row or in the last of many; a target's column would be NOT NULL."""
        texts = ["a"] * (_MANY - 1)
        columns = {"id": [*range(_MANY)], "first": [None, *texts], "last": [*texts, None]}
        found = read(source, fill("t", pa.table(columns)))
        holding = {n for n in found.schema.names if found.column(n).null_count}
        assert holding <= {field.name for field in found.schema if field.nullable}

    # --- values ---------------------------------------------------------------------------------

    def test_values_are_read_exactly(self, source: Source, fill: Fill) -> None:
        for name, (cases, table) in tables(self.unsupported).items():
            found = read(source, replace(fill(name, table), cursor=("id",))).sort_by("id")
            assert found.column("id").to_pylist() == table.column("id").to_pylist()
            wrong = {}
            for case in cases:
                column = whole(found.column(case.name))
                assert found.schema.field(case.name).nullable or not column.null_count
                if pa.types.is_null(case.field.type):
                    if column.null_count != len(column):
                        wrong[case.name] = column
                    continue
                values = cast_column(column, case.field.type, case.name)
                if plain(pa.chunked_array([values])) != plain(table.column(case.name)):
                    wrong[case.name] = values
            assert wrong == {}

    def test_an_empty_relation(self, source: Source, fill: Fill) -> None:
        table = pa.table({"id": pa.array([], pa.int64()), "v": pa.array([], pa.string())})
        ref = replace(fill("t", table), cursor=("id",))
        assert read(source, ref).num_rows == 0
        assert source.bounds(ref, None, None).high is None

    def test_five_hundred_columns(self, source: Source, fill: Fill) -> None:
        table = pa.table({"id": [1, 2], **{f"c{i}": [i, -i] for i in range(499)}})
        ref = fill("t", table)
        assert read(source, ref).to_pydict() == table.to_pydict()

    def test_identifiers(self, source: Source, fill: Fill) -> None:
        table = pa.table({"id": [1, 2], **{name: ["a", "b"] for name in NAMES}})
        ref = replace(fill("t", table), cursor=("id",))
        assert read(source, ref).to_pydict() == table.to_pydict()
        for name in NAMES:
            by_name = replace(ref, cursor=(name, "id"))
            high = source.bounds(by_name, None, None).high
            assert high is not None
            assert high.to_json() == at("b", 2, columns=(name, "id")).to_json()
            low = at("a", 1, columns=(name, "id"))
            assert read(source, by_name, Window("watermark", low, high)).num_rows == 1
        named = NAMES if self.any_name else ()
        refs = {name: fill(name, table.select(["id", name])) for name in named}
        for name, alone in refs.items():
            assert read(source, alone).to_pydict() == table.select(["id", name]).to_pydict()

    # --- windows --------------------------------------------------------------------------------

    def test_bounds_are_the_last_row_of_all(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [3, 1, 2], "k": ["a", "b", "c"]}))
        bounds = source.bounds(replace(ref, cursor=("id",)), None, None)
        assert bounds.high == at(3)
        assert bounds.null_rows == 0
        assert bounds.rows_estimate in (None, 3)

    def test_bounds_compare_column_by_column(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [1, 2, 2, 1], "k": ["z", "a", "b", "y"]}))
        bounds = source.bounds(replace(ref, cursor=("id", "k")), None, None)
        assert bounds.high == at(2, "b", columns=("id", "k"))

    def test_bounds_stop_at_a_cap(self, source: Source, fill: Fill) -> None:
        ref = replace(fill("t", pa.table({"id": [1, 2, 5]})), cursor=("id",))
        assert source.bounds(ref, None, at(2)).high == at(2)
        assert source.bounds(ref, None, at(4)).high == at(2)
        assert source.bounds(ref, None, at(0)).high is None

    def test_a_cap_is_inclusive_for_every_row_of_its_value(
        self, source: Source, fill: Fill
    ) -> None:
        table = pa.table({"id": [1, 2, 2, 3], "k": ["a", "b", "c", "d"]})
        ref = replace(fill("t", table), cursor=("id", "k"))
        high = source.bounds(ref, None, at(2)).high
        assert high == at(2, "c", columns=("id", "k"))

    def test_a_watermark_window_is_open_below_and_closed_above(
        self, source: Source, fill: Fill
    ) -> None:
        ref = replace(fill("t", pa.table({"id": [1, 2, 3, 4, 5]})), cursor=("id",))

        def window(
            low: Cursor | None, high: Cursor | None, *, closed: bool = False
        ) -> list[object]:
            asked = Window("watermark", low, high, closed_low=closed)
            return sorted(read(source, ref, asked).column("id").to_pylist(), key=str)

        assert window(at(2), at(4)) == [3, 4]
        assert window(None, at(2)) == [1, 2]
        assert window(at(4), None) == [5]
        assert window(at(5), at(5)) == []
        assert window(at(2), at(3), closed=True) == [2, 3]

    def test_ties_are_neither_lost_nor_doubled(self, source: Source, fill: Fill) -> None:
        rows = [(a, k) for a in (1, 2, 3) for k in ("a", "b", "c")]
        table = pa.table({"id": [a for a, _ in rows], "k": [k for _, k in rows]})
        ref = replace(fill("t", table), cursor=("id", "k"))
        cuts = [None, at(1, "b", columns=("id", "k")), at(2, "c", columns=("id", "k")), None]
        seen: list[tuple[object, object]] = []
        for low, high in pairwise(cuts):
            part = read(source, ref, Window("watermark", low, high)).to_pylist()
            seen.extend((row["id"], row["k"]) for row in part)
        assert sorted(seen) == sorted(rows)

    def test_a_given_window_is_closed_below_and_open_above(
        self, source: Source, fill: Fill
    ) -> None:
        table = pa.table({"id": [1, 2, 2, 3], "k": ["a", "b", "c", "d"]})
        ref = replace(fill("t", table), cursor=("id", "k"))
        part = read(source, ref, Window("given", at(2), at(3)))
        assert sorted(part.column("k").to_pylist(), key=str) == ["b", "c"]
        assert read(source, ref, Window("given", at(4), at(9))).num_rows == 0

    def test_a_full_window_may_end_at_a_bound(self, source: Source, fill: Fill) -> None:
        ref = replace(fill("t", pa.table({"id": [1, 2, 3]})), cursor=("id",))
        assert read(source, ref, Window("full", high=at(2))).num_rows == 2
        assert read(source, ref).num_rows == 3

    @pytest.mark.parametrize("zone", [None, "UTC"])
    @pytest.mark.parametrize("unit", ["ms", "us", "ns"])
    def test_time_windows_keep_every_digit(
        self, source: Source, fill: Fill, unit: Literal["ms", "us", "ns"], zone: str | None
    ) -> None:
        case = f"timestamp_{unit}_utc" if zone else f"timestamp_{unit}"
        if case in self.unsupported:
            pytest.skip(f"the system has no place for {case}")
        start = pa.scalar("2024-03-10T01:59:59.999", pa.string()).cast(pa.timestamp("ms"))
        ticks = start.cast(pa.timestamp(unit)).cast(pa.int64()).as_py()
        assert ticks is not None
        numbers = pa.array([ticks, ticks + 1, ticks + 2], pa.int64())
        moments = numbers.cast(pa.timestamp(unit, tz=zone))
        table = pa.table({"id": [1, 2, 3], "at": moments})
        ref = replace(fill("t", table), cursor=("at",))
        kind = source.describe(ref).cursor_types[0]
        low, high = (Cursor(("at",), (moments[i].cast(kind),)) for i in (0, 1))
        assert read(source, ref, Window("watermark", low, high)).column("id").to_pylist() == [2]
        assert read(source, ref, Window("given", low, high)).column("id").to_pylist() == [1]
        newest = source.bounds(ref, low, None).high
        assert newest is not None
        again = Cursor.from_json(newest.to_json())
        assert read(source, ref, Window("watermark", again, None)).num_rows == 0

    def test_null_cursors_are_counted_and_read_if_asked_for(
        self, source: Source, fill: Fill
    ) -> None:
        if not self.null_cursors:
            pytest.skip("the system has no NULL")
        table = pa.table({"id": [1, 2, None, 3], "k": ["a", None, "c", "d"]})
        ref = replace(fill("t", table), cursor=("id", "k"))
        bounds = source.bounds(ref, None, None)
        assert bounds.null_rows == 2
        assert bounds.high == at(3, "d", columns=("id", "k"))
        window = Window("watermark", at(1, "a", columns=("id", "k")), bounds.high)
        found = read(source, ref, window).column("id").to_pylist()
        assert 3 in found
        assert None not in found
        found = read(source, ref, replace(window, null_cursor=True)).column("id").to_pylist()
        assert sorted(found, key=str) == [2, 3, None]

    # --- reading --------------------------------------------------------------------------------

    def test_batches_are_bounded(self, source: Source, fill: Fill) -> None:
        ids = range(200_000)
        ref = fill("t", _many(ids))
        request = ReadRequest(ref, source.describe(ref).schema, FULL, batch_bytes=256 * 1024)
        reading = source.read(request)
        batches = list(reading.reader)
        reading.close()
        _assert_many(pa.Table.from_batches(batches, request.schema), ids)
        assert max(batch.nbytes for batch in batches) <= 4 * 256 * 1024

    def test_a_window_of_many_rows_is_read_to_its_end(self, source: Source, fill: Fill) -> None:
        """They come in no order, so that each page has rows of each window."""
        ids = [(n * 7919 - 1) % _MANY for n in range(1, _MANY + 1)]
        (late, last), cap = ids[-2:], _MANY - 10
        ref = replace(fill("t", _many(ids)), cursor=("id",))
        for window, inside in (
            (FULL, range(_MANY)),
            (Window("full", high=at(cap)), range(cap + 1)),
            (Window("watermark", at(2)), range(3, _MANY)),
            (Window("watermark", None, at(cap)), range(cap + 1)),
            (Window("watermark", at(2), at(cap)), range(3, cap + 1)),
            (Window("watermark", at(2), at(cap), closed_low=True), range(2, cap + 1)),
            (Window("given", at(2), at(cap)), range(2, cap)),
        ):
            _assert_many(read(source, ref, window), inside)
        for low in (None, at(2)):
            assert source.bounds(ref, low, None).high == at(last) == at(_MANY - 1)
            assert source.bounds(ref, low, at(late)).high == at(late)

    def test_many_rows_without_a_cursor_are_counted_and_read(
        self, source: Source, fill: Fill
    ) -> None:
        if not self.null_cursors:
            pytest.skip("the system has no NULL")
        ids = range(_MANY)
        times = [n if n % 3 else None for n in ids]
        table = _many(ids).append_column("at", pa.array(times, pa.int64()))
        ref = replace(fill("t", table), cursor=("at",))
        bounds = source.bounds(ref, None, None)
        low, high = (at(n, columns=("at",)) for n in (_MANY - 100, _MANY - 1))
        assert (bounds.null_rows, bounds.high) == (_MANY // 3, high)
        window = Window("watermark", low, high, null_cursor=True)
        inside = [n for n in ids if n > _MANY - 100 or times[n] is None]
        _assert_many(read(source, ref, window), inside)

    def test_a_read_may_stop_half_way(self, source: Source, fill: Fill) -> None:
        ids = range(100_000)
        ref = fill("t", _many(ids))
        request = ReadRequest(ref, source.describe(ref).schema, FULL, batch_bytes=64 * 1024)
        reading = source.read(request)
        assert reading.reader.read_next_batch().num_rows > 0
        reading.close()
        reading.close()
        _assert_many(read(source, ref), ids)

    def test_a_read_that_breaks_off_fails(
        self, source: Source, fill: Fill, break_connection: Callable[[], None]
    ) -> None:
        """Else it would end short, and the load would publish that as all there is."""
        ref = fill("t", _many(range(_MANY)))
        request = ReadRequest(ref, source.describe(ref).schema, FULL, batch_bytes=16 * 1024)
        reading = source.read(request)
        try:
            assert reading.reader.read_next_batch().num_rows < _MANY
            break_connection()
            with pytest.raises(ConnectionFailedError):
                reading.reader.read_all()
        finally:
            reading.close()
        try:
            high = source.bounds(replace(ref, cursor=("id",)), None, None).high
        except ConnectionFailedError:
            return
        assert high == at(_MANY - 1)  # it has another way to the last row

    def test_two_reads_at_once(self, source: Source, fill: Fill) -> None:
        asked = {"one": range(50_000), "two": range(50_000, 100_000)}
        refs = {name: fill(name, _many(ids)) for name, ids in asked.items()}
        found: dict[str, pa.Table] = {}

        def take(name: str) -> None:
            found[name] = read(source, refs[name])

        threads = [threading.Thread(target=take, args=(name,)) for name in refs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert set(found) == set(asked)
        for name, ids in asked.items():
            _assert_many(found[name], ids)

    def test_a_relation_that_changed_since_the_plan_is_refused(
        self, source: Source, fill: Fill
    ) -> None:
        ref = fill("t", pa.table({"id": [1], "v": ["a"]}))
        schema = source.describe(ref).schema
        fill("t", pa.table({"id": [1], "other": ["a"]}))
        with pytest.raises(ConduitError, match="v"):
            source.read(ReadRequest(ref, schema, FULL)).reader.read_all()

    def test_closing_twice_and_going_on(self, source: Source, fill: Fill) -> None:
        ref = fill("t", pa.table({"id": [1]}))
        source.close()
        source.close()
        assert read(source, ref).num_rows == 1
