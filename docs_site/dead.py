"""Links of the built site that lead nowhere: the builder lets some pass."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Links(HTMLParser):
    """What a built page links to and shows."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = {"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag, "")
        if target := given.get(wanted):
            self.targets.append(target)


def dead(site: Path) -> list[str]:
    """Return a line for each link of the site's pages to a file that it doesn't have."""
    root = site.resolve()
    return [
        f"{page.relative_to(root)} links to {target}: no such file on the site"
        for page in sorted(root.rglob("*.html"))
        for target in _inside(page)
        if not _leads(page, target, root)
    ]


def _inside(page: Path) -> Iterator[str]:
    seen = _Links()
    seen.feed(page.read_text(encoding="utf-8"))
    for target in dict.fromkeys(seen.targets):
        parts = urlsplit(target)
        if parts.path and not parts.scheme and not parts.netloc:
            yield target


def _leads(page: Path, target: str, root: Path) -> bool:
    """Return whether a link ends at a file; one that begins with ``/`` counts from the root."""
    path = unquote(urlsplit(target).path)
    file = (root / path.lstrip("/") if path.startswith("/") else page.parent / path).resolve()
    return file.is_relative_to(root) and (file.is_file() or (file / "index.html").is_file())
