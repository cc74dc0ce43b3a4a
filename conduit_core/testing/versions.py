"""What a destination must do with versions of a key (scd2): order, late rows, ends, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination
from conduit_core.connectors.publish import (
    DELETED_AT,
    IS_CURRENT,
    VALID_FROM,
    VALID_TO,
    CloseVersions,
    Column,
    CreateTable,
    Deletes,
    Guard,
    Publish,
)
from conduit_core.errors import GuardError, PublishError, SourceDataError
from conduit_core.events import ignore
from conduit_core.testing.deleting import TableKeys
from conduit_core.testing.doubles import (
    TableRows,
    columns_of,
    create_and_append,
    landed,
    publish,
    record,
)
from conduit_core.testing.fixtures import DestinationFixtures, commit, scan

_DELETED = pa.field(DELETED_AT, pa.timestamp("us", "UTC"))
_KINDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.int64()),
    ("at", pa.int64()),
    ("v", pa.string()),
    ("note", pa.int64()),
]
_PLAIN = pa.schema(_KINDS)
_DAY = datetime(2026, 3, 1, tzinfo=UTC)
_NAIVE = _DAY.replace(tzinfo=None)
Place = tuple[Destination, str]


class Story:
    """A target of versions and the loads that come to it.

    Args:
        destination, schema, name: the target.
        staged: the schema of staged rows; ``at`` is the first cursor column.
        key, order, track: of the action; by default ``id``, ``at``, ``v``.
        deletes: ``detect`` and whether they are soft.
    """

    def __init__(
        self,
        destination: Destination,
        schema: str,
        name: str = "t",
        staged: pa.Schema = _PLAIN,
        key: tuple[str, ...] = ("id",),
        order: tuple[str, ...] = ("at",),
        track: tuple[str, ...] = ("v",),
        deletes: tuple[str, bool] | None = None,
    ) -> None:
        self.destination = destination
        self.schema = schema
        self.name = name
        self.staged = staged
        self.action = CloseVersions(key=key, order=order, compare=tuple(staged.names), track=track)
        self.detect = deletes[0] if deletes else None
        self.soft = deletes is not None and deletes[1]
        self._loads = 0

    @property
    def target(self) -> pa.Schema:
        """The schema of the target as the first load makes it."""
        at = self.staged.field("at").type
        own = [
            pa.field(VALID_FROM, at),
            pa.field(VALID_TO, at),
            pa.field(IS_CURRENT, pa.bool_()),
            *([_DELETED] if self.detect and self.soft else []),
        ]
        return pa.schema([*self.staged, *own])

    def plan(
        self,
        *,
        flagged: bool = False,
        guard: Guard | None = None,
        keys: tuple[Column, ...] = (),
        time: str | None = None,
        ends_at: str | None = None,
    ) -> Publish:
        """Return the publish of the next load."""
        self._loads += 1
        updates: dict[str, object] = {"ends_at": ends_at}
        if self.detect:
            at = f"2026-01-{self._loads:02} 00:00:00.000000+00:00"
            fields = {"detect": self.detect, "soft": self.soft, "at": at, "keys": keys}
            updates["deletes"] = Deletes.model_validate({**fields, "time": time})
        action = self.action.model_copy(update=updates)
        create = CreateTable(columns=columns_of(self.destination, self.target))
        schema = self.staged.append(_DELETED) if flagged else self.staged
        actions = (*((create,) if self._loads == 1 else ()), action)
        guards = () if guard is None else (guard,)
        return publish(record(self.name, self.schema), schema, *actions, *guards)

    def rows(self, *rows: tuple[object, ...], flags: Sequence[bool] | None = None) -> pa.Table:
        """Return staged rows; ``flags`` says which carry a delete flag."""
        schema = self.staged
        found = [tuple(row) + (None,) * (len(schema) - len(row)) for row in rows]
        if flags is not None:
            schema = schema.append(_DELETED)
            found = [(*r, _DAY if f else None) for r, f in zip(found, flags, strict=True)]
        return landed(self.destination, _table(schema, found))

    def load(
        self,
        *rows: tuple[object, ...],
        flags: Sequence[bool] | None = None,
        guard: Guard | None = None,
        key_rows: TableKeys | None = None,
        keys: tuple[Column, ...] = (),
        time: str | None = None,
        ends_at: str | None = None,
    ) -> dict[str, int]:
        """Load rows; return the counts that aren't 0."""
        table = self.rows(*rows, flags=flags)
        plan = self.plan(
            flagged=flags is not None, guard=guard, keys=keys, time=time, ends_at=ends_at
        )
        assert self.destination.render(plan)
        done = self.destination.commit(plan, TableRows(table), ignore, key_rows)
        counts = done.record.counts.model_dump() if done.record else {}
        return {k: n for k, n in counts.items() if n}

    def snapshot(
        self,
        present: Sequence[int],
        *rows: tuple[object, ...],
        source: Sequence[tuple[object, ...]] = (),
        guard: Guard | None = None,
        ends_at: str | None = None,
    ) -> dict[str, int]:
        """Load rows, then compare the target with the ids that the source has."""
        schema = pa.schema([self.staged.field("id")])
        return self.load(
            *rows,
            guard=guard,
            key_rows=TableKeys(_table(schema, [(n,) for n in present]), self.rows(*source)),
            keys=columns_of(self.destination, schema),
            ends_at=ends_at,
        )

    def tombstones(
        self, told: Sequence[tuple[object, ...]], *rows: tuple[object, ...]
    ) -> dict[str, int]:
        """Load rows, beside a table of deleted ids and of when they were deleted."""
        schema = pa.schema([self.staged.field("id"), self.staged.field("at").with_name("died")])
        return self.load(
            *rows,
            key_rows=TableKeys(landed(self.destination, _table(schema, told)), self.rows()),
            keys=columns_of(self.destination, schema),
            time="died",
        )

    def read(self, *names: str) -> list[tuple[object, ...]]:
        """Return rows by id and time: the id, these columns (``v``), from when and to when."""
        columns = ("id", *(names or ("v",)), VALID_FROM, VALID_TO)
        rows = scan(self.destination, self.schema, self.name).to_pylist()
        assert all(row[IS_CURRENT] == (row[VALID_TO] is None) for row in rows)
        rows.sort(key=lambda row: (row["id"], row[VALID_FROM]))
        return [tuple(row[name] for name in columns) for row in rows]


def _table(schema: pa.Schema, rows: Sequence[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


class VersionsContract(DestinationFixtures):
    """``close_versions``, where a destination claims it."""

    @pytest.fixture
    def place(self, destination: Destination, schema: str) -> Place:
        """The destination, if it keeps versions, and the schema."""
        if "close_versions" not in destination.capabilities.actions:
            pytest.skip("not claimed")
        return destination, schema

    def test_versions_are_runs_in_the_order_of_the_cursor(self, place: Place) -> None:
        story = Story(*place)
        found = story.load((1, 30, "b", 1), (1, 10, "a", 1), (1, 20, "a", 2), (2, 5, None, 1))
        assert found == {"read": 4, "inserted": 3, "updated": 1}
        assert story.read("at", "v", "note") == [
            (1, 20, "a", 2, 10, 30), (1, 30, "b", 1, 30, None), (2, 5, None, 1, 5, None),
        ]  # fmt: skip
        found = story.load((1, 40, "a", 1), (2, 6, "x", 1), (3, 1, "n", 1))
        assert found == {"read": 3, "inserted": 3}
        assert story.read() == [
            (1, "a", 10, 30), (1, "b", 30, 40), (1, "a", 40, None),
            (2, None, 5, 6), (2, "x", 6, None), (3, "n", 1, None),
        ]  # fmt: skip

    def test_a_version_takes_over_what_makes_none(self, place: Place) -> None:
        story = Story(*place)
        story.load((1, 10, "a", 1))
        assert story.load((1, 20, "a", 2)) == {"read": 1, "updated": 1}
        assert story.read("at", "note") == [(1, 20, 2, 10, None)]
        assert story.load((1, 20, "a", 3)) == {"read": 1, "updated": 1}
        assert story.load((1, 15, "a", 9)) == {"read": 1, "unchanged": 1}
        assert story.load((1, 10, "a", 9)) == {"read": 1, "unchanged": 1}
        assert story.read("at", "note") == [(1, 20, 3, 10, None)]

    def test_a_re_run_writes_nothing(self, place: Place) -> None:
        story = Story(*place)
        rows = [(1, 10, "a", 1), (1, 20, "a", 2), (1, 30, None, 3), (2, 10, None, 1), (1, 40, "a")]
        story.load(*rows)
        before = story.read("at", "v", "note")
        assert story.load(*rows) == {"read": 5, "unchanged": 5}
        assert story.load(*rows[2:]) == {"read": 3, "unchanged": 3}
        assert story.read("at", "v", "note") == before

    def test_a_late_row_splits_the_version_it_falls_in(self, place: Place) -> None:
        """Each case is a key of its own: the late row, how it counts, and the versions then."""
        cases: list[tuple[tuple[int, str | None], str, list[tuple[object, ...]]]] = [
            ((5, "a"), "updated", [("a", 5, 30), ("b", 30, None)]),
            ((5, "c"), "inserted", [("c", 5, 10), ("a", 10, 30), ("b", 30, None)]),
            ((15, "a"), "unchanged", [("a", 10, 30), ("b", 30, None)]),
            ((15, "c"), "inserted",
             [("a", 10, 15), ("c", 15, 20), ("a", 20, 30), ("b", 30, None)]),
            ((25, "a"), "updated", [("a", 10, 30), ("b", 30, None)]),
            ((25, "c"), "inserted", [("a", 10, 25), ("c", 25, 30), ("b", 30, None)]),
            ((25, "b"), "updated", [("a", 10, 25), ("b", 25, None)]),
            ((30, "a"), "updated", [("a", 10, None)]),
            ((30, "c"), "updated", [("a", 10, 30), ("c", 30, None)]),
            ((20, "b"), "updated", [("a", 10, 20), ("b", 20, None)]),
            ((20, "c"), "inserted", [("a", 10, 20), ("c", 20, 30), ("b", 30, None)]),
            ((10, "c"), "updated", [("c", 10, 20), ("a", 20, 30), ("b", 30, None)]),
            ((15, None), "inserted",
             [("a", 10, 15), (None, 15, 20), ("a", 20, 30), ("b", 30, None)]),
        ]  # fmt: skip
        story = Story(*place)
        keys = range(1, len(cases) + 1)
        before = ((10, "a", 1), (20, "a", 2), (30, "b", 3))
        story.load(*((key, *row) for key in keys for row in before), (0, 1, "other", 0))
        late = [(key, *case[0], 9) for key, case in zip(keys, cases, strict=True)]
        counted = Counter(case[1] for case in cases)
        assert story.load(*late) == {"read": len(cases), **counted}
        wanted = [(key, *row) for key, case in zip(keys, cases, strict=True) for row in case[2]]
        assert story.read() == [(0, "other", 1, None), *wanted]
        assert story.load(*late) == {"read": len(cases), "unchanged": len(cases)}

    def test_a_split_keeps_the_values_of_both_halves(self, place: Place) -> None:
        story = Story(*place)
        story.load((1, 10, "a", 1), (1, 20, "a", 2))
        story.load((1, 15, "b", 9))
        assert story.read("at", "v", "note") == [
            (1, 10, "a", 2, 10, 15), (1, 15, "b", 9, 15, 20), (1, 20, "a", 2, 20, None),
        ]  # fmt: skip

    def test_of_one_time_the_newest_row_counts_then_the_last(self, place: Place) -> None:
        staged = pa.schema([*_PLAIN, pa.field("seq", pa.int64())])
        story = Story(*place, staged=staged, order=("at", "seq"))
        found = story.load(
            (1, 10, "a", 1, 7), (1, 10, "b", 1, 9), (1, 10, "c", 1, 8),
            (2, 10, "x", 1, 1), (2, 10, "y", 1, 1), (2, 10, "y", 1, 1),
        )  # fmt: skip
        assert found == {"read": 6, "inserted": 2, "superseded": 3, "deduplicated": 1}
        assert story.read("v", "seq") == [(1, "b", 9, 10, None), (2, "y", 1, 10, None)]
        assert story.load((1, 10, "b", 1, 10), (1, 10, "b", 1, 9)) == {
            "read": 2, "updated": 1, "superseded": 1,
        }  # fmt: skip

    def test_versions_of_keys_of_two_columns(self, place: Place) -> None:
        names = ['the "key"', "Ünïque", "at", "select", "id"]
        staged = pa.schema(
            [pa.field(n, pa.string() if n in names[::3] else pa.int64()) for n in names]
        )
        story = Story(*place, staged=staged, key=tuple(names[:2]), track=("select",))
        story.load(("a", 1, 1, "x", 1), ("a", 2, 1, "x", 2), ("b", 1, 1, "x", 3))
        assert story.load(("a", 2, 2, "y", 2), ("b", 1, 0, "x", 3), ("c", 1, 0, "x", 4)) == {
            "read": 3, "inserted": 2, "updated": 1,
        }  # fmt: skip
        assert story.read("select") == [
            (1, "x", 1, None), (2, "x", 1, 2), (2, "y", 2, None), (3, "x", 0, None),
            (4, "x", 0, None),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "times"),
        [
            (pa.timestamp("us", "UTC"), [_DAY + timedelta(microseconds=n) for n in range(5)]),
            (pa.timestamp("us"), [_NAIVE + timedelta(hours=11 * n) for n in range(5)]),
            (pa.date32(), [date(2026, 9 + n // 4, 1 + n % 4) for n in range(5)]),
            (pa.string(), ["A", "Z", "a", "b", "ä"]),
            (pa.decimal128(12, 3), [Decimal(n) / 4 for n in (7, 9, 36, 41, 400)]),
            (pa.int64(), [-2, 9, 10, 99, 100]),
        ],
        ids=["timestamptz", "timestamp", "date", "text", "decimal", "integer"],
    )
    def test_versions_of_every_cursor(
        self, place: Place, kind: pa.DataType, times: list[object]
    ) -> None:
        staged = _PLAIN.set(1, pa.field("at", kind))
        story = Story(*place, staged=staged, deletes=("flag", True))
        one, two, three, four, five = times
        story.load((1, four, "b"), (1, one, "a"), (1, three, "a"), flags=[False] * 3)
        found = story.load((1, two, "c"), (1, five, "b"), flags=[False, True])
        assert found == {"read": 2, "inserted": 1, "deleted": 1}
        assert story.read() == [
            (1, "a", one, two), (1, "c", two, three), (1, "a", three, four), (1, "b", four, five),
        ]  # fmt: skip
        again = story.load((1, two, "c"), (1, five, "b"), flags=[False, True])
        assert again == {"read": 2, "unchanged": 1, "deleted": 1}

    def test_a_column_that_came_later_opens_no_version(self, place: Place) -> None:
        destination, schema = place
        story = Story(*place)
        story.load((1, 10, "a"), (2, 10, "b"))
        staged = pa.schema([_PLAIN.field(n) for n in ("id", "at", "v")])
        narrow = Story(destination, schema, staged=staged)
        narrow._loads = 1  # noqa: SLF001 - the table is there
        assert narrow.load((1, 20, "a"), (2, 20, "c")) == {"read": 2, "updated": 1, "inserted": 1}
        assert story.load((1, 30, "a", 5), (2, 30, "c", 5)) == {"read": 2, "updated": 2}
        assert story.read("v", "note") == [
            (1, "a", 5, 10, None), (2, "b", None, 10, 20), (2, "c", 5, 20, None),
        ]  # fmt: skip

    def test_a_split_keeps_columns_that_the_load_lacks(self, place: Place) -> None:
        destination, schema = place
        story = Story(*place)
        story.load((1, 10, "a", 7), (1, 20, "a", 7))
        staged = pa.schema([_PLAIN.field(n) for n in ("id", "at", "v")])
        narrow = Story(destination, schema, staged=staged)
        narrow._loads = 1  # noqa: SLF001 - the table is there
        narrow.load((1, 15, "b"))
        assert story.read("v", "note") == [
            (1, "a", 7, 10, 15), (1, "b", None, 15, 20), (1, "a", 7, 20, None),
        ]  # fmt: skip

    # --- deletes ---------------------------------------------------------------------------------

    def test_a_flag_ends_the_version(self, place: Place) -> None:
        story = Story(*place, deletes=("flag", True))
        story.load((1, 10, "a"), (2, 10, "b"), (3, 10, "c"), flags=[False, False, True])
        found = story.load((1, 20, "a"), (2, 5, "b"), flags=[True, True])
        assert found == {"read": 2, "deleted": 2}
        rows = story.read("v", DELETED_AT)
        first = datetime(2026, 1, 2, tzinfo=UTC)
        assert rows == [(1, "a", first, 10, 20), (2, "b", None, 10, None)]
        again = story.load((1, 10, "a"), (1, 20, "a"), flags=[False, True])
        assert again == {"read": 2, "unchanged": 1, "deleted": 1}
        assert story.read("v", DELETED_AT) == rows

    def test_an_ended_key_comes_back_with_a_gap_or_without(self, place: Place) -> None:
        story = Story(*place, deletes=("flag", True))
        story.load((1, 10, "a"), (2, 10, "b"), flags=[False, False])
        story.load((1, 20, "a"), (2, 20, "b"), flags=[True, True])
        back = story.load((1, 30, "a"), (2, 20, "b"), flags=[False, False])
        assert back == {"read": 2, "inserted": 1, "updated": 1}
        assert story.read("v", DELETED_AT) == [
            (1, "a", datetime(2026, 1, 2, tzinfo=UTC), 10, 20), (1, "a", None, 30, None),
            (2, "b", None, 10, None),
        ]  # fmt: skip

    def test_a_version_that_begins_where_the_last_was_deleted_takes_its_end(
        self, place: Place
    ) -> None:
        story = Story(*place, deletes=("flag", True))
        story.load((1, 10, "a"), (1, 20, "a"), flags=[False, True])
        assert story.load((1, 20, "b"), flags=[False]) == {"read": 1, "inserted": 1}
        assert story.read("v", DELETED_AT) == [(1, "a", None, 10, 20), (1, "b", None, 20, None)]

    def test_a_hard_flag_takes_all_versions(self, place: Place) -> None:
        story = Story(*place, deletes=("flag", False))
        story.load((1, 10, "a"), (1, 20, "b"), (2, 10, "c"), flags=[False] * 3)
        found = story.load((1, 30, "b"), (2, 5, "c"), (3, 1, "d"), (3, 2, "d"),
                           flags=[True, True, False, True])  # fmt: skip
        assert found == {"read": 4, "deleted": 3, "superseded": 1}
        assert story.read() == [(2, "c", 10, None)]

    def test_keys_that_are_missing_end(self, place: Place) -> None:
        story = Story(*place, deletes=("missing", True))
        story.snapshot([1, 2, 3], (1, 10, "a"), (2, 99, "b"), (3, 10, "c"))
        found = story.snapshot([3], (4, 10, "d"), ends_at="50")
        assert found == {"read": 1, "inserted": 1, "deleted": 2}
        gone = datetime(2026, 1, 2, tzinfo=UTC)
        rows = [
            (1, "a", gone, 10, 50), (2, "b", gone, 99, 99), (3, "c", None, 10, None),
            (4, "d", None, 10, None),
        ]  # fmt: skip
        assert story.read("v", DELETED_AT) == rows
        assert story.snapshot([3, 4], (4, 10, "d"), ends_at="60") == {"read": 1, "unchanged": 1}
        assert story.read("v", DELETED_AT) == rows

    def test_missing_keys_come_back_with_the_row_that_the_source_has(self, place: Place) -> None:
        story = Story(*place, deletes=("missing", True))
        story.snapshot([1, 2, 3], (1, 10, "a"), (2, 10, "b"), (3, 10, "c"))
        story.snapshot([], ends_at="50")
        source = [(1, 10, "a"), (2, 60, "b"), (3, 5, "x")]
        found = story.snapshot([1, 2, 3], source=source, ends_at="70")
        assert found == {"read": 3, "updated": 1, "inserted": 2}
        assert story.read("v", DELETED_AT) == [
            (1, "a", None, 10, None),
            (2, "b", datetime(2026, 1, 2, tzinfo=UTC), 10, 50), (2, "b", None, 60, None),
            (3, "x", None, 5, 10), (3, "c", None, 10, None),
        ]  # fmt: skip

    def test_missing_keys_go_with_all_versions(self, place: Place) -> None:
        story = Story(*place, deletes=("missing", False))
        story.snapshot([1, 2], (1, 10, "a"), (1, 20, "b"), (2, 10, "c"))
        assert story.snapshot([2], ends_at="50") == {"deleted": 1}
        assert story.read() == [(2, "c", 10, None)]

    def test_a_guard_sees_and_shows_the_keys_that_end(self, place: Place) -> None:
        guard = Guard(expr="gone <= 0.5 * target_rows", message="too many")
        for number, (detect, soft) in enumerate([("missing", True), ("flag", False)]):
            story = Story(*place, name=f"t{number}", deletes=(detect, soft))
            rows = ((7, 10, "a"), (8, 10, "b"), (8, 20, "c"))
            story.load(*rows)
            what = r"gone 2, target_rows 2, for example (7; 8|8; 7)"
            if detect == "missing":
                with pytest.raises(GuardError, match=what):
                    story.snapshot([], guard=guard, ends_at="50")
            else:
                with pytest.raises(GuardError, match=what):
                    story.load((7, 30), (8, 30), flags=[True, True], guard=guard)
            assert len(story.read()) == 3

    def test_tombstones_end_versions_at_their_time(self, place: Place) -> None:
        story = Story(*place, deletes=("listed", True))
        story.tombstones([], (1, 10, "a"), (1, 20, "b"), (2, 10, "c"), (3, 10, "d"))
        told = [(1, 15), (2, 30), (2, 40), (3, 5), (4, 50)]
        found = story.tombstones(told, (4, 45, "e"), (3, 12, "d"))
        assert found == {"read": 2, "inserted": 1, "updated": 1, "deleted": 2}
        now = datetime(2026, 1, 2, tzinfo=UTC)
        rows = [
            (1, "a", now, 10, 15), (1, "b", None, 20, None), (2, "c", now, 10, 30),
            (3, "d", None, 10, None), (4, "e", now, 45, 50),
        ]  # fmt: skip
        assert story.read("v", DELETED_AT) == rows
        assert story.tombstones(told, (4, 45, "e")) == {"read": 1, "unchanged": 1}
        assert story.read("v", DELETED_AT) == rows
        assert story.tombstones(told, (2, 50, "c")) == {"read": 1, "inserted": 1}
        assert story.read()[2:4] == [(2, "c", 10, 30), (2, "c", 50, None)]

    def test_hard_tombstones_take_all_versions(self, place: Place) -> None:
        story = Story(*place, deletes=("listed", False))
        story.tombstones([], (1, 10, "a"), (1, 20, "b"), (2, 10, "c"), (3, 10, "d"))
        found = story.tombstones([(1, 20), (2, 5), (3, 15)], (3, 20, "e"), (4, 1, "f"))
        assert found == {"read": 2, "inserted": 2, "deleted": 2}
        assert story.read() == [
            (2, "c", 10, None), (3, "d", 10, 15), (3, "e", 20, None), (4, "f", 1, None),
        ]  # fmt: skip
        assert story.tombstones([(4, 3)], (4, 2, "g")) == {
            "read": 1, "superseded": 1, "deleted": 1,
        }  # fmt: skip

    # --- bad input -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("row", "match"),
        [((None, 1, "x"), "NULL in the unique_key"), ((1, None, "x"), "NULL in the cursor .*'at'")],
        ids=["key", "cursor"],
    )
    def test_versions_need_a_key_and_a_time(
        self, place: Place, row: tuple[object, ...], match: str
    ) -> None:
        story = Story(*place)
        story.load((1, 10, "a"))
        with pytest.raises(SourceDataError, match=match):
            story.load((1, 20, "b"), row)
        assert story.read() == [(1, "a", 10, None)]

    @pytest.mark.parametrize(
        "row", [(7, 20, "x", 0, 10, 30, False), (7, 20, "x", 0, 20, None, True),
                (7, 20, "x", 0, None, None, True)],
        ids=["same valid_from", "two current", "no valid_from"],
    )  # fmt: skip
    def test_a_target_that_was_altered_is_refused(
        self, place: Place, row: tuple[object, ...]
    ) -> None:
        destination, schema = place
        story = Story(*place)
        good = [(7, 10, "a", 0, 10, None, True), (8, 10, "b", 0, 10, None, True)]
        target = landed(destination, _table(story.target, [*good, row]))
        commit(
            destination,
            create_and_append(destination, record("t", schema), target.schema),
            target,
        )
        story._loads = 1  # noqa: SLF001 - the table is there
        assert story.load((8, 20, "c")) == {"read": 1, "inserted": 1}
        with pytest.raises(PublishError, match=r"1 of the load's keys \(id\) .*\(7\)") as caught:
            story.load((7, 40, "y"), (8, 30, "d"))
        assert caught.value.command == "conduit run --full-refresh"
        rows = scan(destination, schema, "t").to_pylist()
        assert sum(r["id"] == 8 for r in rows) == 2
