"""Pages that are walked with the command line alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dbt.lab import quick_dbt
from tests.docs.pages import ROOT, name
from tests.docs.walk import Walk

__all__ = ["quick_dbt"]
DOCS = ROOT / "docs"


def walk(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *sections: str) -> None:
    """Walk a page in an empty folder."""
    folder = tmp_path / "flights"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    Walk(page, folder, monkeypatch.setenv, sections=frozenset(sections)).go()


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_dbt: None) -> None:
    walk(DOCS / "tutorials" / "command-line.md", tmp_path, monkeypatch)
