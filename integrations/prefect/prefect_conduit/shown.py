"""Text as Markdown that shows it and nothing else. Prefect's pages render it in cells, too."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARKS = re.compile(r"([\\`*_\[\]|~!#])")
_LONGEST_RUN = re.compile(r"`+")


def plain(text: object, most: int = 300) -> str:
    """Return a text of one line in which no sign means anything."""
    line = shortened(" ".join(str(text).split()), most)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", line)


def code(text: object, most: int = 300) -> str:
    """Return a text of one line as code; not for a cell of a Markdown table."""
    line = shortened(" ".join(str(text).split()), most)
    fence = "`" * (_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""


def block(lines: Iterable[str], most: int = 2000) -> list[str]:
    """Return lines as a block of code, whatever is in them."""
    found = [shortened(line, most) for text in lines for line in text.splitlines()]
    fence = "`" * max(3, *(_run(line) + 1 for line in found), 3)
    return [fence, *found, fence]


def row(cells: Iterable[str]) -> str:
    """Return a row of a table; the cells are Markdown already."""
    return f"| {' | '.join(cells)} |"


def shortened(text: str, most: int) -> str:
    """Return a text, cut where it is too long."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _run(line: str) -> int:
    return max((len(run) for run in _LONGEST_RUN.findall(line)), default=0)
