"""Starts a real `dagster dev` with the flights, and loads them in it: make demo-dagster.

It stays up until Ctrl-C. With ``--once`` it ends when all is loaded and built.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "flights"))  # the data are that demo's

from helpers import data_folder, free_port, running  # noqa: E402 - it is found by the line above

DEADLINE_SECONDS = 600
ENDS = {"SUCCESS", "FAILURE", "CANCELED"}
INSTANCE = "telemetry: {enabled: false}\nconcurrency: {runs: {max_concurrent_runs: 1}}\n"

LOCATION = """{workspaceOrError {... on Workspace {locationEntries {
  name locationOrLoadError {__typename ... on PythonError {message}}}}}}"""
LAUNCH = """mutation ($location: String!) {launchRun(executionParams: {
  selector: {repositoryLocationName: $location, repositoryName: "__repository__",
    jobName: "load_and_build"}}) {
  __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
STATUS = "query ($id: ID!) {runOrError(runId: $id) {... on Run {status}}}"
EVENTS = """query ($id: ID!) {runOrError(runId: $id) {... on Run {eventConnection {events {
  __typename
  ... on MaterializationEvent {assetKey {path}
    metadataEntries {label ... on IntMetadataEntry {intValue} ... on TextMetadataEntry {text}}}
  ... on AssetCheckEvaluationEvent {evaluation {
    checkName success severity description assetKey {path}}}
  ... on ExecutionStepFailureEvent {error {message}}}}}}}"""


def dagster(at: int, home: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start ``dagster dev`` on this folder's definitions; end it, and all that it started."""
    (home / "dagster.yaml").write_text(INSTANCE)
    binaries = Path(sys.executable).parent
    env = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "FLIGHTS_DATA": str(data_folder()),
        "WAREHOUSE": str(HERE / "warehouse.duckdb"),
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    command = [binaries / "dagster", "dev", "--host", "127.0.0.1", "--port", str(at)]
    where = ["--python-file", HERE / "definitions.py", "--working-directory", HERE]
    return running([*command, *where], env=env, log=home / "dagster.log")


class GraphQL:
    """The API that Dagster's pages use."""

    def __init__(self, at: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = f"http://127.0.0.1:{at}"
        self._process, self._log = process, log

    def ask(self, query: str, **variables: str) -> Any:
        """Return the answer; None where there is none yet."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with suppress(OSError), urllib.request.urlopen(request, timeout=60) as answer:
            (data,) = json.load(answer)["data"].values()
            return data
        return None

    def location(self) -> str:
        """Wait until Dagster has loaded the definitions, and return their location's name."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            for entry in (self.ask(LOCATION) or {}).get("locationEntries", ()):
                loaded = entry["locationOrLoadError"]
                if loaded and loaded["__typename"] == "PythonError":
                    sys.exit(loaded["message"])
                if loaded:
                    return str(entry["name"])
            self._wait(deadline)

    def run(self) -> list[dict[str, Any]]:
        """Run the job that materialises everything, to its end, and return its events."""
        launched = self.ask(LAUNCH, location=self.location())
        if "run" not in launched:
            sys.exit(f"the run didn't start: {launched}")
        run = launched["run"]["runId"]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (ended := (self.ask(STATUS, id=run) or {}).get("status")) not in ENDS:
            self._wait(deadline)
        events: list[dict[str, Any]] = self.ask(EVENTS, id=run)["eventConnection"]["events"]
        if ended != "SUCCESS":
            errors = [e["error"]["message"] for e in events if e.get("error")]
            sys.exit("\n".join([f"the run ended as {ended}", *errors]))
        return events

    def _wait(self, deadline: float) -> None:
        if self._process.poll() is not None or time.monotonic() > deadline:
            last = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            sys.exit(f"Dagster has ended, or hangs; its last words:\n{last}")
        time.sleep(1)


def tell(events: Sequence[dict[str, Any]]) -> None:
    """Print what was loaded and built, and what the checks found."""
    for event in events:
        if event["__typename"] == "MaterializationEvent":
            key, said = event["assetKey"], loaded(event["metadataEntries"])
        elif event["__typename"] == "AssetCheckEvaluationEvent":
            found = event["evaluation"]
            ended = "passed" if found["success"] else f"{found['severity']}: {found['description']}"
            key, said = found["assetKey"], f"check {found['checkName']} {ended}"
        else:
            continue
        print(f"{'/'.join(key['path']):14} {said}", flush=True)


def loaded(entries: Sequence[dict[str, Any]]) -> str:
    """Say what became of an asset, by its materialisation's metadata."""
    facts = {e["label"]: e.get("intValue", e.get("text")) for e in entries}
    if "conduit/outcome" not in facts:  # a model
        return "built"
    inserted, rejected = facts["conduit/rows_inserted"], facts["conduit/rows_rejected"]
    return f"{facts['conduit/outcome']}: {inserted} inserted, {rejected} rejected"


def main() -> None:
    """Start Dagster, load and build everything once, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when everything is loaded")
    once = parser.parse_args().once
    for name in (signal.SIGINT, signal.SIGTERM):  # also where this was started to ignore Ctrl-C
        signal.signal(name, signal.default_int_handler)
    at = free_port(3000)
    print("starting Dagster, which takes half a minute", flush=True)
    with (
        TemporaryDirectory(prefix="flights-") as folder,
        dagster(at, Path(folder)) as process,
        suppress(KeyboardInterrupt),
    ):
        server = GraphQL(at, process, Path(folder) / "dagster.log")
        server.location()
        print(f"Dagster: {server.url}\n\n-- everything, once: the job load_and_build", flush=True)
        tell(server.run())
        if not once:
            print(
                "\nlook around there, and materialise what you like; Ctrl-C ends Dagster",
                flush=True,
            )
            process.wait()


if __name__ == "__main__":
    main()
