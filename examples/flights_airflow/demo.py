"""Starts a real Airflow whose DAG loads the flights: make demo-airflow. Ctrl-C ends it.

With ``--once`` it runs the DAG twice, up to June and then what is new, and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
HOME = HERE / "airflow"
sys.path.insert(0, str(HERE.parent / "flights"))  # the data are that demo's

from helpers import END_OF_JUNE, data_folder, free_port, running  # noqa: E402 - it is found by the line above

DEADLINE_SECONDS = 900
STREAMS = ("planes", "airports", "airlines", "weather", "flights")


def settings(at: int) -> dict[str, str]:
    """Return the environment of an Airflow that lives in this folder, without passwords."""
    given = {
        "CORE__DAGS_FOLDER": HERE / "dags",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{at}/execution/",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "CORE__PARALLELISM": 2,
        "API__BASE_URL": f"http://127.0.0.1:{at}",
        "API__HOST": "127.0.0.1",
        "API__PORT": at,
        "USAGE_DATA_COLLECTION__ENABLED": False,
        "WORKERS__EXECUTION_API_TIMEOUT": 60,
    }
    yours = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    return {
        **yours,
        **{f"AIRFLOW__{name}": str(value) for name, value in given.items()},
        "AIRFLOW_HOME": str(HOME),
        "FLIGHTS_DATA": str(data_folder()),
        "WAREHOUSE": str(HERE / "warehouse.duckdb"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def airflow(at: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start ``airflow standalone``; end it, and all that it started."""
    HOME.mkdir(exist_ok=True)
    command = [Path(sys.executable).with_name("airflow"), "standalone"]
    return running(command, env=settings(at), log=HOME / "standalone.log")


class Api:
    """Airflow's REST API."""

    def __init__(self, at: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://127.0.0.1:{at}"
        self._process = process

    def ask(self, path: str, body: object = None) -> Any:
        """Ask; None where there is no such thing yet, or no answer."""
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except (OSError, urllib.error.HTTPError):
            return None

    def wait(self, path: str, good: Any, what: str) -> Any:
        """Ask until the answer is good; stop where Airflow has ended, or at the deadline."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not ((found := self.ask(path)) and good(found)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{what} didn't come; Airflow's own words are in {HOME}/standalone.log")
            time.sleep(0.5)
        return found

    def run(self, until: str) -> None:
        """Run the DAG to its end, and the one that follows; print what each task returned."""
        followed = "dags/delays/dagRuns?order_by=-id"
        before = self.ask(followed)["total_entries"]
        body = {"logical_date": None, "conf": {"until": until}}
        run = self.finished(self.ask("dags/flights/dagRuns", body))
        told = {stream: self.returned(run, stream) for stream in STREAMS}
        for stream, load in told.items():
            rows = load["counts"].get("inserted", 0)
            print(f"{stream:10} {load['outcome']:10} {rows:>8} rows", flush=True)
        if told["flights"]["outcome"] == "published":
            found = self.wait(followed, lambda f: f["total_entries"] > before, "the DAG delays")
            run = self.finished(found["dag_runs"][0])
            print("delays     followed:", *self.returned(run, "worst_months"), sep="\n  ")

    def finished(self, run: dict[str, str]) -> str:
        """Wait for the good end of a run, and return its path."""
        path = f"dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'])}"
        found = self.wait(path, lambda f: f["state"] in {"success", "failed"}, "the run's end")
        if found["state"] != "success":
            sys.exit(f"{run['dag_id']} failed: the tasks' logs are in {HOME}/logs")
        return path

    def returned(self, run: str, task: str) -> Any:
        """Return what a task returned."""
        value = self.ask(f"{run}/taskInstances/{task}/xcomEntries/return_value")["value"]
        return json.loads(value) if isinstance(value, str) else value


def main() -> None:
    """Start Airflow; run the DAG, or wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="run the DAG to its end, and end")
    once = parser.parse_args().once
    for name in (signal.SIGINT, signal.SIGTERM):  # also where this was started to ignore Ctrl-C
        signal.signal(name, signal.default_int_handler)
    at = free_port(8080)
    print("starting Airflow, which takes half a minute", flush=True)
    with airflow(at) as process, suppress(KeyboardInterrupt):
        api = Api(at, process)
        for dag in ("flights", "delays"):
            api.wait(f"dags/{dag}", bool, f"the DAG {dag}")
        print(f"Airflow: {api.url}", flush=True)
        if once:
            for text, until in (("up to the end of June", END_OF_JUNE), ("what is new", "")):
                print(f"\n-- the DAG flights: {text}", flush=True)
                api.run(until)
        else:
            print("trigger the DAG `flights` there, as often as you like; Ctrl-C ends Airflow")
            process.wait()


if __name__ == "__main__":
    main()
