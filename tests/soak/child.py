"""One step in a process of its own: a fork, which costs milliseconds, or a new interpreter."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a child does: ``what`` is ``run``, ``state_set``, ``state_reset`` or ``look``."""

    what: str
    pipeline: dict[str, Any]
    folder: Path
    request: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None
    workers: int = 1


@dataclass(frozen=True)
class Ended:
    """How a child ended: killed, or with an error's class and text, or well, with an answer."""

    killed: bool
    events: list[str]
    error: str | None = None
    text: str = ""
    answer: Any = None


def work(job: Job, tell: Callable[[str], None]) -> tuple[str | None, str]:
    """Do a job; return the class and the text of the error it ended with."""
    from conduit_core import Pipeline, RunRequest, run
    from conduit_core.engine import admin
    from conduit_core.errors import ConduitError
    from conduit_core.testing.faults import Fault

    def hear(event: Any) -> None:
        tell(type(event).__name__)

    try:
        pipeline = Pipeline.from_mapping(job.pipeline, job.folder)
        if job.what != "run":
            getattr(admin, job.what)(pipeline, "items", **job.request)
            return None, ""
        fault = (Fault.from_text(job.fault),) if job.fault else ()
        request = RunRequest(**job.request)
        result = run(pipeline, request=request, workers=job.workers, listeners=(hear, *fault))
    except ConduitError as error:
        return type(error).__name__, "\n".join(error.lines())
    if not result.failures:
        return None, ""
    (failure,) = result.failures
    return failure.error, "\n".join(failure.lines)


def forked(act: Callable[[Callable[[str], None]], Any]) -> Ended:
    """Act in a fork of this process, which has one thread and no database open."""
    events_out, events_in = os.pipe()
    answer_out, answer_in = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # jemalloc has a thread, and a handler
        pid = os.fork()
    if pid == 0:
        try:
            os.close(events_out)
            os.close(answer_out)
            answer = act(lambda name: _write(events_in, f"{name}\n".encode()))
            _write(answer_in, pickle.dumps((answer, "")))
        except BaseException:  # noqa: BLE001 - the parent shows it
            _write(answer_in, pickle.dumps((None, traceback.format_exc())))
        os._exit(0)  # no farewell: threads and handles go with the process
    os.close(events_in)
    os.close(answer_in)
    with os.fdopen(answer_out, "rb") as answers, os.fdopen(events_out, "rb") as events:
        told, names = answers.read(), events.read().decode().split()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Ended(killed=True, events=names)
    if not told:
        return Ended(killed=False, events=names, error="Crash", text=f"status {status}")
    answer, trace = pickle.loads(told)  # noqa: S301 - our own child's
    return Ended(
        killed=False, events=names, error="Crash" if trace else None, text=trace, answer=answer
    )


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def run_forked(job: Job) -> Ended:
    """Do a job in a fork."""
    return _settled(forked(lambda tell: work(job, tell)))


def run_fresh(job: Job) -> Ended:
    """Do a job in a new interpreter."""
    command = [sys.executable, "-m", "tests.soak.child"]
    done = subprocess.run(command, input=pickle.dumps(job), capture_output=True, check=False)
    names = [line for line in done.stderr.decode().splitlines() if line.startswith("event ")]
    events = [line.removeprefix("event ") for line in names]
    if done.returncode == -signal.SIGKILL:
        return Ended(killed=True, events=events)
    if done.returncode:
        return Ended(killed=False, events=events, error="Crash", text=done.stderr.decode())
    return _settled(Ended(killed=False, events=events, answer=pickle.loads(done.stdout)))  # noqa: S301 - our own child's


def _settled(ended: Ended) -> Ended:
    if ended.answer is None:
        return ended
    error, text = ended.answer
    return Ended(ended.killed, ended.events, error, text)


def main() -> int:
    """Do the job on stdin; its events go to stderr, its answer to stdout."""
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent's

    def tell(name: str) -> None:
        sys.stderr.write(f"event {name}\n")
        sys.stderr.flush()

    answer = work(job, tell)
    sys.stdout.buffer.write(pickle.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
