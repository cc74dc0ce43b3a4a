"""The environment that has dlt and Sling, and how each of them is called."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import Contestant

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".bench-venv"
"""Made by `make bench-peers`, of peers/requirements.txt."""
VERSIONS = (
    "import importlib.metadata as m, json; print(json.dumps({name: m.version(name) for name in"
    " ('dlt', 'connectorx', 'pyarrow', 'adbc-driver-postgresql', 'duckdb', 'sqlalchemy')}))"
)


def python() -> Path:
    """Return the peers' interpreter."""
    return HOME / "bin" / "python"


def sling() -> Path | None:
    """Return Sling's program: the wheel's binary, without the Python around it."""
    found = sorted(HOME.glob("lib/python*/site-packages/sling_linux_amd64/bin/sling-linux-amd64"))
    return found[0] if found else None


def versions() -> dict[str, str]:
    """Return the peers' versions, and those of what they load with."""
    found: dict[str, str] = json.loads(subprocess.check_output([python(), "-c", VERSIONS]))
    told = {"dlt": found.pop("dlt"), **{f"{name} (dlt's)": each for name, each in found.items()}}
    binary = sling()
    if binary is not None:
        said = subprocess.check_output([binary, "--version"], text=True)
        told["Sling"] = said.split()[-1]
    return told


def dlt_load(work: str, source: str, into: str) -> list[str]:
    """Return the command of one of dlt's works."""
    return [str(python()), str(Path(__file__).with_name("dlt_load.py")), work, source, into]


def sling_load(bench: Bench, name: str, stream: str, told: Mapping[str, object]) -> list[str]:
    """Write a replication of one stream, and return the command that runs it."""
    made = replication(stream, told)
    path = bench.folder / f"{name}.sling.json"
    path.write_text(json.dumps(made, indent=1))
    return [str(sling()), "run", "-r", path.name]


def replication(stream: str, told: Mapping[str, object]) -> dict[str, object]:
    """Return what Sling is told of a stream: a table, or a file with `file://` before its path.

    A full refresh goes straight into the target, not by way of a table beside it: it is faster.
    """
    direct = told["mode"] == "full-refresh"
    return {
        "source": "local" if stream.startswith("file://") else "BENCH",
        "target": "BENCH",
        "streams": {stream: told},
        "env": {"SLING_DIRECT_INSERT": "true"} if direct else {},
    }


def settings(bench: Bench) -> dict[str, str]:
    """Return the environment of both: their folders are the bench's, and they call nobody."""
    return {
        "PYTHONPATH": "",
        "HOME": str(bench.folder),
        "BENCH_URL": bench.url,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "BENCH": f"{bench.url}?sslmode=disable",
        "SLING_HOME_DIR": str(bench.folder / "sling"),
        "SLING_DISABLE_TELEMETRY": "TRUE",
        "PATH": os.environ.get("PATH", ""),
    }


def peer(
    bench: Bench,
    name: str,
    command: list[str],
    *,
    before: str | None = None,
    check: Callable[[], str] | None = None,
) -> Contestant:
    """Return one of them as a contestant."""
    return Contestant(name, command, before, check, settings(bench))
