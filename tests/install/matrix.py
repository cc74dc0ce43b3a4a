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


OTHER_PROJECT = "conduit" + "-core"  # of that name on the public index, with our module's name
# What each module says of itself, who brings the command, and which connectors there are.
WHAT = """
import importlib, json, sys
from importlib.metadata import entry_points
told = {}
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    missing = []
    for each in module.__all__:
        try:
            getattr(module, each)
        except ImportError:
            missing.append(each)
    told[name] = {"version": module.__version__, "file": module.__file__, "missing": missing}
(command,) = entry_points(group="console_scripts", name="conduit")
told |= {"command": command.value, "owner": command.dist.name}
points = entry_points(group="conduit.connectors")
assert all(point.load() for point in points)
told["connectors"] = sorted(point.name for point in points)
print(json.dumps(told))
"""


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


def drivers(*extras: str) -> list[str]:
    """Return what extras of the core need."""
    found: dict[str, list[str]] = CORE.project["optional-dependencies"]
    return [text for extra in extras for text in found[extra]]


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


def alone(distribution: Distribution, python: Path) -> None:
    """Assert that what an environment has is ours, and that nothing came with it that mustn't."""
    there = installed(python)
    ours = {each.name for each in ALL} & set(there)
    allowed = {CORE.name, distribution.name}
    assert ours == allowed, f"it brings {sorted(ours - allowed)}, it lacks {sorted(allowed - ours)}"
    assert OTHER_PROJECT not in there, f"{OTHER_PROJECT} is another project's"
    hosts = {each.host for each in ALL if each is not CORE}
    brought = hosts & set(there) - {distribution.host}
    assert not brought, f"it brings {sorted(brought)}"
    told = json.loads(run(python, "-c", WHAT, *sorted({CORE.module, distribution.module})))
    for each in {CORE, distribution}:
        found = told[each.module]
        version = each.project["version"]
        assert (found["version"], there[each.name]) == (version, version), found
        assert Path(found["file"]).is_relative_to(python.parents[1]), found
        assert not found["missing"], found
    assert told["command"] == "conduit_core.cli:main", told
    assert told["owner"] == CORE.name, told
    assert told["connectors"] == sorted(CORE.project["entry-points"]["conduit.connectors"])


def clean_environment() -> dict[str, str]:
    """Return this process's variables without what would show an environment our checkout."""
    ours = ("PYTHON", "CONDUIT_", "AIRFLOW", "PREFECT_", "DAGSTER_", "COV_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(python: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run an environment's interpreter, in its own folder or another; return its stdout."""
    done = subprocess.run(
        [python, *arguments],
        cwd=cwd or python.parents[1],
        env=clean_environment() | {"DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
