"""The contract of a staging: open loads, attempts, receipts, rows, and what a sweep may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from conduit_core.connectors.publish import Column
from conduit_core.connectors.staging import Attempt, OpenLoad, StageReceipt, Staging
from conduit_core.errors import SourceDataError, StagingLostError
from conduit_core.events import ignore
from conduit_core.testing.doubles import TableRows, unique
from conduit_core.types.dialect import Table

Read = Callable[[Staging, Sequence[StageReceipt], pa.Schema], pa.Table]
_FIELDS: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
SCHEMA = pa.schema(_FIELDS)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def numbers(start: int, stop: int) -> pa.Table:
    """Return rows with the ids from ``start`` to before ``stop``."""
    texts = [f"v{n}" if n % 5 else None for n in range(start, stop)]
    return pa.table({"id": list(range(start, stop)), "v": texts}, schema=SCHEMA)


class StagingSuite:
    """What every ``Staging`` must do. Subclass it and supply the fixtures that raise here.

    ``connect`` returns a new object on one empty place; it is closed after the test.
    """

    @pytest.fixture
    def connect(self) -> Callable[[], Staging]:
        """What makes a staging on one empty place, anew with each call."""
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def places(self) -> Callable[[], list[str]]:
        """What lists the files or relations that hold staged rows now, as receipts name them."""
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def lose_rows(self) -> Callable[[StageReceipt], None]:
        """What removes the staged rows of a receipt behind the staging's back."""
        raise NotImplementedError("the subclass supplies this fixture")

    @pytest.fixture
    def columns(self) -> Callable[[pa.Schema], tuple[Column, ...]]:
        """What gives the columns of an attempt; override where their types matter."""
        return lambda schema: tuple(Column(name=f.name, ddl=str(f.type)) for f in schema)

    @pytest.fixture
    def read(self) -> Read:
        """What reads staged rows; override where they don't leave the destination: publish them."""

        def read(staging: Staging, receipts: Sequence[StageReceipt], schema: pa.Schema) -> pa.Table:
            rows = staging.rows(receipts, schema)
            try:
                table = rows.reader().read_all()
            except Exception:
                rows.finish()
                raise
            tally = rows.finish()
            assert tally.complete
            assert tally.counts.read == sum(r.counts.read for r in receipts)
            return table

        return read

    @pytest.fixture
    def target(self) -> Table:
        """The target; another one is beside it in the same schema."""
        return Table("main", "orders")

    @pytest.fixture
    def staging(self, connect: Callable[[], Staging]) -> Iterator[Staging]:
        """An empty staging."""
        made = connect()
        yield made
        made.close()

    @pytest.fixture
    def a_load(self, target: Table) -> Callable[..., OpenLoad]:
        """What makes a load: by id, age and target."""

        def make(
            load_id: str | None = None,
            age: timedelta = timedelta(0),
            table: Table = target,
        ) -> OpenLoad:
            named = load_id or unique("load")
            return OpenLoad(
                load_id=named,
                plan_id=unique(f"plan-of-{named}"),
                target_fingerprint=f"fp-{table}",
                target_schema=table.schema,
                target_table=table.name,
                plan='{"a": "plan"}',
                opened_at=datetime.now(UTC) - age,
            )

        return make

    @pytest.fixture
    def stage(
        self, connect: Callable[[], Staging], columns: Callable[[pa.Schema], tuple[Column, ...]]
    ) -> Callable[..., StageReceipt]:
        """What stages a split through a connection of its own: a worker."""

        def stage(
            load: OpenLoad,
            split: str = "s1",
            rows: pa.Table | None = None,
            *,
            on_batch: Callable[[int], None] | None = None,
            fail_at: int | None = None,
        ) -> StageReceipt:
            table = numbers(0, 10) if rows is None else rows
            attempt = Attempt(
                load=load,
                split=split,
                attempt=unique("attempt"),
                columns=columns(table.schema),
                worker="host:1",
            )
            source = TableRows(table, batch_rows=2, on_batch=on_batch, fail_at=fail_at)
            staging = connect()
            try:
                return staging.stage(attempt, source, ignore)
            finally:
                staging.close()

        return stage

    # --- open loads -------------------------------------------------------------------------------

    def test_looking_makes_nothing(self, staging: Staging, places: Callable[[], list[str]]) -> None:
        assert staging.opened("fp") == []
        assert staging.receipts("plan", "fp") == []
        assert staging.receipt("plan", "fp", "s1") is None
        staging.drop("plan", "fp")
        assert staging.sweep(timedelta(0), (), dry_run=False) == []
        assert places() == []

    def test_a_place_is_known_again(self, connect: Callable[[], Staging]) -> None:
        one, other = connect(), connect()
        made = one.probe(write=True)
        assert {other.probe(write=False), other.probe(write=True)} == {made}
        one.close()
        other.close()

    def test_the_plan_that_was_open_first_holds(
        self, staging: Staging, a_load: Callable[..., OpenLoad]
    ) -> None:
        first, second = a_load("one", DAY), a_load("one")
        assert staging.open(first, None) == first
        assert staging.open(second, None) == first
        assert staging.open(second, "a plan that isn't there") == first
        newer = a_load("two")
        staging.open(newer, None)
        assert staging.opened(first.target_fingerprint) == [newer, first]
        assert staging.opened("another target") == []

    def test_eight_plans_at_once_open_one(
        self, connect: Callable[[], Staging], a_load: Callable[..., OpenLoad]
    ) -> None:
        stagings = [connect() for _ in range(8)]
        loads = [a_load("one") for _ in stagings]
        gate = threading.Barrier(8)

        def open_it(number: int) -> OpenLoad:
            gate.wait()
            return stagings[number].open(loads[number], None)

        with ThreadPoolExecutor(8) as pool:
            held = list(pool.map(open_it, range(8)))
        assert len({load.plan_id for load in held}) == 1
        assert stagings[0].opened(loads[0].target_fingerprint) == held[:1]
        for staging in stagings:
            staging.close()

    def test_a_superseded_load_goes_with_its_rows_if_it_is_still_that_one(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
    ) -> None:
        first, second, third = (a_load("one") for _ in range(3))
        staging.open(first, None)
        stage(first)
        assert staging.open(second, first.plan_id) == second
        assert staging.receipts(first.plan_id, first.target_fingerprint) == []
        assert places() == []
        assert staging.open(third, first.plan_id) == second
        assert staging.opened(first.target_fingerprint) == [second]

    def test_a_dropped_load_is_gone_whole(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
    ) -> None:
        load = staging.open(a_load(), None)
        for split in ("s1", "s2"):
            stage(load, split)
        for _ in range(2):
            staging.drop(load.plan_id, load.target_fingerprint)
            assert staging.opened(load.target_fingerprint) == []
            assert staging.receipts(load.plan_id, load.target_fingerprint) == []
            assert places() == []

    # --- attempts ---------------------------------------------------------------------------------

    def test_receipts_outlive_who_wrote_them(
        self,
        staging: Staging,
        connect: Callable[[], Staging],
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        read: Read,
    ) -> None:
        load = staging.open(a_load(), None)
        made = [stage(load, f"s{n}", numbers(n * 10, n * 10 + 10)) for n in range(3)]
        staging.close()
        later = connect()
        assert later.opened(load.target_fingerprint) == [load]
        found = later.receipts(load.plan_id, load.target_fingerprint)
        assert found == made
        assert later.receipt(load.plan_id, load.target_fingerprint, "s1") == made[1]
        assert later.receipt(load.plan_id, load.target_fingerprint, "s9") is None
        assert later.receipts(load.plan_id, "another target") == []
        receipt = made[0]
        assert (receipt.rows, receipt.counts.read, receipt.worker) == (10, 10, "host:1")
        assert receipt.bytes > 0
        assert read(later, found, SCHEMA).equals(numbers(0, 30))
        later.close()

    def test_a_zombie_beside_its_retry_leaves_one_receipt_and_no_rows(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
        read: Read,
    ) -> None:
        load = staging.open(a_load(), None)
        retries: list[StageReceipt] = []

        def retry(number: int) -> None:
            if number == 1:
                retries.append(stage(load))

        zombie = stage(load, on_batch=retry)
        assert [zombie] == retries
        assert staging.receipts(load.plan_id, load.target_fingerprint) == [zombie]
        assert places() == sorted(zombie.places)
        assert read(staging, [zombie], SCHEMA).equals(numbers(0, 10))

    def test_of_four_attempts_at_once_one_wins(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
    ) -> None:
        load = staging.open(a_load(), None)
        gate = threading.Barrier(4)

        def at_once(number: int) -> None:
            if number == 1:
                gate.wait()

        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: stage(load, on_batch=at_once), range(4)))
        assert len({receipt.attempt for receipt in made}) == 1
        assert staging.receipts(load.plan_id, load.target_fingerprint) == made[:1]
        assert places() == sorted(made[0].places)

    def test_a_split_with_a_receipt_is_not_read_again(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
    ) -> None:
        load = staging.open(a_load(), None)
        first = stage(load)

        def read(number: int) -> None:
            raise AssertionError("it was read")

        assert stage(load, on_batch=read) == first

    def test_a_stage_without_an_open_load_is_refused(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
    ) -> None:
        with pytest.raises(StagingLostError) as never:
            stage(a_load())
        assert never.value.retry == "plan"
        load = staging.open(a_load(), None)
        stage(load)
        staging.drop(load.plan_id, load.target_fingerprint)
        with pytest.raises(StagingLostError):
            stage(load)
        assert places() == []

    @pytest.mark.parametrize("meanwhile", ["dropped", "superseded"])
    def test_a_load_that_is_closed_meanwhile_takes_no_receipt(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
        meanwhile: str,
    ) -> None:
        load = staging.open(a_load("one"), None)

        def close_it(number: int) -> None:
            if number == 1 and meanwhile == "dropped":
                staging.drop(load.plan_id, load.target_fingerprint)
            elif number == 1:
                staging.open(a_load("one"), load.plan_id)

        with pytest.raises(StagingLostError) as error:
            stage(load, on_batch=close_it)
        assert error.value.retry == "plan"
        assert staging.receipts(load.plan_id, load.target_fingerprint) == []
        assert places() == []

    def test_a_source_that_breaks_leaves_nothing(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
    ) -> None:
        load = staging.open(a_load(), None)
        for batch in (0, 3):
            with pytest.raises(SourceDataError, match="broken on command"):
                stage(load, fail_at=batch)
            assert staging.receipts(load.plan_id, load.target_fingerprint) == []
            assert places() == []
        assert stage(load).rows == 10

    # --- rows -------------------------------------------------------------------------------------

    def test_rows_come_in_the_order_of_their_receipts(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        read: Read,
    ) -> None:
        load = staging.open(a_load(), None)

        def go(number: int) -> StageReceipt:
            return stage(load, f"s{number}", numbers(number * 20, number * 20 + 20))

        with ThreadPoolExecutor(4) as pool:
            receipts = list(pool.map(go, range(4)))
        backwards = receipts[::-1]
        wanted = pa.concat_tables([numbers(n * 20, n * 20 + 20) for n in (3, 2, 1, 0)])
        assert read(staging, backwards, SCHEMA).equals(wanted)

    def test_an_empty_split_has_a_receipt(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        read: Read,
    ) -> None:
        load = staging.open(a_load(), None)
        receipts = [stage(load, "s1", numbers(0, 0)), stage(load, "s2", numbers(0, 4))]
        assert [r.rows for r in receipts] == [0, 4]
        assert read(staging, receipts, SCHEMA).equals(numbers(0, 4))

    def test_lost_rows_are_named_by_their_split(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        lose_rows: Callable[[StageReceipt], None],
        read: Read,
    ) -> None:
        load = staging.open(a_load(), None)
        receipts = [stage(load, f"split-{n}") for n in range(3)]
        lose_rows(receipts[1])
        with pytest.raises(StagingLostError, match="split-1") as error:
            read(staging, receipts, SCHEMA)
        assert error.value.retry == "plan"

    @pytest.mark.parametrize("by", [-1, 1])
    def test_a_receipt_with_another_count_is_named(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        read: Read,
        by: int,
    ) -> None:
        load = staging.open(a_load(), None)
        receipts = [stage(load, f"split-{n}") for n in range(2)]
        receipts[1] = receipts[1].model_copy(update={"rows": receipts[1].rows + by})
        with pytest.raises(StagingLostError, match="split-1"):
            read(staging, receipts, SCHEMA)

    # --- sweeping ---------------------------------------------------------------------------------

    def test_a_sweep_takes_what_nobody_works_at(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
    ) -> None:
        old, busy, young = a_load("old", 2 * WEEK), a_load("busy", 2 * WEEK), a_load("young")
        for load in (old, busy, young):
            staging.open(load, None)
        receipt = stage(busy)
        (item,) = staging.sweep(WEEK, (), dry_run=True)
        assert item.kind == "staging"
        assert "old" in item.name
        assert staging.opened(old.target_fingerprint) == [young, busy, old]
        assert staging.sweep(WEEK, (), dry_run=False) == [item]
        assert staging.opened(old.target_fingerprint) == [young, busy]
        assert staging.receipts(busy.plan_id, busy.target_fingerprint) == [receipt]
        assert staging.sweep(WEEK, (), dry_run=False) == []

    def test_a_sweep_takes_published_loads_at_once(
        self,
        staging: Staging,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        places: Callable[[], list[str]],
    ) -> None:
        done, other = staging.open(a_load("done"), None), staging.open(a_load("other"), None)
        stage(done)
        kept = stage(other)
        assert len(staging.sweep(WEEK, {"done"}, dry_run=False)) == 1
        assert staging.opened(done.target_fingerprint) == [other]
        assert places() == sorted(kept.places)
        assert len(staging.sweep(timedelta(0), (), dry_run=False)) == 1
        assert places() == []

    def test_p10_targets_side_by_side_never_touch_each_other(
        self,
        staging: Staging,
        target: Table,
        a_load: Callable[..., OpenLoad],
        stage: Callable[..., StageReceipt],
        read: Read,
    ) -> None:
        neighbour = Table(target.schema, f"{target.name}2")
        mine, theirs = a_load("mine"), a_load("theirs", timedelta(0), neighbour)
        old = a_load("old", 2 * WEEK)
        for load in (mine, theirs, old):
            staging.open(load, None)
        kept = stage(theirs, "s1", numbers(5, 9))
        stage(mine, "s1")

        def clean(number: int) -> None:
            if number == 1:  # in the middle of the neighbour's stage
                staging.drop(mine.plan_id, mine.target_fingerprint)
                staging.drop(theirs.plan_id, mine.target_fingerprint)
                staging.open(a_load("mine"), mine.plan_id)
                staging.sweep(WEEK, {"mine"}, dry_run=False)

        second = stage(theirs, "s2", numbers(9, 20), on_batch=clean)
        assert staging.opened(mine.target_fingerprint) == []
        assert staging.opened(theirs.target_fingerprint) == [theirs]
        found = staging.receipts(theirs.plan_id, theirs.target_fingerprint)
        assert found == [kept, second]
        assert read(staging, found, SCHEMA).equals(numbers(5, 20))
