"""docs/install.md names folders and extras that are there; no page tells of a package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, code, name, tables
from tests.docs.test_links import FILES

INSTALL = tables(ROOT / "docs" / "install.md")
_OURS = r"(?:conduit-load|conduit-dbt|airflow-provider-conduit|dagster-conduit|prefect-conduit)"


def _project(folder: Path) -> dict[str, Any]:
    return dict(tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def test_what_is_installed_is_there() -> None:
    told = " ".join(row[1] for row in INSTALL["Install: you use"])
    found = re.findall(r"\./conduit(/[\w/]+)?(?:\[([\w,]+)\])?", told)
    folders = {ROOT / path.lstrip("/") for path, _ in found}
    members = {p.parent for p in ROOT.glob("*/*/pyproject.toml")} | {ROOT / "dbt_bridge", ROOT}
    assert folders == members
    for path, extras in found:
        known = _project(ROOT / path.lstrip("/")).get("optional-dependencies", {})
        assert set(filter(None, extras.split(","))) <= set(known), path


def test_extras_are_those_of_the_project() -> None:
    listed = [code(row[0])[0] for row in INSTALL["Extras: extra"]]
    assert sorted(listed) == sorted(_project(ROOT)["optional-dependencies"])


@pytest.mark.parametrize("file", FILES, ids=name)
def test_no_page_tells_to_install_from_an_index(file: Path) -> None:
    told = re.findall(rf"\b(?:install|add)\b[^`\n]*\s['\"]?{_OURS}\b[^`\n]*", file.read_text())
    assert not told
