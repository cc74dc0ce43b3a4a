from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pytest
from pyarrow import ipc

from conduit_core.connectors.base import BATCH_BYTES
from conduit_core.connectors.objects import open_store
from conduit_core.connectors.objects.staged import StagedFiles
from conduit_core.connectors.objects.staging import FolderStaging
from conduit_core.connectors.staging import Attempt, OpenLoad, StageReceipt, Staging
from conduit_core.errors import ConfigError, StagingLostError
from conduit_core.events import ignore
from conduit_core.testing import StagingSuite
from conduit_core.testing.doubles import TableRows, unique
from conduit_core.testing.staging import DAY, SCHEMA, numbers
from conduit_core.testing.torture import CASES, LONG_NAMES, NAMES, Case, plain
from tests.objects.conftest import Place


class FolderFixtures:
    """Staging in each kind of place."""

    @pytest.fixture
    def connect(self, place: Place) -> Callable[[], Staging]:
        return lambda: FolderStaging(place.open())

    @pytest.fixture
    def places(self, place: Place) -> Callable[[], list[str]]:
        store = place.open()

        def places() -> list[str]:
            assert store.unfinished() == []
            return [e.path for e in store.entries() if "/data/" in e.path]

        return places

    @pytest.fixture
    def lose_rows(self, place: Place) -> Callable[[StageReceipt], None]:
        return lambda receipt: place.open().delete(receipt.places)


class TestFolderStaging(FolderFixtures, StagingSuite):
    """The contract, in each kind of place."""


# --- what files alone can do ----------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "staging"


@pytest.fixture
def staging(root: Path) -> FolderStaging:
    return FolderStaging(open_store(str(root), Path("/")))


def a_load(load_id: str = "one", age: timedelta = timedelta(0)) -> OpenLoad:
    return OpenLoad(
        load_id=load_id,
        plan_id=f"plan-of-{load_id}",
        target_fingerprint="fp",
        target_schema="main",
        target_table="orders",
        plan="{}",
        opened_at=datetime.now(UTC) - age,
    )


def stage(
    staging: Staging, load: OpenLoad, rows: pa.Table, split: str = "s1", batch_rows: int = 3
) -> StageReceipt:
    attempt = Attempt(load=load, split=split, attempt=unique("a"), columns=(), worker="host:1")
    return staging.stage(attempt, TableRows(rows, batch_rows=batch_rows), ignore)


def read(staging: Staging, receipts: list[StageReceipt], schema: pa.Schema) -> pa.Table:
    rows = staging.rows(receipts, schema)
    try:
        return rows.reader().read_all()
    finally:
        rows.finish()


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_every_type_comes_back_as_it_was(staging: FolderStaging, case: Case) -> None:
    load = staging.open(a_load(), None)
    rows = case.table()
    found = read(staging, [stage(staging, load, rows, batch_rows=2)], rows.schema)
    assert found.schema.equals(rows.schema, check_metadata=True)
    assert plain(found["value"]) == plain(rows["value"])


def test_every_name_comes_back_as_it_was(staging: FolderStaging) -> None:
    load = staging.open(a_load(), None)
    names = [*NAMES, *LONG_NAMES]
    rows = pa.table({name: [number] for number, name in enumerate(names)})
    assert read(staging, [stage(staging, load, rows)], rows.schema).equals(rows)


def test_dictionaries_that_change_come_back_as_they_were(staging: FolderStaging) -> None:
    load = staging.open(a_load(), None)
    chunks = [pa.array(words).dictionary_encode() for words in (["a", "b"], ["c"], ["b", "a"])]
    rows = pa.table({"v": pa.chunked_array(chunks)})
    found = read(staging, [stage(staging, load, rows)], rows.schema)
    assert found["v"].to_pylist() == ["a", "b", "c", "b", "a"]


def test_a_long_split_is_in_several_files(
    staging: FolderStaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit_core.connectors.objects.staging._FILE_BYTES", 1000)
    load = staging.open(a_load(), None)
    receipts = [stage(staging, load, numbers(n * 500, n * 500 + 500), f"s{n}") for n in range(2)]
    assert all(len(receipt.places) > 5 for receipt in receipts)
    assert read(staging, receipts, SCHEMA).equals(numbers(0, 1000))
    staging.drop(load.plan_id, load.target_fingerprint)


def test_large_batches_are_read_back_in_bounded_ones(staging: FolderStaging) -> None:
    load = staging.open(a_load(), None)
    rows = pa.table({"v": ["x" * 100] * 400_000})
    receipt = stage(staging, load, rows, batch_rows=400_000)
    staged = staging.rows([receipt], rows.schema)
    sizes = [batch.nbytes for batch in staged.reader()]
    assert sum(sizes) > 9 * BATCH_BYTES
    assert max(sizes) <= BATCH_BYTES * 1.1
    assert staged.finish().bytes == rows.nbytes


def test_no_more_is_read_than_fits(staging: FolderStaging, monkeypatch: pytest.MonkeyPatch) -> None:
    load = staging.open(a_load(), None)
    receipt = stage(staging, load, numbers(0, 300))
    taken: list[int] = []
    file = StagedFiles._file

    def counted(
        self: StagedFiles, of: StageReceipt, place: str, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        for batch in file(self, of, place, schema):
            taken.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(StagedFiles, "_file", counted)
    staged = staging.rows([receipt], SCHEMA)
    assert staged.reader().read_next_batch().num_rows == 3
    tally = staged.finish()
    assert not tally.complete
    assert 1 <= len(taken) <= 9
    assert not [t for t in threading.enumerate() if t.name == "read-staged"]


def test_rows_nobody_asked_for_end_well(staging: FolderStaging) -> None:
    load = staging.open(a_load(), None)
    receipt = stage(staging, load, numbers(0, 10))
    assert not staging.rows([receipt], SCHEMA).finish().complete
    assert read(staging, [], SCHEMA).num_rows == 0


# --- what was altered -----------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def overwrite(path: Path) -> None:
    path.write_bytes(b"not arrow" * 100)


def other_columns(path: Path) -> None:
    rows = pa.table({"id": [1], "w": ["x"]})
    with ipc.new_stream(str(path), rows.schema) as out:
        out.write_table(rows)


@pytest.mark.parametrize("meddle", [cut, overwrite, other_columns, Path.unlink])
def test_files_that_are_not_what_was_staged_are_named(
    root: Path, staging: FolderStaging, meddle: Callable[[Path], None]
) -> None:
    load = staging.open(a_load(), None)
    receipts = [stage(staging, load, numbers(n, n + 20), f"split-{n}") for n in range(3)]
    (place,) = receipts[1].places
    meddle(root / place)
    staged = staging.rows(receipts, SCHEMA)
    with pytest.raises(StagingLostError):
        staged.reader().read_all()
    with pytest.raises(StagingLostError) as error:
        staged.finish()
    assert "split split-1" in error.value.message
    assert place in error.value.message
    assert (error.value.retry, len(error.value.lines())) == ("plan", 4)


@pytest.mark.parametrize("what", ["text", "split", "places"])
def test_an_altered_receipt_is_named(root: Path, staging: FolderStaging, what: str) -> None:
    load = staging.open(a_load(), None)
    receipt = stage(staging, load, numbers(0, 3), "split-0")
    places = ("../../../../etc/passwd",) if what == "places" else receipt.places
    split = "split-1" if what == "split" else receipt.split
    altered = receipt.model_copy(update={"split": split, "places": places}).model_dump_json()
    (path,) = root.rglob("split-0.json")
    path.write_text("{" if what == "text" else altered)
    with pytest.raises(StagingLostError, match=r"split split-0 .* receipt") as error:
        staging.receipts(load.plan_id, load.target_fingerprint)
    assert error.value.retry == "plan"
    staging.drop(load.plan_id, load.target_fingerprint)
    assert [path.name for path in root.rglob("*")] == []


def test_an_altered_plan_is_named_and_swept_by_age(root: Path, staging: FolderStaging) -> None:
    staging.open(a_load(), None)
    (path,) = root.rglob("one.json")
    path.write_text("{}")
    assert staging.opened("fp") == []
    with pytest.raises(StagingLostError, match=r"can't be read: .*one\.json") as error:
        staging.open(a_load(), None)
    assert error.value.command == "conduit clean"
    assert staging.sweep(DAY, (), dry_run=False) == []
    age(root, 2 * DAY)
    assert len(staging.sweep(DAY, (), dry_run=False)) == 1
    assert staging.open(a_load(), None).load_id == "one"


def test_an_altered_probe_is_named(root: Path, staging: FolderStaging) -> None:
    staging.probe(write=True)
    (path,) = root.rglob("probe.json")
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"probe\.json isn't what was written"):
        staging.probe(write=False)


# --- what a kill leaves ---------------------------------------------------------------------------


def age(root: Path, by: timedelta) -> None:
    then = (datetime.now(UTC) - by).timestamp()
    for path in root.rglob("*"):
        os.utime(path, (then, then))


KILLED = """
    import os, sys
    from pathlib import Path
    from conduit_core.connectors.objects import open_store, staging as module
    from conduit_core.connectors.staging import Attempt
    from conduit_core.events import ignore
    from conduit_core.testing.doubles import TableRows
    from conduit_core.testing.staging import numbers
    module._FILE_BYTES = 1000
    staging = module.FolderStaging(open_store(sys.argv[1], Path("/")))
    (load,) = staging.opened("fp")
    kill = lambda number: number == 60 and os.kill(os.getpid(), 9)
    rows = TableRows(numbers(0, 500), batch_rows=3, on_batch=kill)
    staging.stage(Attempt(load=load, split="s1", attempt="x", columns=(), worker="w"), rows, ignore)
"""


def test_a_killed_attempt_costs_nothing_but_its_place_until_swept(
    root: Path, staging: FolderStaging
) -> None:
    load = staging.open(a_load(age=2 * DAY), None)
    command = [sys.executable, "-c", dedent(KILLED), str(root)]
    assert subprocess.run(command, check=False).returncode == -9
    assert len(list(root.rglob("s1-x-*.arrows"))) > 1
    assert len(list(root.rglob(".conduit-unfinished-*"))) == 1
    assert staging.receipts(load.plan_id, "fp") == []
    assert staging.sweep(DAY, (), dry_run=False) == []  # what was written just now may be at work
    receipt = stage(staging, load, numbers(0, 500))
    assert read(staging, [receipt], SCHEMA).equals(numbers(0, 500))
    staging.drop(load.plan_id, "fp")
    assert [p for p in root.rglob("*") if p.is_file()] == []


def test_what_a_killed_attempt_left_of_a_load_that_is_gone_is_swept_by_age(
    root: Path, staging: FolderStaging
) -> None:
    staging.open(a_load(age=2 * DAY), None)
    subprocess.run([sys.executable, "-c", dedent(KILLED), str(root)], check=False)
    (plan,) = [p for p in root.rglob("*.json") if "loads" in p.parts]
    plan.unlink()  # its publisher was killed when it had removed the plan, and nothing else
    assert staging.sweep(DAY, (), dry_run=False) == []
    age(root, 2 * DAY)
    (item,) = staging.sweep(DAY, (), dry_run=False)
    assert (item.kind, item.reason) == ("staging", "its load isn't open")
    assert [p for p in root.rglob("*") if p.is_file()] == []
