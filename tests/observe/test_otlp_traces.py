"""Spans of whole loads, as a collector over HTTP is told of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import BaseModel

import conduit_core.engine.load as engine_load
from conduit_core import (
    LoadPlan,
    Origin,
    Pipeline,
    RunRequest,
    StageReceipt,
    after,
    audit,
    observing,
    plan,
    publish,
    run,
    stage,
)
from conduit_core.connectors import registry
from conduit_core.engine.hooks import Hook, HookContext, HookReport, added
from conduit_core.errors import ConnectionFailedError, HookError, SourceDataError
from conduit_core.events import Event, Notice
from conduit_core.testing.faulty import Faults, faulty_connector
from tests.observe.collector import Told, facts, http_collector
from tests.observe.shop import make_shop

FUSED = ["  load orders", "    plan", "    stage", "      batches", "    audit", "    publish"]
SECRET = "canary-7f3a"


@pytest.fixture
def told() -> Iterator[Told]:
    with http_collector() as collector:
        yield collector


def watched(pipeline: Pipeline, told: Told, **keys: object) -> list[str]:
    """Run a pipeline, and return the warnings."""
    warnings: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            warnings.append(event.message)

    with observing(pipeline, (hear,), to=f"otlp+http://{told.address}") as observation:
        run(pipeline, listeners=observation.listeners, **keys)  # type: ignore[arg-type]
    is_whole(told)
    return warnings


def is_whole(told: Told) -> None:
    """Each span has a parent that is there, and is inside it; its notes are inside it."""
    by_id = {s.span_id: s for s in told.spans}
    assert len(by_id) == len(told.spans)
    for span in told.spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano, span.name
        for note in span.events:
            assert span.start_time_unix_nano <= note.time_unix_nano <= span.end_time_unix_nano
        parent = by_id.get(span.parent_span_id)
        if parent is None:
            continue
        assert parent.trace_id == span.trace_id
        assert parent.start_time_unix_nano <= span.start_time_unix_nano, (parent.name, span.name)
        assert span.end_time_unix_nano <= parent.end_time_unix_nano, (parent.name, span.name)


def about(span: Span) -> dict[str, str]:
    return facts(span.attributes)


def error_of(span: Span) -> tuple[int, str]:
    return (span.status.code, span.status.message)


def numbers(rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64())})


def faulty_shop(tmp_path: Path, **stream: object) -> Pipeline:
    return Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "faulty"},
            "destination": {"type": "sqlite", "path": "wh.db", "staging": "staging"},
            "streams": [{"table": "orders", "mode": "append", "cursor": "id", **stream}],
        },
        tmp_path,
    )


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_load, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(engine_load, "LONGEST_WAIT_SECONDS", 0.002)


# --- a load in one process ------------------------------------------------------------------------


def test_a_load_is_a_tree_of_spans(tmp_path: Path, told: Told) -> None:
    pipeline = make_shop(tmp_path)
    watched(pipeline, told)
    assert told.tree() == ["run shop", *FUSED]
    load, top = about(told.span("load orders")), about(told.span("run shop"))
    load_id = load.pop("conduit.load_id")
    assert load == {
        "conduit.pipeline": "shop",
        "conduit.stream": "orders",
        "conduit.target": "raw.orders",
        "conduit.mode": "upsert",
        "conduit.outcome": "published",
        "conduit.attempts": "1",
        "conduit.rows.read": "10",
        "conduit.rows.inserted": "9",
        "conduit.rows.rejected": "1",
        "conduit.bytes.read": load["conduit.bytes.read"],
        "db.system.name": "duckdb",
        "db.collection.name": "raw.orders",
    }
    assert top["conduit.outcome"] == "succeeded"
    assert top["conduit.streams.published"] == "1"
    for step in ("plan", "stage", "audit", "publish"):
        assert about(told.span(step))["conduit.load_id"] == load_id
    assert about(told.span("batches"))["conduit.rows.read"] == "10"
    rules = {facts(n.attributes)["conduit.rule"]: n for n in told.span("audit").events}
    assert facts(rules["regex(email)"].attributes)["conduit.rows.failed"] == "1"
    assert [n.name for n in told.span("publish").events] == ["commit"]
    assert {s.status.code for s in told.spans} == {Status.STATUS_CODE_UNSET}


def test_a_run_without_a_parent_has_a_trace_of_its_own(tmp_path: Path, told: Told) -> None:
    pipeline = make_shop(tmp_path)
    watched(pipeline, told)
    watched(pipeline, told)
    first, second = told.named("run shop")
    assert first.trace_id != second.trace_id
    assert about(told.named("load orders")[1])["conduit.outcome"] == "empty"


def test_a_failure_says_its_class_and_code_and_no_values(tmp_path: Path, told: Told) -> None:
    pipeline = faulty_shop(tmp_path)
    faults = Faults(fail_at=2, times=None, error=SourceDataError(f"row {SECRET} is broken"))
    with registry.added(faulty_connector({"orders": numbers(50)}, faults)):
        watched(pipeline, told)
    for name in ("run shop", "load orders", "stage"):
        span = told.span(name)
        assert span.status.code == Status.STATUS_CODE_ERROR, name
        assert about(span)["error.type"] == "SourceDataError"
    assert error_of(told.span("stage")) == (2, "SourceDataError (exit code 1)")
    assert about(told.span("load orders"))["conduit.exit_code"] == "1"
    assert told.tree()[:4] == ["run shop", "  load orders", "    plan", "    stage"]
    assert SECRET not in str(told.spans) + str(told.metrics)


def test_rules_that_stop_a_load_fail_its_audit(tmp_path: Path, told: Told) -> None:
    rule = {"rule": "regex", "column": "email", "pattern": ".+@.+"}
    orders = {"table": "orders", "mode": "append", "cursor": "id", "quality": [rule]}
    watched(make_shop(tmp_path, streams=[orders]), told)
    failed = [s.name for s in told.spans if s.status.code == Status.STATUS_CODE_ERROR]
    assert "publish" not in failed
    assert {"run shop", "load orders"} < set(failed)
    assert about(told.span("load orders"))["error.type"] == "QualityError"
    assert "broken" not in str(told.spans) + str(told.metrics)


@pytest.mark.usefixtures("_no_waiting")
def test_each_attempt_has_its_spans(tmp_path: Path, told: Told) -> None:
    pipeline = faulty_shop(tmp_path)
    with registry.added(faulty_connector({"orders": numbers(50)}, Faults(fail_at=2, times=2))):
        watched(pipeline, told)
    stages = told.named("stage")
    assert [about(s)["conduit.attempt"] for s in stages] == ["1", "2", "3"]
    assert [about(s)["conduit.attempt"] for s in told.named("plan")] == ["1", "2", "3"]
    assert [s.status.code for s in stages] == [2, 2, 0]
    assert about(stages[0])["error.type"] == "ConnectionFailedError"
    load = told.span("load orders")
    assert [n.name for n in load.events] == ["retry", "retry"]
    assert about(load)["conduit.attempts"] == "3"
    assert load.status.code == 0


class _Options(BaseModel):
    pass


def _note(options: BaseModel, context: HookContext) -> HookReport:
    return HookReport(f"{len(context.changed)} tables")


def _break(options: BaseModel, context: HookContext) -> HookReport:
    raise HookError(f"model {SECRET} failed")


def test_hooks_are_below_their_run(tmp_path: Path, told: Told) -> None:
    with added(Hook("note", _Options, _note)), added(Hook("bad", _Options, _break)):
        watched(make_shop(tmp_path, after={"note": {}, "bad": {}}), told)
    assert told.tree() == ["run shop", *FUSED, "  hook note", "  hook bad"]
    assert about(told.span("hook note")) == {"conduit.hook": "note", "conduit.outcome": "succeeded"}
    assert about(told.span("hook bad"))["error.type"] == "HookError"
    assert told.span("run shop").status.code == 2
    assert SECRET not in str(told.spans)


def test_streams_side_by_side_have_a_span_each(tmp_path: Path, told: Told) -> None:
    names = ("a", "b", "c")
    streams = [{"table": n, "mode": "append", "cursor": "id"} for n in names]
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "faulty"},
            "destination": {"type": "sqlite", "path": "wh.db"},
            "streams": streams,
        },
        tmp_path,
    )
    with registry.added(faulty_connector({n: numbers(50) for n in names})):
        watched(pipeline, told, jobs=3)
    for name in names:
        load = told.span(f"load {name}")
        below = [s.name for s in told.spans if s.parent_span_id == load.span_id]
        assert sorted(below) == ["audit", "plan", "publish", "stage"]
        assert about(load)["conduit.rows.read"] == "50"


def test_a_long_load_has_few_spans(tmp_path: Path, told: Told) -> None:
    with registry.added(faulty_connector({"orders": numbers(3000)}, batch_rows=5)):
        watched(faulty_shop(tmp_path), told)
    groups = [about(s) for s in told.named("batches")]
    assert 32 <= len(groups) <= 64
    assert sum(int(g["conduit.batches"]) for g in groups) == 600
    assert sum(int(g["conduit.rows.read"]) for g in groups) == 3000
    assert sum(int(g["conduit.rows.written"]) for g in groups) == 3000


# --- a load in splits -----------------------------------------------------------------------------


def test_splits_of_threads_have_their_batches(tmp_path: Path, told: Told) -> None:
    pipeline = faulty_shop(tmp_path, splits=4)
    with registry.added(faulty_connector({"orders": numbers(400)})):
        watched(pipeline, told, workers=2)
    stage_id = told.span("stage").span_id
    splits = told.named("split")
    assert len(splits) == 4
    for split in splits:
        assert split.parent_span_id == stage_id
        below = [s for s in told.spans if s.parent_span_id == split.span_id]
        assert {s.name for s in below} == {"batches"}
        rows = sum(int(about(s)["conduit.rows.read"]) for s in below)
        assert str(rows) == about(split)["conduit.rows.read"]
    order = [s.name for s in told.spans if s.parent_span_id == told.span("load orders").span_id]
    assert order == ["plan", "stage", "audit", "publish"]


def test_splits_of_other_processes_are_told_by_this_one(tmp_path: Path, told: Told) -> None:
    mapping = _parts(tmp_path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        watched(Pipeline.from_mapping(mapping, tmp_path), told, executor=pool)
    splits = told.named("split")
    assert len(splits) == 3
    assert sum(int(about(s)["conduit.rows.read"]) for s in splits) == 30
    assert told.named("batches") == []


def test_steps_of_one_load_share_a_trace(tmp_path: Path, told: Told) -> None:
    pipeline = make_shop(
        tmp_path, destination={"type": "sqlite", "path": "wh.db", "staging": "staging"}
    )
    to = f"otlp+http://{told.address}"
    with observing(pipeline, to=to) as seen:
        (planned,) = plan(pipeline, staged=True, listeners=seen.listeners)
    with observing(pipeline, to=to) as seen:
        receipt = stage(pipeline, planned, listeners=seen.listeners)
    with observing(pipeline, to=to) as seen:
        report = audit(pipeline, planned, [receipt], listeners=seen.listeners)
    with observing(pipeline, to=to) as seen:
        result = publish(pipeline, planned, [receipt], report, listeners=seen.listeners)
    with observing(pipeline, to=to) as seen:
        after(pipeline, [result], listeners=seen.listeners)
    digest = hashlib.sha256(f"conduit {planned.load_id}".encode()).hexdigest()[:32]
    assert {s.trace_id.hex() for s in told.spans} == {digest}
    is_whole(told)
    split = ["  stage", "    split", "      batches"]
    loads = [["  plan"], split, ["  audit"], ["  publish"]]
    assert told.tree() == [line for steps in loads for line in ("load orders", *steps)]
    assert about(told.named("load orders")[-1])["conduit.outcome"] == "published"


def test_a_step_that_fails_says_so(tmp_path: Path, told: Told) -> None:
    pipeline = faulty_shop(tmp_path)
    to = f"otlp+http://{told.address}"
    with registry.added(faulty_connector({"orders": numbers(50)}, Faults(fail_at=2))):
        (planned,) = plan(pipeline, staged=True, request=RunRequest())
        with (
            pytest.raises(ConnectionFailedError, match="fails on command"),
            observing(pipeline, to=to) as seen,
        ):
            stage(pipeline, planned, listeners=seen.listeners)
    assert error_of(told.span("stage")) == (2, "ConnectionFailedError (exit code 3)")
    assert error_of(told.span("load orders")) == (2, "ConnectionFailedError (exit code 3)")


# --- steps in processes of their own --------------------------------------------------------------


def _parts(tmp_path: Path) -> dict[str, object]:
    folder = tmp_path / "in"
    folder.mkdir()
    for part in range(3):
        rows = "\n".join(json.dumps({"id": part * 10 + n}) for n in range(10))
        (folder / f"{part}.jsonl").write_text(rows)
    return {
        "name": "shop",
        "source": {"type": "jsonl", "path": "in"},
        "destination": {"type": "sqlite", "path": "wh.db", "staging": "staging"},
        "streams": [{"path": "*.jsonl", "name": "orders", "splits": 3}],
    }


def _stage(
    mapping: dict[str, object], folder: Path, planned: LoadPlan, split: str, to: str, parent: str
) -> StageReceipt:
    """Stage a split as a task does: it is watched there, and told by that process."""
    pipeline = Pipeline.from_mapping(mapping, folder)
    with observing(pipeline, to=to, origin=Origin(traceparent=parent)) as seen:
        return stage(pipeline, planned, split, listeners=seen.listeners)


def _fan_out(tmp_path: Path, told: Told, pool: Executor, parent: str = "") -> LoadPlan:
    mapping, to = _parts(tmp_path), f"otlp+http://{told.address}"
    pipeline = Pipeline.from_mapping(mapping, tmp_path)
    origin = Origin(traceparent=parent)
    with observing(pipeline, to=to, origin=origin) as seen:
        (planned,) = plan(pipeline, staged=True, listeners=seen.listeners)
    tasks = [
        pool.submit(_stage, mapping, tmp_path, planned, split, to, parent)
        for split in planned.splits.ids()
    ]
    receipts = [task.result(60) for task in tasks]
    with observing(pipeline, to=to, origin=origin) as seen:
        report = audit(pipeline, planned, receipts, listeners=seen.listeners)
        publish(pipeline, planned, receipts, report, listeners=seen.listeners)
    is_whole(told)
    assert len(told.named("split")) == 3
    assert sum(int(about(s)["conduit.rows.read"]) for s in told.named("batches")) == 30
    assert len({s.span_id for s in told.spans}) == len(told.spans)
    values = {k: v for k, v in told.values().items() if k[0] == "conduit_rows_total"}
    assert values["conduit_rows_total", ("shop", "orders", "read")] == 30  # by one process alone
    return planned


def test_tasks_of_a_load_share_its_trace(tmp_path: Path, told: Told) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        planned = _fan_out(tmp_path, told, pool)
    digest = hashlib.sha256(f"conduit {planned.load_id}".encode()).hexdigest()[:32]
    assert {s.trace_id.hex() for s in told.spans} == {digest}
    here = str(os.getpid())
    assert not any(here in about(s)["conduit.worker"] for s in told.named("split"))


def test_tasks_of_a_load_hang_below_their_runner_s_span(tmp_path: Path, told: Told) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with ThreadPoolExecutor(2) as pool:
        _fan_out(tmp_path, told, pool, parent)
    roots = told.named("load orders")
    assert {(s.trace_id.hex(), s.parent_span_id.hex()) for s in roots} == {
        tuple(parent.split("-")[1:3])
    }
    assert {s.trace_id for s in told.spans} == {roots[0].trace_id}


@pytest.mark.parametrize("parent", ["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
def test_hooks_that_are_a_task_follow_many_loads(tmp_path: Path, told: Told, parent: str) -> None:
    """So they are in no load's trace: in their runner's, or in one of their own."""
    destination = {"type": "sqlite", "path": "wh.db", "staging": "staging"}
    pipeline = make_shop(tmp_path, after={"note": {}}, destination=destination)
    with added(Hook("note", _Options, _note)):
        (planned,) = plan(pipeline, staged=True)
        receipts = [stage(pipeline, planned)]
        result = publish(pipeline, planned, receipts, audit(pipeline, planned, receipts))
        origin = Origin(traceparent=parent)
        with observing(pipeline, to=f"otlp+http://{told.address}", origin=origin) as seen:
            after(pipeline, [result], listeners=seen.listeners)
    hook = told.span("hook note")
    assert about(hook)["conduit.outcome"] == "succeeded"
    digest = hashlib.sha256(f"conduit {planned.load_id}".encode()).hexdigest()[:32]
    assert hook.trace_id.hex() != digest
    if parent:
        assert (hook.trace_id.hex(), hook.parent_span_id.hex()) == tuple(parent.split("-")[1:3])
