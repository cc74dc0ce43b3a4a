"""What of a Markdown file matters to a site: its links, its headings' anchors, its fences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"^( *)(`{3,})(\w*)[^\n]*\n(.*?)^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(`+)[^`\n](?:.*?[^`])??\1(?!`)|<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_ITEM = re.compile(r"(?:[-*]|\d+\.) +(?=\S)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Link:
    """A link or picture: where its target stands in the text, the path, and what follows ``#``."""

    start: int
    end: int
    path: str
    anchor: str

    @property
    def is_external(self) -> bool:
        """Whether it leads to another host, or to somebody's mail."""
        return "://" in self.path or self.path.startswith("mailto:")


def links(text: str) -> Iterator[Link]:
    """Yield the links of a page; what stands in code or comments is none."""
    for found in _LINK.finditer(_prose(text)):
        path, _, anchor = found[1].partition("#")
        yield Link(found.start(1), found.end(1), path, anchor)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page: of its headings, and of what its reference documents."""
    unfenced = _FENCE.sub(_blank, text)
    seen: Counter[str] = Counter()
    out = set(_DIRECTIVE.findall(unfenced))
    for name in map(slug, _HEADING.findall(unfenced)):
        out.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return out


def slug(heading: str) -> str:
    """Return a heading's anchor, as code hosts and the site make it."""
    shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def replace_links(text: str, make: Callable[[Link], str]) -> str:
    """Return the text with another target for each link."""
    for link in reversed(list(links(text))):
        text = text[: link.start] + make(link) + text[link.end :]
    return text


def replace_fences(text: str, language: str, make: Callable[[str], str]) -> str:
    """Return the text with something else in place of each fenced block in a language."""

    def fence(found: re.Match[str]) -> str:
        return make(found[4]) if found[3] == language else found[0]

    return _FENCE.sub(fence, text)


def indented(text: str) -> str:
    """Return the text with what stands inside of list items four blanks deep for each of them.

    The site's builder wants four, where code hosts go by the marker: two for ``-``, three for
    ``1.``. A list in a list, or a block in one, would else be no part of it.
    """
    out: list[str] = []
    depths: list[int] = []  # of the items that are open: where their content begins
    fence, shift = "", 0
    for line in text.split("\n"):
        content = line.lstrip(" ")
        depth = len(line) - len(content)
        if fence or not content:
            out.append(" " * max(depth + shift, 0) + content if content else "")
            fence = "" if fence and content.startswith(fence) else fence
            continue
        while depths and depth < depths[-1]:
            depths.pop()
        shift = 4 * len(depths) - (depths[-1] if depths else 0)
        out.append(" " * (depth + shift) + content)
        if item := _ITEM.match(content):
            depths.append(depth + item.end())
        if opened := re.match(r"`{3,}", content):
            fence = opened[0]
    return "\n".join(out)


def _prose(text: str) -> str:
    """Return the text with blanks in place of code and comments; everything stays where it was."""
    return _CODE.sub(_blank, _FENCE.sub(_blank, text))


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
