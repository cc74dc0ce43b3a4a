"""The steps of a spread-out load: JSON in and out, anywhere, idempotent, stale ones refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from conduit_core import (
    AuditReport,
    LoadPlan,
    LoadResult,
    RunRequest,
    StageReceipt,
    after,
    audit,
    plan,
    publish,
    run,
    stage,
)
from conduit_core.connectors.splits import SplitBy
from conduit_core.errors import (
    ConcurrentLoadError,
    ConduitError,
    ConfigError,
    StagingLostError,
    StateError,
)
from conduit_core.state.store import InMemoryStateStore
from tests.lab import only, stream
from tests.spread.conftest import SpreadLab
from tests.warm import Command

SIZE_LIMIT = 64 * 1024


STEPS = ("plan", "stage", "audit", "publish", "after")


def planned(lab: SpreadLab, store: InMemoryStateStore | None = None) -> LoadPlan:
    (made,) = plan(lab.pipeline(), staged=True, store=store)
    return made


def test_the_steps_load_what_a_run_loads(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(1000))
    pipeline = lab.pipeline()
    made = planned(lab)
    assert made.splits.count == 4
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
    assert sum(r.rows for r in receipts) == 1000
    assert all(r.rows > 200 for r in receipts)
    assert lab.chain() == []
    report = audit(pipeline, made, receipts)
    assert report.counts.read == 1000
    result = publish(pipeline, made, receipts, report)
    assert (result.outcome, result.counts.inserted) == ("published", 1000)
    assert lab.ids() == list(range(1000))
    assert [r.counts.read for r in lab.chain()] == [1000]
    assert lab.staged() == []
    empty = planned(lab)
    assert (empty.empty, empty.splits.count, empty.splits.ids()) == (True, 0, ())
    assert audit(pipeline, empty, []).splits == 0
    assert publish(pipeline, empty, []).outcome == "empty"


@pytest.mark.parametrize("step", STEPS)
def test_p12_each_step_may_be_repeated(spread_lab: SpreadLab, step: str) -> None:
    """A scheduler may run any of them twice; the second changes nothing."""
    lab = spread_lab
    lab.orders(range(100))
    pipeline, store = lab.pipeline(), InMemoryStateStore()
    times = {name: 2 if name == step else 1 for name in STEPS}
    made = [planned(lab, store=store) for _ in range(times["plan"])][-1]
    receipts = [
        [stage(pipeline, made, split) for split in made.splits.ids()] for _ in range(times["stage"])
    ]
    assert receipts[0] == receipts[-1]
    reports = [audit(pipeline, made, receipts[0]) for _ in range(times["audit"])]
    assert reports[0] == reports[-1] == audit(pipeline, made)
    results = [publish(pipeline, made, receipts[0], reports[0]) for _ in range(times["publish"])]
    for _ in range(times["after"]):
        after(pipeline, results, store=store)
    assert lab.ids() == list(range(100))
    assert len(lab.chain()) == 1
    assert [r.outcome for r in results] == ["published", "replayed"][: len(results)]
    assert lab.staged() == []
    (again,) = plan(pipeline, staged=True, store=store)
    assert again.empty


def test_p12_staging_again_after_the_publish_loads_nothing_twice(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(100))
    pipeline, made = lab.pipeline(), planned(lab)
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
    publish(pipeline, made, receipts)
    late = [stage(pipeline, made, split) for split in made.splits.ids()]
    assert publish(pipeline, made, late).outcome == "replayed"
    assert lab.ids() == list(range(100))
    assert lab.staged() == []


def test_p12_two_publishes_at_once_publish_once(spread_lab: SpreadLab) -> None:
    from concurrent.futures import ThreadPoolExecutor

    lab = spread_lab
    lab.orders(range(100))
    pipeline, made = lab.pipeline(), planned(lab)
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]

    def once(_: int) -> str:
        try:
            return publish(pipeline, made, receipts).outcome
        except (ConcurrentLoadError, StagingLostError) as error:
            return f"refused, retry {error.retry}"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(once, range(4)))
    assert outcomes.count("published") == 1
    assert set(outcomes) <= {"published", "replayed", "refused, retry plan"}
    assert lab.ids() == list(range(100))
    assert len(lab.chain()) == 1


def test_what_steps_exchange_is_json(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(10))
    pipeline, made = lab.pipeline(), planned(lab)
    assert LoadPlan.model_validate_json(made.model_dump_json()) == made
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
    for receipt in receipts:
        assert StageReceipt.model_validate_json(receipt.model_dump_json()) == receipt
        assert len(receipt.model_dump_json()) < 1024
    report = audit(pipeline, made, receipts)
    assert AuditReport.model_validate_json(report.model_dump_json()) == report
    result = publish(pipeline, made, receipts, report)
    assert LoadResult.model_validate_json(result.model_dump_json()) == result
    for document in (made, *receipts, report):
        assert json.loads(document.model_dump_json())["version"] == 1


@pytest.mark.parametrize("kind", ["int64", "string", "timestamp[us, tz=UTC]"])
def test_a_plan_of_a_thousand_splits_is_small(tmp_path: Path, kind: str) -> None:
    lab = SpreadLab(tmp_path)
    lab.orders(range(10))
    values = {
        "int64": lambda n: str(10**15 + n),
        "string": lambda n: f"{n:08x}-0000-4000-8000-{n:012x}",
        "timestamp[us, tz=UTC]": lambda n: f"2024-01-01T00:{n // 60:02}:{n % 60:02}.123456",
    }
    cuts = tuple(values[kind](n) for n in range(999))
    made = planned(lab).model_copy(
        update={"splits": SplitBy(kind="range", column="id", type=kind, cuts=cuts)}
    )
    assert made.splits.count == len(set(made.splits.ids())) == 1000
    assert len(made.model_dump_json().encode()) < SIZE_LIMIT
    assert LoadPlan.model_validate_json(made.model_dump_json()) == made


STEP = """
import sys
from conduit_core import AuditReport, LoadPlan, Pipeline, StageReceipt, audit, plan, publish, stage
step, file, *texts = sys.argv[1:]
pipeline = Pipeline.from_file(file)
if step == "plan":
    print(plan(pipeline, staged=True)[0].model_dump_json())
else:
    made = LoadPlan.model_validate_json(texts[0])
    if step == "stage":
        print(stage(pipeline, made, texts[1]).model_dump_json())
    receipts = [StageReceipt.model_validate_json(t) for t in texts[2:]]
    if step == "audit":
        print(audit(pipeline, made, receipts).model_dump_json())
    if step == "publish":
        report = AuditReport.model_validate_json(texts[1])
        print(publish(pipeline, made, receipts, report).model_dump_json())
"""


def test_each_step_runs_in_a_process_of_its_own(spread_lab: SpreadLab) -> None:
    """With the pipeline file and the connections alone; the URL comes from the environment."""
    lab = spread_lab
    lab.orders(range(200))
    file = lab.write_file()

    def step(name: str, *texts: str) -> str:
        arguments = ["-c", STEP, name, str(file), *texts]
        process = Command(arguments, cwd=lab.elsewhere(), env=os.environ)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out.strip()

    made = step("plan")
    splits = LoadPlan.model_validate_json(made).splits.ids()
    receipts = [step("stage", made, split) for split in splits]
    workers = {StageReceipt.model_validate_json(r).worker for r in receipts}
    assert len(workers) == len(splits)
    report = step("audit", made, "", *receipts)
    result = LoadResult.model_validate_json(step("publish", made, report, *receipts))
    assert result.outcome == "published"
    assert lab.ids() == list(range(200))


def test_the_sql_of_a_plan_in_splits_takes_the_rows_from_where_they_wait(
    postgres_database: str, tmp_path: Path
) -> None:
    from conduit_core.cli.planning import plan_each

    lab = SpreadLab(tmp_path, postgres_database)
    lab.orders(range(10))
    ((_, statements),) = plan_each(lab.pipeline(), None, RunRequest(), sql=True).plans
    text = "\n".join(statements)
    assert 'FROM "_conduit_stage_..."' in text
    assert "COPY" not in text


# --- stale, altered, of another ----------------------------------------------------------------


def test_a_stale_publish_fails_at_once_and_says_which_step_to_clear(
    spread_lab: SpreadLab,
) -> None:
    lab = spread_lab
    lab.orders(range(10))
    pipeline, made = lab.pipeline(), planned(lab)
    for split in made.splits.ids():
        stage(pipeline, made, split)
    lab.orders(range(10, 20))
    other = lab.pipeline(stream())  # fused: it doesn't take up what is open
    assert only(run(other)).counts.inserted == 20
    with pytest.raises(ConcurrentLoadError, match="clear the plan step") as caught:
        publish(pipeline, made)
    assert caught.value.retry == "plan"
    assert lab.ids() == list(range(20))


def test_a_stage_of_a_plan_that_another_overtook_is_refused(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(10))
    pipeline, slow = lab.pipeline(), planned(lab)
    lab.orders(range(10, 20))
    quick = planned(lab)
    stage(pipeline, quick, quick.splits.ids()[0])
    with pytest.raises(ConcurrentLoadError, match="clear the plan step"):
        stage(pipeline, slow, slow.splits.ids()[0])
    again = planned(lab)
    assert again.adopted
    assert again.splits == quick.splits


def test_a_receipt_that_was_altered_or_is_missing_is_named(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(100))
    pipeline, made = lab.pipeline(), planned(lab)
    first, *rest = made.splits.ids()
    receipts = [stage(pipeline, made, first)]
    with pytest.raises(StagingLostError, match="3 of 4 splits"):
        audit(pipeline, made, receipts)
    receipts += [stage(pipeline, made, split) for split in rest]
    altered = receipts[0].model_copy(update={"rows": 99})
    with pytest.raises(StagingLostError, match=first):
        publish(pipeline, made, [altered, *receipts[1:]])
    assert lab.chain() == []
    assert publish(pipeline, made, receipts).counts.inserted == 100


def test_staged_rows_that_are_gone_are_never_published_short(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(100))
    pipeline, made = lab.pipeline(), planned(lab)
    receipts = [stage(pipeline, made, split) for split in made.splits.ids()]
    lab.lose_rows(receipts[2])
    with pytest.raises(StagingLostError) as caught:
        publish(pipeline, made, receipts)
    assert caught.value.retry == "plan"
    assert lab.chain() == []


def test_a_plan_of_another_pipeline_or_of_a_changed_one_is_refused(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(10))
    made = planned(lab)
    split = made.splits.ids()[0]
    with pytest.raises(StateError, match="isn't what it was when the load was planned"):
        stage(lab.pipeline(lab.stream(columns=["id", "at"])), made, split)
    with pytest.raises(ConfigError, match="of pipeline 'shop'"):
        stage(lab.pipeline(name="other"), made, split)
    (fused,) = plan(lab.pipeline(stream()))
    with pytest.raises(ConfigError, match="staged=True"):
        stage(lab.pipeline(stream()), fused)
    with pytest.raises(ConfigError, match="4 splits"):
        stage(lab.pipeline(), made)


def test_nothing_new_goes_through_the_steps_as_nothing(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(10))
    run(lab.pipeline())
    made = planned(lab)
    assert made.empty
    assert publish(lab.pipeline(), made).outcome == "empty"
    assert len(lab.chain()) == 1


def test_a_request_key_is_kept_through_the_steps(spread_lab: SpreadLab) -> None:
    lab = spread_lab
    lab.orders(range(10))
    pipeline, request = lab.pipeline(), RunRequest(request_key="monday")
    (made,) = plan(pipeline, staged=True, request=request)
    for split in made.splits.ids():
        stage(pipeline, made, split)
    publish(pipeline, made)
    (again,) = plan(pipeline, staged=True, request=request)
    assert again.replayed is not None
    assert publish(pipeline, again).outcome == "replayed"
    assert [r.request_key for r in lab.chain()] == ["monday"]


@pytest.mark.parametrize("destination", ["duckdb", "sqlite"])
def test_a_staging_that_is_no_folder_is_named_at_plan(tmp_path: Path, destination: str) -> None:
    lab = SpreadLab(tmp_path, destination)
    lab.orders(range(10))
    lab.staging.write_text("a file")
    with pytest.raises(ConduitError, match="staging") as caught:
        plan(lab.pipeline())
    assert caught.value.exit_code in (2, 3)


def test_a_staging_that_a_worker_does_not_see_is_named_before_a_row_is_read(
    tmp_path: Path,
) -> None:
    """As where `staging:` is a folder on each machine's own disk: the probe isn't there."""
    lab = SpreadLab(tmp_path, "duckdb")
    lab.orders(range(10))
    pipeline = lab.pipeline()
    (made,) = plan(pipeline)
    lab.staging.rename(tmp_path / "the other machine's")
    with pytest.raises(ConfigError, match="isn't visible from"):
        stage(pipeline, made, made.splits.ids()[0])
    plan(lab.pipeline())  # here too something is planned: now there is a place, another one
    with pytest.raises(ConfigError, match="is another place than the one"):
        stage(pipeline, made, made.splits.ids()[0])


def test_a_destination_without_a_place_for_staged_rows_says_so(tmp_path: Path) -> None:
    lab = SpreadLab(tmp_path, "duckdb")
    del lab.destination["staging"]
    lab.orders(range(10))
    with pytest.raises(ConfigError, match="`staging:`"):
        plan(lab.pipeline())


def test_a_stage_that_is_ended_from_outside_stages_nothing_and_is_made_good(
    spread_lab: SpreadLab,
) -> None:
    lab = spread_lab
    lab.orders(range(100))
    pipeline, made = lab.pipeline(), planned(lab)
    ended = threading.Event()
    ended.set()
    first, *rest = made.splits.ids()
    with pytest.raises(ConduitError, match="interrupted"):
        stage(pipeline, made, first, cancel=ended)
    with pytest.raises(StagingLostError, match="have no receipt"):
        audit(pipeline, made)
    for split in (first, *rest):
        stage(pipeline, made, split, cancel=threading.Event())
    assert publish(pipeline, made).counts.inserted == 100
    assert lab.ids() == list(range(100))
