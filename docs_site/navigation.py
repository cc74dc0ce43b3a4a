"""The site's navigation, which ``mkdocs.yml`` holds: each page of it once, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[1] / "mkdocs.yml"


class _Settings(yaml.SafeLoader):
    """Reads the builder's settings without making the Python objects that they name."""


_Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda _loader, name, _node: name)


def settings() -> dict[str, Any]:
    """Return the builder's settings."""
    return dict(yaml.load(CONFIG.read_text(encoding="utf-8"), Loader=_Settings))  # noqa: S506


def pages() -> list[str]:
    """Return the pages that the navigation names, as paths on the site, in its order."""
    return list(_paths(settings()["nav"]))


def _paths(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from _paths(child)
    elif isinstance(node, list):
        for child in node:
            yield from _paths(child)


def faults(assembled: list[str]) -> list[str]:
    """Return what is wrong with the navigation, given all pages of the site.

    What isn't of ``docs`` (an example, a file that a page shows) may be reached by links alone.
    """
    named = pages()
    twice = sorted({page for page in named if named.count(page) > 1})
    missing = sorted(set(named) - set(assembled))
    docs = CONFIG.parent / "docs"
    lost = sorted(p for p in set(assembled) - set(named) if (docs / p).exists())
    return [
        *(f"mkdocs.yml names {page} twice" for page in twice),
        *(f"mkdocs.yml names {page}, which isn't there" for page in missing),
        *(f"{page} has no place in the navigation of mkdocs.yml" for page in lost),
    ]
