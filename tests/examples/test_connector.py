"""The connector that docs/howto/add-a-connector.md quotes: it is clean, and its tests pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.environments import TOOLS, made_over_this_one, sound
from tests.warm import ROOT

PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
DESK = ROOT / "examples" / "connector" / "conduit-desk"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A copy: what builds and runs it leaves files."""
    left = shutil.ignore_patterns(".*", "__pycache__")
    return Path(shutil.copytree(DESK, tmp_path / "conduit-desk", ignore=left))


def test_it_is_clean_and_its_tests_pass(desk: Path, tmp_path: Path) -> None:
    sound(TOOLS / "ruff", "check", "--no-cache", ".", cwd=desk)
    sound(TOOLS / "ruff", "format", "--check", "--no-cache", ".", cwd=desk)
    python = made_over_this_one(tmp_path / "env", desk)
    told = sound(python, *PYTEST, "-k", "not Contract", cwd=desk)
    assert " passed" in told


@pytest.mark.deep
def test_it_is_typed_and_keeps_the_contract(desk: Path, tmp_path: Path) -> None:
    python = made_over_this_one(tmp_path / "env", desk)
    sound(python, "-m", "mypy", "--no-incremental", cwd=desk)
    assert " passed" in sound(python, *PYTEST, cwd=desk)
