"""Flow runs in processes of their own, which are killed, frozen, told to end, and run again."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psutil
from prefect import Flow, flow
from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context
from prefect.flow_engine import load_flow_run, run_flow
from prefect.settings import PREFECT_API_URL
from prefect.states import AwaitingRetry, Pending
from prefect.task_runners import ThreadPoolTaskRunner

from conduit_core.events import Listener
from conduit_core.testing import faults
from prefect_conduit import aload_stream, arun_pipeline, load_stream, run_pipeline
from tests.waiting import TIMEOUT_SECONDS, wait_for

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

PRELOADED = ["tests.prefect.preloaded", __name__]
_ONE: Any = ThreadPoolTaskRunner(max_workers=1)

in_turn = run_pipeline.with_options(task_runner=_ONE)
"""The ready flow, one stream after the other."""


@flow
def by_tasks(pipeline: dict[str, Any]) -> None:
    """Load one stream in a task that is submitted, one in the flow's own thread."""
    future = load_stream.submit(pipeline, "whole")
    load_stream(pipeline, "split")
    future.result()


@flow
async def by_twins(pipeline: dict[str, Any]) -> None:
    """Load both at once, in an event loop."""
    await asyncio.gather(aload_stream(pipeline, "whole"), aload_stream(pipeline, "split"))


FLOWS: Mapping[str, Flow[..., Any]] = {
    "in_turn": in_turn,
    "run_pipeline": run_pipeline,
    "arun_pipeline": arun_pipeline,
    "by_tasks": by_tasks,
    "by_twins": by_twins,
}


@cache
def once() -> Listener:
    """Return the process's one fault, so that a task that is tried again doesn't meet it again."""
    return faults.from_environment()


def asked(name: str, **parameters: object) -> UUID:
    """Make a flow run of one of ``FLOWS``, as a deployment's schedule does."""
    with get_client(sync_client=True) as client:
        made = client.create_flow_run(FLOWS[name], parameters=parameters, state=Pending())
        return made.id


def asked_again(run: UUID) -> None:
    """Let a flow run that died run once more, as a worker or a person does."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, AwaitingRetry(), force=True)


def flow_run(run: UUID) -> FlowRun:
    """Return a flow run as Prefect has it."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run)


class Launched:
    """A flow run's process, a fork of one that has imported all. Its disk is empty.

    Args:
        name: which of ``FLOWS``.
        run: the flow run.
        folder: where disks are.
        fault: where it is killed.
        freeze: where it is frozen.
        more: further variables of its environment.
    """

    def __init__(
        self,
        name: str,
        run: UUID,
        folder: Path,
        *,
        fault: str = "",
        freeze: str = "",
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload(PRELOADED)
        disk = folder / f"disk-{uuid4().hex[:6]}"
        disk.mkdir()
        env = {key: str(disk) for key in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "PREFECT_HOME")}
        env["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
        if fault or freeze:
            env["CONDUIT_LISTENERS"] = f"{__name__}:once"
            env["CONDUIT_FAULT"] = fault or freeze
            env["CONDUIT_FAULT_SIGNAL"] = "KILL" if fault else "STOP"
        env |= more
        self._said = disk / "said.txt"
        self.process = forks.Process(target=_execute, args=(name, run, str(disk), env))
        self.process.start()

    def end(self) -> int | None:
        """Wait for its end; return its exit code."""
        self.process.join(TIMEOUT_SECONDS)
        assert self.process.exitcode is not None, self.said
        return self.process.exitcode

    @property
    def said(self) -> str:
        """What it has said on its outputs."""
        return self._said.read_text() if self._said.exists() else ""

    def frozen(self) -> psutil.Process:
        """Wait until it has frozen itself."""
        process = psutil.Process(self.process.pid)

        def stopped() -> bool:
            assert process.is_running(), self.said
            assert process.status() != psutil.STATUS_ZOMBIE, self.said
            return bool(process.status() == psutil.STATUS_STOPPED)

        wait_for(stopped, "a run that is frozen")
        return process


def _execute(name: str, run: UUID, disk: str, env: Mapping[str, str]) -> None:
    os.environ.update(env)
    os.chdir(disk)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    refresh_global_settings_context()  # what Prefect has read of the environment is another's
    made = run_flow(FLOWS[name], flow_run=load_flow_run(run))
    if asyncio.iscoroutine(made):
        asyncio.run(made)
