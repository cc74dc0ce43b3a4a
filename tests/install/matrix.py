"""Builds the distributions, installs each into an environment of its own, and asks what is there.

An environment has one distribution with what it depends on, at the lowest versions that its
``pyproject.toml`` names or at the highest there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.environments import sound, uv
from tests.warm import ROOT

Versions = Literal["lowest", "highest"]
RESOLUTION: Mapping[Versions, str] = {"lowest": "lowest-direct", "highest": "highest"}


@dataclass(frozen=True, slots=True)
class Distribution:
    """One of ours.

    Args:
        name: the distribution's.
        folder: where its ``pyproject.toml`` is.
        module: what is imported.
        host: the distribution that it is for, whose version the table shows.
        extras: what its smoke test needs beside it: requirements.
        held: what keeps the host's lowest version running, which it didn't say itself.
    """

    name: str
    folder: str
    module: str
    host: str = "pyarrow"
    extras: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    @property
    def project(self) -> dict[str, Any]:
        """The table ``project`` of its ``pyproject.toml``."""
        text = (ROOT / self.folder / "pyproject.toml").read_text(encoding="utf-8")
        found: dict[str, Any] = tomllib.loads(text)["project"]
        return found

    @property
    def file_name(self) -> str:
        """How its files' names begin."""
        return f"{self.name.replace('-', '_')}-{self.project['version']}"


CORE = Distribution("conduit-load", ".", "conduit_core")
DBT = Distribution(
    "conduit-dbt",
    "dbt_bridge",
    "conduit_dbt",
    host="dbt-core",
    # dbt-core 1.12 builds a parser that downloads a binary
    extras=("dbt-core>=1.8,<1.12", "dbt-duckdb>=1.8", "duckdb>=2.0"),
)
AIRFLOW = Distribution(
    "airflow-provider-conduit",
    "providers/airflow",
    "airflow_provider_conduit",
    host="apache-airflow",
    held=("fastapi<0.137",),  # a task's own API of that time answers 422 with a newer one
)
DAGSTER = Distribution("dagster-conduit", "integrations/dagster", "dagster_conduit", host="dagster")
PREFECT = Distribution(
    "prefect-conduit",
    "integrations/prefect",
    "prefect_conduit",
    host="prefect",
    held=("fastapi<0.137",),  # Prefect's server of that time doesn't start with a newer one
)
ALL = (CORE, DBT, AIRFLOW, DAGSTER, PREFECT)


def build(folder: Path, distributions: Iterable[Distribution] = ALL) -> Path:
    """Build sdists, and wheels of these, into a folder; nothing is downloaded."""
    for each in distributions:
        alone = ("--quiet", "--no-build-isolation", "--offline", "--python", sys.executable)
        sound(uv(), "build", *alone, "--out-dir", folder, ROOT / each.folder, cwd=ROOT)
    return folder


def wheel(built: Path, distribution: Distribution) -> Path:
    """Return a distribution's wheel."""
    return built / f"{distribution.file_name}-py3-none-any.whl"


def asked(distribution: Distribution) -> list[str]:
    """Return what a distribution and the core need by their own word, ours aside.

    uv takes the lowest versions of what it is asked for by name, not of what that needs.
    """
    found = [*distribution.project["dependencies"], *CORE.project["dependencies"]]
    return [text for text in dict.fromkeys(found) if not text.startswith("conduit-")]


def install(
    distribution: Distribution,
    versions: Versions,
    built: Path,
    home: Path,
    more: Iterable[str] = (),
    python: str = sys.executable,
) -> Path:
    """Install a distribution from its wheel into a new environment; return the interpreter.

    Args:
        distribution: the one.
        versions: of what it needs.
        built: where the wheels are; no other place has ours.
        home: the environment's folder, which is made.
        more: other requirements.
        python: the interpreter that the environment is for.
    """
    sound(uv(), "venv", "--quiet", "--no-python-downloads", "--python", python, home, cwd=ROOT)
    inside = home / "bin" / "python"
    wheels = dict.fromkeys([wheel(built, CORE), wheel(built, distribution)])
    held = distribution.held if versions == "lowest" else ()
    how = ("--quiet", "--resolution", RESOLUTION[versions], "--python", inside)
    what = (*wheels, *asked(distribution), *held, *more)
    sound(uv(), "pip", "install", *how, *what, cwd=home)
    return inside


def installed(python: Path) -> dict[str, str]:
    """Return the versions of what an environment has, by name."""
    told = sound(uv(), "pip", "list", "--format", "json", "--python", python, cwd=ROOT)
    return {each["name"]: each["version"] for each in json.loads(told)}


def clean_environment() -> dict[str, str]:
    """Return this process's variables without what would show an environment our checkout."""
    ours = ("PYTHON", "CONDUIT_", "AIRFLOW", "PREFECT_", "DAGSTER_", "COV_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(python: Path, *arguments: str | Path, cwd: Path) -> str:
    """Run an environment's interpreter in a folder; return what it wrote to its stdout."""
    done = subprocess.run(
        [python, *arguments],
        cwd=cwd,
        env=clean_environment() | {"DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
