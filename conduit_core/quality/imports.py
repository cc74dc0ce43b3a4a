"""What a rule names by its import path, and the digest of its code."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path

from conduit_core.errors import ConfigError


def import_object(path: str, what: str, folder: Path | None = None) -> object:
    """Return what ``package.module:name`` names.

    Args:
        path: the import path.
        what: who asks, for errors.
        folder: where modules are looked for too, after the others: the pipeline file's folder.

    Raises:
        ConfigError: the module doesn't import, or has no such name.
    """
    module_name, _, names = path.partition(":")
    place = None if folder is None else str(folder)
    if place is not None and place not in sys.path:
        sys.path.append(place)  # it stays: the object may import more when it is called
        importlib.invalidate_caches()
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # a module of the user's: whatever it raises, it doesn't import
        text = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{what} {path!r} doesn't import: {text}", command="conduit check"
        ) from error
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigError(
                f"{what} {path!r}: module {module_name!r} has no {names!r}",
                command="conduit check",
            ) from error
    return found


def need(package: str, what: str) -> None:
    """Look whether a package that a rule needs is installed.

    Raises:
        ConfigError: it isn't; with the extra that has it.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs {package}: pip install 'conduit-load[quality]'", command="conduit check"
        ) from error


def code_digest(path: str) -> str:
    """Return a digest of the source of the module that an import path names; for the fingerprint.

    The whole module, since a function calls its neighbours; modules that it imports are not in it.
    Import it first. A module without a file (in a zip, or compiled) has the digest of its name.
    """
    name = path.partition(":")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    try:
        source = Path(file).read_bytes() if file else name.encode()
    except OSError:
        source = name.encode()
    return hashlib.sha256(source).hexdigest()[:16]
