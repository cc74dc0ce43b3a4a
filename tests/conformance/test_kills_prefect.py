"""Flow runs whose process is killed, and what Prefect has to run them again.

Prefect itself tries a task or a flow again that has failed, in the process that runs it. When that
process is gone, who started it (a worker, or `serve`) says that the run has crashed, and that is
all. So an automation asks for the run again: the one of `docs/prefect/failures.md`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    get_current_settings,
    temporary_settings,
)

from tests.conformance.kill_flows import PLAIN_FLOW, STEPS_FLOW
from tests.conformance.kills import SPREAD, Scenes, at_random, each_point
from tests.conformance.tell import INSTALLED
from tests.docs.pages import ROOT, blocks
from tests.prefect.test_killed import variable
from tests.waiting import wait_for

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.postgres]
Record = Callable[[str, object], None]
PATIENTLY = {"seconds": 3600.0, "every": 0.5}
FLOWS = {PLAIN_FLOW: "run-pipeline", STEPS_FLOW: "in-steps"}


@contextmanager
def serving(scenes: Scenes, own: str) -> Iterator[None]:
    """Serve the flows from a process of its own."""
    env = {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        **scenes.env,
        "PYTHONPATH": os.pathsep.join([*sys.path, INSTALLED]),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    command = [sys.executable, "-m", "tests.conformance.kill_flows", own]
    said = scenes.folder / "served.log"
    with said.open("w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as made:
        try:
            yield
        finally:
            made.send_signal(signal.SIGINT)
            try:
                made.wait(60)
            except subprocess.TimeoutExpired:
                made.kill()


@contextmanager
def crashed_runs_again(deployments: Iterable[UUID]) -> Iterator[None]:
    """Have an automation of each deployment run again what has crashed: the page's."""
    page = ROOT / "docs" / "prefect" / "failures.md"
    (block,) = [each for each in blocks(page) if each.file == "again.py"]
    names: dict[str, Any] = {}
    exec(block.text, names)  # noqa: S102 - what people copy
    made: list[Any] = [names["crashed_runs_again"](each).create() for each in deployments]
    try:
        yield
    finally:
        for each in made:
            each.delete(_sync=True)


def deployed(client: SyncPrefectClient, own: str) -> dict[str, UUID]:
    """Return the ids of what is served, once it is."""

    def look() -> dict[str, UUID] | None:
        there = {each.name: each.id for each in client.read_deployments()}
        found = {name: there.get(f"{name}-{own}") for name in FLOWS}
        return None if None in found.values() else found  # type: ignore[return-value]

    return wait_for(look, "deployments", **PATIENTLY)


def completed(client: SyncPrefectClient, run: UUID) -> bool:
    """Say whether a run has come to its good end; one that failed fails the test."""
    state = client.read_flow_run(run).state
    assert state is not None
    assert not state.is_failed(), state
    return state.is_completed()


@pytest.mark.usefixtures("prefect_api")
def test_p11_p12_flow_runs_killed_and_run_again_by_an_automation_load_each_row_once(
    tmp_path: Path, postgres_database: str, record_property: Record
) -> None:
    schedules = each_point() + at_random("Prefect", daily=1, whole=6, milliseconds=400)
    scenes = Scenes(tmp_path / "scenes", postgres_database, schedules)
    own = uuid4().hex[:6]
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 20}),  # a busy server says 503 at times
        get_client(sync_client=True) as client,
        serving(scenes, own),
    ):
        of = deployed(client, own)
        with crashed_runs_again(of.values()):
            runs = [
                client.create_flow_run_from_deployment(
                    of[STEPS_FLOW if scene.kind == SPREAD else PLAIN_FLOW],
                    parameters={"pipeline": str(scene.file)},
                ).id
                for scene in scenes.all.values()
            ]
            for run in runs:
                wait_for(lambda run=run: completed(client, run), f"flow run {run}", **PATIENTLY)
    for name, scene in scenes.all.items():
        scenes.check(name)
        for table in scene.streams:
            entry = variable(name, table)
            assert (entry["version"], entry["load_id"], entry["cursor"]) == scene.newest(table)
    scenes.report("Prefect", record_property)
