"""The pages, their fenced blocks and their tables, read from Markdown."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docs_site.assemble import MEMBERS

ROOT = Path(__file__).parents[2]
AIRFLOW = sorted([ROOT / "docs" / "airflow.md", *(ROOT / "docs" / "airflow").glob("*.md")])
"""Pages whose blocks run in Airflow: tests/airflow/test_docs.py."""
DAGSTER = sorted([ROOT / "docs" / "dagster.md", *(ROOT / "docs" / "dagster").glob("*.md")])
"""Pages whose blocks run in Dagster: tests/dagster/test_*docs.py."""
COMPONENT = ROOT / "docs" / "dagster" / "component.md"
"""A page whose blocks are files of a Dagster project: tests/dagster/test_component_docs.py."""
PREFECT = sorted([ROOT / "docs" / "prefect.md", *(ROOT / "docs" / "prefect").glob("*.md")])
"""Pages whose blocks run in Prefect: tests/prefect/test_docs.py."""
HOWTO = ("backfill", "from-dlt", "from-sling", "on-call", "replay", "rewind")
WALKED = [
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
    *(ROOT / "docs" / "howto" / f"{each}.md" for each in HOWTO),
    ROOT / "docs" / "exactly-once.md",
]
"""Pages that are walked from top to bottom, in their runner: test_tutorials.py, here and there."""
PAGES = sorted(
    [
        *(ROOT / folder / "README.md" for folder in ("", *MEMBERS)),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
_FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"<!-- not run: (\S.*?) -->\s*$", re.DOTALL)
_FILE = re.compile(r"<!-- file: (\S+) -->\s*$")
_COPIED = re.compile(r"<!-- from: (\S+) -->\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, text, first line, why it isn't run, and the file it becomes.

    Those two are None where it is run, and where it is no file; ``copied`` is the file of this
    repository that it is a part of, or None.
    """

    language: str
    text: str
    line: int
    reason: str | None
    file: str | None = None
    copied: str | None = None


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        marker = _MARKER.search(text[: found.start()])
        file = _FILE.search(text[: found.start()])
        copied = _COPIED.search(text[: found.start()])
        line = text.count("\n", 0, found.start()) + 2
        reason = marker[1] if marker else None
        yield Block(
            found[2],
            found[3],
            line,
            reason,
            file[1] if file else None,
            copied[1] if copied else None,
        )


def tables(page: Path) -> dict[str, list[list[str]]]:
    """Return the rows of each table (header aside), by its heading and first header cell."""
    out: dict[str, list[list[str]]] = {}
    heading, rows = "", None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            rows = None
            continue
        cells = [c.strip() for c in line.strip("|").split("|")]
        if rows is None:
            rows = out.setdefault(f"{heading}: {cells[0]}", [])
        elif not set(line) <= set("|-: "):
            rows.append(cells)
    return out


def code(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def listed(pages: Iterable[Path], heading: str) -> dict[str, list[str]]:
    """Return the rows of the one table, somewhere in these pages, by what its first cells name."""
    for page in pages:
        rows = tables(page).get(heading)
        if rows is not None:
            return {code(row[0])[0]: row for row in rows}
    raise AssertionError(f"no page has a table of {heading}")


def assert_default(label: str, row: list[str], default: object, *, required: bool) -> None:
    """Check that the second cell of an argument's row is its default."""
    if required:
        assert row[1] == "required", label
    elif default in (None, "", (), [], {}):
        assert not row[1], label
    else:
        value = default.value if isinstance(default, enum.Enum) else default
        text = value if isinstance(value, str) else json.dumps(value)
        assert code(row[1]) == [text], label
