"""A ten-row load inside each orchestrator, beside a task of the same orchestrator that is empty."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg

from benchmarks.bench import Bench
from benchmarks.full import TEN
from benchmarks.measure import Contestant, compare, timed
from benchmarks.results import EQUAL, Measured, Side, Wanted

SECTION = "hosts"
WANTED = Wanted(more_seconds=1)
START_SECONDS = 300
BINARIES = Path(sys.executable).parent

AIRFLOW_OURS = """
from airflow.sdk import DAG
from airflow_provider_conduit import ConduitLoadOperator

with DAG("ours", schedule=None):
    ConduitLoadOperator(task_id="task", pipeline="{folder}/ten.yml", stream="t")
"""
AIRFLOW_EMPTY = """
from airflow.sdk import DAG, task

with DAG("empty", schedule=None):
    @task(task_id="task")
    def nothing():
        pass
    nothing()
"""
PREFECT_OURS = """
from prefect_conduit import run_pipeline

run_pipeline("ten.yml")
"""
PREFECT_EMPTY = """
from prefect import flow, task

@task
def nothing():
    pass

@flow
def empty():
    nothing()

empty()
"""
DAGSTER_OURS = """
import dagster as dg
from dagster_conduit import ConduitResource, conduit_assets

@conduit_assets(pipeline="ten.yml")
def ten(context: dg.AssetExecutionContext, conduit: ConduitResource):
    yield from conduit.run(context=context)

defs = dg.Definitions(
    assets=[ten], jobs=[dg.define_asset_job("all")], resources={"conduit": ConduitResource()}
)
"""
DAGSTER_EMPTY = """
import dagster as dg

@dg.asset
def nothing():
    pass

defs = dg.Definitions(assets=[nothing], jobs=[dg.define_asset_job("all")])
"""


def airflow(bench: Bench) -> Measured:
    """A task's duration by Airflow's own clock: started, parsed, loaded, told to the server."""
    folder = _folder(bench, "airflow")
    (folder / "dags").mkdir()
    (folder / "dags" / "ours.py").write_text(AIRFLOW_OURS.format(folder=folder))
    (folder / "dags" / "empty.py").write_text(AIRFLOW_EMPTY)
    taken: dict[str, list[float]] = {"ours": [], "empty": []}
    with _airflow(bench, folder) as server:
        for turn in range(bench.runs + 1):
            for dag, seconds in taken.items():
                took = server.run(dag)
                if turn:
                    seconds.append(round(took, 3))
    return Measured(
        section=SECTION,
        what="Airflow: a task that loads ten rows, in a DAG's run",
        sides=[
            Side(name="conduit", seconds=taken["ours"], check=_ten(folder)),
            Side(name="an empty `@task`", seconds=taken["empty"]),
        ],
        wanted=WANTED,
    )


def prefect(bench: Bench) -> Measured:
    """Whole processes that run a flow against a running server."""
    folder = _folder(bench, "prefect")
    (folder / "ours.py").write_text(PREFECT_OURS)
    (folder / "empty.py").write_text(PREFECT_EMPTY)
    port = _free_port()
    env = {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    sides = [
        Contestant("conduit", [sys.executable, "ours.py"], check=partial(_ten, folder), env=env),
        Contestant("a flow of an empty task", [sys.executable, "empty.py"], env=env),
    ]
    start = [BINARIES / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _running([str(word) for word in start], folder, env) as process:
        _until(lambda: _answers(f"{env['PREFECT_API_URL']}/health"), process, "Prefect", folder)
        return compare(
            SECTION,
            "Prefect: a flow that loads ten rows",
            sides,
            cwd=folder,
            wanted=WANTED,
            runs=bench.runs,
        )


def dagster(bench: Bench, *, pandas: bool) -> Measured:
    """Whole processes that run a job, its step in a process of its own.

    Args:
        bench: where.
        pandas: whether it is there, as in our own environment. Nothing here needs it; where it is,
            Arrow imports it with the first value that it is given.
    """
    folder = _folder(bench, f"dagster{'_pandas' * pandas}")
    (folder / "ours.py").write_text(DAGSTER_OURS)
    (folder / "empty.py").write_text(DAGSTER_EMPTY)
    (folder / "home").mkdir()
    (folder / "home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    env = {"DAGSTER_HOME": str(folder / "home")}
    if not pandas:
        (folder / "hidden").mkdir()
        gone = "raise ModuleNotFoundError('No module named pandas', name='pandas')\n"
        (folder / "hidden" / "pandas.py").write_text(gone)
        env["PYTHONPATH"] = str(folder / "hidden")

    def run(file: str) -> list[str]:
        return [str(BINARIES / "dagster"), "job", "execute", "-f", file, "-j", "all"]

    sides = [
        Contestant("conduit", run("ours.py"), check=partial(_ten, folder), env=env),
        Contestant("a job of an empty asset", run("empty.py"), env=env),
    ]
    return compare(
        SECTION,
        f"Dagster: a job that loads ten rows, pandas {'' if pandas else 'not '}installed",
        sides,
        cwd=folder,
        wanted=WANTED,
        runs=bench.runs,
    )


def _folder(bench: Bench, name: str) -> Path:
    """Make a folder with ten rows, and the pipeline that loads them."""
    folder = bench.folder / name
    folder.mkdir()
    timed([sys.executable, "-c", TEN], folder)
    (folder / "ten.yml").write_text(
        f"name: ten\nsource: {{type: sqlite, path: {folder}/ten.db}}\n"
        f"destination: {{type: duckdb, path: {folder}/ten.duckdb}}\n"
        "streams:\n  - {table: t, mode: replace}\n"
    )
    return folder


def _ten(folder: Path) -> str:
    """Compare what was loaded with the ten rows."""
    import duckdb

    with duckdb.connect(folder / "ten.duckdb", read_only=True) as connection:
        found = connection.execute("SELECT id, name FROM t ORDER BY id").fetchall()
    return EQUAL if found == [(i, str(i)) for i in range(10)] else f"NOT EQUAL: {found}"


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


@contextmanager
def _running(
    command: list[str], folder: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server that writes server.log; end it, and all that it started."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):  # the group is ours alone: it began with that process
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def _until(
    good: Callable[[], Any], process: subprocess.Popen[bytes], what: str, folder: Path
) -> Any:
    """Ask until the answer is good, and return it."""
    deadline = time.monotonic() + START_SECONDS
    while not (found := good()):
        if process.poll() is not None or time.monotonic() > deadline:
            last = (folder / "server.log").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{what} doesn't answer as it should:\n{last}")
        time.sleep(0.2)
    return found


def _answers(url: str, body: object = None, method: str | None = None) -> Any:
    """Return what a server answers, or None where it doesn't yet."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method=method,
    )
    with suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.loads(answer.read())
    return None


class _Airflow:
    """A real Airflow, by its REST API."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._url = f"{url}/api/v2"
        self._wait = partial(_until, process=process, what="Airflow", folder=folder)

    def run(self, dag: str) -> float:
        """Run a DAG of one task to its end, and return how long the task took.

        Raises:
            RuntimeError: it failed.
        """
        self._wait(lambda: _answers(f"{self._url}/dags/{dag}"))
        runs = f"{self._url}/dags/{dag}/dagRuns"
        made = self._wait(lambda: _answers(runs, {"logical_date": None}))
        at = f"{runs}/{quote(made['dag_run_id'])}"

        def ended() -> Any:
            found = _answers(at)
            return found if found and found["state"] in {"success", "failed"} else None

        state = self._wait(ended)["state"]
        (task,) = self._wait(lambda: _answers(f"{at}/taskInstances"))["task_instances"]
        if state != "success":
            raise RuntimeError(f"{dag} ended as {state}")
        return float(task["duration"])


@contextmanager
def _airflow(bench: Bench, folder: Path) -> Iterator[_Airflow]:
    """Start ``airflow standalone`` with its metadata in a database of the bench's server."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS airflow WITH (FORCE)")
        connection.execute("CREATE DATABASE airflow")
    at = urlsplit(bench.url)
    port, log_ports = _free_port(), [_free_port(), _free_port()]
    settings = {
        "CORE__DAGS_FOLDER": folder / "dags",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "DATABASE__SQL_ALCHEMY_CONN": urlunsplit(
            at._replace(scheme="postgresql+psycopg2", path="/airflow")
        ),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": log_ports[0],
        "LOGGING__WORKER_LOG_SERVER_PORT": log_ports[1],
        "USAGE_DATA_COLLECTION__ENABLED": False,
    }
    env = {
        **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
        "AIRFLOW_HOME": str(folder),
        "PATH": f"{BINARIES}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": bench.path,
    }
    with _running([str(BINARIES / "airflow"), "standalone"], folder, env) as process:
        yield _Airflow(f"http://127.0.0.1:{port}", process, folder)


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return the cases by name."""
    return {
        "airflow": partial(airflow, bench),
        "prefect": partial(prefect, bench),
        "dagster": partial(dagster, bench, pandas=False),
        "dagster-pandas": partial(dagster, bench, pandas=True),
    }
