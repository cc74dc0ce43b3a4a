"""Staged splits: data files in place, named by the publish and copied by nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from conduit_core.connectors.lake.destination import LakeDestination
from conduit_core.connectors.lake.manifest import FileList
from conduit_core.connectors.publish import Column, NoNewerRecord
from conduit_core.connectors.staging import Attempt, OpenLoad, StageReceipt, Staging
from conduit_core.errors import StagingLostError
from conduit_core.events import ignore
from conduit_core.testing import StagingSuite
from conduit_core.testing.doubles import TableRows, create_and_append, record
from conduit_core.testing.staging import SCHEMA, numbers
from conduit_core.types.dialect import Table
from tests.lake.worker import destination_at

if TYPE_CHECKING:
    import pyarrow as pa


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture(params=["parquet", "csv", "jsonl"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def data_files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*-*.*") if "_conduit" not in p.parts)


def files_of(root: Path, receipt: StageReceipt) -> list[Path]:
    lists = [FileList.model_validate_json((root / p).read_bytes()) for p in receipt.places]
    return [root / file.path for found in lists for file in found.files]


class TestLakeStaging(StagingSuite):
    @pytest.fixture
    def connect(self, root: Path, system: str) -> Callable[[], Staging]:
        return lambda: cast("LakeDestination", destination_at(root, system)).staging()

    @pytest.fixture
    def places(self, root: Path) -> Callable[[], list[str]]:
        def places() -> list[str]:
            found = root.glob("_conduit/staging/*/plans/*/data/*.json")
            return sorted(str(p.relative_to(root)) for p in found)

        return places

    @pytest.fixture
    def lose_rows(self, root: Path) -> Callable[[StageReceipt], None]:
        def lose(receipt: StageReceipt) -> None:
            for file in files_of(root, receipt):
                file.unlink()

        return lose

    def test_the_attempt_that_loses_removes_its_data_files(
        self,
        root: Path,
        staging: Staging,
        a_load: Callable[..., object],
        stage: Callable[..., StageReceipt],
    ) -> None:
        load = staging.open(a_load(), None)  # type: ignore[arg-type]
        made: list[StageReceipt] = []
        stage(load, on_batch=lambda n: made.append(stage(load)) if n == 1 else None)
        assert data_files(root) == files_of(root, made[0])

    @pytest.mark.parametrize("harm", ["gone", "longer", "others"])
    def test_files_that_are_not_what_was_staged_are_never_published(
        self,
        root: Path,
        staging: Staging,
        a_load: Callable[..., object],
        stage: Callable[..., StageReceipt],
        system: str,
        harm: str,
    ) -> None:
        load = staging.open(a_load(), None)  # type: ignore[arg-type]
        receipts = [stage(load, "s1"), stage(load, "s2", numbers(10, 20))]
        (file,) = files_of(root, receipts[1])
        if harm == "gone":
            file.unlink()
        elif harm == "longer":
            file.write_bytes(file.read_bytes() + b"\n")
        else:
            (other,) = files_of(root, stage(load, "s3", numbers(10, 21)))
            content = other.read_bytes()
            file.write_bytes(content if system == "parquet" else content[:-3])
        destination = destination_at(root, system)
        rows = destination.staging().rows(receipts, SCHEMA)  # type: ignore[union-attr]
        plan = create_and_append(destination, record("orders", "main"), SCHEMA)
        with pytest.raises(StagingLostError, match="s2"):
            destination.commit(plan, rows, ignore)
        assert destination.records(None) == []

    def test_publishing_names_the_staged_files_and_writes_no_others(
        self,
        root: Path,
        staging: Staging,
        a_load: Callable[..., object],
        stage: Callable[..., StageReceipt],
        system: str,
    ) -> None:
        load = staging.open(a_load(), None)  # type: ignore[arg-type]
        receipts: Sequence[StageReceipt] = [
            stage(load, f"s{n}", numbers(n * 10, n * 10 + 10)) for n in range(3)
        ]
        before = {p: p.stat().st_ino for p in data_files(root)}
        destination = destination_at(root, system)
        made = record("orders", "main", load_id=load.load_id)
        plan = create_and_append(destination, made, SCHEMA, requires=(NoNewerRecord(version=0),))
        rows = destination.staging().rows(receipts, SCHEMA)  # type: ignore[union-attr]
        done = destination.commit(plan, rows, ignore)
        staging.drop(load.plan_id, load.target_fingerprint)
        assert done.record is not None
        assert done.record.counts.inserted == 30
        assert {p: p.stat().st_ino for p in data_files(root)} == before
        found: pa.Table = destination.scan(Table("main", "orders")).read_all()
        assert found.sort_by("id").equals(numbers(0, 30))
        again = destination.commit(plan, rows, ignore)
        assert again.replayed
        assert {p: p.stat().st_ino for p in data_files(root)} == before


def test_p10_cleaning_leaves_the_files_of_an_open_load_alone(root: Path) -> None:
    destination = cast("LakeDestination", destination_at(root))
    staging = destination.staging()
    load = OpenLoad(
        load_id="one",
        plan_id="plan-of-one",
        target_fingerprint="fp",
        target_schema="",
        target_table="t",
        plan="{}",
        opened_at=datetime.now(UTC),
    )
    staging.open(load, None)
    columns = tuple(Column(name=f.name, ddl=str(f.type)) for f in SCHEMA)
    attempt = Attempt(load=load, split="s1", attempt="a", columns=columns, worker="host:1")
    receipt = staging.stage(attempt, TableRows(numbers(0, 10)), ignore)
    (file,) = files_of(root, receipt)
    os.utime(file, (0, 0))
    assert destination.clean(timedelta(hours=1), dry_run=False) == []
    assert file.exists()
    staging.drop(load.plan_id, "fp")  # superseded, say: it ages away
    gone = destination.clean(timedelta(hours=1), dry_run=False)
    assert [(item.kind, item.name) for item in gone] == [("file", str(file.relative_to(root)))]
    assert not file.exists()
