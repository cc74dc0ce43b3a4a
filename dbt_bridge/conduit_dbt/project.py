"""A dbt project as its own files describe it, read without dbt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from conduit_core.errors import ConfigError
from conduit_dbt.rendering import NotRendered, read_yaml, render

PROJECT_FILE = "dbt_project.yml"
PROFILES_FILE = "profiles.yml"
_READ = {".sql", ".yml", ".yaml", ".py"}


@dataclass(frozen=True)
class Project:
    """What running dbt needs to know of a project.

    ``profile`` is None where the project names none, or names one that only dbt can render.
    ``packages`` are declared or installed; their names are those of their folders.
    """

    root: Path
    name: str
    profile: str | None
    model_paths: tuple[str, ...]
    target_path: Path
    packages: tuple[str, ...]

    @classmethod
    def read(cls, project_dir: Path, environment: Mapping[str, str] | None = None) -> Self:
        """Read the project in a folder.

        Raises:
            ConfigError: it isn't a dbt project, or a file of it isn't YAML.
        """
        env = os.environ if environment is None else environment
        root = Path(os.path.realpath(project_dir.expanduser()))
        file = root / PROJECT_FILE
        if not file.is_file():
            raise ConfigError(
                f"{root}: isn't a dbt project: there is no {PROJECT_FILE}; name the folder that"
                " holds it as project_dir, or make one with `dbt init`"
            )
        found = read_yaml(file, "a dbt project")
        name = _text(found, "name", env)
        if not name:
            raise ConfigError(f"{file}: the project has no name; add `name:`")
        target = _setting(env, "TARGET_PATH") or _text(found, "target-path", env) or "target"
        installed = _text(found, "packages-install-path", env) or "dbt_packages"
        return cls(
            root=root,
            name=name,
            profile=_text(found, "profile", env),
            model_paths=_texts(found.get("model-paths"), env) or ("models",),
            target_path=root / target,
            packages=_packages(root, root / installed),
        )

    def mentions(self, word: str) -> bool:
        """Whether a file of the project or of its packages has a word in quotes.

        Looks into its folders, but not into dbt's own output, hidden folders and environments of
        Python.
        """
        wanted = re.compile(rb"""['"]""" + re.escape(word.encode()) + rb"""['"]""")
        return any(wanted.search(file.read_bytes()) for file in self._files())

    def _files(self) -> Iterator[Path]:
        for path in sorted(self.root.iterdir()):
            if path.is_file() and path.suffix in _READ:
                yield path
            skipped = path == self.target_path or path.name.startswith(".")
            if path.is_dir() and not skipped and not (path / "pyvenv.cfg").exists():
                yield from (f for f in path.rglob("*") if f.suffix in _READ and f.is_file())

    def profiles_dir(
        self, given: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Path:
        """Return the folder whose ``profiles.yml`` applies.

        The order is dbt's: what is given, DBT_PROFILES_DIR, the project's folder if the file is
        there, ``~/.dbt``. A relative path is relative to the project, where dbt runs.
        """
        env = os.environ if environment is None else environment
        if given is not None:
            return self.root / given.expanduser()
        if named := _setting(env, "PROFILES_DIR"):
            return self.root / Path(named).expanduser()
        return self.root if (self.root / PROFILES_FILE).is_file() else Path.home() / ".dbt"


def _setting(environment: Mapping[str, str], name: str) -> str | None:
    # From 1.11 on dbt's own settings may be written with ENGINE in their names.
    return environment.get(f"DBT_ENGINE_{name}") or environment.get(f"DBT_{name}")


def _text(found: Mapping[str, object], key: str, environment: Mapping[str, str]) -> str | None:
    try:
        value = render(found.get(key), environment)
    except NotRendered:
        return None
    return str(value) if value else None


def _texts(value: object, environment: Mapping[str, str]) -> tuple[str, ...]:
    try:
        rendered = render(value, environment)
    except NotRendered:
        return ()
    items = [rendered] if isinstance(rendered, str) else rendered
    return tuple(str(item) for item in items) if isinstance(items, list) else ()


def _packages(root: Path, installed: Path) -> tuple[str, ...]:
    names: set[str] = set()
    for file in (root / "packages.yml", root / "dependencies.yml"):
        # An empty file is fine here; dbt writes one.
        if file.is_file() and file.read_bytes().strip():
            names |= set(_declared(read_yaml(file, "a list of packages").get("packages")))
    if installed.is_dir():
        names |= {entry.name for entry in installed.iterdir() if (entry / PROJECT_FILE).is_file()}
    return tuple(sorted(names))


def _declared(packages: object) -> Iterable[str]:
    for entry in packages if isinstance(packages, list) else ():
        if isinstance(entry, dict):
            ways = ("name", "package", "git", "local", "private")
            place = next((str(entry[way]) for way in ways if entry.get(way)), "")
            if name := place.rstrip("/").rpartition("/")[2].removesuffix(".git"):
                yield name
