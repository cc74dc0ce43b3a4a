"""Writes the package of a new connector: a small one that works, with a name put in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from conduit_core.connectors import registry
from conduit_core.errors import ConfigError
from conduit_core.spec.data import OF_PYTHON

_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
_OURS = frozenset({"core", "dbt", "load", OF_PYTHON})
"""Names whose module or distribution would be one of ours."""


def package(name: str) -> Mapping[str, str]:
    """Return the files of a connector's package, by their paths in its folder.

    Args:
        name: the ``type:`` in pipeline files.

    Raises:
        ConfigError: the name isn't one, or is taken.
    """
    _refuse(name)
    camel = "".join(part.capitalize() for part in name.split("_"))
    renamed = {"conduit-acme": distribution_of(name), "acme": name, "Acme": camel}
    places = re.compile("|".join(renamed))  # at once: a name may hold another's place

    def put_in(text: str) -> str:
        return places.sub(lambda found: renamed[found[0]], text)

    template = files("conduit_core.cli") / "templates" / "conduit-acme"
    return {put_in(path): put_in(text) for path, text in sorted(_texts(template, ""))}


def distribution_of(name: str) -> str:
    """Return the distribution's name, which is the folder's too."""
    return f"conduit-{name.strip('_').replace('_', '-')}"


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write a package into a new folder.

    Raises:
        ConfigError: the folder exists, or can't be written.
    """
    try:
        folder.mkdir()
        for path, text in texts.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise ConfigError(
            f"{folder} is there already: choose another name, or move it away",
            command="conduit connectors",
        ) from None
    except OSError as error:
        raise ConfigError(f"{folder} can't be written: {error.strerror}") from None


def _refuse(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't be a connector's name: it begins with a small letter, and has small"
            " letters, digits and _ only, 30 at most",
            command="conduit connectors new inbox",
        )
    if name in registry.names():
        raise ConfigError(
            f"there is a connector {name!r} already: choose another name",
            command="conduit connectors",
        )
    if name in _OURS or _is_installed(distribution_of(name)):
        raise ConfigError(
            f"{name!r} would make a package {distribution_of(name)!r}, which there is already:"
            " choose another name",
            command="conduit connectors",
        )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _texts(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    for item in folder.iterdir():
        if item.name == "__pycache__" or item.name.startswith("."):
            continue  # what tools leave in a checkout
        if item.is_dir():
            yield from _texts(item, f"{above}{item.name}/")
        else:
            yield f"{above}{item.name}", item.read_text(encoding="utf-8")
