"""Pages that are walked with the command line alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conduit_core.testing.faults import POINTS
from tests.dbt.lab import quick_dbt
from tests.docs.pages import ROOT, code, tables
from tests.docs.walk import Walk

__all__ = ["quick_dbt"]
DOCS = ROOT / "docs"


def walk(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *sections: str) -> None:
    """Walk a page in an empty folder."""
    folder = tmp_path / "flights"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    Walk(page, folder, monkeypatch.setenv, sections=frozenset(sections)).go()


def with_source(tmp_path: Path) -> None:
    """Give a page what the tutorials begin with."""
    shutil.copytree(ROOT / "examples" / "tutorial", tmp_path / "flights")


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_dbt: None) -> None:
    walk(DOCS / "tutorials" / "command-line.md", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("page", "sections"),
    [
        ("backfill", ["", "Command line", "A table that windows have filled"]),
        ("rewind", ["", "Command line"]),
        ("on-call", []),
        ("replay", ["", "Find them", "The row was wrong", "The rule was wrong", "Command line"]),
    ],
)
def test_a_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, sections: list[str]
) -> None:
    """With the command line; what stands of a runner is run in that runner's tests."""
    with_source(tmp_path)
    walk(DOCS / "howto" / f"{page}.md", tmp_path, monkeypatch, *sections)


def test_on_call_knows_each_class_of_errors_and_its_exit_code() -> None:
    known = tables(DOCS / "errors.md")["The tree: class"]
    told = tables(DOCS / "howto" / "on-call.md")["By exit code and class: class"]
    assert {(row[0], row[1]) for row in told} == {(row[0], row[1]) for row in known}


EXACTLY_ONCE = DOCS / "exactly-once.md"


def test_each_fault_point_is_told_with_a_test_that_kills_there() -> None:
    moments = "Each moment at which a process can die: killed at"
    rows = tables(EXACTLY_ONCE)[moments]
    assert {code(row[0])[0] for row in rows} == set(POINTS)
    for row in rows:
        (point,) = code(row[0])
        files = re.findall(r"\]\(\.\./(\S+?)\)", row[2])
        assert files
        for file in files:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert f'"{point}' in text or "in POINTS" in text, (point, file)


@pytest.mark.parametrize(
    "heading", ["See it for yourself", pytest.param("All points in turn", marks=pytest.mark.deep)]
)
def test_a_load_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heading: str) -> None:
    with_source(tmp_path)
    walk(EXACTLY_ONCE, tmp_path, monkeypatch, heading)


def test_the_demo_kills_and_counts(tmp_path: Path) -> None:
    """At two of its points; all are the page's."""
    demo = ROOT / "examples" / "exactly_once" / "demo.py"
    done = subprocess.run(
        [sys.executable, demo, "before_commit", "after_commit"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = (line.split() for line in done.stdout.splitlines()[1:])
    assert before[:3] == ["before_commit", "1000", "500"]
    assert after[:3] == ["after_commit", "1500", "1500"]
    assert [line[-3:] for line in (before, after)] == [["each", "row", "once"]] * 2
    assert list(tmp_path.iterdir()) == []
