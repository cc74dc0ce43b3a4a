"""Every public name says what it does and what it takes: read from the sources, not imported."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe
import pytest

from docs_site.navigation import settings
from tests.docs.pages import ROOT

MODULES = (
    "conduit_core",
    "conduit_core.testing",
    "airflow_provider_conduit",
    "dagster_conduit",
    "prefect_conduit",
    "conduit_dbt",
)
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
_DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
_HANDLER = settings()["plugins"][1]["mkdocstrings"]["handlers"]["python"]
LEFT_OUT = [re.compile(word.removeprefix("!")) for word in _HANDLER["options"]["filters"]]
"""Members that the reference doesn't show."""
NO_DOCSTRING = {"__version__"}
HOST_FIELDS = {"template_fields", "ui_color", "tells_change"}
"""Class attributes of operators that Airflow reads, and one of theirs."""


@cache
def loaded() -> griffe.ModulesCollection:
    paths = [str(Path(entry) if Path(entry).is_absolute() else ROOT / entry) for entry in _paths()]
    logging.getLogger("griffe").setLevel(logging.ERROR)
    loader = griffe.GriffeLoader(search_paths=paths, docstring_parser="google")
    for module in MODULES:
        loader.load(module)
    loader.resolve_aliases(external=False, implicit=False)
    return loader.modules_collection


def _paths() -> list[str]:
    return [".", "providers/airflow", "integrations/dagster", "integrations/prefect", "dbt_bridge"]


def exported(module: str) -> list[str]:
    names = [str(name) for name in loaded()[module].exports or []]
    return [f"{module}.{name}" for name in names if name not in NO_DOCSTRING]


def documented() -> list[str]:
    """What the reference pages show."""
    return [name for page in REFERENCE for name in _DIRECTIVE.findall(page.read_text())]


def test_the_reference_shows_each_public_name_once() -> None:
    shown = documented()
    assert len(shown) == len(set(shown))
    assert sorted(name for module in MODULES for name in exported(module)) == sorted(
        name for name in shown if not name.startswith("conduit_core.connectors.")
    )


@pytest.mark.parametrize("name", documented())
def test_a_public_name_says_what_it_does_and_what_it_takes(name: str) -> None:
    faults = list(_faults(name, _target(loaded()[name])))
    assert not faults, "\n".join(faults)


def _target(found: griffe.Object | griffe.Alias) -> griffe.Object:
    return found.final_target if isinstance(found, griffe.Alias) else found


def _faults(name: str, thing: griffe.Object) -> Iterator[str]:
    if thing.docstring is None:
        yield f"{name} has no docstring"
        return
    text = thing.docstring.value
    if not text.partition("\n\n")[0].strip().endswith((".", ":")):
        yield f"{name}: its docstring doesn't begin with a sentence"
    if found := re.search(r":[a-z]+:`", text):
        yield f"{name}: {found[0]} isn't shown as a link"
    module, _, last = name.rpartition(".")
    if f"Do what ``{last[1:]}`` does" in text and f"{module}.{last[1:]}" in documented():
        return  # a twin to be awaited, with the same arguments
    told = _told(thing)
    yield from (f"{name}: says nothing of {p}" for p in _parameters(thing) if p not in told)
    if isinstance(thing, griffe.Class):
        for member in thing.members.values():
            if isinstance(member, griffe.Function) and _is_shown(member, thing):
                yield from _faults(f"{name}.{member.name}", member)


def _is_shown(member: griffe.Function, home: griffe.Class) -> bool:
    """Whether a method is for readers, and not what a base class documents already."""
    if any(word.search(member.name) for word in LEFT_OUT) or member.name.startswith("test_"):
        return False
    return not any(member.name in base.members for base in home.mro())


def _told(thing: griffe.Object) -> set[str]:
    """Names that a docstring has under Args or Attributes, or in backticks."""
    assert thing.docstring is not None
    out = set(re.findall(r"`(\w+)`", thing.docstring.value))
    for section in thing.docstring.parse("google", warnings=False):
        if section.kind in {
            griffe.DocstringSectionKind.parameters,
            griffe.DocstringSectionKind.attributes,
        }:
            for item in section.value:
                out.update(word.strip(" *") for word in item.name.split(","))
    return out


def _parameters(thing: griffe.Object) -> Iterator[str]:
    is_fixture = any(
        "fixture" in str(decorator.value) for decorator in getattr(thing, "decorators", ())
    )
    if isinstance(thing, griffe.Function) and not is_fixture:
        names = (p.name.lstrip("*") for p in thing.parameters)
        yield from (name for name in names if name not in {"self", "cls"})
    if isinstance(thing, griffe.Class):
        made = thing.members.get("__init__")
        if isinstance(made, griffe.Function):
            told = {m.name for m in thing.members.values() if m.is_attribute and m.docstring}
            yield from (n for n in _parameters(made) if not n.startswith("_") and n not in told)
        yield from (m.name for m in thing.members.values() if _is_field(m))


def _is_field(member: griffe.Object | griffe.Alias) -> bool:
    """Whether it is a field of a dataclass or model that says nothing of itself."""
    if not isinstance(member, griffe.Attribute) or member.docstring is not None:
        return False
    is_plain = member.annotation is None or member.labels == {"class-attribute"}
    described = "description=" in f"{member.annotation} {member.value}"
    return not (is_plain or described or member.name.startswith("_") or member.name in HOST_FIELDS)
