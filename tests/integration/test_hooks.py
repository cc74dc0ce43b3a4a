"""What follows the loads: hooks of ``after:`` see what changed since they last finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel, ConfigDict

from conduit_core import CheckItem, Hook, HookContext, HookReport, Pipeline, RunRequest, run
from conduit_core import after as after_loads
from conduit_core import plan as plan_loads
from conduit_core.engine import admin, after, hooks
from conduit_core.engine.hooks import GateFindings
from conduit_core.engine.run import raise_for_failures
from conduit_core.errors import ConfigError, HookError, LoadFailedError, SchemaError
from conduit_core.events import Event, HookFailed, HookStarted
from conduit_core.state.ledger import LedgerRecord
from tests.lab import Lab, stream

if TYPE_CHECKING:
    from conduit_core.engine.model import LoadPlan, RunResult


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    word: str = "hello"
    on: bool = True


@dataclass
class Spy:
    """A hook that writes down what it was given, and fails where a test wants it to."""

    seen: list[HookContext] = field(default_factory=list)
    failure: Exception | None = None
    skip: str = ""
    problem: CheckItem | None = None
    refusal: str = ""

    @property
    def hook(self) -> Hook:
        return Hook("spy", Options, run=self.run, check=self.check, gate=self.gate)

    def run(self, options: BaseModel, context: HookContext) -> HookReport:
        self.seen.append(context)
        if self.failure is not None:
            raise self.failure
        if self.skip:
            return HookReport(self.skip, skipped=True)
        assert isinstance(options, Options)
        return HookReport(f"said {options.word}", {"word": options.word})

    def check(self, options: BaseModel, pipeline: Pipeline) -> list[CheckItem]:
        return [self.problem] if self.problem else []

    def gate(self, options: BaseModel, pipeline: Pipeline, plan: LoadPlan) -> GateFindings:
        if self.refusal:
            raise SchemaError(self.refusal)
        return GateFindings(notes=("a note",), warnings=(f"about {plan.stream}",))

    def changed(self) -> list[str]:
        """Return the tables of the last call."""
        return [t.target for t in self.seen[-1].changed]


@pytest.fixture
def spy() -> Iterator[Spy]:
    found = Spy()
    with hooks.added(found.hook):
        yield found


def shop(lab: Lab, *tables: str, **keys: object) -> Pipeline:
    """Return a pipeline of these tables, followed by the hook."""
    streams = [stream(t) for t in tables or ("orders",)]
    return lab.pipeline(*streams, **{"after": {"spy": None}, **keys})


def outcome(result: RunResult) -> tuple[str, str]:
    (hook,) = result.hooks
    return hook.outcome, hook.text


def test_a_hook_sees_what_changed_since_it_last_finished(each_lab: Lab, spy: Spy) -> None:
    each_lab.orders(range(3))
    each_lab.orders(range(2), table="items")
    pipeline = shop(each_lab, "orders", "items")
    result = run(pipeline)
    assert outcome(result) == ("succeeded", "said hello")
    assert result.hooks[0].details == {"word": "hello"}
    assert [t.rpartition(".")[2] for t in spy.changed()] == ["orders", "items"]
    (load,) = spy.seen[-1].changed[0].loads
    assert (load.load_id, load.counts.inserted) == (result.results[0].load_id, 3)
    assert load.watermark == "2"

    assert outcome(run(pipeline)) == ("skipped", after.NOTHING_CHANGED)
    each_lab.orders(range(2, 4), table="items")
    run(pipeline)
    assert [t.rpartition(".")[2] for t in spy.changed()] == ["items"]
    assert spy.seen[-1].changed[0].finished == 1
    assert len(spy.seen) == 2


def test_what_a_failed_or_skipped_hook_left_is_there_again(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    spy.failure = HookError("two models failed", details={"failed": 2})
    events: list[Event] = []
    failed = run(shop(lab), listeners=(events.append,))
    assert (failed.exit_code, failed.hooks[0].outcome) == (8, "failed")
    assert failed.hooks[0].details == {"failed": 2}
    with pytest.raises(LoadFailedError) as caught:
        raise_for_failures(failed)
    (error,) = caught.value.errors
    assert error.lines()[0] == "shop: after.spy: two models failed"
    assert "main.orders are published" in error.lines()[1]
    assert [type(e) for e in events if "Hook" in type(e).__name__] == [HookStarted, HookFailed]

    spy.failure, spy.skip = None, "not today"
    lab.orders(range(3, 5))
    assert outcome(run(shop(lab))) == ("skipped", "not today")
    spy.skip = ""
    assert outcome(run(shop(lab))) == ("succeeded", "said hello")
    assert [load.version for load in spy.seen[-1].changed[0].loads] == [1, 2]


def test_a_load_that_changed_nothing_is_no_change(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    pipeline = shop(lab)
    upsert = stream(mode="upsert", unique_key="id", lookback=10)
    pipeline = lab.pipeline(upsert, after={"spy": {}})
    run(pipeline)
    lab.sql("UPDATE orders SET v = v WHERE id = 1")
    again = run(pipeline, request=RunRequest(window_from="0", window_to="3"))
    assert (again.results[0].outcome, again.results[0].counts.unchanged) == ("published", 3)
    assert outcome(again) == ("skipped", after.NOTHING_CHANGED)


def test_a_table_that_is_empty_now_changed(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    pipeline = lab.pipeline(stream(mode="replace", cursor=[]), after={"spy": {}})
    run(pipeline)
    lab.sql("DELETE FROM orders")
    emptied = run(pipeline, request=RunRequest(allow_empty=True))
    assert emptied.results[0].counts.inserted == 0
    assert outcome(emptied) == ("succeeded", "said hello")


def test_what_clean_removed_before_the_hook_finished_is_no_change_lost(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    pipeline = shop(lab)
    run(pipeline)
    lab.orders(range(3, 5))
    spy.failure = HookError("no")
    run(pipeline)
    admin.state_adopt(pipeline, "orders")
    admin.clean(pipeline, timedelta(0), dry_run=False)
    assert [r.mode for r in lab.chain()] == ["state_adopt"]
    spy.failure = None
    assert outcome(run(pipeline)) == ("succeeded", "said hello")
    (table,) = spy.seen[-1].changed
    assert (table.loads, table.complete) == ((), False)
    assert outcome(run(pipeline)) == ("skipped", after.NOTHING_CHANGED)


def test_a_restored_or_cleaned_destination_and_a_new_table_count_as_changed() -> None:
    record = LedgerRecord(
        target_schema="raw", target_table="orders", version=2, pipeline="shop", stream="orders",
        load_id="a", request="{}", mode="append", load_window='{"kind":"watermark"}',
        schema_fingerprint="", spec_fingerprint="", target_fingerprint="",
        started_at="2024-01-01T00:00:00Z", published_at="2024-01-01T00:00:00Z",
    )  # fmt: skip
    assert after.pending("orders", [], None) is None
    assert after.pending("orders", [record], 2) is None
    assert after.pending("orders", [record], 1) is None
    cleaned = after.pending("orders", [record.model_copy(update={"version": 9})], 2)
    assert cleaned is not None
    assert cleaned.version == 9
    for never in (None, 5):
        found = after.pending("orders", [record], never)
        assert found is not None
        assert (found.finished, found.version, found.loads) == (None, 2, ())


def test_a_hook_is_told_which_streams_failed(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    result = run(shop(lab, "orders", "nowhere"))
    assert result.exit_code == 4
    assert spy.seen[-1].failed == ("nowhere",)
    assert spy.changed() == ["main.orders"]


def test_a_runner_may_leave_hooks_out(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    result = run(shop(lab), request=RunRequest(after=False))
    assert (result.hooks, spy.seen, result.results[0].notes) == ((), [], ())


def test_steps_end_with_the_hooks(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    pipeline = shop(lab)
    results = run(pipeline, request=RunRequest(after=False)).results
    assert after_loads(pipeline, results, hooks=False) == ()
    (done,) = after_loads(pipeline, results, failed=("items",))
    assert (done.outcome, spy.seen[-1].failed) == ("succeeded", ("items",))
    lab.orders(range(3, 4))
    run(pipeline, request=RunRequest(after=False))
    spy.failure = HookError("no")
    with pytest.raises(HookError, match=r"after\.spy: no"):
        after_loads(pipeline, ())


def test_a_bug_in_a_hook_is_named(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    spy.failure = ZeroDivisionError("oh")
    result = run(shop(lab))
    assert result.results[0].outcome == "published"
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError: oh; this is a bug" in result.hooks[0].text


def test_a_check_that_fails_stops_the_run_before_anything_is_loaded(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    spy.problem = CheckItem("target", ok=False, detail="is another database", remedy="name it")
    for start in (run, plan_loads):
        with pytest.raises(ConfigError, match=r"after\.spy: target: is another database; name it"):
            start(shop(lab))
    assert lab.chain() == []


def test_a_gate_speaks_at_plan_and_may_refuse(lab: Lab, spy: Spy) -> None:
    lab.orders(range(3))
    (made,) = plan_loads(shop(lab))
    assert (made.notes, made.warnings) == (("a note",), ("about orders",))
    spy.refusal = "column v is declared text"
    result = run(shop(lab))
    assert (result.exit_code, result.hooks[0].text) == (4, after.NOTHING_CHANGED)
    assert lab.chain() == []


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({"spy": {"wrod": "x"}}, "`wrod`.*did you mean `word`"),
        ({"spi": {}}, "there is no hook 'spi'; did you mean 'spy'"),
        ({"spy": "text"}, "`spy` must be a mapping"),
        (["spy"], "after"),
    ],
)
def test_wrong_options_are_told_before_anything_is_loaded(
    lab: Lab, spy: Spy, after: object, told: str
) -> None:
    lab.orders(range(3))
    with pytest.raises(ConfigError, match=told):
        run(lab.pipeline(after=after))
    assert lab.chain() == []


def test_ctrl_c_in_a_hook_leaves_it_to_the_next_run(lab: Lab, spy: Spy) -> None:
    from conduit_core import RunInterrupted

    lab.orders(range(3))
    hook = Hook("spy", Options, run=_interrupted)
    hooks._added["spy"] = hook
    with pytest.raises(RunInterrupted) as caught:
        run(shop(lab))
    assert caught.value.result.results[0].outcome == "published"
    hooks._added["spy"] = spy.hook
    assert outcome(run(shop(lab))) == ("succeeded", "said hello")


def _interrupted(options: BaseModel, context: HookContext) -> HookReport:
    raise KeyboardInterrupt


def test_files_keep_no_hooks(tmp_path: Path, spy: Spy) -> None:
    (tmp_path / "orders.csv").write_text("id\n1\n")
    pipeline = Pipeline.from_mapping(
        {
            "name": "shop",
            "source": {"type": "csv", "path": "."},
            "destination": {"type": "parquet", "path": "lake"},
            "streams": ["orders.csv"],
            "after": {"spy": {}},
        },
        tmp_path,
    )
    with pytest.raises(ConfigError, match="can't remember what was done"):
        run(pipeline)
    assert not (tmp_path / "lake").exists()
