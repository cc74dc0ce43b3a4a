"""The tutorials as their readers type them: real servers, real commands, an empty folder."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.docs.walk import PLACE, Walk
from tests.examples.demos import EXAMPLES

# The suite walks the same pages with servers of its own: tests/{airflow,dagster,prefect}.
pytestmark = [pytest.mark.slow, pytest.mark.deep]
sys.path.insert(0, str(EXAMPLES / "flights"))  # helpers of the demos

from helpers import free_port, running  # noqa: E402

DEADLINE_SECONDS = 600
LOADS = "SELECT version, rows_inserted FROM raw._conduit_ledger WHERE stream = 'flights' ORDER BY 1"
MONTHS = [(1, 26_865), (2, 24_936), (3, 28_886), (4, 28_353)]


class Typed:
    """A folder, and the servers that were started in it."""

    def __init__(self, folder: Path, setenv: Callable[[str, str], None], stack: ExitStack) -> None:
        self.folder = folder
        self.setenv = setenv
        self.stack = stack
        self.port = free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"

    def walk(self, page: str, commands: dict[str, Callable[[Walk, str], str]]) -> None:
        """Walk a tutorial, and look at what it has loaded."""
        import duckdb

        Walk(ROOT / "docs" / "tutorials" / page, self.folder, self.setenv, commands).go()
        with duckdb.connect(self.folder / "warehouse.duckdb", read_only=True) as warehouse:
            assert warehouse.sql(LOADS).fetchall()[:4] == MONTHS
            assert warehouse.sql("SELECT count(*) FROM raw.delays").fetchall() == [(16,)]

    def start(self, *command: str) -> None:
        """Start what stays; it ends with the test."""
        log = self.folder.parent / f"{command[0]}.log"
        binary = Path(sys.executable).with_name(command[0])
        self.stack.enter_context(running([binary, *command[1:]], env=dict(os.environ), log=log))

    def ask(self, path: str) -> Any:
        """Ask a server; None where there is no such thing yet."""
        at = urllib.request.Request(self.url + path)  # noqa: S310 - our own server
        with suppress(OSError), urllib.request.urlopen(at, timeout=60) as answer:  # noqa: S310
            return json.load(answer)
        return None

    def wait(self, what: str, is_there: Callable[[], object]) -> None:
        """Wait for something."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_there():
            assert time.monotonic() < deadline, what
            time.sleep(1)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    folder = tmp_path / "flights"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with ExitStack() as stack:
        yield Typed(folder, monkeypatch.setenv, stack)


def test_prefect(typed: Typed) -> None:
    typed.setenv("PREFECT_HOME", str(typed.folder.parent / "prefect"))
    typed.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

    def server(_: Walk, __: str) -> str:
        typed.start("prefect", "server", "start", "--port", str(typed.port))
        typed.wait("Prefect", lambda: typed.ask("/api/health"))
        return ""

    def url(_: Walk, __: str) -> str:
        typed.setenv("PREFECT_API_URL", f"{typed.url}/api")
        return ""

    def hourly(_: Walk, __: str) -> str:
        typed.start("python", "hourly.py")
        typed.wait("it", lambda: typed.ask("/api/deployments/name/run-pipeline/hourly"))
        return ""

    typed.walk(
        "prefect.md",
        {"prefect server": server, "export PREFECT_API_URL": url, "python hourly.py": hourly},
    )


def test_dagster(typed: Typed) -> None:
    def dev(_: Walk, line: str) -> str:
        typed.start(*line.split(), "--port", str(typed.port))
        typed.wait("Dagster", lambda: typed.ask("/server_info"))
        return ""

    typed.walk("dagster.md", {"dagster dev": dev})


RUNS = "/api/v2/dags/flights/dagRuns?order_by=-id&limit=1"


def test_airflow(typed: Typed) -> None:
    given = {
        "API__PORT": str(typed.port),
        "API__BASE_URL": typed.url,
        "CORE__EXECUTION_API_SERVER_URL": f"{typed.url}/execution/",
        "CORE__PARALLELISM": "2",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    for name, value in given.items():
        typed.setenv(f"AIRFLOW__{name}", value)

    def standalone(_: Walk, line: str) -> str:
        typed.start(*line.split())
        typed.wait("the DAG", lambda: typed.ask("/api/v2/dags/flights"))
        with socket.socket() as other:  # whoever listens on all addresses answers there, too
            assert other.connect_ex(("127.0.0.2", typed.port)) != 0
        return ""

    def states() -> list[str]:
        found = typed.ask(RUNS) or {"dag_runs": []}
        return [run["state"] for run in found["dag_runs"]]

    def to_its_end(walk: Walk, line: str) -> str:
        if "after:" in (walk.folder / "flights.yml").read_text():
            typed.wait(
                "dbt's task", lambda: "after_dbt" in str(typed.ask("/api/v2/dags/flights/tasks"))
            )
        walk.shell(line.replace("# fails", ""))
        wanted = "failed" if line.endswith("# fails") else "success"
        typed.wait(f"{wanted} of {line}", lambda: states() == [wanted])
        return ""

    def said(walk: Walk, text: str) -> str:
        wanted = json.dumps(text.strip().replace(PLACE, str(walk.folder)))[1:-1]
        logs = (walk.folder / "airflow" / "logs").rglob("*.log")
        assert any(wanted in log.read_text(errors="replace") for log in logs)
        return ""

    typed.walk(
        "airflow.md",
        {
            "airflow standalone": standalone,
            "airflow dags trigger": to_its_end,
            "airflow tasks clear": to_its_end,
            "text": said,
        },
    )
