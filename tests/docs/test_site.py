"""The site builds without a warning, opens no other host, and shows what the pages hold."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from docs_site import pipeline_file
from docs_site.markdown import indented
from docs_site.navigation import faults
from docs_site.navigation import pages as named_pages
from tests.docs.pages import ROOT, name
from tests.docs.test_blocks import UPDATE

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / "examples").glob("*/README.md")])
ALIKE = ("ul", "ol", "li", "pre", "tr", "td", "h2", "h3")
"""Elements of which the site's page has as many as the page has on a code host."""


class _Seen(HTMLParser):
    """What a page of the site fetches, and what its text is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.elements: Counter[str] = Counter()
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in {"prev", "next", "canonical", "edit"}:
            self.fetched.append(given.get("href") or "")
        if tag in {"script", "img", "iframe", "source", "audio", "video", "object", "embed"}:
            self.fetched.append(given.get("src") or given.get("data") or "")
        if tag == "article":
            self._inside += 1
        if self._inside:
            self.elements[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._inside -= 1


def _seen(page: Path) -> _Seen:
    seen = _Seen()
    seen.feed(page.read_text(encoding="utf-8"))
    return seen


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "docs_site",
        "--work",
        folder / "work",
        "--to",
        folder / "site",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.mark.slow
def test_every_page_is_on_the_site_and_shows_what_it_holds(site: Path) -> None:
    """The builder's Markdown isn't quite that of code hosts: a list has to be one for both."""
    parser = MarkdownIt("commonmark").enable("table")
    for page in PAGES:
        there = page.relative_to(DOCS) if page.is_relative_to(DOCS) else page.relative_to(ROOT)
        html = site / there.with_name(there.name.replace("README", "index")).with_suffix(".html")
        built = _seen(html).elements
        if there.parts[0] == "reference":
            continue  # filled in from docstrings
        tokens = parser.parse(page.read_text(encoding="utf-8"))
        kinds = Counter(token.tag for token in tokens if token.nesting == 1)
        kinds["pre"] = sum(t.tag == "code" and t.info != "mermaid" for t in tokens)
        assert {k: built[k] for k in ALIKE} == {k: kinds[k] for k in ALIKE}, name(page)


@pytest.mark.slow
def test_the_site_opens_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        away = [url for url in _seen(page).fetched if "//" in url]
        assert not away, (page.relative_to(site), away)
    for style in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)'\"]+", style.read_text())
        assert not found, (style.relative_to(site), found)


@pytest.mark.slow
def test_docstrings_are_shown_without_marks_of_another_language(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r":[a-z]+:<code>", text), page.name
        assert "doc-heading" in text or page.stem == "pipeline-file"


def test_each_page_has_one_place_in_the_navigation() -> None:
    there = [p.relative_to(DOCS if p.is_relative_to(DOCS) else ROOT).as_posix() for p in PAGES]
    assert not faults(there)
    assert named_pages()[0] == "index.md"


@pytest.mark.parametrize(
    ("file", "make"),
    [
        pytest.param(pipeline_file.PAGE, pipeline_file.page_text, id="page"),
        pytest.param(pipeline_file.SCHEMA, pipeline_file.schema_text, id="schema"),
    ],
)
def test_the_reference_of_the_pipeline_file_is_up_to_date(file: Path, make: object) -> None:
    assert callable(make)
    now = make()
    if UPDATE:
        file.write_text(now, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == now


def test_each_picture_is_shown_by_a_page_that_says_what_it_is_of() -> None:
    shown = {
        (page.parent / path).resolve(): text.strip()
        for page in PAGES
        for text, path in re.findall(r"!\[([^]]*)\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    }
    assert set(shown) == set((DOCS / "images").iterdir())
    assert all(shown.values())
    with_pictures = (text for page in PAGES if "![" in (text := page.read_text(encoding="utf-8")))
    assert all(
        re.search(r"[Tt]he pictures? (is|are) of|In the pictures?", text) for text in with_pictures
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("- a\n  b\n  - c\n\n    d\ne", "- a\n    b\n    - c\n\n        d\ne"),
        (
            "1. a\n   ```py\n   if x:\n     y\n   ```",
            "1. a\n    ```py\n    if x:\n      y\n    ```",
        ),
        ("```yaml\n- a\n  - b\n```\n\n    code", "```yaml\n- a\n  - b\n```\n\n    code"),
    ],
)
def test_what_stands_in_list_items_is_indented_as_the_builder_wants_it(
    given: str, expected: str
) -> None:
    assert indented(given) == expected
