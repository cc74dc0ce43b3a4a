"""A real Airflow: scheduler with LocalExecutor, DAG processor and API server.

Tests talk to it through its REST API alone, as a person or another system would.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

ROOT = Path(__file__).parents[2]
MEMBERS = (ROOT, ROOT / "providers" / "airflow", ROOT / "dbt_bridge")
START_SECONDS = 300
WAIT_SECONDS = 300
DONE = ("success", "failed")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the REST API answered."""

    status: int
    body: Any


class AirflowServer:
    """An Airflow of its own: home, database, DAG folder, and its processes.

    Args:
        home: its folder, which must be empty.
        dags: files to copy into its DAG folder.
        database: an empty PostgreSQL database for its metadata: on SQLite there are no backfills,
            and a task that is cleared waits for a minute while others run.
        env: more environment, for the tasks.
    """

    def __init__(self, home: Path, dags: Path, database: str, env: Mapping[str, str]) -> None:
        self.home = home
        self.dags = home / "dags"
        self.logs = home / "logs"
        shutil.copytree(dags, self.dags, ignore=shutil.ignore_patterns("__pycache__"))
        self._said = home / "said"
        self._said.mkdir()
        ports = _free_ports(4)
        self.port = ports[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**_environment(home, self.url, ports, database), **env}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # leads a group of processes, which are Airflow's all
            [sys.executable, "-m", "tests.airflow.components", self._said],
            cwd=self.home, env=self._env, stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            self.wait_for(self._healthy, "a scheduler, a DAG processor and an API", START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        with suppress(ProcessLookupError):  # the group is ours alone: it began with that process
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """What holds all its processes."""
        assert self._process is not None
        return self._process

    def _healthy(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"Airflow has ended:\n{self.said()}")
        with suppress(OSError):
            self.ask("GET", "/execution/health")  # the first request makes its models: for seconds
            parts = self.call("GET", "/api/v2/monitor/health").body
            return all(
                parts[name]["status"] == "healthy"
                for name in ("metadatabase", "scheduler", "dag_processor")
            )
        return False

    def said(self) -> str:
        """Return the last that each process printed."""
        return "\n".join(
            f"== {file.name}\n{file.read_text(errors='replace')[-3000:]}"
            for file in sorted(self._said.iterdir())
        )

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Call the API: a path behind ``/api/v2/``, or a whole one, which begins with a slash."""
        at = path if path.startswith("/") else f"/api/v2/{path}"
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.url + at,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return Answer(answer.status, _json(answer.read()))
        except urllib.error.HTTPError as error:
            with closing(error):
                return Answer(error.code, _json(error.read()))

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Call the API and return the answer's body, if it's a good one.

        A look is taken again where Airflow answers 500: its database is busy, or, in 3.3, a run
        that an event has made waits for its start.
        """
        answer = self.call(method, path, body)
        if method == "GET" and answer.status == 500:
            answer = self.wait_for(
                lambda: found if (found := self.call(method, path)).status != 500 else None,
                f"GET {path}",
            )
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body}"
        return answer.body

    def wait_for(self, found: Callable[[], T], what: str, seconds: float | None = None) -> T:
        """Ask again and again until the answer is true, and return it; at the deadline, fail."""
        seconds = seconds or WAIT_SECONDS
        deadline = time.monotonic() + seconds
        while not (answer := found()):
            assert time.monotonic() < deadline, f"no {what} in {seconds} s\n{self.said()}"
            time.sleep(0.5)  # between two questions: an answer costs 0.05 s
        return answer

    def dag(self, dag_id: str) -> None:
        """Wait until a DAG was parsed, and switch it on."""
        self.wait_for(
            lambda: self.call("GET", f"dags/{dag_id}").status == 200,
            f"DAG {dag_id} ({self.call('GET', 'importErrors').body})",
        )
        self.ask("PATCH", f"dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, **conf: object) -> str:
        """Start a run by hand, and return its id."""
        body = {"logical_date": None, "conf": conf}
        made: str = self.ask("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return made

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return a DAG's runs, the oldest first."""
        path = f"dags/{dag_id}/dagRuns?limit=100&order_by=id"
        found: list[dict[str, Any]] = self.ask("GET", path)["dag_runs"]
        return found

    def finished(
        self, dag_id: str, run_id: str, *, state: str | None = "success", seconds: float = 0
    ) -> None:
        """Wait for the end of a run, which must be ``state`` unless that is None."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}"
        run = self.wait_for(
            lambda: found if (found := self.ask("GET", path))["state"] in DONE else None,
            f"end of {dag_id} {run_id}",
            seconds,
        )
        if state is not None:
            tasks = self.tasks(dag_id, run_id)
            assert run["state"] == state, {name: t["state"] for name, t in tasks.items()}

    def run(self, dag_id: str, **conf: object) -> str:
        """Run a DAG to its good end, and return the run's id."""
        run_id = self.trigger(dag_id, **conf)
        self.finished(dag_id, run_id)
        return run_id

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return a run's task instances by name."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances?limit=100"
        return {found["task_id"]: found for found in self.ask("GET", path)["task_instances"]}

    def running(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Wait until a task runs."""
        self.wait_for(
            lambda: self.tasks(dag_id, run_id)[task_id]["state"] == "running",
            f"running task {task_id}",
        )

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task instance, as the button in the UI does."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}"
        self.ask("PATCH", path, {"new_state": state})

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear task instances of a run, as the button in the UI does."""
        body = {
            "dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids),
            "only_failed": False, "reset_dag_runs": True,
        }  # fmt: skip
        self.ask("POST", f"dags/{dag_id}/clearTaskInstances", body)

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return what a task returned; None for nothing."""
        path = f"dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}"
        found = self.call("GET", f"{path}/xcomEntries/return_value")
        return None if found.status == 404 else found.body["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """Return the log file of an attempt."""
        folder = self.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return (folder / f"attempt={attempt}.log").read_text()

    def asset_id(self, name: str) -> int:
        """Return an asset's id, by its name."""
        found = self.ask("GET", f"assets?limit=100&name_pattern={_quoted(name)}")["assets"]
        (made,) = [one["id"] for one in found if one["name"] == name]
        return int(made)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return an asset's events, the oldest first."""
        path = f"assets/events?limit=100&asset_id={self.asset_id(name)}&order_by=timestamp"
        found: list[dict[str, Any]] = self.ask("GET", path)["asset_events"]
        return found


def _environment(home: Path, url: str, ports: list[int], database: str) -> dict[str, str]:
    given = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "CONDUIT_"))}
    settings = {
        "CORE__DAGS_FOLDER": home / "dags",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__FERNET_KEY": "",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 16,
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "API__BASE_URL": url,
        "API__HOST": "127.0.0.1",
        "API__PORT": ports[0],
        "API__CLIENT_USE_PUBLIC_CERTS": False,
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "DATABASE__CHECK_MIGRATIONS": False,
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 600,
        "DAG_PROCESSOR__REFRESH_INTERVAL": 600,
        "DAG_PROCESSOR__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": home / "logs" / "dags",
        "LOGGING__COLORED_CONSOLE_LOG": False,
        "LOGGING__TRIGGER_LOG_SERVER_PORT": ports[1],
        "LOGGING__WORKER_LOG_SERVER_PORT": ports[2],
        "OPENLINEAGE__DISABLED": True,
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 1,
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.5,
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": ports[3],
        "USAGE_DATA_COLLECTION__ENABLED": False,
        "WORKERS__EXECUTION_API_TIMEOUT": 60,
        "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
    }
    return {
        **given,
        **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        "NO_COLOR": "1",
        # It talks to itself without TLS, and each worker would read all certificates for that.
        "SSL_CERT_FILE": os.devnull,
        "PYTHONPATH": os.pathsep.join(map(str, MEMBERS)),
    }


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        made = [
            stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            for _ in range(count)
        ]
        return [one.getsockname()[1] for one in made]


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode(errors="replace")


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")
