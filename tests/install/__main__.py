"""``make install-matrix``: every distribution at its lowest and highest versions, on every Python.

Writes what came of it into docs/versions.md. Nothing is downloaded but packages: a Python that
isn't on this machine is named, and left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.install import matrix, smoke
from tests.install.matrix import Distribution, Versions
from tests.warm import ROOT

PAGE = ROOT / "docs" / "versions.md"
PYTHONS = ("3.11", "3.12", "3.13")
WHICH: tuple[Versions, ...] = ("lowest", "highest")
MATRIX, NEEDS = "install matrix", "needs"
HEAD = (
    "| distribution | versions | of | Python | packages | ten rows |\n|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one environment."""

    distribution: str
    versions: str
    host: str
    python: str
    packages: int
    outcome: str

    def row(self) -> str:
        """Return its row of the table."""
        cells = (self.distribution, self.versions, self.host, self.python, self.packages)
        return f"| {' | '.join(map(str, (*cells, self.outcome)))} |\n"


def found_python(wanted: str) -> str | None:
    """Return an interpreter of a minor version: on PATH, or one that pyenv keeps; None: none."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{wanted}"), *sorted(kept.glob(f"{wanted}.*/bin/python3"))]
    for candidate in filter(None, candidates):
        if asked_version(candidate).startswith(f"{wanted}."):
            return str(candidate)
    return None


def asked_version(python: str | Path) -> str:
    """Return an interpreter's version, "" where it doesn't run."""
    code = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def cell(distribution: Distribution, versions: Versions, python: str, built: Path) -> Cell:
    """Install a distribution alone, look at what is there, and load ten rows with it."""
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        packages, host, outcome = 0, "", "passed"
        try:
            inside = matrix.install(distribution, versions, built, home / "env", python=python)
            there = matrix.installed(inside)
            packages = len(there)
            matrix.alone(distribution, inside)
            if distribution.extras:
                more = distribution.extras
                inside = matrix.install(distribution, versions, built, home / "more", more, python)
                there = matrix.installed(inside)
            host = f"{distribution.host} {there[distribution.host]}"
            rows = smoke.load(distribution, inside, home / "load")["rows"]
            assert rows == 10, f"{rows} rows"
        except AssertionError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            outcome = f"fails: {lines[-1].strip()}" if lines else "fails"
            sys.stderr.write(f"{error}\n")
        return Cell(
            distribution.name, versions, host, asked_version(python), packages, outcome[:120]
        )


def cells(pythons: Sequence[str], only: Sequence[str]) -> Iterator[Cell]:
    """Yield the cells, told on stderr one by one."""
    with tempfile.TemporaryDirectory() as folder:
        built = matrix.build(Path(folder))
        for distribution in matrix.ALL:
            if only and distribution.name not in only:
                continue
            for python in pythons:
                for versions in WHICH:
                    began = time.monotonic()
                    made = cell(distribution, versions, python, built)
                    sys.stderr.write(f"{made.row().rstrip()} {time.monotonic() - began:.0f} s\n")
                    yield made


def written(text: str, found: Sequence[Cell], left_out: Sequence[str]) -> str:
    """Return the page with the table put in its place, and what each distribution needs."""
    table = HEAD + "".join(each.row() for each in found)
    if left_out:
        table += f"\nNot on the machine that made this table: Python {', '.join(left_out)}.\n"
    return between(between(text, MATRIX, table), NEEDS, needs())


def needs() -> str:
    """Return the table of what each distribution needs, as its ``pyproject.toml`` says it."""
    rows = "| distribution | needs |\n|---|---|\n"
    for each in matrix.ALL:
        wanted = ", ".join(f"`{text}`" for text in sorted(each.project["dependencies"]))
        rows += f"| {each.name} | {wanted} |\n"
    return rows


def between(text: str, name: str, put: str) -> str:
    """Return a page with something put between two comments."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    pattern = re.compile(f"(?<={re.escape(begin)}).*(?={re.escape(end)})", re.DOTALL)
    return pattern.sub(lambda _: f"\n{put}\n", text)


def main() -> int:
    """Make the matrix; write the page, unless only a part of it was asked for."""
    parser = argparse.ArgumentParser(prog="make install-matrix", description=__doc__)
    parser.add_argument("--python", action="append", help="a minor version; all that there are")
    parser.add_argument("--only", action="append", default=[], help="a distribution")
    given = parser.parse_args()
    wanted = given.python or PYTHONS
    pythons = {each: found_python(each) for each in wanted}
    left_out = [each for each, path in pythons.items() if path is None]
    for each in left_out:
        sys.stderr.write(f"Python {each} isn't on this machine: left out\n")
    found = list(cells([path for path in pythons.values() if path], given.only))
    if not given.only and not given.python:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(written(text, found, left_out), encoding="utf-8")
    sys.stdout.write(HEAD + "".join(each.row() for each in found))
    return int(any(each.outcome != "passed" for each in found))


if __name__ == "__main__":
    sys.exit(main())
