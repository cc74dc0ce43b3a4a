"""What a destination must do with rows that are gone at the source: flagged, missing, listed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Commit, Destination
from conduit_core.connectors.publish import (
    DELETED_AT,
    Action,
    AppendStaged,
    Column,
    CreateTable,
    Deletes,
    DeleteWindow,
    Guard,
    MergeStaged,
    Publish,
    ReplaceWithStaged,
    StartOver,
)
from conduit_core.errors import GuardError, SourceDataError
from conduit_core.events import ignore
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.doubles import TableRows, columns_of, landed, publish, record
from conduit_core.testing.fixtures import DestinationFixtures, scan
from conduit_core.types.dialect import Table

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
"""The time of the loads."""
EARLIER = datetime(2026, 2, 1, tzinfo=UTC)

_ROW = pa.table({"id": [0], "at": [0], "v": [""]}).schema
_FLAG = pa.field(DELETED_AT, pa.timestamp("us", "UTC"))
_COMPARE = ("id", "at", "v")

Row = tuple[object, ...]
BOTH = pytest.mark.parametrize("soft", [True, False], ids=["soft", "hard"])


def table_of(schema: pa.Schema, rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table."""
    columns = [list(c) for c in zip(*rows, strict=True)] or [[] for _ in schema]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


class TableKeys:
    """``KeyRows`` over tables in memory; ``asked`` are the keys that were read again."""

    def __init__(self, keys: pa.Table, rows: pa.Table, key: tuple[str, ...] = ("id",)) -> None:
        self.asked: list[list[Row]] = []
        self._keys = keys
        self._rows = rows
        self._key = key

    def all(self) -> TableRows:
        """Return the key rows."""
        return TableRows(self._keys)

    def again(self, keys: Sequence[Row]) -> TableRows:
        """Return the rows of some keys."""
        self.asked.append(list(keys))
        wanted = {tuple(str(v) for v in key) for key in keys}
        found = [
            tuple(str(row[name]) for name in self._key) in wanted for row in self._rows.to_pylist()
        ]
        return TableRows(self._rows.filter(pa.array(found, pa.bool_())))


class Upserts:
    """Loads of one target by key, with deletes.

    Args:
        destination, schema: where the target ``t`` lies.
        soft: whether deleted rows stay.
        rows: the columns of the rows.
        key, order: of the merge; all columns are compared.
    """

    def __init__(
        self,
        destination: Destination,
        schema: str,
        *,
        soft: bool,
        rows: pa.Schema = _ROW,
        key: tuple[str, ...] = ("id",),
        order: tuple[str, ...] = ("at",),
    ) -> None:
        self.destination, self.schema, self.soft = destination, schema, soft
        self.rows, self.key, self.order = rows, key, order
        self.keys: TableKeys | None = None

    def plan(
        self,
        staged: pa.Schema,
        deletes: Deletes | None,
        *guards: Guard,
        before: tuple[Action, ...] = (),
    ) -> Publish:
        """Return the publish of a load."""
        actions: list[Action] = list(before)
        if self.destination.describe(Table(self.schema, "t")) is None:
            names = [f for f in self.rows if f.name != DELETED_AT]
            made = pa.schema([*names, *((_FLAG,) if self.soft else ())])
            actions.append(CreateTable(columns=columns_of(self.destination, made)))
        merge = MergeStaged(
            key=self.key, order=self.order, compare=tuple(self.rows.names), deletes=deletes
        )
        return publish(record("t", self.schema), staged, *actions, merge, *guards)

    def commit(
        self, plan: Publish, table: pa.Table, keys: TableKeys | None = None
    ) -> tuple[dict[str, int], Commit]:
        """Publish; return the counts that aren't 0."""
        assert self.destination.render(plan)
        rows = TableRows(landed(self.destination, table))
        done = self.destination.commit(plan, rows, ignore, keys)
        counts = done.record.counts.model_dump() if done.record else {}
        return {k: n for k, n in counts.items() if n}, done

    def flag(self, *rows: Row, guards: tuple[Guard, ...] = ()) -> dict[str, int]:
        """Load rows whose last value says when they were deleted."""
        table = table_of(self.rows.append(_FLAG), rows)
        deletes = Deletes(detect="flag", soft=self.soft, at=AT.isoformat(" "))
        return self.commit(self.plan(table.schema, deletes, *guards), table)[0]

    def by_keys(
        self,
        rows: Sequence[Row],
        keys: Sequence[Row],
        names: tuple[str, ...],
        *,
        again: Sequence[Row] = (),
        guards: tuple[Guard, ...] = (),
        **fields: str | None,
    ) -> tuple[dict[str, int], Commit]:
        """Load rows, and key rows of the columns ``names``."""
        table = table_of(self.rows, rows)
        of_keys = pa.schema([self.rows.field(n if n in self.rows.names else "at") for n in names])
        of_keys = pa.schema([f.with_name(n) for f, n in zip(of_keys, names, strict=True)])
        columns = columns_of(self.destination, of_keys)
        deletes = Deletes.model_validate(
            {"soft": self.soft, "at": AT.isoformat(" "), "keys": columns, **fields}
        )
        self.keys = TableKeys(
            landed(self.destination, table_of(of_keys, keys)),
            landed(self.destination, table_of(self.rows, again)),
            self.key,
        )
        return self.commit(self.plan(table.schema, deletes, *guards), table, self.keys)

    def missing(
        self,
        rows: Sequence[Row],
        keys: Sequence[Row],
        *,
        again: Sequence[Row] = (),
        guards: tuple[Guard, ...] = (),
        window: Window | None = None,
    ) -> dict[str, int]:
        """Load rows, and all keys that the source has (with the order columns)."""
        text = window.to_json() if window else None
        names = tuple(dict.fromkeys((*self.key, *self.order)))
        counts, self.done = self.by_keys(
            rows, keys, names, again=again, guards=guards, detect="missing", window=text
        )
        return counts

    def listed(
        self, rows: Sequence[Row], keys: Sequence[Row], *, time: str | None = "died"
    ) -> dict[str, int]:
        """Load rows, and tombstones."""
        names = (*self.key, *((time,) if time else ()))
        counts, self.done = self.by_keys(rows, keys, names, detect="listed", time=time)
        return counts

    def content(self, order: str = "id") -> list[Row]:
        """Return the target's rows; a deleted one ends with the time of it."""
        found = []
        for row in scan(self.destination, self.schema, "t", order).to_pylist():
            deleted = row.pop(DELETED_AT, None)
            found.append((*row.values(), *((deleted,) if deleted is not None else ())))
        return found

    def gone(self, *row: object, at: datetime = AT) -> list[Row]:
        """Return what is left of a deleted row."""
        return [(*row, at)] if self.soft else []


class DeleteContract(DestinationFixtures):
    """``deletes`` of ``merge_staged``, and flags of ``keep_newest``, where claimed."""

    @pytest.fixture
    def deleting(self, destination: Destination) -> Destination:
        """The destination, if it claims to merge."""
        if not {"keep_newest", "merge_staged"} <= destination.capabilities.actions:
            pytest.skip("not claimed")
        return destination

    # --- flags -----------------------------------------------------------------------------------

    @BOTH
    def test_a_flagged_row_deletes_its_key(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        first = it.flag((1, 1, "a", None), (2, 1, "b", None), (3, 1, "c", None), (4, 1, "d", AT))
        assert first == {"read": 4, "inserted": 3, "deleted": 1}
        start = [(1, 1, "a"), (2, 1, "b"), (3, 1, "c"), *it.gone(4, 1, "d")]
        assert it.content() == start
        # One goes as it is, one with a change, one that was never here; one is as it was.
        second = ((1, 1, "a", AT), (2, 2, "B", AT), (5, 1, "e", AT), (3, 1, "c", None))
        counts = {"read": 4, "unchanged": 1, "deleted": 3}
        assert it.flag(*second) == counts
        left = [*it.gone(1, 1, "a"), *it.gone(2, 2, "B"), (3, 1, "c"), *it.gone(4, 1, "d")]
        assert it.content() == [*left, *it.gone(5, 1, "e")]
        assert it.flag(*second) == counts
        assert it.content() == [*left, *it.gone(5, 1, "e")]

    @BOTH
    def test_a_deleted_key_comes_back(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        it.flag((1, 1, "a", None), (2, 1, "b", None))
        it.flag((1, 1, "a", EARLIER), (2, 1, "b", EARLIER))
        assert it.content() == [*it.gone(1, 1, "a", at=EARLIER), *it.gone(2, 1, "b", at=EARLIER)]
        # Equal or not: a row without a flag is there. A second deletion keeps the first one's time.
        back = it.flag((1, 1, "a", None), (2, 2, "B", AT))
        assert back == {"read": 2, "updated" if soft else "inserted": 1, "deleted": 1}
        assert it.content() == [(1, 1, "a"), *it.gone(2, 2, "B", at=EARLIER)]

    @BOTH
    def test_the_newest_row_says_whether_its_key_is_gone(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        it.flag((1, 1, "a", None), (2, 1, "b", None))
        rows = ((1, 3, "a", AT), (1, 2, "x", None), (2, 2, "b", AT), (2, 3, "b", None))
        found = it.flag(*rows)
        assert found == {"read": 4, "updated": 1, "deleted": 1, "superseded": 2}
        assert it.content() == [*it.gone(1, 3, "a"), (2, 3, "b")]

    @BOTH
    def test_a_guard_shows_flagged_keys_that_go(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        rows = [(n, 1, "a", None) for n in range(10)]
        it.flag(*rows)
        it.flag((9, 1, "a", AT))
        guard = Guard(expr="gone <= 0.2 * target_rows", message="too many rows go")
        flagged = [(n, 2, "a", AT) for n in (2, 3, 9, 11)]
        with pytest.raises(GuardError, match=r"too many rows go \(gone 2, target_rows 9, .*2; 3\)"):
            it.flag(*flagged, (4, 1, "a", None), guards=(guard.model_copy(
                update={"expr": "gone <= 0.1 * target_rows"}
            ),))  # fmt: skip
        assert it.content()[2] == (2, 1, "a")
        assert it.flag(*flagged[1:], guards=(guard,)) == {"read": 3, "deleted": 3}

    @pytest.mark.parametrize("how", ["create", "swap", "in_place"])
    def test_flagged_rows_can_be_left_out(
        self, deleting: Destination, schema: str, how: str
    ) -> None:
        it = Upserts(deleting, schema, soft=False)
        rows = [(1, 1, "a", None), (1, 2, "a", AT), (2, 2, "b", None), (2, 1, "x", AT)]
        table = table_of(_ROW.append(_FLAG), rows)
        columns = columns_of(deleting, _ROW)
        first: Action = CreateTable(columns=columns)
        if how != "create":
            it.flag((7, 1, "z", None))
            first = StartOver.model_validate({"how": how, "columns": columns})
        deletes = Deletes(detect="flag", soft=False, at=AT.isoformat(" "))
        merge = MergeStaged(key=("id",), order=("at",), compare=_COMPARE, deletes=deletes)
        actions: tuple[Action, ...] = (first, merge)
        counts, _ = it.commit(publish(record("t", schema), table.schema, *actions), table)
        assert counts.pop("removed", 0) == (1 if how == "in_place" else 0)
        assert counts == {"read": 4, "inserted": 1, "superseded": 2, "deleted": 1}
        assert it.content() == [(2, 2, "b")]

    # --- missing ---------------------------------------------------------------------------------

    @BOTH
    def test_a_missing_key_is_gone(self, deleting: Destination, schema: str, *, soft: bool) -> None:
        it = Upserts(deleting, schema, soft=soft)
        rows = [(n, 1, "a") for n in range(1, 6)]
        assert it.missing(rows, []) == {"read": 5, "inserted": 5}
        # 2 and 4 are gone; 6 is new; 5 was read, and gone just after.
        keys: list[Row] = [(1, 1), (3, 1), (6, 2), (None, 1)]
        found = it.missing([(5, 2, "A"), (6, 2, "new")], keys)
        assert found == {"read": 2, "inserted": 1, "updated": 1, "deleted": 2}
        left = [(1, 1, "a"), *it.gone(2, 1, "a"), (3, 1, "a"), *it.gone(4, 1, "a")]
        assert it.content() == [*left, (5, 2, "A"), (6, 2, "new")]
        # Nothing was read, yet 5 is gone; then nothing is.
        assert it.missing([], keys) == {"deleted": 1}
        assert it.content() == [*left, *it.gone(5, 2, "A"), (6, 2, "new")]
        assert it.missing([], keys) == {}
        assert it.done.record is None
        assert not it.done.notes

    @BOTH
    def test_keys_that_the_target_lacks_are_read_again(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        it.missing([(n, n, "a") for n in range(1, 5)], [])
        it.missing([], [(1, 1), (4, 4)])
        # 2 is back with its old row, 3 with another one; 9 was never here, and 8 is beyond; the
        # row of 7 went meanwhile.
        window = Window("watermark", None, Cursor(("at",), (pa.scalar(20, pa.int64()),)))
        keys: list[Row] = [(1, 1), (2, 2), (3, 3), (4, 4), (9, 9), (8, 21), (7, 7), (6, None)]
        again: list[Row] = [(2, 2, "a"), (3, 30, "now"), (9, 9, "late"), (8, 21, "beyond")]
        found = it.missing([(4, 5, "d")], keys, again=again, window=window)
        assert it.keys is not None
        assert [sorted(map(str, keys)) for keys in it.keys.asked] == [
            ["(2,)", "(3,)", "(7,)", "(9,)"]
        ]
        came = {"inserted": 1, "updated": 3} if soft else {"inserted": 3, "updated": 1}
        assert found == {"read": 4, **came}
        left = [(1, 1, "a"), (2, 2, "a"), (3, 30, "now"), (4, 5, "d"), (9, 9, "late")]
        assert it.content() == left
        (note,) = it.done.notes
        assert "lacked 4 keys that the source has" in note
        assert "read again, 3 rows came" in note

    def test_too_many_keys_that_the_target_lacks_are_only_reported(
        self, deleting: Destination, schema: str
    ) -> None:
        it = Upserts(deleting, schema, soft=True)
        it.missing([(1, 1, "a")], [])
        assert it.missing([], [(n, 1) for n in range(1, 10_003)]) == {}
        assert it.keys is not None
        assert not it.keys.asked
        (note,) = it.done.notes
        assert "lacked 10001 keys" in note
        assert "conduit run --full-refresh" in note
        rows: list[Row] = [(n, 1, "a") for n in range(2, 2502)]
        found = it.missing([], [(n, 1) for n in range(1, 2502)], again=rows)
        assert found == {"read": 2500, "inserted": 2500}
        assert [len(keys) for keys in it.keys.asked] == [1000, 1000, 500]

    @BOTH
    def test_a_guard_shows_missing_keys(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        it.missing([(n, 1, "a") for n in range(10)], [])
        share = Guard(expr="gone <= 0.1 * target_rows", message="too many rows go")
        empty = Guard(expr="keys > 0 or target_rows == 0", message="no keys")
        with pytest.raises(GuardError, match=r"\(gone 2, target_rows 10, for example 0; 1\)"):
            it.missing([], [(n, 1) for n in range(2, 10)], guards=(empty, share))
        with pytest.raises(GuardError, match=r"no keys \(keys 0, target_rows 10, for example"):
            it.missing([], [], guards=(empty, share))
        assert len(it.content()) == 10
        kept = [(n, 1) for n in range(1, 10)]
        assert it.missing([], kept, guards=(empty, share)) == {"deleted": 1}
        assert it.missing([], kept, guards=(empty, share)) == {}

    @BOTH
    def test_missing_keys_of_two_columns_with_odd_names(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        names = ['the "key"', "Ünïque key", "k"]
        rows = pa.table([[""], [0], [""]], names=names).schema
        it = Upserts(deleting, schema, soft=soft, rows=rows, key=tuple(names[:2]), order=())
        texts = ["a", "A", "ä", "a\u0308", "a ", "", "ß", "ss", "😀", "it's", "x" * 100]
        it.missing([(text, n, "v") for n in (1, 2) for text in texts], [])
        keys: list[Row] = [(text, 1) for text in texts if text != "A"]
        keys += [(text, 2) for text in texts if text != "x" * 100] + [("a", None), (None, 1)]
        guard = Guard(expr="gone == 0", message="no")
        with pytest.raises(GuardError, match=r"A, 1|x{60}\.\.\."):
            it.missing([], keys, guards=(guard,))
        assert it.missing([], keys) == {"deleted": 2}
        left = [(text, n, "v") for n in (1, 2) for text in texts]
        gone = [("A", 1, "v"), ("x" * 100, 2, "v")]
        wanted = [r for r in left if r not in gone] + [g for r in gone for g in it.gone(*r)]
        assert sorted(it.content(), key=str) == sorted(wanted, key=str)
        found = it.missing([], [*keys, ("A", 1)], again=[("A", 1, "v"), ("a", 1, "not asked")])
        assert found == {"read": 1, "updated" if soft else "inserted": 1}

    # --- tombstones ------------------------------------------------------------------------------

    @BOTH
    def test_a_tombstone_ends_rows_that_are_not_newer(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        # In the first load: before its row, after it, at its time.
        rows: list[Row] = [(1, 5, "a"), (2, 5, "b"), (3, 5, "c"), (4, 5, "d"), (5, 5, "e")]
        tombs: list[Row] = [(1, 4), (2, 6), (3, 5), (None, 9), (9, 1), (1, 1)]
        assert it.listed(rows, tombs) == {"read": 5, "inserted": 3, "deleted": 2}
        first = [(1, 5, "a"), *it.gone(2, 5, "b"), *it.gone(3, 5, "c"), (4, 5, "d"), (5, 5, "e")]
        assert it.content() == first
        # Late for 4, early for 5; 1 changed and went; 2 was inserted again; 6 came and went.
        more: list[Row] = [(1, 7, "A"), (2, 9, "B"), (6, 7, "f")]
        tombs = [*tombs, (4, 6), (5, 4), (1, 8), (6, 8), (2, 8)]
        back = {"updated": 1} if soft else {"inserted": 1}
        assert it.listed(more, tombs) == {"read": 3, "deleted": 3, **back}
        second = [*it.gone(1, 7, "A"), (2, 9, "B"), *it.gone(3, 5, "c"), *it.gone(4, 5, "d")]
        second += [(5, 5, "e"), *it.gone(6, 7, "f")]
        assert it.content() == second
        assert it.listed([], tombs) == {}
        assert it.content() == second

    @BOTH
    def test_a_tombstone_without_a_time_spares_staged_keys(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        it.listed([(1, 1, "a"), (2, 1, "b"), (3, 1, "c")], [(1,)], time=None)
        assert len(it.content()) == 3
        assert it.listed([(2, 2, "B")], [(1,), (1,), (2,)], time=None) == {
            "read": 1, "updated": 1, "deleted": 1,
        }  # fmt: skip
        assert it.content() == [*it.gone(1, 1, "a"), (2, 2, "B"), (3, 1, "c")]

    @BOTH
    def test_a_tombstone_ends_rows_of_no_time(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        it = Upserts(deleting, schema, soft=soft)
        it.listed([(1, None, "a"), (2, None, "b")], [(1, None)])
        assert it.content() == [*it.gone(1, None, "a"), (2, None, "b")]
        assert it.listed([], [(2, 0)]) == {"deleted": 1}

    @BOTH
    def test_tombstones_and_rows_compare_as_times(
        self, deleting: Destination, schema: str, *, soft: bool
    ) -> None:
        kind = pa.timestamp("us", "UTC")
        rows = pa.schema(list(_ROW)[:1]).append(pa.field("at", kind))
        it = Upserts(deleting, schema, soft=soft, rows=rows)
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        half = noon.replace(microsecond=500_000)
        it.listed([(1, noon), (2, half), (3, noon), (4, noon)], [(3, half)])
        found = it.listed([(4, half)], [(1, half), (2, noon), (4, noon.replace(second=1))])
        assert found == {"read": 1, "deleted": 2}
        left = [*it.gone(1, noon), (2, half), *it.gone(3, noon), *it.gone(4, half)]
        assert it.content() == left

    # --- what holds for all ----------------------------------------------------------------------

    def test_null_keys_are_refused_with_deletes(self, deleting: Destination, schema: str) -> None:
        it = Upserts(deleting, schema, soft=True)
        it.missing([(1, 1, "a")], [])
        with pytest.raises(SourceDataError, match="1 row has a NULL in the unique_key"):
            it.missing([(None, 1, "a")], [(1, 1)])
        with pytest.raises(SourceDataError, match="1 row has a NULL in the unique_key"):
            it.flag((None, 1, "a", AT))
        assert it.content() == [(1, 1, "a")]

    @pytest.mark.parametrize("what", ["window", "swap", "in_place"])
    def test_a_guard_shows_rows_that_make_room(
        self, deleting: Destination, schema: str, what: str
    ) -> None:
        it = Upserts(deleting, schema, soft=False)
        it.missing([(n, n, "a") for n in range(10)], [])
        low = Cursor(("at",), (pa.scalar(7, pa.int64()),))
        action: Action = DeleteWindow(window=Window("given", low).to_json())
        if what != "window":
            columns: tuple[Column, ...] = columns_of(deleting, _ROW)
            action = ReplaceWithStaged.model_validate({"how": what, "columns": columns})
        guard = Guard(expr="read > 0 or target_has_rows == 0", message="nothing came")
        actions = (action, guard) if what != "window" else (action, AppendStaged(), guard)
        table = table_of(_ROW, [])
        plan = publish(record("t", schema), _ROW, *actions)
        shown = "7; 8; 9" if what == "window" else "0; 1; 2; 3; 4"
        with pytest.raises(GuardError, match=f"for example {shown}"):
            it.commit(plan, table)
        assert len(it.content()) == 10
