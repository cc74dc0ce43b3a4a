"""The shop in Prefect, from a copy: flows of its own, and a real worker of what is deployed."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.settings import get_current_settings

from prefect_conduit import run_pipeline
from tests.examples.demos import EXAMPLES, ask

DEADLINE_SECONDS = 300


class Example:
    """A copy of the example, with names that nobody else has in the tests' server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = uuid.uuid4().hex[:8]
        leave = shutil.ignore_patterns("*.duckdb*", "*.sqlite", "staging", "__pycache__")
        shutil.copytree(EXAMPLES / "prefect", folder, ignore=leave)
        for path in folder.rglob("*.*"):
            if path.suffix in {".py", ".yml", ".yaml"}:
                path.write_text(self._named(path.read_text()))
        self.add_a_day()

    def _named(self, text: str) -> str:
        text = re.sub(r"\braw\b", f"raw_{self.own}", text)
        text = re.sub(r"(?<=name: )(shop|hourly|yesterday)\b", rf"\1-{self.own}", text)
        return re.sub(
            r"(?<=stream\.|report/)shop|shop(?=-report|-hourly)", f"shop-{self.own}", text
        )

    def add_a_day(self) -> None:
        runpy.run_path(str(self.folder / "make_shop.py"))["add_a_day"](self.folder)

    def made(self, file: str) -> dict[str, Any]:
        """Return what a file of the example defines."""
        return runpy.run_path(str(self.folder / file))

    def rows(self, table: str) -> int:
        (row,) = ask(self.folder, f"SELECT count(*) FROM raw_{self.own}.{table}")
        return int(str(row[0]))


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Example:
    made = Example(tmp_path / "prefect")
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as made:
        yield made


def test_flows_of_its_own(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    example.made("flow.py")["nightly"]()
    assert "orders: 24 rows, watermark 2026-01-01T23:00:00" in capsys.readouterr().out
    example.made("stream.py")["daily"]()
    assert "published: 1 inserted, 0 updated" in capsys.readouterr().out
    example.made("compose.py")["in_parts"]()
    assert "4 parts, 24 rows" in capsys.readouterr().out
    assert [example.rows(t) for t in ("orders", "rates", "all_orders")] == [24, 1, 24]


def test_a_served_flow_goes_to_a_process_that_has_none_of_our_names() -> None:
    served = cloudpickle.loads(cloudpickle.dumps(run_pipeline))
    assert served.validate_parameters({"pipeline": "shop.yml"})["pipeline"] == "shop.yml"


def ended(client: SyncPrefectClient, run: uuid.UUID) -> str:
    """Wait for a run's end; return its state."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (state := client.read_flow_run(run).state) or not state.is_final():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return f"{state.name} {state.message or ''}".strip()


def environment(example: Example) -> dict[str, str]:
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    patient = {"PREFECT_CLIENT_MAX_RETRIES": "20"}  # a busy server says 503 at times
    return {**os.environ, **settings, **patient, "PWD": str(example.folder)}


@contextmanager
def running(example: Example, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of the example's beside the test; end it."""
    env = {**environment(example), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    with subprocess.Popen([sys.executable, *arguments], cwd=example.folder, env=env) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.deep
def test_serve(example: Example, client: SyncPrefectClient) -> None:
    """A run that is asked of the API is done by the process that serves."""
    with running(example, "serve.py") as serving:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (found := deployments(client, f"shop-{example.own}-hourly")):
            assert serving.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        run = client.create_flow_run_from_deployment(found[0])
        assert ended(client, run.id) == "Completed"
    assert example.rows("orders") == 24


def deployments(client: SyncPrefectClient, name: str) -> list[uuid.UUID]:
    return [each.id for each in client.read_deployments() if each.name == name]


@pytest.mark.slow
def test_a_worker_runs_what_is_deployed_and_an_automation_what_follows(
    example: Example, client: SyncPrefectClient
) -> None:
    pool = f"shop-{example.own}"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    command = [Path(sys.executable).with_name("prefect"), "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        command,
        cwd=example.folder,
        env=environment(example),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    hourly = client.read_deployment_by_name(f"run-pipeline/hourly-{example.own}")
    assert hourly.global_concurrency_limit is not None
    assert hourly.global_concurrency_limit.limit == 1
    automation = example.made("automation.py")["after_orders"](f"report/{pool}").create()
    report = client.read_deployment_by_name(f"report/{pool}")
    run = client.create_flow_run_from_deployment(hourly.id)
    try:
        with running(example, "-m", "prefect", "worker", "start", "--pool", pool):
            assert ended(client, run.id) == "Completed"
            assert example.rows("orders") == 24
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not (follows := runs_of(client, report.id)):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert [ended(client, each) for each in follows] == ["Completed"]
    finally:
        automation.delete(_sync=True)
    shown = Artifact.get(f"shop-{example.own}-report", _sync=True)
    assert '"name": "Ada", "orders": 12' in shown.data


def runs_of(client: SyncPrefectClient, deployment: uuid.UUID) -> list[uuid.UUID]:
    chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    return [each.id for each in client.read_flow_runs(deployment_filter=chosen)]
