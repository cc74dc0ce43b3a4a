"""The tutorial in Prefect, and what the how-tos say of it, walked from top to bottom."""

from __future__ import annotations

import gc
import json
import runpy
import shlex
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from prefect_conduit import run_pipeline
from tests.dbt.lab import quick_dbt
from tests.docs.pages import ROOT
from tests.docs.walk import Walk, how_tos, tutorial
from tests.prefect.shop import forget_tables

__all__ = ["quick_dbt"]
FLOWS = ("load", "hourly", "january_flow", "rewind_flow", "replay_flow")
TUTORIAL = ROOT / "docs" / "tutorials" / "prefect.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder; Prefect knows nothing of the tables that the pages load."""
    made = tmp_path / "flights"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.setattr(Flow, "serve", _served)
    forget_tables()
    yield made
    forget_tables()
    gc.collect()


def _served(flow: Flow[..., Any], name: str, *, limit: int | None = None, **options: Any) -> None:
    """Make the deployment, and one run of it in this process: the demo serves a flow for real."""
    flow.to_deployment(name=name, **options)
    flow(**options["parameters"])


def _program(walk: Walk, line: str) -> str:
    """Run a file as a program; one that fails ends with its error, as ``| tail -4`` shows it."""
    file = line.split()[1]
    is_to_fail = "| tail -4" in line
    try:
        runpy.run_path(str(walk.folder / file), run_name="__main__")
    except Exception as error:
        if not is_to_fail:
            raise
        lines = "".join(traceback.format_exception_only(error)).splitlines(keepends=True)
        return "".join(lines[-4:])
    assert not is_to_fail, f"{line}: it ended well"
    return ""


def _stays(walk: Walk, line: str) -> str:
    """A server: the tests have one."""
    return ""


def _deployment(_: Walk, line: str) -> str:
    """Run the flow with the parameters that a run of the deployment would have."""
    words = shlex.split(line)
    assert words[3] == "run-pipeline/hourly"
    given = dict(word.split("=", 1) for word in words[5::2])
    parameters = {k: json.loads(v) if v.startswith("[") else v for k, v in given.items()}
    run_pipeline("flights.yml", **parameters)
    return ""


COMMANDS = {
    **{f"python {file}.py": _program for file in FLOWS},
    "prefect server start": _stays,
    "prefect deployment run": _deployment,
    "export PREFECT_API_URL": _stays,
}


@pytest.mark.parametrize("sections", tutorial(TUTORIAL))
def test_the_tutorial(
    folder: Path, monkeypatch: pytest.MonkeyPatch, quick_dbt: None, sections: set[str]
) -> None:
    Walk(TUTORIAL, folder, monkeypatch.setenv, COMMANDS, frozenset(sections)).go()


@pytest.mark.parametrize(("page", "sections"), how_tos("Prefect"))
def test_a_how_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, page: Path, sections: set[str]
) -> None:
    shutil.copytree(ROOT / "examples" / "tutorial", folder, dirs_exist_ok=True)
    Walk(page, folder, monkeypatch.setenv, COMMANDS, frozenset(sections)).go()
