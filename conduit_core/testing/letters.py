"""What a destination must do with rejected rows: keep them, settle them, give them back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core.connectors.base import Destination, StagedRows
from conduit_core.connectors.objects.local import LocalStore
from conduit_core.connectors.objects.staging import FolderStaging
from conduit_core.connectors.publish import (
    DELETED_AT,
    IS_CURRENT,
    VALID_FROM,
    VALID_TO,
    Action,
    AppendStaged,
    CheckUnique,
    CloseVersions,
    Column,
    CreateTable,
    DeleteMatching,
    Deletes,
    DeleteWindow,
    Guard,
    KeepNewest,
    LetterFilter,
    MergeStaged,
    ReplaceWithStaged,
)
from conduit_core.connectors.sql.destination import SqlDestination
from conduit_core.connectors.sql.letters import AUDITS, LETTERS
from conduit_core.connectors.staging import Attempt, OpenLoad, Staging
from conduit_core.errors import GuardError, QualityError, SchemaError, SourceDataError, StateError
from conduit_core.events import ignore
from conduit_core.state.cursor import Cursor
from conduit_core.state.window import Window
from conduit_core.testing.deleting import TableKeys
from conduit_core.testing.doubles import columns_of, landed, unique
from conduit_core.testing.fixtures import DestinationFixtures
from conduit_core.testing.ruled import KINDS, Desk, Rows, RuledRows, by_key, table_of
from conduit_core.types.dialect import Table
from conduit_core.types.schema import fingerprint, schema_to_json

_COMPARE = ("id", "at", "v")
_UPSERT = MergeStaged(key=("id",), order=("at",), compare=_COMPARE)
_NEWER = MergeStaged(key=("id",), order=("at",), compare=_COMPARE, only_newer=True)
_INSERT = MergeStaged(key=("id",), order=("at",), compare=_COMPARE, update=False)
_VERSIONS = CloseVersions(key=("id",), order=("at",), compare=_COMPARE, track=("v",))


_REPLAY = by_key(replays=LetterFilter())


def _window(low: int, high: int) -> str:
    low_end, high_end = (Cursor(("at",), (pa.scalar(n, pa.int64()),)) for n in (low, high))
    return Window("given", low_end, high_end).to_json()


class LetterContract(DestinationFixtures):
    """Dead letters, audit reports and unique columns, where a destination has them."""

    @pytest.fixture
    def desk(self, destination: Destination, schema: str) -> Desk:
        return Desk(destination, schema)

    # --- kept ------------------------------------------------------------------------------------

    def test_nothing_is_there_before_the_first_load(self, desk: Desk) -> None:
        desk.keeper.check_letters()
        assert desk.keeper.letters(None) == []
        assert desk.keeper.open_letters(desk.target) == 0
        assert desk.keeper.letter_counts(desk.target) == {}
        assert desk.keeper.audits(desk.target) == []
        assert desk.keeper.purge_letters(None) == 0
        found = desk.keeper.replayed_rows(desk.target, LetterFilter(), KINDS).read_all()
        assert found.num_rows == 0

    def test_rejected_rows_become_letters(self, desk: Desk) -> None:
        bad = 'x"\\\0\n\u2028é😀'
        spool = desk.spool([(2, 20, bad)], rules=("a", 'b"', "c"))
        done = desk.append([(1, 10, "a")], rejected=spool)
        assert done.record is not None
        assert done.record.counts.rejected == 1
        one = desk.one()
        assert (one.status, one.attempts, one.copies) == ("open", 1, 1)
        assert (one.load_id, one.first_load_id) == (done.record.load_id,) * 2
        assert (one.pipeline, one.stream, one.target_table) == ("suite", "t", "t")
        assert one.row_key == "[2]"
        assert [r["rule"] for r in json.loads(one.reasons)] == ["a", 'b"', "c"]
        assert json.loads(one.payload or "") == {"id": 2, "at": 20, "v": bad}
        assert one.schema_fingerprint == fingerprint(KINDS)
        assert one.settled_at is None
        assert one.first_seen_at == one.last_seen_at
        assert desk.rows() == [(1, 10, "a")]
        desk.keeper.check_letters()

    @pytest.mark.parametrize("adds", [False, True])
    def test_equal_rows_without_a_key_are_one_letter(self, desk: Desk, *, adds: bool) -> None:
        bad = [(2, 20, "x"), (2, 20, "x")]
        for _ in range(2):
            spool = desk.spool(bad, key=())
            desk.append([], rejected=spool, adds_copies=adds)
        one = desk.one()
        assert (one.attempts, one.copies, one.row_key) == (2, 4 if adds else 2, None)
        assert one.load_id != one.first_load_id
        back = desk.keeper.replayed_rows(desk.target, LetterFilter(), KINDS).read_all()
        assert back.to_pylist() == [{"id": 2, "at": 20, "v": "x"}] * one.copies

    def test_hidden_values_are_not_kept(self, desk: Desk) -> None:
        for value in ("secret", "other"):
            spool = desk.spool([(2, 20, value)], redact=frozenset({"v"}))
            desk.append([], rejected=spool)
        one = desk.one()
        assert (one.redacted, one.attempts) == (("v",), 2)
        assert json.loads(one.payload or "") == {"id": 2, "at": 20, "v": None}
        assert not desk.keeper.replayed_rows(desk.target, LetterFilter(), KINDS).read_all()

    def test_letters_by_filter(self, desk: Desk) -> None:
        desk.append([], rejected=desk.spool([(1, 1, "x")], rules=("a", "b")))
        done = desk.append([], rejected=desk.spool([(2, 2, "x"), (3, 3, "x")], rules=("b",)))
        assert done.record is not None
        keeper, target = desk.keeper, desk.target
        assert len(keeper.letters(target)) == 3
        assert len(keeper.letters(target, limit=1)) == 1
        assert keeper.letters(Table(target.schema, "other")) == []
        assert len(keeper.letters(target, LetterFilter(rule="a"))) == 1
        assert len(keeper.letters(target, LetterFilter(rule="b"))) == 3
        assert keeper.letters(target, LetterFilter(rule="A")) == []
        newest = keeper.letters(target, LetterFilter(load_id=done.record.load_id))
        assert [one.row_key for one in keeper.letters(target)][-1] == "[1]"
        ids = tuple(one.letter_id for one in newest)
        assert {one.row_key for one in newest} == {"[2]", "[3]"}
        assert len(keeper.letters(target, LetterFilter(ids=ids[:1]))) == 1
        assert keeper.letters(target, LetterFilter(ids=())) == []
        folds = not desk.destination.capabilities.case_sensitive_names
        assert keeper.open_letters(Table(target.schema.upper(), "T")) == (3 if folds else 0)

    def test_letters_are_purged(self, desk: Desk) -> None:
        desk.append([], rejected=[(1, 1, "x"), (2, 2, "x")])
        before = datetime.now(UTC) - timedelta(days=1)
        assert desk.keeper.purge_letters(desk.target, seen_before=before) == 0
        (first, _) = desk.keeper.letters(desk.target)
        assert desk.keeper.purge_letters(None, LetterFilter(ids=(first.letter_id,))) == 1
        assert desk.keeper.purge_letters(desk.target) == 1
        assert desk.keeper.purge_letters(desk.target) == 0
        assert desk.statuses() == {"purged": 2}
        every = desk.keeper.letters(None, statuses=("purged",))
        assert all(one.payload is None and one.settled_at and not one.settled_by for one in every)
        desk.append([], rejected=[(1, 1, "x")])
        assert desk.statuses() == {"purged": 1, "open": 1}
        assert desk.keeper.letters(None)[0].payload is not None

    # --- settled ---------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "actions",
        [
            (AppendStaged(),), (_INSERT,), (_UPSERT,), (_VERSIONS,),
            (DeleteMatching(columns=("id",)), AppendStaged()),
            (KeepNewest(key=("id",), order=("at",), compare=_COMPARE),
             DeleteMatching(columns=("id",)), AppendStaged()),
        ],
        ids=["append", "insert_only", "upsert", "scd2", "by_key", "newest_by_key"],
    )  # fmt: skip
    def test_a_row_of_the_key_resolves(self, desk: Desk, actions: tuple[Action, ...]) -> None:
        schema = KINDS
        if isinstance(actions[0], CloseVersions):
            ddl = columns_of(desk.destination, schema)
            flag = columns_of(desk.destination, pa.schema([("f", pa.bool_())]))[0].ddl
            own = (
                Column(name=VALID_FROM, ddl=ddl[1].ddl),
                Column(name=VALID_TO, ddl=ddl[1].ddl),
                Column(name=IS_CURRENT, ddl=flag),
            )
            actions = (CreateTable(columns=(*ddl, *own)), *actions)
        first = (AppendStaged(),) if isinstance(actions[-1], AppendStaged) else actions
        desk.load([(1, 10, "a")], *first, rejected=[(2, 20, "x"), (3, 30, "x")])
        later = tuple(a for a in actions if not isinstance(a, CreateTable))
        done = desk.load([(2, 21, "good"), (4, 1, "b")], *later, resolve=by_key())
        assert done.record is not None
        assert desk.statuses() == {"open": 1, "resolved": 1}
        (one,) = desk.keeper.letters(desk.target, statuses=("resolved",))
        assert (one.row_key, one.settled_by) == ("[2]", done.record.load_id)
        assert one.settled_at is not None
        assert len(desk.rows()) == 3

    def test_an_append_without_a_key_leaves_letters_open(self, desk: Desk) -> None:
        desk.append([], rejected=desk.spool([(2, 20, "x")], key=()))
        desk.append([(2, 20, "good")], resolve=by_key(key=()))
        assert desk.statuses() == {"open": 1}

    @pytest.mark.parametrize("how", ["swap", "in_place"])
    def test_a_replace_covers_all(self, desk: Desk, how: str) -> None:
        desk.append([(1, 10, "a")], rejected=[(2, 20, "x"), (3, 30, "x"), (4, 40, "x")])
        columns = columns_of(desk.destination, landed(desk.destination, table_of([])).schema)
        action = ReplaceWithStaged.model_validate({"how": how, "columns": columns})
        rejected = [(4, 40, "x"), (5, 50, "x")]
        desk.load([(2, 20, "b")], action, rejected=rejected, resolve=by_key(covers="target"))
        assert desk.statuses() == {"open": 2, "resolved": 1, "superseded": 1}
        assert desk.rows() == [(2, 20, "b")]

    def test_a_window_covers_its_letters(self, desk: Desk) -> None:
        desk.append([(1, 10, "a")], rejected=[(2, 20, "x"), (3, 25, "x"), (4, 30, "x")])
        window = _window(20, 30)
        resolve = by_key(covers="window", window=window)
        actions = (DeleteWindow(window=window), AppendStaged())
        desk.load([(2, 20, "b")], *actions, resolve=resolve)
        assert desk.statuses() == {"open": 1, "resolved": 1, "superseded": 1}
        assert desk.keeper.letters(desk.target)[0].row_key == "[4]"

    def test_files_that_come_again_cover_their_letters(self, desk: Desk) -> None:
        kinds = KINDS.append(pa.field("_conduit_file", pa.string()))
        text = json.dumps(schema_to_json(kinds))
        bad = [(2, 20, "x", "a.csv"), (3, 30, "x", "b.csv")]
        spool = desk.spool(bad, schema=kinds, key=())
        desk.load([(1, 1, "a", "a.csv")], AppendStaged(), rejected=spool, schema=kinds)
        resolve = by_key(key=(), covers="files", schema_text=text)
        actions = (DeleteMatching(columns=("_conduit_file",)), AppendStaged())
        desk.load([(1, 1, "b", "a.csv")], *actions, resolve=resolve, schema=kinds)
        assert desk.statuses() == {"open": 1, "superseded": 1}
        assert '"b.csv"' in (desk.keeper.letters(desk.target)[0].payload or "")

    def test_a_newer_payload_supersedes(self, desk: Desk) -> None:
        desk.load([], _UPSERT, rejected=[(2, 20, "x"), (3, 30, "x")], resolve=by_key())
        desk.load([(9, 9, "z")], _UPSERT, rejected=[(2, 21, "y"), (3, 30, "x")], resolve=by_key())
        assert desk.statuses() == {"open": 2, "superseded": 1}
        old = desk.keeper.letters(desk.target, statuses=("superseded",))[0]
        assert json.loads(old.payload or "")["at"] == 20
        desk.load([(2, 22, "good")], _UPSERT, rejected=[(2, 21, "y")], resolve=by_key())
        assert desk.statuses() == {"open": 2, "superseded": 1}

    def test_rows_without_a_whole_key_are_no_ones(self, desk: Desk) -> None:
        for at in (1, 2):
            desk.load([(9, at, "z")], _UPSERT, rejected=[(None, at, "x")], resolve=by_key())
        assert desk.statuses() == {"open": 2}

    @pytest.mark.parametrize("soft", [False, True])
    def test_a_delete_supersedes(self, desk: Desk, *, soft: bool) -> None:
        desk.append([(1, 10, "a")], rejected=[(2, 20, "x"), (3, 30, "x")])
        if soft:
            kind = columns_of(
                desk.destination, pa.schema([(DELETED_AT, pa.timestamp("us", "UTC"))])
            )
            sql = desk.destination
            assert isinstance(sql, SqlDestination)
            column = f"{sql.dialect.quote(kind[0].name)} {kind[0].ddl}"
            _run(sql, f"ALTER TABLE {sql.dialect.table(desk.target)} ADD COLUMN {column}")
        at = "2026-01-01 00:00:00.000000+00:00"
        deletes = Deletes(detect="flag", soft=soft, at=at)
        merge = _UPSERT.model_copy(update={"deletes": deletes})
        kinds = KINDS.append(pa.field(DELETED_AT, pa.timestamp("us", "UTC")))
        rows = [(2, 21, None, datetime(2026, 1, 1, tzinfo=UTC)), (3, 31, "good", None)]
        desk.load(rows, merge, resolve=by_key(), schema=kinds)
        assert desk.statuses() == {"superseded": 1, "resolved": 1}

    def test_a_tombstone_supersedes(self, desk: Desk) -> None:
        desk.append([(1, 10, "a")], rejected=[(2, 20, "x"), (3, 30, "x"), (4, 40, "x")])
        arriving = landed(desk.destination, table_of([(4, 50, "back")]))
        tombs = arriving.select(["id", "at"]).schema
        at = "2026-01-01 00:00:00.000000+00:00"
        keys = columns_of(desk.destination, tombs)
        deletes = Deletes(detect="listed", soft=False, at=at, keys=keys, time="at")
        plan = desk.plan(
            arriving.schema, _UPSERT.model_copy(update={"deletes": deletes}), resolve=by_key()
        )
        dead = table_of([(2, 25), (3, 29), (4, 45)], tombs)
        rows = RuledRows(arriving)
        desk.destination.commit(plan, rows, ignore, TableKeys(dead, arriving))
        assert desk.statuses() == {"superseded": 1, "open": 1, "resolved": 1}
        assert desk.keeper.letters(desk.target)[0].row_key == "[3]"

    def test_a_payload_that_no_longer_fits_stays_open(self, desk: Desk) -> None:
        kinds = KINDS.set(0, pa.field("id", pa.string()))
        bad = desk.spool([("two", 20, "x"), ("3", 30, "x")], schema=kinds)
        desk.append([(1, 10, "a")], rejected=bad)
        desk.load([(3, 31, "c")], _UPSERT, resolve=by_key())
        assert desk.statuses() == {"open": 1, "resolved": 1}
        with pytest.raises(SchemaError, match="'id'"):
            desk.keeper.replayed_rows(desk.target, LetterFilter(), KINDS).read_all()

    # --- replayed --------------------------------------------------------------------------------

    def _replayed(self, desk: Desk) -> Rows:
        rows = desk.keeper.replayed_rows(desk.target, LetterFilter(), KINDS).read_all()
        return [tuple(row.values()) for row in rows.to_pylist()]

    def test_a_replay_settles_what_it_brings(self, desk: Desk) -> None:
        desk.append([(2, 25, "newer"), (3, 20, "older")],
                    rejected=[(1, 10, "x"), (2, 20, "x"), (3, 30, "x"), (4, 40, "x")])  # fmt: skip
        rows = self._replayed(desk)
        assert sorted(rows) == [(1, 10, "x"), (2, 20, "x"), (3, 30, "x"), (4, 40, "x")]
        passed = [row for row in rows if row[0] != 4]
        done = desk.load(passed, _NEWER, rejected=[(4, 40, "x")], resolve=_REPLAY)
        assert done.record is not None
        assert desk.rows() == [(1, 10, "x"), (2, 25, "newer"), (3, 30, "x")]
        every = desk.keeper.letters(None, statuses=("open", "resolved", "superseded"))
        assert {one.row_key: one.status for one in every} == {
            "[1]": "resolved", "[2]": "superseded", "[3]": "resolved", "[4]": "open",
        }  # fmt: skip
        (left,) = desk.keeper.letters(None)
        assert (left.attempts, left.load_id) == (2, done.record.load_id)

    def test_without_a_cursor_an_existing_key_wins(self, desk: Desk) -> None:
        desk.append([(2, 25, "there")], rejected=[(1, 10, "x"), (2, 20, "x")])
        merge = MergeStaged(key=("id",), compare=_COMPARE, only_newer=True)
        resolve = by_key(order=(), replays=LetterFilter())
        desk.load(self._replayed(desk), merge, resolve=resolve)
        assert desk.rows() == [(1, 10, "x"), (2, 25, "there")]
        assert desk.statuses() == {"resolved": 1, "superseded": 1}

    def test_of_two_letters_of_a_key_the_newer_goes_in(self, desk: Desk) -> None:
        desk.append([(9, 9, "z")], rejected=[(1, 11, "new"), (1, 10, "old"), (2, 5, "x")])
        desk.load(self._replayed(desk), _NEWER, resolve=_REPLAY)
        assert desk.rows() == [(1, 11, "new"), (2, 5, "x"), (9, 9, "z")]
        (lost,) = desk.keeper.letters(None, statuses=("superseded",))
        assert json.loads(lost.payload or "")["v"] == "old"
        assert desk.statuses() == {"resolved": 2, "superseded": 1}

    def test_a_replay_of_an_append_brings_all_copies(self, desk: Desk) -> None:
        desk.append([(1, 1, "a")], rejected=desk.spool([(2, 2, "x"), (2, 2, "x")], key=()))
        resolve = by_key(key=(), order=(), replays=LetterFilter())
        desk.append(self._replayed(desk), resolve=resolve, adds_copies=True)
        assert desk.rows() == [(1, 1, "a"), (2, 2, "x"), (2, 2, "x")]
        assert desk.statuses() == {"resolved": 1}

    def test_a_replay_leaves_other_letters_alone(self, desk: Desk) -> None:
        desk.append([(9, 9, "z")], rejected=[(1, 10, "x"), (2, 20, "x")])
        which = next(one for one in desk.keeper.letters(None) if one.row_key == "[1]")
        chosen = LetterFilter(ids=(which.letter_id,))
        desk.load([(1, 10, "x")], _NEWER, resolve=by_key(replays=chosen))
        assert desk.statuses() == {"resolved": 1, "open": 1}

    def test_letters_are_read_while_the_target_is_locked(
        self, desk: Desk, destination: Destination
    ) -> None:
        desk.append([(9, 9, "z")], rejected=[(1, 10, "x")])
        assert isinstance(destination, SqlDestination)
        session = destination.session()
        try:
            session.begin(destination.lock_name(desk.target))
            assert self._replayed(desk) == [(1, 10, "x")]
            assert desk.keeper.open_letters(desk.target) == 1
            held = desk.keeper.replayed_rows(desk.target, LetterFilter(), KINDS)
            session.execute(f"DELETE FROM {destination.dialect.table(desk.target)}")
            session.commit()
            assert held.read_all().num_rows == 1
        finally:
            session.rollback()
            session.close()

    # --- or not at all ---------------------------------------------------------------------------

    def test_a_load_that_fails_leaves_letters_as_they_were(self, desk: Desk) -> None:
        desk.append([(1, 10, "a")], rejected=[(2, 20, "x")])
        before = desk.keeper.letters(None)
        no = Guard(expr="inserted == 0", message="no")
        spools = [desk.spool([(2, 20, "x"), (3, 30, "y")]) for _ in range(2)]
        with pytest.raises(GuardError):
            desk.load([(2, 21, "b")], _UPSERT, no, rejected=spools[0], resolve=by_key())
        with pytest.raises(SourceDataError):
            desk.load([(2, 21, "b")], _UPSERT, rejected=spools[1], resolve=by_key(), fail_at=0)
        assert desk.keeper.letters(None) == before
        assert desk.rows() == [(1, 10, "a")]
        spools[1].close()

    def test_an_altered_table_is_told_of(self, desk: Desk, destination: Destination) -> None:
        desk.append([(1, 10, "a")])
        desk.keeper.check_letters()
        assert isinstance(destination, SqlDestination)
        table = destination.letters_sql.letters
        _run(destination, f"ALTER TABLE {table} RENAME COLUMN reasons TO why")
        with pytest.raises(StateError, match="reasons is missing"):
            desk.keeper.check_letters()

    def test_an_older_ledger_gets_the_tables(self, desk: Desk, destination: Destination) -> None:
        desk.append([(1, 10, "a")])
        assert isinstance(destination, SqlDestination)
        for name in (LETTERS, AUDITS):
            _run(
                destination,
                f"DROP TABLE {destination.dialect.table(destination.ledger.table(name))}",
            )
        assert desk.keeper.letters(None) == []
        assert desk.keeper.open_letters(desk.target) == 0
        desk.append([(2, 10, "a")], rejected=[(3, 30, "x")], resolve=by_key(), report="{}")
        assert desk.statuses() == {"open": 1}

    # --- unique columns, reports -----------------------------------------------------------------

    def test_unique_columns(self, desk: Desk) -> None:
        rows = [(1, 10, "a"), (2, 20, "a"), (3, 20, None), (4, 30, None)]
        loose = CheckUnique(rule="one_v", columns=("v",), stops=False)
        done = desk.append(rows, resolve=None)
        desk.append([(5, 50, "c")])
        with pytest.raises(QualityError, match=r"one_v.*\(a\)"):
            desk.load([(6, 60, "z")], AppendStaged(), CheckUnique(rule="one_v", columns=("v",)))
        hidden = CheckUnique(rule="one_v", columns=("v",), hides=True)
        with pytest.raises(QualityError, match="the same v, so nothing"):
            desk.load([(6, 60, "z")], AppendStaged(), hidden)
        with pytest.raises(QualityError, match="20, a"):
            desk.load([(6, 20, "a")], AppendStaged(), CheckUnique(rule="two", columns=("at", "v")))
        assert len(desk.rows()) == 5
        desk.load([(6, 60, "z")], AppendStaged(), CheckUnique(rule="two", columns=("id", "v")))
        done = desk.load([(7, 70, "a")], AppendStaged(), loose)
        assert done.notes == (f"rule 'one_v': {desk.target} has 2 rows beside the first of each v",)

    def test_letters_are_counted(self, desk: Desk) -> None:
        first = desk.append([(9, 9, "z")], rejected=[(1, 10, "x"), (2, 20, "x")]).record
        last = desk.append([(8, 8, "z")], rejected=[(2, 20, "x"), (3, 30, "x")]).record
        assert first is not None
        assert last is not None
        (letter, _, _) = desk.keeper.letters(desk.target)
        desk.keeper.purge_letters(desk.target, LetterFilter(ids=(letter.letter_id,)))
        assert desk.keeper.letter_counts(desk.target) == {"open": 2, "purged": 1}
        assert desk.keeper.letter_counts(desk.target, first.load_id) == {"open": 1}
        assert desk.keeper.letter_counts(desk.target, last.load_id) == {"open": 1, "purged": 1}
        assert desk.keeper.letter_counts(Table(desk.target.schema, "other")) == {}

    def test_reports_of_audits(self, desk: Desk) -> None:
        desk.append([(1, 10, "a")])
        loads = [desk.append([(n, n, "a")], report=f'{{"n":{n}}}').record for n in (2, 3)]
        found = desk.keeper.audits(desk.target)
        assert [one.report for one in found] == ['{"n":3}', '{"n":2}']
        assert [one.version for one in found] == [3, 2]
        assert desk.keeper.audits(desk.target, last=1) == found[:1]
        assert loads[0] is not None
        assert desk.keeper.audits(desk.target, load_id=loads[0].load_id) == found[1:]
        assert desk.keeper.audits(Table(desk.target.schema, "other")) == []
        destination = desk.destination
        assert isinstance(destination, SqlDestination)
        destination.clean(timedelta(0), dry_run=False)
        assert desk.keeper.audits(desk.target) == found[:1]

    # --- staged in splits ------------------------------------------------------------------------

    def test_letters_wait_in_staging(self, desk: Desk, tmp_path: Path) -> None:
        staging: Staging = desk.destination.staging() or FolderStaging(LocalStore(tmp_path / "s"))
        desk.append([(9, 9, "z")], rejected=[(1, 1, "x")])
        arriving = landed(desk.destination, table_of([(1, 2, "a")]))
        plan = desk.plan(arriving.schema, _UPSERT, resolve=by_key())
        load = OpenLoad(
            load_id=plan.record.load_id,
            plan_id=unique("plan"),
            target_fingerprint="suite",
            target_schema=desk.target.schema,
            target_table="t",
            plan="{}",
            opened_at=datetime.now(UTC),
        )
        staging.open(load, None)
        columns = columns_of(desk.destination, arriving.schema)

        def stage(split: str, table: pa.Table, rejected: Rows) -> None:
            attempt = Attempt(
                load=load, split=split, attempt=unique("a"), columns=columns, worker="suite"
            )
            rows = RuledRows(table, desk.spool(rejected), f'{{"split":"{split}"}}')
            staging.stage(attempt, rows, ignore)

        stage("one", arriving, [(2, 2, "x")])
        stage("two", landed(desk.destination, table_of([])), [(3, 3, "x"), (4, 4, "x")])
        stage("three", landed(desk.destination, table_of([(5, 5, "b")])), [])
        stage("one", arriving, [(7, 7, "x")])  # lost: its letters are no one's
        receipts = staging.receipts(load.plan_id, "suite")
        assert sorted(r.quality for r in receipts) == [
            f'{{"split":"{s}"}}' for s in ("one", "three", "two")
        ]
        staging.sweep(timedelta(days=1), (), dry_run=False)
        rows: StagedRows = staging.rows(receipts, arriving.schema, report="whole")
        done = desk.destination.commit(plan, rows, ignore)
        assert done.record is not None
        assert done.record.counts.rejected == 3
        assert {one.row_key for one in desk.keeper.letters(None)} == {"[2]", "[3]", "[4]"}
        assert desk.statuses() == {"open": 3, "resolved": 1}
        assert [one.report for one in desk.keeper.audits(desk.target)] == ["whole"]
        staging.drop(load.plan_id, "suite")
        assert staging.sweep(timedelta(0), (), dry_run=True) == []
        assert not list(tmp_path.rglob("*.arrows"))


def _run(destination: SqlDestination, *statements: str) -> None:
    session = destination.session()
    try:
        session.begin("suite")
        for statement in statements:
            session.execute(statement)
        session.commit()
    finally:
        session.rollback()
        session.close()
