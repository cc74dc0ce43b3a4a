"""The tutorial in Dagster, and what the how-tos say of it, walked from top to bottom."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.dagster.test_docs import Folder
from tests.dagster.test_example import parse
from tests.dbt.lab import quick_dbt
from tests.docs.pages import ROOT
from tests.docs.walk import PLACE, Walk, how_tos, tutorial

__all__ = ["quick_dbt"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("dagster-dbt"),
    pytest.mark.filterwarnings("ignore:.*AssetExecutionContext:DeprecationWarning"),
]
TUTORIAL = ROOT / "docs" / "tutorials" / "dagster.md"


class Dagster:
    """Who runs the lines that are Dagster's, in this process."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.commands = {
            "dagster dev": self.dev,
            "dg launch": self.launch,
            "export DAGSTER_HOME": self.has_one,
            "dbt parse": self.parse,
        }

    def walk(self, page: Path, sections: set[str]) -> None:
        """Walk a page."""
        at = self.folder
        Walk(page, at.path, at.setenv, self.commands, frozenset(sections)).go()

    def dev(self, _: Walk, line: str) -> str:
        """The demo starts a real one."""
        self.folder.definitions(shlex.split(line)[-1])
        return ""

    def has_one(self, _: Walk, __: str) -> str:
        """The instance is the test's."""
        return ""

    def parse(self, _: Walk, __: str) -> str:
        """Write the manifest."""
        parse(self.folder.path / "dbt", self.folder.path / "dbt")
        return ""

    def launch(self, walk: Walk, line: str) -> str:
        """Launch; a line that looks for a failure shows it as the log does."""
        command, *rest = re.split(r" 2>&1 \| ", line)
        words = shlex.split(command)
        options = dict(zip(words[4::2], words[5::2], strict=True))
        given = {key.removeprefix("--"): value for key, value in options.items()}
        if not rest:
            self.folder.launch(words[3], **given)
            return ""
        with pytest.raises(dg.Failure) as failed:
            self.folder.launch(words[3], **given)
        kind = f"{dg.Failure.__module__}.{dg.Failure.__qualname__}"
        return f"{kind}: {failed.value.description}\n".replace(str(walk.folder), PLACE)


@pytest.fixture
def runner(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Dagster:
    """A Dagster whose folder has what the tutorials begin with."""
    made = tmp_path / "flights"
    shutil.copytree(ROOT / "examples" / "tutorial", made)
    monkeypatch.chdir(made)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    return Dagster(Folder(made, instance, monkeypatch.setenv))


@pytest.mark.parametrize("sections", tutorial(TUTORIAL))
def test_the_tutorial(runner: Dagster, quick_dbt: None, sections: set[str]) -> None:
    runner.walk(TUTORIAL, sections)


@pytest.mark.parametrize(("page", "sections"), how_tos("Dagster"))
def test_a_how_to(runner: Dagster, page: Path, sections: set[str]) -> None:
    runner.walk(page, sections)
