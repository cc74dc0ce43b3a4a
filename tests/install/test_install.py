"""Each distribution installs alone, is ours, and loads ten rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import tables
from tests.install import matrix, smoke
from tests.install.__main__ import MATRIX, NEEDS, PAGE, WHICH, Cell, needs, written
from tests.install.matrix import Distribution, Versions

pytestmark = pytest.mark.slow

CASES = [
    pytest.param(
        each,
        versions,
        id=f"{each.name}-{versions}",
        marks=[] if (each, versions) == (matrix.CORE, "highest") else [pytest.mark.deep],
    )
    for each in matrix.ALL
    for versions in WHICH
]


@pytest.mark.parametrize(("distribution", "versions"), CASES)
def test_it_is_installed_alone_and_loads_ten_rows(
    distribution: Distribution, versions: Versions, built: Path, tmp_path: Path
) -> None:
    python = matrix.install(distribution, versions, built, tmp_path / "env")
    matrix.alone(distribution, python)
    if distribution.extras:
        python = matrix.install(
            distribution, versions, built, tmp_path / "more", distribution.extras
        )
    told = smoke.load(distribution, python, tmp_path / "load")
    assert told["rows"] == 10
    assert Path(told["file"]).is_relative_to(python.parents[1])


@pytest.mark.parametrize("distribution", [matrix.DBT, *matrix.ALL[2:]], ids=lambda each: each.name)
def test_at_its_lowest_it_is_there_and_imports(
    distribution: Distribution, built: Path, tmp_path: Path
) -> None:
    """What a load with each takes is the deep tier's: their servers start for it."""
    python = matrix.install(distribution, "lowest", built, tmp_path / "env")
    matrix.alone(distribution, python)
    there = matrix.installed(python)
    assert (distribution.host in there) == (distribution is not matrix.DBT)
    for text in matrix.asked(distribution):
        if text.startswith(f"{distribution.host}>="):
            least = text.partition(">=")[2].partition(",")[0]
            assert f"{there[distribution.host]}.".startswith(f"{least}."), text


def test_the_tables_are_put_in_their_places() -> None:
    marks = [f"<!-- {name}: {edge} -->\n" for name in (MATRIX, NEEDS) for edge in ("begin", "end")]
    row = Cell("conduit-load", "lowest", "pyarrow 1", "3.11.7", 3, "passed")
    text = written(f"a\n{marks[0]}old\n{marks[1]}b\n{marks[2]}{marks[3]}c\n", [row], ["3.14"])
    parts = re.split("|".join(marks), text)
    assert parts[::2] == ["a\n", "b\n", "c\n"]
    assert "| conduit-load | lowest | pyarrow 1 | 3.11.7 | 3 | passed |\n" in parts[1]
    assert "Not on the machine that made this table: Python 3.14.\n" in parts[1]
    assert "old" not in text
    assert needs() in parts[3]


def test_the_page_is_of_these_distributions() -> None:
    """Where a requirement has changed, `make install-matrix` is to be run again."""
    text = PAGE.read_text(encoding="utf-8")
    assert needs() in text
    rows = tables(PAGE)["Installed alone: distribution"]
    assert {(row[0], row[1]) for row in rows} == {(d.name, v) for d in matrix.ALL for v in WHICH}
    assert {row[-1] for row in rows} == {"passed"}
    for name, versions, host, *_ in rows:
        (each,) = (each for each in matrix.ALL if each.name == name)
        if versions == "lowest":
            needed, version = host.split()
            wanted = [*matrix.asked(each), *each.extras]
            (least,) = (t.partition(">=")[2] for t in wanted if t.startswith(f"{needed}>="))
            assert f"{version}.".startswith(f"{least.partition(',')[0]}."), host
