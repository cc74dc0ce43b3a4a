"""Airflow's components as forks of a process that has imported Airflow, which takes seconds.

It is given a folder for what each prints, and ends them when its input ends: when who holds the
pipe closes it, or dies.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tests.warm import DRIVERS, modules

AFTER_MIGRATION = (("scheduler", "--skip-serve-logs"), ("dag-processor",))
"""There is no triggerer: no DAG here defers."""
SHARED = (
    "airflow.__main__", "airflow.cli.cli_parser", "airflow.models",
    "airflow.cli.commands.db_command", "airflow.jobs.scheduler_job_runner",
    "airflow.dag_processing.manager", "airflow.executors.local_executor",
)  # fmt: skip
OF_TASKS = (
    "airflow.version", "airflow.sdk.execution_time.cache", "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner", "airflow.sdk._shared.logging.structlog",
    "airflow.sdk.definitions.asset.metadata", "airflow.providers.common.io.version_compat",
    "airflow.providers.standard.operators.empty", "airflow_provider_conduit.connections",
    "airflow_provider_conduit.lineage", "airflow_provider_conduit.load",
    "airflow_provider_conduit.state", "jinja2.ext", *DRIVERS,
)  # fmt: skip
"""Tasks are forks of the scheduler: each would import these for itself."""


def main() -> None:
    """Start the components, and end with the input."""
    said = Path(sys.argv[1])
    _write_to(said / "components.log")
    for name in SHARED:
        importlib.import_module(name)
    gc.freeze()
    _start(said, "api-server")  # imports for as long as the database is made
    _, status = os.waitpid(_start(said, "db", "migrate"), 0)
    if status:
        sys.exit("airflow db migrate has failed")
    for component in AFTER_MIGRATION:
        _start(said, *component)
    sys.stdin.read()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _start(said: Path, *command: str) -> int:
    """Fork; the child becomes ``airflow`` with these arguments. Return its process id."""
    if pid := os.fork():
        return pid
    _write_to(said / f"{'-'.join(command[:2])}.log")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    if command[0] == "scheduler":
        for name in (*modules(), *OF_TASKS):
            importlib.import_module(name)
    from airflow.__main__ import main as airflow

    sys.argv = ["airflow", *command]
    airflow()
    sys.exit()


def _write_to(file: Path) -> None:
    with file.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


if __name__ == "__main__":
    main()
