"""The pages as the site's builder reads them: in one folder, with links that stay in it."""

from __future__ import annotations

import shutil
from collections import deque
from os.path import relpath
from pathlib import Path

from docs_site.diagrams import SCHEMES, draw
from docs_site.markdown import Link, indented, replace_fences, replace_links

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
HOME = ROOT / "README.md"
MEMBERS = ("providers/airflow", "integrations/prefect", "integrations/dagster", "dbt_bridge")
EXAMPLES = sorted((ROOT / "examples").glob("*/README.md"))
DIAGRAMS = "images/diagrams"
_LANGUAGES = {".py": "python", ".yml": "yaml", ".toml": "toml", ".sql": "sql", ".json": "json"}


class BrokenLinkError(Exception):
    """A page links to what isn't there, or to a folder."""


def assemble(to: Path) -> list[Path]:
    """Write the site's pages to an empty folder: ``docs``, and whatever these link to.

    A Markdown file that lies elsewhere (an example's README) becomes a page of its own, any other
    file a page that shows it. The repository's README is the site's first page.

    Returns:
        Where each page lies, relative to the folder.

    Raises:
        BrokenLinkError: a link's target isn't there.
    """
    for file in DOCS.rglob("*"):
        if file.is_file() and file.suffix != ".md":
            _copy(file, to / file.relative_to(DOCS))
    todo = deque(sorted([*DOCS.rglob("*.md"), *EXAMPLES]))
    done: dict[Path, Path] = {}
    while todo:
        file = todo.popleft()
        if file in done:
            continue
        done[file] = place(file)
        page = to / done[file]
        page.parent.mkdir(parents=True, exist_ok=True)
        text, linked = _page(file, to) if file.suffix == ".md" else (_shown(file), [])
        page.write_text(text, encoding="utf-8")
        todo.extend(linked)
    return sorted(done.values())


def place(file: Path) -> Path:
    """Return where a file of the repository lies on the site, relative to its first page."""
    if file == HOME:
        return Path("index.md")
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS)
    inside = file.relative_to(ROOT)
    return inside if file.suffix == ".md" else Path("source") / f"{inside}.md"


def _page(file: Path, to: Path) -> tuple[str, list[Path]]:
    """Return a page's text for the site, and which other files it leads to."""
    here = place(file).parent
    linked: list[Path] = []

    def follow(link: Link) -> str:
        if link.is_external or not link.path:
            return f"{link.path}#{link.anchor}" if link.anchor else link.path
        target = (file.parent / link.path).resolve()
        if not target.is_file():
            raise BrokenLinkError(f"{file.relative_to(ROOT)} links to {link.path}: no such file")
        if target.suffix == ".md" or not target.is_relative_to(DOCS):
            linked.append(target)
        anchor = f"#{link.anchor}" if link.anchor else ""
        return relpath(place(target), here) + anchor

    def picture(diagram: str) -> str:
        names = draw(diagram, to / DIAGRAMS)
        folder = relpath(DIAGRAMS, here)
        return "\n".join(
            f"![Diagram]({folder}/{name}#only-{scheme})"
            for scheme, name in zip(SCHEMES, names, strict=True)
        )

    text = replace_links(file.read_text(encoding="utf-8"), follow)
    shown = replace_fences(indented(text), "mermaid", picture)
    return shown, [f for f in linked if f != HOME]


def _shown(file: Path) -> str:
    """Return a page that shows a file which isn't Markdown; the search leaves it out."""
    language = _LANGUAGES.get(file.suffix, "text")
    text = file.read_text(encoding="utf-8")
    head = f"---\nsearch: {{exclude: true}}\n---\n# {file.relative_to(ROOT)}"
    return f"{head}\n\n````{language}\n{text}\n````\n"


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
