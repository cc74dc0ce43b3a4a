"""Open loads: taken up by the next plan, on a source that keeps changing, or left for a reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core import LoadPlan, Pipeline, RunRequest, plan, publish, run, stage
from conduit_core.connectors import registry
from conduit_core.errors import (
    ConcurrentLoadError,
    PublishError,
    SourceDataError,
    StagingLostError,
)
from conduit_core.testing.faulty import Faults, faulty_connector
from tests import services
from tests.lab import only
from tests.spread.conftest import SpreadLab


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "v": [f"v{i}" for i in ids]})


@dataclass
class Scene:
    """A source in memory that counts its reads; the target is the lab's."""

    lab: SpreadLab
    faults: Faults = field(default_factory=Faults)
    tables: dict[str, pa.Table] = field(default_factory=lambda: {"orders": rows(*range(80))})

    def make(self, **keys: object) -> Pipeline:
        """Return the pipeline; keys are laid over its stream."""
        own = {"resume_within": keys.pop("resume_within", "24h")}
        stream = self.lab.stream(**{"splits": {"count": 8, "column": "id"}, **keys})
        return Pipeline.from_mapping(
            {
                "name": "shop",
                "source": {"type": "faulty"},
                "destination": self.lab.destination,
                "streams": [stream],
                **own,
            },
            self.lab.folder,
        )

    def plan(self, pipeline: Pipeline, **request: object) -> LoadPlan:
        """Plan for staging."""
        (made,) = plan(pipeline, staged=True, request=RunRequest.model_validate(request))
        return made

    def stage(self, pipeline: Pipeline, made: LoadPlan, count: int) -> None:
        """Stage the first splits, as a run does that is killed then."""
        for split in made.splits.ids()[:count]:
            stage(pipeline, made, split)

    def grow(self, *ids: int) -> None:
        """Add rows to the source."""
        self.tables["orders"] = pa.concat_tables([self.tables["orders"], rows(*ids)])


@pytest.fixture(params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """Rows wait in a folder, which is the same beside every file, or in the database."""
    is_file = request.param == "sqlite"
    place = "sqlite" if is_file else request.getfixturevalue("postgres_database")
    made = Scene(SpreadLab(tmp_path, place))
    with registry.added(faulty_connector(made.tables, made.faults)):
        yield made


def test_p02_staged_splits_are_not_read_again_on_a_source_that_keeps_changing(
    scene: Scene,
) -> None:
    """Seven of eight are staged; meanwhile rows come. One load ends where it was planned to, the
    next one at the newest.
    """
    pipeline = scene.make()
    made = scene.plan(pipeline)
    assert made.splits.count == 8
    scene.stage(pipeline, made, 7)
    scene.grow(*range(80, 100))
    result = only(run(pipeline, workers=1))
    assert {scene.faults.split_reads[s] for s in made.splits.ids()} == {1}
    assert scene.lab.ids(pipeline=pipeline) == list(range(100))
    assert [r.counts.inserted for r in scene.lab.chain(pipeline)] == [80, 20]
    assert result.counts.inserted == 100
    assert any(made.load_id in note for note in result.notes)
    assert scene.lab.staged() == []


def test_p02_a_run_that_fails_at_one_split_goes_on_from_the_others(scene: Scene) -> None:
    pipeline = scene.make()
    scene.faults.fail_at, scene.faults.times = 1, 1
    scene.tables["orders"] = rows(*range(8 * 15))  # each split has two batches
    result = only(run(pipeline, workers=1))
    assert result.counts.inserted == 120
    assert sorted(scene.faults.split_reads.values()) == [1] * 7 + [2]
    assert scene.lab.ids(pipeline=pipeline) == list(range(120))


@pytest.mark.parametrize("change", ["more splits", "no splits"])
def test_another_number_of_splits_takes_up_the_splits_there_are(scene: Scene, change: str) -> None:
    made = scene.plan(scene.make())
    scene.stage(scene.make(), made, 5)
    splits = {"count": 3, "column": "id"} if change == "more splits" else 1
    pipeline = scene.make(splits=splits)
    again = scene.plan(pipeline)
    assert (again.adopted, again.splits) == (True, made.splits)
    run(pipeline, workers=1)
    assert {scene.faults.split_reads[s] for s in made.splits.ids()} == {1}
    assert scene.lab.ids(pipeline=pipeline) == list(range(80))


def test_a_changed_spec_is_another_load(scene: Scene) -> None:
    pipeline = scene.make()
    old = scene.plan(pipeline)
    scene.stage(pipeline, old, 8)
    changed = scene.make(columns=["id"])
    assert not scene.plan(changed).adopted
    run(changed, workers=1)
    assert all("v" not in row for row in scene.lab.rows(pipeline=changed))
    with pytest.raises(ConcurrentLoadError):
        publish(pipeline, old)
    assert scene.lab.ids(pipeline=changed) == list(range(80))


def test_a_full_refresh_takes_up_nothing_of_an_open_increment(scene: Scene) -> None:
    pipeline = scene.make()
    made = scene.plan(pipeline)
    scene.stage(pipeline, made, 8)
    scene.tables["orders"] = rows(*range(50))
    result = only(run(pipeline, request=RunRequest(full_refresh=True), workers=1))
    assert (result.outcome, result.counts.inserted) == ("published", 50)
    with pytest.raises(ConcurrentLoadError):
        publish(pipeline, made)
    assert scene.lab.ids(pipeline=pipeline) == list(range(50))
    assert only(run(pipeline, workers=1)).outcome == "empty"


def test_an_open_load_that_is_too_old_starts_anew(scene: Scene) -> None:
    pipeline = scene.make(resume_within="0s")
    made = scene.plan(pipeline)
    scene.stage(pipeline, made, 4)
    again = scene.plan(pipeline)
    assert (again.adopted, again.supersedes) == (False, made.plan_id)
    assert any("resume_within" in note for note in again.notes)
    for split in again.splits.ids():
        stage(pipeline, again, split)
    with pytest.raises((ConcurrentLoadError, StagingLostError)):
        stage(pipeline, made, made.splits.ids()[-1])
    publish(pipeline, again)
    assert scene.lab.ids(pipeline=pipeline) == list(range(80))
    assert scene.lab.staged() == []


def test_changed_columns_start_anew(scene: Scene) -> None:
    pipeline = scene.make()
    made = scene.plan(pipeline)
    scene.stage(pipeline, made, 4)
    table = scene.tables["orders"]
    scene.tables["orders"] = table.append_column("w", pa.array([1.5] * 80))
    again = scene.plan(pipeline)
    assert again.supersedes == made.plan_id
    assert only(run(pipeline, workers=1)).counts.inserted == 80
    assert all(row["w"] == 1.5 for row in scene.lab.rows(pipeline=pipeline))


@pytest.mark.parametrize("keyed", [True, False])
def test_a_full_extract_resumes_only_where_it_is_split_by_the_key(
    scene: Scene, keyed: bool
) -> None:
    key = {"unique_key": "id"} if keyed else {}
    pipeline = scene.make(mode="replace", cursor=None, **key)
    made = scene.plan(pipeline)
    assert any("starts again" in note for note in made.notes) is not keyed
    scene.stage(pipeline, made, 6)
    again = scene.plan(pipeline)
    assert again.adopted is keyed
    for split in again.splits.ids():
        stage(pipeline, again, split)
    expected = {1} if keyed else {1, 2}
    assert {scene.faults.split_reads[s] for s in made.splits.ids()} == expected
    publish(pipeline, again)
    assert scene.lab.ids(pipeline=pipeline) == list(range(80))


def test_a_run_that_takes_up_a_full_extract_ends_at_the_newest(scene: Scene) -> None:
    """Without a cursor nothing says what changed since, so it is read once more."""
    pipeline = scene.make(mode="replace", cursor=None, unique_key="id")
    scene.stage(pipeline, scene.plan(pipeline), 6)
    scene.tables["orders"] = rows(*range(10, 90))
    run(pipeline, workers=1)
    assert scene.lab.ids(pipeline=pipeline) == list(range(10, 90))
    assert len(scene.lab.chain(pipeline)) == 2


def test_a_run_that_takes_up_its_own_load_reads_nothing_twice(scene: Scene) -> None:
    pipeline = scene.make(mode="replace", cursor=None, unique_key="id")
    scene.tables["orders"] = rows(*range(8 * 15))
    scene.faults.fail_at, scene.faults.times = 1, 1
    assert only(run(pipeline, workers=1)).counts.inserted == 120
    assert sorted(scene.faults.split_reads.values()) == [1] * 7 + [2]


def test_p02_a_first_attempt_beside_its_retry_stages_once(scene: Scene) -> None:
    """The retry comes while the first attempt still reads: one receipt, and each row once."""
    pipeline = scene.make()
    made = scene.plan(pipeline)
    split = made.splits.ids()[0]
    together = threading.Barrier(2)
    receipts = []

    def attempt() -> None:
        together.wait()
        receipts.append(stage(pipeline, made, split))

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receipts[0] == receipts[1]
    run(pipeline, workers=1)
    assert scene.lab.ids(pipeline=pipeline) == list(range(80))
    assert scene.lab.staged() == []


def test_a_row_outside_its_split_is_refused(scene: Scene) -> None:
    """It would be loaded twice: by this split and by its own."""
    pipeline = scene.make()
    scene.faults.stray = True
    made = scene.plan(pipeline)
    with pytest.raises(SourceDataError, match=made.splits.ids()[0]) as caught:
        stage(pipeline, made, made.splits.ids()[0])
    assert caught.value.retry == "never"
    assert "id" in caught.value.message
    assert scene.lab.chain(pipeline) == []


def test_p10_two_targets_side_by_side_leave_each_other_alone(
    spread_lab: SpreadLab, tmp_path: Path
) -> None:
    """One publishes, fails, is superseded and is cleaned, while the other stages."""
    from datetime import timedelta

    from conduit_core.engine import admin

    lab = spread_lab
    lab.orders(range(40))
    lab.orders(range(40), "items")
    pipeline = lab.pipeline(lab.stream(), lab.stream(table="items"))
    orders, items = plan(pipeline, staged=True)
    for split in items.splits.ids()[:3]:
        stage(pipeline, items, split)
    for split in orders.splits.ids():
        stage(pipeline, orders, split)
    publish(pipeline, orders)
    removed = admin.clean(pipeline, timedelta(days=1), dry_run=False)
    assert removed == []
    stage(pipeline, items, items.splits.ids()[3])
    assert publish(pipeline, items).counts.inserted == 40
    assert lab.staged() == []


def test_an_append_without_a_cursor_takes_up_no_load_of_another_request_key(
    spread_lab: SpreadLab,
) -> None:
    """Both are to be loaded: a key that published another's rows would never load its own."""
    lab = spread_lab
    lab.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, at TIMESTAMP, v TEXT)")
    lab.orders(range(20))
    pipeline = lab.pipeline({k: v for k, v in lab.stream().items() if k != "cursor"})

    def planned(key: str | None) -> LoadPlan:
        (made,) = plan(pipeline, staged=True, request=RunRequest(request_key=key))
        return made

    monday = planned("monday")
    stage(pipeline, monday, monday.splits.ids()[0])
    assert planned("monday").adopted
    for key in ("tuesday", None):
        other = planned(key)
        assert not other.adopted
        for split in other.splits.ids():
            stage(pipeline, other, split)
        assert publish(pipeline, other).outcome == "published"
        assert planned("monday").replayed is None
    assert planned("tuesday").replayed is not None
    assert [r.request_key for r in lab.chain(pipeline)] == ["tuesday", None]


def test_a_load_that_found_no_row_is_over(spread_lab: SpreadLab) -> None:
    """Left open, it would be taken up by each run after it, and nothing newer be loaded."""
    lab = spread_lab
    lab.orders(range(10))
    run(lab.pipeline())
    lab.orders(range(10, 20))
    pipeline = lab.pipeline()
    (killed,) = plan(pipeline, staged=True)
    lab.sql("DELETE FROM orders WHERE id >= 10")  # between the plan and the read
    for split in killed.splits.ids():
        stage(pipeline, killed, split)
    lab.orders(range(20, 30))
    assert only(run(pipeline)).counts.inserted == 10
    assert lab.ids() == [*range(10), *range(20, 30)]

    lab.orders(range(30, 40))
    (made,) = plan(pipeline, staged=True)
    lab.sql("DELETE FROM orders WHERE id >= 30")
    for split in made.splits.ids():
        stage(pipeline, made, split)
    assert publish(pipeline, made).outcome == "empty"
    assert lab.staged() == []
    lab.orders(range(40, 50))
    (fresh,) = plan(pipeline, staged=True)
    assert not fresh.adopted


def test_rows_that_the_target_refused_are_read_again_once_the_source_is_mended(
    postgres_database: str, tmp_path: Path
) -> None:
    lab = SpreadLab(tmp_path, postgres_database)
    lab.orders(range(20))
    run(lab.pipeline())
    services.sql(postgres_database, "ALTER TABLE orders ADD CHECK (v <> 'bad')")
    lab.orders(range(20, 40))
    lab.sql("UPDATE orders SET v = 'bad' WHERE id = 30")
    with pytest.raises(PublishError, match="check constraint") as caught:
        only(run(lab.pipeline()))
    assert caught.value.retry == "never"
    lab.sql("UPDATE orders SET v = 'good' WHERE id = 30")
    assert only(run(lab.pipeline())).counts.inserted == 20
    assert lab.ids() == list(range(40))
