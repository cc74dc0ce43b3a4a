"""OpenLineage: a run of each load with its datasets, sent by OpenLineage's own client.

A load's START is sent when it begins; its end when the run is closed, since the destination is
asked for the table's columns then. The steps of a load that is spread over processes send nothing
but the last one: publish, or the one that failed.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import JobFacet, RunFacet, job_type_job, parent_run
from openlineage.client.uuid import generate_new_uuid

from conduit_core import events as ev
from conduit_core.errors import ConduitError
from conduit_core.observe.lineage import LoadHeard
from conduit_core.observe.openlineage_client import Sender, client_of
from conduit_core.observe.openlineage_facets import (
    PRODUCER,
    engine_facet,
    error_facet,
    inputs_and_outputs,
    load_facet,
)

if TYPE_CHECKING:
    from conduit_core.engine.pipeline import Pipeline
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

NAMESPACE = "OPENLINEAGE_NAMESPACE"
PARENT = "OPENLINEAGE_PARENT_ID"
ROOT = "OPENLINEAGE_ROOT_PARENT_ID"
_DEFAULT_NAMESPACE = "conduit"
_CANCELLED = "CancelledError"
_BEGINS = (
    ev.StreamStarted,
    ev.PlanReady,
    ev.AuditStarted,
    ev.PublishStarted,
    ev.RuleChecked,
    ev.Retrying,
    ev.StreamFinished,
    ev.StreamFailed,
)
"""What is heard of a stream; batches aren't."""


@dataclass(frozen=True, slots=True)
class _Above:
    """A run that another is a part of."""

    namespace: str
    job: str
    run_id: str


@dataclass(slots=True)
class _Turn:
    """A run of a job: of a stream's load, or of the pipeline."""

    job: str
    stream: str
    started: datetime
    run_id: str = field(default_factory=lambda: str(generate_new_uuid()))
    heard: LoadHeard = field(default_factory=LoadHeard)
    failed: ev.StreamFailed | None = None
    is_told: bool = False

    @property
    def is_over(self) -> bool:
        return self.failed is not None or self.heard.finished is not None


def open_openlineage(receiver: Receiver, scene: Scene) -> _Lineage:
    """Send a run's lineage.

    Raises:
        ConfigError: nothing says where to.
    """
    return _Lineage(Sender(client_of(receiver)), scene)


class _Lineage:
    def __init__(self, sender: Sender, scene: Scene) -> None:
        self._sender = sender
        self._pipeline: Pipeline = scene.pipeline
        self._complain = scene.complain
        self._namespace = os.environ.get(NAMESPACE) or _DEFAULT_NAMESPACE
        self._above = _above(scene)
        self._root = _of_environment(ROOT, scene) or self._above
        self._run: _Turn | None = None
        self._end: ev.RunFinished | None = None
        self._is_hook_failed = False
        self._turns: list[_Turn] = []
        self._now: dict[str, _Turn] = {}

    def __call__(self, event: ev.Event) -> None:
        match event:
            case ev.RunStarted() if self._above is None:
                self._run = _Turn(event.pipeline, "", event.at)
                self._tell(self._run, RunState.START, event.at)
            case ev.RunFinished():
                self._end = event
            case ev.HookFailed():
                self._is_hook_failed = True
            case _ if isinstance(event, _BEGINS):
                self._of_stream(event)
            case _:
                pass

    def _of_stream(self, event: ev.Event) -> None:
        turn = self._now.get(event.stream)
        if turn is None or turn.is_over:
            began = event.at
            if isinstance(event, ev.StreamFinished):  # the first that is heard: publish alone
                began -= timedelta(seconds=event.seconds)
            turn = _Turn(f"{event.pipeline}.{event.stream}", event.stream, began)
            self._turns.append(turn)
            self._now[event.stream] = turn
        turn.heard(event)
        if isinstance(event, ev.StreamFailed):
            turn.failed = event
        if isinstance(event, ev.StreamStarted):
            self._tell(turn, RunState.START, turn.started)

    def close(self, seconds: float) -> None:
        """Send how each load ended.

        Raises:
            ConnectionFailedError: the receiver didn't take all.
        """
        deadline = time.monotonic() + seconds
        turns = [turn for turn in self._turns if turn.is_over or turn.is_told]
        if not turns and self._run is None:
            return
        for turn, (inputs, outputs) in zip(turns, self._datasets(turns), strict=True):
            self._tell_end(turn, inputs, outputs)
        if self._run is not None:
            self._tell_run(self._run, turns)
        self._sender.finish(max(deadline - time.monotonic(), 0.1))

    def _datasets(self, turns: list[_Turn]) -> list[tuple[list[InputDataset], list[OutputDataset]]]:
        if not turns:
            return []
        loads = [(turn.stream, turn.heard) for turn in turns]
        try:
            return inputs_and_outputs(self._pipeline, loads, self._complain)
        except ConduitError as error:  # as a rule what the load has failed of, too
            self._complain(f"lineage has no datasets: {type(error).__name__}")
            return [([], [])] * len(turns)

    def _tell_end(
        self, turn: _Turn, inputs: list[InputDataset], outputs: list[OutputDataset]
    ) -> None:
        if not turn.is_told:
            self._tell(turn, RunState.START, turn.started)
        if (done := turn.heard.finished) is not None:
            facets, at, state = {"conduit_load": load_facet(done)}, done.at, RunState.COMPLETE
        elif turn.failed is not None:
            facets, at = {"errorMessage": error_facet(self._pipeline, turn.failed)}, turn.failed.at
            state = RunState.ABORT if turn.failed.error == _CANCELLED else RunState.FAIL
        else:  # the run was ended from outside
            facets, at, state = {}, ev.Event().at, RunState.ABORT
        self._tell(turn, state, at, facets, inputs, outputs)

    def _tell_run(self, run: _Turn, turns: list[_Turn]) -> None:
        state, at = RunState.ABORT, ev.Event().at
        if self._end is not None:
            failed = {turn.failed.error for turn in turns if turn.failed is not None}
            state, at = RunState.COMPLETE, self._end.at
            if failed or self._is_hook_failed:
                state = RunState.ABORT if failed == {_CANCELLED} else RunState.FAIL
        self._tell(run, state, at)

    def _tell(
        self,
        turn: _Turn,
        state: RunState,
        at: datetime,
        more: dict[str, RunFacet] | None = None,
        inputs: list[InputDataset] | None = None,
        outputs: list[OutputDataset] | None = None,
    ) -> None:
        turn.is_told = True
        facets: dict[str, RunFacet] = {"processing_engine": engine_facet(), **(more or {})}
        if (parent := self._parent_of(turn)) is not None:
            facets["parent"] = parent
        kind: dict[str, JobFacet] = {
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="BATCH",
                integration="CONDUIT",
                jobType="LOAD" if turn.stream else "PIPELINE",
                producer=PRODUCER,
            )
        }
        self._sender.send(
            RunEvent(
                eventType=state,
                eventTime=at.isoformat(),
                run=Run(runId=turn.run_id, facets=facets),
                job=Job(namespace=self._namespace, name=turn.job, facets=kind),
                inputs=inputs or [],
                outputs=outputs or [],
                producer=PRODUCER,
            )
        )

    def _parent_of(self, turn: _Turn) -> RunFacet | None:
        above, root = self._above, self._root
        if above is None:
            if self._run is None or turn is self._run:
                return None
            above = _Above(self._namespace, self._run.job, self._run.run_id)
        root = root or above
        return parent_run.ParentRunFacet(
            run=parent_run.Run(runId=above.run_id),
            job=parent_run.Job(namespace=above.namespace, name=above.job),
            root=parent_run.Root(
                run=parent_run.RootRun(runId=root.run_id),
                job=parent_run.RootJob(namespace=root.namespace, name=root.job),
            ),
            producer=PRODUCER,
        )


# --- what a run is a part of ----------------------------------------------------------------------


def _above(scene: Scene) -> _Above | None:
    """Return the runner's run, else what the environment names; None for neither."""
    origin = scene.origin
    if origin.namespace and origin.job and _is_uuid(origin.run_id):
        return _Above(origin.namespace, origin.job, origin.run_id)
    return _of_environment(PARENT, scene)


def _of_environment(variable: str, scene: Scene) -> _Above | None:
    text = os.environ.get(variable, "")
    if not text:
        return None
    parts = text.rsplit("/", 2)
    if len(parts) != 3 or not all(parts) or not _is_uuid(parts[2]):
        scene.complain(f"{variable} is left out: write NAMESPACE/JOB/RUN_ID, the last a UUID")
        return None
    return _Above(*parts)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
