"""Every relative link of every Markdown file leads to a file, and to a heading that is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from docs_site.dead import dead
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


@pytest.mark.parametrize(
    "code", ["each sign but small letters is `-`;", "a `b` and ``c `d` e``,", "<!-- file: a.py -->"]
)
def test_a_link_between_two_pieces_of_code_is_one(code: str) -> None:
    """Where code of one sign reached to the next piece, a link in between wasn't rewritten."""
    found = [link.path for link in links(f"{code} so [there](there.md), of `make demo`.")]
    assert found == ["there.md"]
    assert not list(links("`[` and [no](`link.md`) `]`"))


def test_a_link_of_the_built_site_to_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    there = '<a href="deep/b.html#x">b</a><a href="https://a.test/x">c</a><a href="#y">d</a>'
    (tmp_path / "a.html").write_text(there, encoding="utf-8")
    back = '<a href="../a.html">a</a><img src="/a%20b.png"><a href="../../a.html">out</a>'
    (tmp_path / "deep" / "b.html").write_text(back, encoding="utf-8")
    (tmp_path / "a b.png").write_bytes(b"")
    assert dead(tmp_path) == ["deep/b.html links to ../../a.html: no such file on the site"]
    (tmp_path / "a b.png").unlink()
    assert dead(tmp_path)[0] == "deep/b.html links to /a%20b.png: no such file on the site"
