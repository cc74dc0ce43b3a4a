"""Starts a real Prefect server and a worker, and loads the flights by them: make demo-prefect.

It stays up until Ctrl-C. With ``--once`` it ends when all is loaded and built.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State

HERE = Path(__file__).resolve().parent
HOME = HERE / "prefect"
WAREHOUSE = HERE / "warehouse.duckdb"
PREFECT = Path(sys.executable).with_name("prefect")
sys.path.insert(0, str(HERE.parent / "flights"))  # the data are that demo's

from helpers import data_folder, free_port, running  # noqa: E402 - it is found by the line above

DEADLINE_SECONDS = 900
FOLLOWS_SECONDS = 120
POOL = "flights"
T = TypeVar("T")


def settings(at: int) -> dict[str, str]:
    """Return the environment of a Prefect that lives in this folder, and of nobody else's."""
    yours = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return {
        **yours,
        "PREFECT_HOME": str(HOME),
        "TMPDIR": str(HOME / "tmp"),  # a worker leaves its runs' folders there
        "PREFECT_API_URL": f"http://127.0.0.1:{at}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(at),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DO_NOT_TRACK": "1",
        "FLIGHTS_DATA": str(data_folder()),
        "WAREHOUSE": str(WAREHOUSE),
        "PWD": str(HERE),
        "PATH": f"{PREFECT.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def started(name: str, *arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start a part of Prefect in this folder; end it, and all that it started."""
    return running([PREFECT, *arguments], env=os.environ, log=HOME / f"{name}.log")


class Prefect:
    """The server, by its own client."""

    def __init__(self, client: SyncPrefectClient, process: subprocess.Popen[bytes]) -> None:
        self._client, self._process = client, process

    def wait(self, look: Callable[[], T | None], what: str, seconds: float) -> T:
        """Look until there is something; stop where the server has ended, or at the deadline."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{what} didn't come; Prefect's own words are in {HOME}/*.log")
            time.sleep(0.5)
        return found

    def prepare(self) -> None:
        """Make the work pool, the block and the deployments."""
        from prefect.client.schemas.actions import WorkPoolCreate

        from prefect_conduit import ConduitConnection

        up = self._client.api_healthcheck
        self.wait(lambda: up() is None, "the server", DEADLINE_SECONDS)
        # A DuckDB file has one writer at a time, so runs come one after the other.
        pool = WorkPoolCreate(name=POOL, type="process", concurrency_limit=1)
        self._client.create_work_pool(pool, overwrite=True)
        warehouse = ConduitConnection(type="duckdb", path=str(WAREHOUSE))
        warehouse.save("warehouse", overwrite=True)
        deploy = [PREFECT, "--no-prompt", "deploy", "--all"]
        done = subprocess.run(deploy, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{done.stdout}\n{done.stderr}")

    def run(self, flow: str) -> None:
        """Run a deployment to its end; print its summary, and what followed."""
        from prefect.artifacts import Artifact

        before = self.runs("worst-months")
        deployment = self._client.read_deployment_by_name(f"{flow}/demo")
        self.ended(self._client.create_flow_run_from_deployment(deployment.id).id)
        summary = Artifact.get("conduit-flights", _sync=True).data
        print(summary, flush=True)
        if "flights | published" not in summary:  # nothing was new: nothing follows
            return
        print("\n-- worst-months: the event of the published flights has started it", flush=True)
        new = self.wait(
            lambda: self.runs("worst-months") - before, "the run that follows", FOLLOWS_SECONDS
        )
        self.ended(new.pop())
        for row in json.loads(Artifact.get("worst-months", _sync=True).data):
            print(f"{row['month']:10} {row['minutes late']} minutes late", flush=True)

    def runs(self, flow: str) -> set[UUID]:
        """Return the runs of a deployment."""
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName

        named = FlowFilter(name=FlowFilterName(any_=[flow]))
        return {run.id for run in self._client.read_flow_runs(flow_filter=named)}

    def ended(self, run: UUID) -> None:
        """Wait for the good end of a run."""

        def state() -> State | None:
            found = self._client.read_flow_run(run).state
            return found if found and found.is_final() else None

        found = self.wait(state, "the run's end", DEADLINE_SECONDS)
        if not found.is_completed():
            sys.exit(f"the run ended as {found.name}: {found.message}")


def main() -> None:
    """Start Prefect, load everything once, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when everything is loaded")
    once = parser.parse_args().once
    for name in (signal.SIGINT, signal.SIGTERM):  # also where this was started to ignore Ctrl-C
        signal.signal(name, signal.default_int_handler)
    at = free_port(4200)
    (HOME / "tmp").mkdir(parents=True, exist_ok=True)
    given = settings(at)
    os.environ.clear()
    os.environ.update(given)  # before Prefect is imported here, too
    os.chdir(HERE)
    print("starting Prefect, which takes half a minute", flush=True)
    with suppress(KeyboardInterrupt), started("server", "server", "start") as server:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            prefect = Prefect(client, server)
            prefect.prepare()
            print(f"Prefect: http://127.0.0.1:{at}", flush=True)
            with started("worker", "worker", "start", "--pool", POOL, "--name", "demo"):
                flow = "flights-and-models" if dbt_is_here() else "run-pipeline"
                print(f"\n-- everything, once: the deployment {flow}/demo", flush=True)
                prefect.run(flow)
                if not once:
                    print("\nrun deployments there, as you like; Ctrl-C ends Prefect", flush=True)
                    server.wait()


def dbt_is_here() -> bool:
    """Say whether dbt can build the models: conduit-dbt and dbt are installed."""
    return importlib.util.find_spec("conduit_dbt") is not None


if __name__ == "__main__":
    main()
