"""A page that is walked from its first block to its last, as a reader does, in a folder of its own.

Blocks become files, or are added to them; commands are run one after the other, and what a
``console`` block shows is compared. Beside the comments that all pages have, a block may have
``<!-- append: FILE -->``, its lines go to the file's end, or ``<!-- last line: FILE -->``, it
stands for the file's last line.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, Block, blocks, name
from tests.docs.test_blocks import CHECKS, UPDATE, _conduit, _plain, said_now

Command = Callable[["Walk", str], str]
PLACE = "/srv/flights"
"""What the pages call their folder."""
SET_UP = ("git clone ", "make ", ". ")
"""Lines that make a checkout and its environment: the tests have both."""
_EDIT = re.compile(r"<!-- (append|last line): (\S+) -->\s*$")


def _nothing(_: Walk, __: str) -> str:
    return ""


@dataclass
class Walk:
    """A page and the folder that it is walked in.

    Attributes:
        page: the page.
        folder: where its commands run; beside a link ``conduit`` to this checkout.
        setenv: sets a variable for the commands below.
        commands: by what a line begins with, who runs it; others are run here. ``text``: who knows
            whether something was said.
        sections: the headings whose blocks are walked (``""``: what is before the first one); all
            without any.
    """

    page: Path
    folder: Path
    setenv: Callable[[str, str], None]
    commands: Mapping[str, Command] = field(default_factory=dict)
    sections: frozenset[str] = frozenset()
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lines = self.page.read_text(encoding="utf-8").splitlines()

    def go(self) -> None:
        """Walk it."""
        beside = self.folder.parent / "conduit"
        if not beside.exists():
            beside.symlink_to(ROOT)
        for block in self._own():
            try:
                self._do(block)
            except BaseException as error:
                error.add_note(f"in the block at {name(self.page)}:{block.line}")
                raise

    def _own(self) -> Iterator[Block]:
        for block in blocks(self.page):
            above = (line for line in reversed(self._lines[: block.line]) if line.startswith("## "))
            heading = next(above, "## ").removeprefix("## ").strip()
            if not self.sections or heading in self.sections:
                yield block

    def _do(self, block: Block) -> None:
        if block.reason is not None:
            return
        if block.language == "mermaid":
            CHECKS["mermaid"](self.page, block, self.folder)
        elif block.language == "console":
            self._console(block)
        elif block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                if line.split("#")[0].strip():
                    self.command(line)
        elif block.language == "text" and block.file is None:
            self.commands["text"](self, block.text)
        else:
            self._file(block)

    def _file(self, block: Block) -> None:
        if block.copied is not None:
            assert block.text.strip() in (ROOT / block.copied).read_text(encoding="utf-8")
            return
        edit = _EDIT.search("\n".join(self._lines[: block.line - 2]))
        assert block.file or edit, "what isn't a command is a file, or a part of one"
        file = self.folder / (block.file or edit[2])  # type: ignore[index]
        file.parent.mkdir(parents=True, exist_ok=True)
        there = file.read_text(encoding="utf-8").splitlines(keepends=True) if edit else []
        kept = there[:-1] if edit and edit[1] == "last line" else there
        file.write_text(self._here("".join([*kept, block.text])), encoding="utf-8")

    def _console(self, block: Block) -> None:
        now = said_now(block.text, self.command, self.ids)
        if UPDATE:
            text = self.page.read_text(encoding="utf-8")
            fence = "```console\n{}```"
            new = text.replace(fence.format(block.text), fence.format(now), 1)
            self.page.write_text(new, encoding="utf-8")
        else:
            assert _plain(block.text) == _plain(now)

    def command(self, line: str) -> str:
        """Run one line, ``... # exit 5`` where it fails, and return what it wrote."""
        for beginning, run in {**dict.fromkeys(SET_UP, _nothing), **self.commands}.items():
            if line.startswith(beginning):
                return run(self, line)
        words = shlex.split(line, comments=True)
        given = list(itertools.takewhile(lambda word: re.match(r"[A-Z_]+=", word), words))
        if words[len(given)] == "conduit" and not set(words) & {"|", "||", ">", "2>"}:
            return _conduit(line, self.folder).replace("/srv/shop", PLACE)
        if words[0] == "export":
            for word in words[1:]:
                variable, _, value = word.partition("=")
                self.setenv(variable, self._here(value.replace("$PWD", PLACE)))
            return ""
        if line.startswith("mkdir ") and "cd " in line:
            return ""  # the folder that this is
        return self.shell(line)

    def _here(self, text: str) -> str:
        return text.replace(PLACE, str(self.folder))

    def shell(self, line: str) -> str:
        """Run one line in a shell."""
        exit_code = int(found[1]) if (found := re.search(r"# exit (\d+)", line)) else 0
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == exit_code, f"{line}: exit {done.returncode}\n{done.stdout}"
        return done.stdout.replace(str(self.folder), PLACE)


def how_tos(runner: str) -> list[Any]:
    """Return (page, sections) of the how-tos that tell something for each runner; one is daily."""
    howto = ROOT / "docs" / "howto"
    return [
        pytest.param(howto / "rewind.md", {"", runner}, id="rewind"),
        pytest.param(howto / "backfill.md", {"", runner}, id="backfill", marks=pytest.mark.deep),
        pytest.param(
            howto / "replay.md",
            {"", "The rule was wrong", runner},
            id="replay",
            marks=pytest.mark.deep,
        ),
    ]


def tutorial(page: Path) -> list[Any]:
    """Return the sections of a tutorial: daily without dbt, which takes as long as all others."""
    text = page.read_text(encoding="utf-8")
    headings = set(re.findall(r"^## (.*)$", text, re.MULTILINE))
    return [
        pytest.param(headings - {"7. Then dbt"}, id="loads"),
        pytest.param(headings, id="with dbt", marks=pytest.mark.deep),
    ]
