"""Named connections: ``{connection: shop_pg}`` is resolved by the runner, here from a file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pydantic import SecretStr, ValidationError

from conduit_core.errors import ConfigError
from conduit_core.spec import explain as explaining
from conduit_core.spec.endpoints import ConnectionSpec, reveal
from conduit_core.spec.interpolate import interpolate
from conduit_core.spec.load import LoadedSpec, Origin, read_document, wrap_from_env

DEFAULT_PATH = Path("~/.conduit/connections.yml")
ENV_PATH = "CONDUIT_CONNECTIONS"


class ConnectionResolver(Protocol):
    """Finds a connection by its name; each runner brings its own."""

    def resolve(self, name: str) -> ConnectionSpec:
        """Return the connection.

        Args:
            name: as ``connection:`` writes it.

        Raises:
            ConfigError: there is none of that name; the known names are told, never their values.
        """
        ...


class FileConnections:
    """Connections from a YAML or TOML file that maps names to mappings or URL strings.

    Args:
        path: the file; default ``CONDUIT_CONNECTIONS``, else ``~/.conduit/connections.yml``. A
            relative ``path:`` in it is relative to its folder.
        env: the variables for ``${NAME}`` and for the file's place; default the process's own.
    """

    def __init__(
        self, path: Path | str | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self._env: Mapping[str, str] = os.environ if env is None else env
        self.path = Path(path or self._env.get(ENV_PATH) or DEFAULT_PATH).expanduser()

    def resolve(self, name: str) -> ConnectionSpec:
        """Return the connection of that name.

        Raises:
            ConfigError: the file is missing or wrong, or has no such name.
        """
        if not self.path.exists():
            text = f"connection `{name}`: there is no {self.path} that could hold it"
            raise ConfigError(f"{text}; make it, or set {ENV_PATH}", command="conduit check")
        place, document = read_document(self.path)
        if not isinstance(document.data, dict):
            raise place.error([((), "must map names to connections")])
        if name not in document.data:
            raise _unknown(self.path.name, name, list(document.data))
        spec = _built(place, name, document.data[name], self._env)
        return spec.model_copy(update={"options": self._absolute(spec.options)})

    def _absolute(self, options: dict[str, object]) -> dict[str, object]:
        path = reveal(options.get("path"))
        if not isinstance(path, str) or "://" in path or path.startswith(":"):
            return options
        full = str(self.path.parent.resolve() / Path(path).expanduser())
        wrapped = isinstance(options["path"], SecretStr)
        return {**options, "path": SecretStr(full) if wrapped else full}


class GivenConnections:
    """Connections that a runner was given: a mapping of names to mappings or URL strings.

    Args:
        connections: the connections; ``${NAME}`` in them is filled in when one is resolved.
        place: what holds them, for messages.
        env: the variables for ``${NAME}``; default the process's own.
    """

    def __init__(
        self,
        connections: Mapping[str, object],
        place: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._connections = dict(connections)
        self._place = place
        self._env = env

    def __repr__(self) -> str:
        """Return the names, and nothing of the values."""
        return f"{type(self).__name__}({', '.join(sorted(self._connections))})"

    def resolve(self, name: str) -> ConnectionSpec:
        """Return the connection of that name.

        Args:
            name: as ``connection:`` writes it.

        Raises:
            ConfigError: there is none, it is wrong, or a variable isn't set.
        """
        if name not in self._connections:
            raise _unknown(self._place, name, list(self._connections))
        env = os.environ if self._env is None else self._env
        return _built(Origin(self._place), name, self._connections[name], env)


def _unknown(place: str, name: str, known: list[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    names = ", ".join(sorted(known)) or "none"
    return ConfigError(
        f"{place}: no connection `{name}`{hint} (it has: {names})", command="conduit check"
    )


def _built(place: Origin, name: str, data: object, env: Mapping[str, str]) -> ConnectionSpec:
    filled = interpolate({name: data}, env)
    if filled.problems:
        raise place.error(filled.problems)
    value = filled.data[name] if isinstance(filled.data, dict) else None
    try:
        spec = ConnectionSpec.model_validate(wrap_from_env(value, (name,), filled.from_env))
    except ValidationError as error:
        found = explaining.problems(error, prefix=(name,), model=ConnectionSpec)
        raise place.error(found) from None
    if spec.connection:
        raise place.error([((name, "connection"), "a connection can't name another one")])
    return spec


def resolve_connections(
    loaded: LoadedSpec,
    resolver: ConnectionResolver,
    instead: Mapping[str, str] = MappingProxyType({}),
) -> LoadedSpec:
    """Return the pipeline with its named connections filled in; what the file says itself wins.

    Args:
        loaded: the pipeline.
        resolver: knows the names.
        instead: by end, the name of a connection that takes the place of the file's own.

    Raises:
        ConfigError: a name isn't known, or the type differs; with the pipeline file's line.
    """
    changed: dict[str, ConnectionSpec] = {}
    for end in ("source", "destination"):
        spec: ConnectionSpec = getattr(loaded.spec, end)
        name = instead.get(end) or spec.connection
        if name is None:
            continue
        try:
            named = resolver.resolve(name)
            if spec.connection is None:
                changed[end] = spec.replaced_by(named, name)
            else:
                changed[end] = spec.model_copy(update={"connection": name}).over(named)
        except (ConfigError, ValueError) as error:
            if not isinstance(error, ConfigError):
                raise loaded.problem((end, "connection"), str(error)) from None
            problem = loaded.problem((end, "connection"), error.message)
            problem.command = error.command or problem.command
            raise problem from None
    if not changed:
        return loaded
    return LoadedSpec(loaded.spec.model_copy(update=changed), loaded.base_dir, loaded.place)
