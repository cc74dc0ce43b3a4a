"""What is built: whole, ours, and nothing else."""

from __future__ import annotations

import re
import subprocess
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.install import matrix
from tests.install.matrix import Distribution
from tests.warm import ROOT

FROM_INDEX = re.compile(
    r"(?:pip install|pipx install|uv add|uv tool install|poetry add)[^\n`]*?[\s'\"]"
    r"(conduit-(?:load|dbt|core)|airflow-provider-conduit|(?:dagster|prefect)-conduit)\b"
)
"""A command that would install one of ours, or the other project, from an index."""
every = pytest.mark.parametrize("distribution", matrix.ALL, ids=lambda each: each.name)


def module_files(distribution: Distribution) -> set[str]:
    """Name the files of a distribution's module that git knows."""
    folder = ROOT / distribution.folder / distribution.module
    return {f"{distribution.module}/{name}" for name in tracked(folder)}


def tracked(folder: Path) -> set[str]:
    """Name the files of a folder that git knows, below it."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    return {name for name in done.stdout.split("\0") if name and (folder / name).is_file()}


@every
def test_a_wheel_has_the_modules_files_and_no_others(
    distribution: Distribution, built: Path
) -> None:
    with zipfile.ZipFile(matrix.wheel(built, distribution)) as wheel:
        names = set(wheel.namelist())
    about = f"{distribution.file_name}.dist-info"
    ours = module_files(distribution)
    assert {name for name in names if not name.startswith(about)} == ours
    assert f"{distribution.module}/py.typed" in ours
    assert f"{about}/licenses/LICENSE" in names


@every
def test_a_wheel_says_what_the_project_says(distribution: Distribution, built: Path) -> None:
    project = distribution.project
    about = f"{distribution.file_name}.dist-info"
    with zipfile.ZipFile(matrix.wheel(built, distribution)) as wheel:
        said = message_from_bytes(wheel.read(f"{about}/METADATA"))
        points = wheel.read(f"{about}/entry_points.txt").decode()
    assert (said["Name"], said["Version"]) == (distribution.name, project["version"])
    needed = map(Requirement, said.get_all("Requires-Dist"))
    own = {each for each in needed if each.marker is None}
    assert own == set(map(Requirement, project["dependencies"]))
    for group in project["entry-points"]:
        assert f"[{group}]" in points
    assert ("[console_scripts]" in points) == (distribution is matrix.CORE)


@every
def test_an_sdist_has_what_the_wheel_is_made_of(distribution: Distribution, built: Path) -> None:
    """uv makes the wheel from the sdist, so that it has all; this is that it has nothing more."""
    with tarfile.open(built / f"{distribution.file_name}.tar.gz") as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    ours = module_files(distribution)
    beside = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    assert ours <= names
    assert names - ours <= beside | {"CHANGELOG.md"}


def test_no_document_tells_to_install_from_an_index() -> None:
    """None of the distributions is on one yet: what anyone publishes there isn't ours."""
    told = []
    for name in sorted(tracked(ROOT)):
        if name.endswith((".md", "Makefile", "Dockerfile", "requirements.txt")):
            text = (ROOT / name).read_text(encoding="utf-8")
            told += [f"{name}: {hit[0]}" for hit in FROM_INDEX.finditer(text)]
    assert told == []


@every
def test_no_error_tells_to_install_another_of_ours_from_an_index(
    distribution: Distribution,
) -> None:
    """An extra of what is installed may be named: its drivers are all that is fetched for it."""
    told = []
    for name in sorted(module_files(distribution)):
        if name.endswith(".py"):
            text = (ROOT / distribution.folder / name).read_text(encoding="utf-8")
            told += [hit[1] for hit in FROM_INDEX.finditer(text)]
    assert set(told) <= {matrix.CORE.name, distribution.name}
