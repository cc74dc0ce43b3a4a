"""Every relative link of every Markdown file leads to a file, and to a heading that is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from docs_site.markdown import anchors, links, slug
from tests.docs.pages import ROOT, name

FILES = sorted(
    ROOT / line
    for line in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_links_lead_somewhere(file: Path) -> None:
    for link in links(file.read_text(encoding="utf-8")):
        if link.is_external:
            continue
        target = (file.parent / link.path).resolve() if link.path else file
        assert target.is_file(), f"{name(file)} links to {link.path}"
        if link.anchor and target.suffix == ".md":
            assert link.anchor in anchors(target.read_text(encoding="utf-8")), (
                f"{name(file)} links to {link.path}#{link.anchor}: no such heading"
            )


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("`on_schema_change`: when the source changes", "on_schema_change-when-the-source-changes"),
        ("One file, [four](x.md) runners", "one-file-four-runners"),
        ("@task.conduit", "taskconduit"),
    ],
)
def test_anchors_are_those_of_code_hosts(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor
