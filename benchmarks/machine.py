"""Where and with what a run was made, and whether something else ran beside it."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import psutil
import psycopg

from benchmarks.results import Run

OURS = ("conduit-load", "pyarrow", "duckdb", "adbc-driver-postgresql", "psycopg2-binary")
"""What our loads use."""
BESIDE = (
    "ijson", "pandera", "distributed", "dbt-core", "dbt-duckdb", "apache-airflow", "prefect",
    "dagster",
)  # fmt: skip
"""What only some of our cases use."""
QUIET_PERCENT = 20
"""How much of all cores others may use in the second before a row is measured."""


def described(command: str, url: str, turns: int, packages: Sequence[str]) -> Run:
    """Describe this call of the command, before it measures anything."""
    with psycopg.connect(url) as connection:
        server = connection.info.parameter_status("server_version") or "?"
    return Run(
        date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M"),
        command=command,
        turns=turns,
        machine=machine(),
        load_before=round(os.getloadavg()[0], 1),
        versions={"PostgreSQL": server.split()[0], **_installed(packages)},
    )


def machine() -> str:
    """Return cores, memory, system and Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = platform.platform()
    return (
        f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, {system},"
        f" Python {platform.python_version()}"
    )


def busy() -> bool:
    """Look for a second whether others use the processor."""
    return bool(psutil.cpu_percent(interval=1) > QUIET_PERCENT)


def _installed(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
