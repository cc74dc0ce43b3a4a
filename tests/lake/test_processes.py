"""Processes side by side, and processes that die: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from conduit_core.connectors.lake.destination import LakeDestination
from conduit_core.events import ignore
from conduit_core.testing.doubles import TableRows, record, replace
from conduit_core.testing.fixtures import ids, load
from conduit_core.types.dialect import Table
from tests.lake.processes import together
from tests.lake.worker import destination_at, rows

SMALL = {"target_file_size": 65536, "row_group_size": 200}


@pytest.fixture
def system() -> str:
    return "parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def at(root: Path, system: str) -> LakeDestination:
    options = dict(SMALL) if system == "parquet" else {"target_file_size": 65536}
    return cast("LakeDestination", destination_at(root, system, **options))


def job(
    root: Path, system: str, do: str, start: int, stop: int, **more: object
) -> dict[str, object]:
    options = dict(SMALL) if system == "parquet" else {"target_file_size": 65536}
    return {"path": str(root), "system": system, "do": do, "rows": [start, stop],
            "options": options, **more}  # fmt: skip


def data(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in (root / "t").rglob("*") if p.is_file()}


def published(destination: LakeDestination, root: Path) -> set[str]:
    found = destination.files(Table("", "t")).paths
    return {str(Path(path).relative_to(root)) for path in found}


def files_cleaned(
    destination: LakeDestination, age: timedelta = timedelta(0), *, dry_run: bool = False
) -> set[str]:
    return {i.name for i in destination.clean(age, dry_run=dry_run) if i.kind == "file"}


def test_of_four_processes_from_one_base_one_wins(root: Path, system: str) -> None:
    destination = at(root, system)
    load(destination, "", "t", rows(0, 10))
    jobs = [job(root, system, "append", n * 100, n * 100 + 50, base=1) for n in range(1, 5)]
    outcomes = [word for _, word in together(*jobs)]
    assert sorted(outcomes) == ["ConcurrentLoadError"] * 3 + ["published"]
    winner = jobs[outcomes.index("published")]["rows"]
    assert ids(destination, "", "t") == [*range(10), *range(*cast("list[int]", winner))]
    assert data(root) == published(destination, root)  # the losers' files went


def test_slices_of_six_processes_all_count(root: Path, system: str) -> None:
    destination = at(root, system)
    load(destination, "", "t", rows(0, 600))
    windows = [(n * 100, n * 100 + 100) for n in range(6)]
    jobs = [
        job(root, system, "window", low, high - 50, window=[low, high]) for low, high in windows
    ]
    assert [word for _, word in together(*jobs)] == ["published"] * 6
    assert ids(destination, "", "t") == [n for low, high in windows for n in range(low, high - 50)]
    assert [r.version for r in destination.records(None)] == [1, 2, 3, 4, 5, 6, 7]
    assert data(root) >= published(destination, root)


def test_one_load_of_two_processes_is_published_once(root: Path, system: str) -> None:
    destination = at(root, system)
    load(destination, "", "t", rows(0, 10))
    jobs = [job(root, system, "append", 10, 60, load_id="the-load") for _ in range(2)]
    assert sorted(word for _, word in together(*jobs)) == ["published", "replayed"]
    assert ids(destination, "", "t") == list(range(60))


@pytest.mark.parametrize(
    ("system", "do", "die"),
    [
        ("parquet", "append", 0),
        ("parquet", "append", 15),
        ("csv", "append", "commit"),
        ("jsonl", "replace", 15),
        ("parquet", "replace", "commit"),
    ],
)
def test_killed_and_run_again_is_as_never_killed(
    root: Path, system: str, do: str, die: int | str
) -> None:
    destination = at(root, system)
    load(destination, "", "t", rows(0, 10))
    before = published(destination, root)
    mine = job(root, system, do, 10, 2010, load_id="the-load", batch_rows=100)
    ((code, _),) = together({**mine, "die": die})
    assert code == -signal.SIGKILL
    assert ids(destination, "", "t") == list(range(10))
    assert published(destination, root) == before
    if die == "commit" or (die and system == "parquet"):
        assert data(root) - before
    assert together(mine) == [(0, "published")]
    assert ids(destination, "", "t") == [*(range(10) if do == "append" else ()), *range(10, 2010)]
    assert [r.version for r in destination.records(None)] == [1, 2]
    orphans = data(root) - published(destination, root) - before
    assert files_cleaned(destination, dry_run=True) == set()  # they could be of a load under way
    for path in data(root):
        os.utime(root / path, (0, 0))
    assert files_cleaned(destination, timedelta(hours=1)) == orphans
    assert data(root) == published(destination, root) | before
    assert ids(destination, "", "t")[-1] == 2009


def test_readers_see_one_version_whole_while_others_replace_it(root: Path, system: str) -> None:
    destination, other = at(root, system), at(root, system)
    load(destination, "", "t", rows(0, 500))
    stop = threading.Event()
    seen: list[tuple[int, int]] = []

    def look() -> None:
        while not stop.is_set():
            found = ids(other, "", "t")
            seen.append((len(found), cast("int", found[0]) // 1000))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for n in range(1, 8):
            table = rows(n * 1000, n * 1000 + 500 + n)
            plan = replace(destination, record("t", ""), table.schema, "swap")
            destination.commit(plan, TableRows(table), ignore)
    finally:
        stop.set()
        reader.join(60)
    assert seen
    assert {(count, n) for count, n in seen} <= {(500 + n, n) for n in range(8)}


def test_a_reader_of_an_old_version_reads_on(root: Path, system: str) -> None:
    destination = at(root, system)
    load(destination, "", "t", rows(0, 2000))
    reader = destination.scan(Table("", "t"))
    first = reader.read_next_batch()
    table = rows(5000, 5010)
    destination.commit(
        replace(destination, record("t", ""), table.schema, "swap"), TableRows(table), ignore
    )
    assert files_cleaned(destination) == set()
    assert first.num_rows + reader.read_all().num_rows == 2000
    assert ids(destination, "", "t") == list(range(5000, 5010))
