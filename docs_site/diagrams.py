"""Diagrams as pictures, drawn when the site is built: a page needs no script for them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SCHEMES = {"light": "default", "dark": "dark"}
"""Mermaid's theme for each of the site's colour schemes."""

_PLAIN_TEXT = {"htmlLabels": False, "flowchart": {"htmlLabels": False}}
"""Labels are SVG's own text: HTML in it would be cut off where a reader's font is wider."""


def draw(diagram: str, folder: Path) -> list[str]:
    """Write a picture of a Mermaid diagram for each colour scheme, and return their names."""
    import mermaidx  # type: ignore[import-untyped] # it ships no types

    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(diagram.encode()).hexdigest()[:12]
    names = []
    for scheme, theme in SCHEMES.items():
        names.append(f"{digest}-{scheme}.svg")
        picture = mermaidx.render(diagram, theme=theme, config=_PLAIN_TEXT).svg()
        # its size is its own, so that a small diagram isn't blown up to the page's width
        picture = re.sub(
            r'width="100%"(.*?viewBox="\S+ \S+ (\S+) )', r'width="\2"\1', picture, count=1
        )
        (folder / names[-1]).write_text(picture, encoding="utf-8")
    return names
