"""What a destination must do with keys: merge, keep the newest, count each row at its place."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import (
    Action,
    AppendStaged,
    CreateTable,
    DeleteMatching,
    KeepNewest,
    MergeStaged,
    Publish,
    ReplaceWithStaged,
)
from conduit_core.errors import ConduitError, PublishError, SourceDataError
from conduit_core.state.ledger import Counts
from conduit_core.testing.doubles import columns_of, landed, publish, record
from conduit_core.testing.fixtures import DestinationFixtures, commit, ids, load, scan

_ROWS = pa.table({"id": [1, 2, 3], "at": [10, 20, 30], "v": ["a", "b", None]})
_STRUCT = pa.struct([pa.field("a", pa.int64()), pa.field("b", pa.list_(pa.string()))])
_COMPARE = ("id", "at", "v")


def _arriving(*rows: tuple[int | None, int | None, str | None]) -> pa.Table:
    kinds = _ROWS.schema
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, kinds, strict=True)], schema=kinds
    )


def _merge(**changes: object) -> MergeStaged:
    fields: dict[str, object] = {"key": ("id",), "order": ("at",), "compare": _COMPARE, **changes}
    return MergeStaged.model_validate(fields)


def _publish(schema: str, table: pa.Table, *actions: Action) -> Publish:
    return publish(record("t", schema), table.schema, *actions)


def _counts(destination: Destination, plan: Publish, table: pa.Table) -> dict[str, int]:
    done = commit(destination, plan, landed(destination, table))
    assert done.record is not None
    return {k: n for k, n in done.record.counts.model_dump().items() if n}


def _rows(destination: Destination, schema: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in scan(destination, schema, "t").to_pylist()]


class MergeContract(DestinationFixtures):
    """``merge_staged`` and ``keep_newest``, where a destination claims them."""

    @pytest.fixture
    def merging(self, destination: Destination) -> Destination:
        """The destination, if it claims to merge."""
        if not {"keep_newest", "merge_staged"} <= destination.capabilities.actions:
            pytest.skip("not claimed")
        return destination

    def test_an_unclaimed_merge_publishes_nothing(
        self, destination: Destination, schema: str
    ) -> None:
        if "merge_staged" in destination.capabilities.actions:
            pytest.skip("claimed")
        load(destination, schema, "t", _ROWS)
        arriving = _arriving((2, 25, "B"), (4, 40, "d"))
        with pytest.raises(ConduitError):
            commit(destination, _publish(schema, arriving, _merge()), arriving)
        assert _rows(destination, schema) == [(1, 10, "a"), (2, 20, "b"), (3, 30, None)]

    def test_a_merge_counts_each_row_once(self, merging: Destination, schema: str) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving(
            (2, 25, "B"), (3, 30, None), (4, 40, "d"), (4, 39, "old"), (4, 40, "d"), (1, 9, "z")
        )
        plan = _publish(schema, arriving, _merge())
        assert merging.render(plan)
        assert _counts(merging, plan, arriving) == {
            "read": 6, "inserted": 1, "updated": 2, "unchanged": 1,
            "deduplicated": 1, "superseded": 1,
        }  # fmt: skip
        wanted = [(1, 9, "z"), (2, 25, "B"), (3, 30, None), (4, 40, "d")]
        assert _rows(merging, schema) == wanted

    def test_a_merge_without_updates_leaves_rows_alone(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving((2, 25, "B"), (4, 40, "d"), (4, 41, "e"))
        found = _counts(merging, _publish(schema, arriving, _merge(update=False)), arriving)
        assert found == {"read": 3, "inserted": 1, "unchanged": 1, "superseded": 1}
        wanted = [(1, 10, "a"), (2, 20, "b"), (3, 30, None), (4, 41, "e")]
        assert _rows(merging, schema) == wanted

    @pytest.mark.parametrize(
        ("order", "wanted"), [(("at",), (2, 21, "new")), ((), (2, 20, "b"))], ids=["cursor", "none"]
    )
    def test_a_merge_of_newer_rows_only(
        self,
        merging: Destination,
        schema: str,
        order: tuple[str, ...],
        wanted: tuple[int, int, str],
    ) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving((1, 9, "back in time"), (2, 21, "new"), (3, None, "of no time"))
        plan = _publish(schema, arriving, _merge(order=order, only_newer=True))
        _counts(merging, plan, arriving)
        assert _rows(merging, schema) == [(1, 10, "a"), wanted, (3, 30, None)]

    def test_a_merge_takes_the_row_read_last_of_ties(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _ROWS)
        many = [(7, 70, f"{n:05} {'x' * (n % 97)}") for n in range(5000)]
        arriving = _arriving(*many, (8, None, "null"), (8, 1, "one"), (8, None, "last"))
        for order, eight in ((("at",), "one"), ((), "last")):
            _counts(merging, _publish(schema, arriving, _merge(order=order)), arriving)
            assert [row[2] for row in _rows(merging, schema)[3:]] == [many[-1][2], eight]

    def test_a_merge_into_a_new_table_keeps_one_row_of_each_key(
        self, merging: Destination, schema: str
    ) -> None:
        arriving = _arriving((1, 1, "a"), (1, 2, "b"), (2, 1, None), (2, 1, None))
        create = CreateTable(columns=columns_of(merging, arriving.schema))
        plan = _publish(schema, arriving, create, _merge())
        assert merging.render(plan)
        assert _counts(merging, plan, arriving) == {
            "read": 4, "inserted": 2, "superseded": 1, "deduplicated": 1,
        }  # fmt: skip
        assert _rows(merging, schema) == [(1, 2, "b"), (2, 1, None)]

    def test_a_merge_refuses_null_keys(self, merging: Destination, schema: str) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving((1, 11, "A"), (None, 1, "b"), (None, 2, "c"))
        plan = _publish(schema, arriving, _merge())
        with pytest.raises(SourceDataError, match="2 rows have a NULL in the unique_key"):
            commit(merging, plan, arriving)
        assert _rows(merging, schema) == [(1, 10, "a"), (2, 20, "b"), (3, 30, None)]

    def test_a_merge_refuses_keys_that_the_target_has_twice(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _arriving((1, 1, "a"), (1, 1, "a"), (2, 1, "b")))
        assert _counts(
            merging, _publish(schema, _ROWS, _merge()), _arriving((2, 2, "B"), (3, 1, "c"))
        ) == {"read": 2, "inserted": 1, "updated": 1}
        with pytest.raises(PublishError, match=r"1 of the load's keys \(id\) more than once \(1\)"):
            commit(merging, _publish(schema, _ROWS, _merge()), _arriving((1, 9, "z")))
        assert ids(merging, schema, "t") == [1, 1, 2, 3]

    def test_a_merge_by_two_columns_with_odd_names(self, merging: Destination, schema: str) -> None:
        names = ['the "key"', "Ünïque key", "select", "row_no"]
        first = pa.table([[1, 1, 2], ["a", "b", "a"], [1.5, None, 3.0], [1, 2, 3]], names=names)
        load(merging, schema, "t", first)
        second = pa.table([[1, 2, 2], ["b", "a", "b"], [2.5, 3.0, 4.0], [2, 3, 4]], names=names)
        action = MergeStaged(key=tuple(names[:2]), compare=tuple(names))
        plan = _publish(schema, second, action)
        assert _counts(merging, plan, second) == {
            "read": 3, "inserted": 1, "updated": 1, "unchanged": 1,
        }  # fmt: skip
        found = scan(merging, schema, "t", 'the "key"').to_pylist()
        rows = sorted((row[names[0]], row[names[1]], row[names[2]]) for row in found)
        assert rows == [(1, "a", 1.5), (1, "b", 2.5), (2, "a", 3.0), (2, "b", 4.0)]

    def test_a_merge_knows_equal_values_of_every_kind(
        self, merging: Destination, schema: str
    ) -> None:
        odd = float("inf" if "float64" in self.refused else "nan")
        table = pa.table(
            {
                "id": pa.array([1, 2], pa.int64()),
                "f": pa.array([odd, None], pa.float64()),
                "d": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
                "b": pa.array([b"\x00\xff", None], pa.binary()),
                "t": pa.array([1_700_000_000_123_456, None], pa.timestamp("us", "UTC")),
                "l": pa.array([[1, None], None], pa.list_(pa.int64())),
                "s": pa.array([{"a": 1, "b": ["x"]}, None], _STRUCT),
                "o": pa.array([True, None], pa.bool_()),
            }
        )  # fmt: skip
        load(merging, schema, "t", table)
        action = MergeStaged(key=("id",), compare=tuple(table.schema.names))
        assert _counts(merging, _publish(schema, table, action), table) == {
            "read": 2, "unchanged": 2,
        }  # fmt: skip
        for name in table.schema.names[1:]:
            # The second row is all NULL: give it one of the first row's values.
            other = table.set_column(
                table.schema.get_field_index(name), name, table[name].take(pa.array([0, 0]))
            )
            found = _counts(merging, _publish(schema, other, action), other)
            assert found == {"read": 2, "unchanged": 1, "updated": 1}, name
            _counts(merging, _publish(schema, table, action), table)

    def test_a_merge_leaves_columns_alone_that_the_load_lacks(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _ROWS)
        narrow = pa.table({"id": [2, 4], "at": [21, 40]})
        plan = _publish(schema, narrow, _merge(compare=("id", "at")))
        _counts(merging, plan, narrow)
        assert _rows(merging, schema) == [
            (1, 10, "a"), (2, 21, "b"), (3, 30, None), (4, 40, None),
        ]  # fmt: skip

    def test_a_merge_does_not_compare_what_is_not_the_streams_own(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving((1, 10, "load 2"), (2, 21, "load 2"))
        plan = _publish(schema, arriving, _merge(compare=("id", "at")))
        assert _counts(merging, plan, arriving) == {"read": 2, "unchanged": 1, "updated": 1}
        assert _rows(merging, schema) == [(1, 10, "a"), (2, 21, "load 2"), (3, 30, None)]

    def test_a_merge_that_changes_nothing_is_recorded(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _ROWS)
        found = _counts(merging, _publish(schema, _ROWS, _merge()), _ROWS)
        assert found == {"read": 3, "unchanged": 3}
        assert Counts(**found).unchanged == 3

    @pytest.mark.parametrize("how", ["swap", "in_place"])
    def test_a_replace_keeps_the_newest(self, merging: Destination, schema: str, how: str) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving((1, 1, "a"), (1, 2, "b"), (5, 1, None), (5, 1, None))
        newest = KeepNewest(key=("id",), order=("at",), compare=_COMPARE)
        content = ReplaceWithStaged.model_validate(
            {"how": how, "columns": columns_of(merging, arriving.schema)}
        )
        plan = _publish(schema, arriving, newest, content)
        assert merging.render(plan)
        found = _counts(merging, plan, arriving)
        assert found.pop("removed", 0) == (0 if how == "swap" else 3)
        assert found == {"read": 4, "inserted": 2, "superseded": 1, "deduplicated": 1}
        assert _rows(merging, schema) == [(1, 2, "b"), (5, 1, None)]

    def test_keys_that_arrive_replace_their_rows_with_the_newest(
        self, merging: Destination, schema: str
    ) -> None:
        load(merging, schema, "t", _ROWS)
        arriving = _arriving((2, 1, "a"), (2, 2, "b"), (5, 1, None))
        newest = KeepNewest(key=("id",), order=("at",), compare=_COMPARE)
        plan = _publish(schema, arriving, newest, DeleteMatching(columns=("id",)), AppendStaged())
        assert merging.render(plan)
        found = _counts(merging, plan, arriving)
        assert found == {"read": 3, "inserted": 2, "superseded": 1, "removed": 1}
        wanted = [(1, 10, "a"), (2, 2, "b"), (3, 30, None), (5, 1, None)]
        assert _rows(merging, schema) == wanted
