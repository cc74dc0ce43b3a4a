"""docs/promises.md, made of the promises and of the tests that carry their ids."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.docs.pages import ROOT

PROMISES = ROOT / "tests" / "promises" / "promises.toml"
WHERE = (ROOT / "tests", ROOT / "conduit_core" / "testing")
_TEST = re.compile(r"test_((?:p\d\d_)+)(\w+)")
_HEAD = """\
# Promises

What users of loaders complain about, and what this one does instead. Each promise is held by tests
that carry its id in their names (`test_p01_...`); one without a test fails the build. Below each:
what these tests say, and where they are.
"""


@dataclass(frozen=True, slots=True, order=True)
class Kept:
    """A test that carries a promise's id: its file, and what its name says."""

    file: str
    says: str


def promised() -> Mapping[str, str]:
    """Return the promises by their ids."""
    texts = tomllib.loads(PROMISES.read_text(encoding="utf-8"))
    return {name: " ".join(text.split()) for name, text in texts.items()}


def kept() -> Mapping[str, list[Kept]]:
    """Return the tests by the ids that they carry."""
    found: dict[str, list[Kept]] = {}
    for folder in WHERE:
        for file in sorted(folder.rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if "test_p" not in text:
                continue
            where = file.relative_to(ROOT).as_posix()
            for name in _functions(ast.parse(text)):
                if carried := _TEST.fullmatch(name):
                    test = Kept(where, carried[2].replace("_", " "))
                    for promise in carried[1].split("_")[:-1]:
                        found.setdefault(promise, []).append(test)
    return {name: sorted(tests) for name, tests in sorted(found.items())}


def page() -> str:
    """Return the page's text."""
    tests = kept()
    return _HEAD + "".join(
        f"\n## {name}\n\n{text}\n\n{''.join(_lines(tests.get(name, [])))}"
        for name, text in promised().items()
    )


def _lines(tests: list[Kept]) -> Iterator[str]:
    for file in dict.fromkeys(test.file for test in tests):
        yield f"- [{file}](../{file})\n"
        yield from (f"  - {test.says}\n" for test in tests if test.file == file)


def _functions(module: ast.Module) -> Iterator[str]:
    """Name the functions of a module that pytest may collect: its own, and those of its classes."""
    for node in module.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for item in inside:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                yield item.name
