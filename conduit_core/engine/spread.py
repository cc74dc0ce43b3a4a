"""A load spread over an executor: its splits staged by workers, then published here.

Workers are whatever ``concurrent.futures.Executor`` gives: threads of this process share its open
connections; any other kind gets the pipeline's file, the plan's JSON and a split's id.
"""

from __future__ import annotations

import pickle
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    wait,
)
from concurrent.futures import CancelledError as CancelledFuture
from contextvars import copy_context
from dataclasses import dataclass

from conduit_core.connectors.staging import StageReceipt
from conduit_core.engine.budget import budgets
from conduit_core.engine.flow import CancelledError
from conduit_core.engine.listening import listeners_from_environment
from conduit_core.engine.model import LoadPlan
from conduit_core.engine.opening import open_load
from conduit_core.engine.pipeline import Ends, Pipeline
from conduit_core.engine.runtime import Runtime
from conduit_core.engine.steps import one_moment, plan_stream_of, stage_split, staged_event
from conduit_core.errors import ConcurrentLoadError, ConduitError, ConfigError, PublishError
from conduit_core.events import Emitter
from conduit_core.spec import StreamSpec

_LOOK_SECONDS = 0.2
"""How often the workers' coordinator looks whether the run was interrupted."""


def stage_all(
    plan: LoadPlan, pipeline: Pipeline, ends: Ends, runtime: Runtime
) -> list[StageReceipt]:
    """Stage the splits of a plan that have no receipt yet; return the receipts of all.

    Raises:
        ConduitError: the first split's that failed; the others that ran are staged, and the next
            plan takes them up.
    """
    stream = plan_stream_of(pipeline, plan, ends)
    staging = ends.staging()
    held = staging.open(open_load(plan), plan.supersedes)
    if held.plan_id != plan.plan_id:
        raise ConcurrentLoadError(
            f"load {plan.load_id} was opened by another run meanwhile: a new plan takes it up",
            command="conduit run",
        )
    receipts = {r.split: r for r in staging.receipts(plan.plan_id, plan.target_fingerprint)}
    missing = [s for s in plan.splits.ids() if s not in receipts]
    if missing:
        with one_moment(plan, ends) as moment:
            crew = _Crew(plan, stream, pipeline, ends, runtime, moment)
            receipts |= crew.stage(missing)
    return [receipts[s] for s in plan.splits.ids()]


@dataclass(slots=True)
class _Crew:
    plan: LoadPlan
    stream: StreamSpec
    pipeline: Pipeline
    ends: Ends
    runtime: Runtime
    moment: str | None

    def stage(self, splits: list[str]) -> dict[str, StageReceipt]:
        """Stage the splits; the first failure stops those that haven't begun."""
        if self.runtime.workers.executor is None:
            return {s: self._here(s) for s in splits}
        pending = self._submit(splits, self.runtime.workers.executor)
        done: dict[str, StageReceipt] = {}
        try:
            while pending:
                finished, _ = wait(pending, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    split = pending.pop(future)
                    done[split] = self._received(future)
                if self.runtime.cancel.is_set():
                    raise CancelledError("interrupted while splits were staged")
        except BaseException:
            for future in pending:
                future.cancel()
            wait([f for f in pending if not f.cancelled()])
            raise
        return done

    def _here(self, split: str) -> StageReceipt:
        return stage_split(self.plan, split, self.stream, self.ends, self.runtime, self.moment)

    def _submit(self, splits: list[str], executor: Executor) -> dict[Future[StageReceipt], str]:
        try:
            if self.runtime.workers.share_this_process:
                return {executor.submit(copy_context().run, self._here, s): s for s in splits}
            self._check_carried()
            text, size = self.plan.model_dump_json(), budgets(self.runtime.workers.count)[0]
            return {
                executor.submit(_elsewhere, self.pipeline, text, s, self.moment, size): s
                for s in splits
            }
        except BrokenExecutor as error:
            raise _broken(error) from error
        except RuntimeError as error:  # it was shut down
            message = f"the executor takes no work: {error}"
            raise ConfigError(message, command="conduit run") from error

    def _check_carried(self) -> None:
        try:
            pickle.dumps(self.pipeline)
        except Exception as error:
            raise ConfigError(
                f"the executor's workers can't be given the pipeline: {error}; make it from a file"
                " or a mapping, with a connection resolver that can be pickled",
                command="conduit check",
            ) from error

    def _received(self, future: Future[StageReceipt]) -> StageReceipt:
        try:
            receipt = future.result()
        except BrokenExecutor as error:
            raise _broken(error) from error
        except ConduitError:
            raise
        except (Exception, CancelledFuture) as error:
            if self.runtime.workers.share_this_process:
                raise
            raise _broken(error) from error  # Dask's KilledWorker and its like
        if not self.runtime.workers.share_this_process:
            self.runtime.emit(staged_event(self.plan, receipt))
        return receipt


def _broken(error: BaseException) -> PublishError:
    return PublishError(
        f"a worker of the executor died or was lost ({type(error).__name__}: {error}): what was"
        " staged is kept, and the next run goes on from it",
        retry="step",
        command="conduit run",
    )


def _elsewhere(
    pipeline: Pipeline, text: str, split: str, moment: str | None, queue_bytes: int
) -> StageReceipt:
    """Stage one split in a process of its own."""
    plan = LoadPlan.model_validate_json(text)
    with pipeline.open() as ends:
        stream = plan_stream_of(pipeline, plan, ends)
        runtime = Runtime(Emitter(listeners_from_environment()), queue_bytes=queue_bytes)
        return stage_split(plan, split, stream, ends, runtime, moment)
