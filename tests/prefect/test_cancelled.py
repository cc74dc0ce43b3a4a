"""Flow runs that are told to end while their loads read: rolled back, and the next run goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.runner import Runner
from prefect.states import Cancelling

from tests.prefect.crashing import Launched, asked, asked_again, flow_run
from tests.prefect.held import Held

pytestmark = [
    pytest.mark.slow,
    pytest.mark.crash,
    pytest.mark.postgres,
    pytest.mark.xdist_group("prefect-forks"),
]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("run_pipeline", signal.SIGINT),
        ("by_tasks", signal.SIGTERM),
        ("by_twins", signal.SIGTERM),
        pytest.param("arun_pipeline", signal.SIGINT, marks=pytest.mark.deep),
        pytest.param("arun_pipeline", signal.SIGTERM, marks=pytest.mark.deep),
        pytest.param("by_tasks", signal.SIGINT, marks=pytest.mark.deep),
        pytest.param("by_twins", signal.SIGINT, marks=pytest.mark.deep),
        pytest.param("run_pipeline", signal.SIGTERM, marks=pytest.mark.deep),
    ],
)
def test_p12_a_flow_that_is_interrupted_publishes_nothing_and_goes_on_when_run_again(
    tmp_path: Path, postgres_database: str, name: str, number: int
) -> None:
    """By Ctrl-C in a terminal, or by its machine."""
    held = Held(postgres_database)
    run = asked(name, pipeline=held.pipeline)
    with held.shut():
        launched = Launched(name, run, tmp_path)
        held.hang()
        os.kill(launched.process.pid or 0, number)
        launched.end()
        held.is_untouched()
    state = flow_run(run).state
    assert state is not None
    # SIGTERM ends the process before Prefect writes that; who started it does then.
    assert state.is_crashed() or (number == signal.SIGTERM and state.is_running()), launched.said
    asked_again(run)
    again = Launched(name, run, tmp_path)
    assert again.end() == 0, again.said
    assert "takes up the open load" in again.said
    held.is_loaded_once()


@pytest.mark.parametrize("name", ["run_pipeline", "by_tasks"])
def test_p12_a_flow_run_cancelled_through_prefect_ends_soon_and_the_next_one_loads_all(
    tmp_path: Path, postgres_database: str, name: str
) -> None:
    """By the runner that every worker and every ``serve`` has, in a process of the run's own."""
    held = Held(postgres_database)
    run = asked(name, pipeline=held.pipeline)
    with held.shut():
        asyncio.run(_run_and_cancel(run, name, held, tmp_path))
        held.is_untouched()
    state = flow_run(run).state
    assert state is not None
    assert state.is_cancelled(), state
    following = asked(name, pipeline=held.pipeline)
    launched = Launched(name, following, tmp_path)
    assert launched.end() == 0, launched.said
    assert "takes up the open load" in launched.said
    held.is_loaded_once()


async def _run_and_cancel(run: UUID, name: str, held: Held, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is to come isn't public yet
        runner = Runner(query_seconds=1)
        entrypoint = f"tests.prefect.crashing.{name}"
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        running = asyncio.create_task(
            runner.execute_flow_run(
                run, entrypoint=entrypoint, cwd=folder, env={"PYTHONPATH": path}
            )
        )
        hanging = asyncio.create_task(asyncio.to_thread(held.hang))
        await asyncio.wait([running, hanging], return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), running
        await hanging
        async with get_client() as client:
            await client.set_flow_run_state(run, Cancelling())
        await running
