"""A target of a ``profiles.yml``, read without importing dbt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conduit_core.errors import ConfigError
from conduit_dbt.project import PROFILES_FILE
from conduit_dbt.rendering import NotRendered, read_yaml, render


@dataclass(frozen=True)
class Unknown:
    """Something that can't be told, and why."""

    reason: str


@dataclass(frozen=True, repr=False)
class Output:
    """A profile's target: its adapter and its settings.

    The settings hold secrets: ``repr`` shows adapter, host and database only.
    """

    type: str
    values: Mapping[str, object]

    def text(self, *keys: str) -> str:
        """Return the first of these settings that is there, as text; else an empty one."""
        found = next((self.values[key] for key in keys if self.values.get(key) is not None), "")
        return str(found)

    @property
    def database(self) -> str:
        """The database's name, or DuckDB's path without what may follow a question mark."""
        if self.type == "duckdb":
            return (self.text("path") or ":memory:").partition("?")[0]
        return self.text("dbname", "database")

    def __repr__(self) -> str:
        host = f", host={self.text('host')}" if self.text("host") else ""
        return f"Output({self.type}{host}, database={self.database})"


def read_output(
    profiles_dir: Path,
    profile: str,
    target: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Output | Unknown:
    """Return a profile's target, or why only dbt can tell what it is.

    Args:
        profiles_dir: the folder of ``profiles.yml``.
        profile: which profile.
        target: which of its targets; None is the profile's own choice.
        environment: what ``env_var`` looks at; None is this process's.

    Raises:
        ConfigError: the file, the profile or the target isn't there, or the file isn't YAML.
    """
    env = os.environ if environment is None else environment
    file = profiles_dir / PROFILES_FILE
    if not file.is_file():
        raise ConfigError(
            f"{file}: isn't there; name the folder of profiles.yml as profiles_dir, or let the"
            " profile be made with `profile: from_destination`"
        )
    found = read_yaml(file, "a file of profiles")
    settings = found.get(profile)
    if not isinstance(settings, dict):
        names = ", ".join(sorted(key for key in found if key != "config"))
        raise ConfigError(f"{file}: has no profile {profile}; it has: {names}")
    try:
        chosen = target or str(render(settings.get("target") or "default", env))
        outputs = settings.get("outputs")
        if not isinstance(outputs, dict) or not isinstance(outputs.get(chosen), dict):
            names = ", ".join(sorted(map(str, outputs))) if isinstance(outputs, dict) else "none"
            raise ConfigError(f"{file}: profile {profile} has no target {chosen}; it has: {names}")
        values = {str(k): _setting(str(k), v, env) for k, v in outputs[chosen].items()}
    except NotRendered as error:
        return Unknown(f"{file}: profile {profile}: {error}")
    if not values.get("type"):
        raise ConfigError(f"{file}: target {chosen} of profile {profile} has no type")
    return Output(str(values["type"]), values)


def _setting(key: str, value: object, environment: Mapping[str, str]) -> object:
    try:
        return render(value, environment)
    except NotRendered as error:
        raise NotRendered(f"{key}: {error}") from None
