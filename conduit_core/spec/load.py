"""Reads a pipeline file, or a mapping, into one model; says what is wrong with file and line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, SecretStr, ValidationError

from conduit_core.errors import ConfigError
from conduit_core.spec import explain as explaining
from conduit_core.spec.document import Document, Loc, parse_toml, parse_yaml, plain, show_loc
from conduit_core.spec.interpolate import interpolate
from conduit_core.spec.model import PipelineSpec

DEFAULT_FILE = "pipeline.yml"
PYTHON = "<python>"
_ENDS = ("source", "destination")
_SECRETIVE = {("source",), ("destination",), ("notify",)}
MAX_SHOWN = 60  # characters of a wrong value in a message


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a document came from: a file with lines, or Python. Turns places into messages.

    Args:
        name: the file's name, or ``<python>``.
        path: the file as the user named it but for detours, for commands to paste.
        lines: the line of each key that the file has.
    """

    name: str
    path: Path | None = None
    lines: Mapping[Loc, int] = field(default_factory=dict)

    def line(self, loc: Loc) -> tuple[Loc, int] | None:
        """Return the nearest place at or above ``loc`` that the file has, and its line."""
        shared = ("defaults", *loc[2:3])
        if loc[:1] == ("streams",) and len(loc) > 2 and loc[:3] not in self.lines:
            if shared in self.lines:
                loc = (*shared, *loc[3:])
            elif loc[2] == "freshness" and ("freshness",) in self.lines:
                loc = ("freshness",)
        for end in range(len(loc), -1, -1):
            if loc[:end] in self.lines:
                return loc if end == len(loc) else loc[:end], self.lines[loc[:end]]
        return None

    def locate(self, loc: Loc) -> str:
        """Return ``pipeline.yml:12`` for a place in the file; its nearest parent if it has none."""
        found = self.line(loc)
        return f"{self.name}:{found[1]}" if found else self.name

    @property
    def command(self) -> str:
        """The command to paste under a problem with this document."""
        return (
            f"conduit check {shlex.quote(str(self.path))}" if self.path else "conduit json-schema"
        )

    def error(self, problems: Sequence[tuple[Loc, str]]) -> ConfigError:
        """Return one error that tells every problem, in the file's order, each with its line."""
        told: dict[str, int] = {}
        for loc, text in problems:
            found = self.line(loc)
            moved = found is not None and found[0][:1] != loc[:1] and found[0] != ()
            owner = _owner(found[0] if found and moved else loc)
            where = f"{self.locate(loc)}: "
            told.setdefault(f"{where}{owner}{text}", found[1] if found else 0)
        lines = sorted(told, key=lambda line: told[line])
        if len(lines) == 1:
            return ConfigError(lines[0], command=self.command)
        head = f"{self.name}: {len(lines)} problems"
        return ConfigError("\n  ".join([head, *lines]), command=self.command)


def _owner(loc: Loc) -> str:
    """Name the mapping that a key stands in, where that isn't the file itself."""
    if loc[:1] == ("streams",) and len(loc) > 1:
        return f"{show_loc(loc[:2])}: "
    named = loc[:1] in {("source",), ("destination",), ("defaults",)} and len(loc) > 1
    return f"{loc[0]}: " if named else ""


@dataclass(frozen=True, slots=True, repr=False)
class LoadedSpec:
    """A pipeline with its origin: what relative paths and messages need.

    Args:
        spec: the pipeline.
        base_dir: relative paths in the file are relative to it.
        place: where the pipeline came from.
    """

    spec: PipelineSpec
    base_dir: Path
    place: Origin

    def __repr__(self) -> str:
        return f"LoadedSpec({self.spec.name!r}, origin={self.origin!r})"

    @property
    def origin(self) -> str:
        """The file's name, or ``<python>``."""
        return self.place.name

    @property
    def path(self) -> Path | None:
        """The file as the user named it; None for Python."""
        return self.place.path

    def locate(self, loc: Loc) -> str:
        """Return ``pipeline.yml:12`` for a place such as ``("streams", 0, "cursor")``."""
        return self.place.locate(loc)

    def locate_stream(self, name: str, key: str | None = None) -> str:
        """Return the line of a stream, or of one of its keys."""
        for position, stream in enumerate(self.spec.streams):
            if stream.name == name:
                return self.locate(("streams", position, *((key,) if key else ())))
        return self.origin

    def problem(self, loc: Loc, text: str) -> ConfigError:
        """Return the error for one problem at one place."""
        return self.place.error([(loc, text)])

    def explain(
        self,
        error: ValidationError,
        prefix: Loc,
        *,
        model: type[BaseModel] | None = None,
    ) -> ConfigError:
        """Return a connector's validation error in the words of every other one, with lines.

        Args:
            error: raised by the connector's own model over ``ConnectionSpec.reveal()``.
            prefix: ``("source",)`` or ``("destination",)``.
            model: that model, to name the nearest key.
        """
        shared: Collection[str] = ("type", "connection", "lock_wait")
        if prefix[:1] == ("destination",):
            shared = (*shared, "schema", "internal_schema")
        found = explaining.problems(error, prefix=prefix, model=model, more_keys=shared)
        return self.place.error(found)


def load_spec(
    path: Path | str = DEFAULT_FILE,
    *,
    env: Mapping[str, str] | None = None,
    ends: Mapping[str, str] = MappingProxyType({}),
) -> LoadedSpec:
    """Read a pipeline file: ``.toml`` is TOML, everything else YAML.

    Args:
        path: the file.
        env: the variables that ``${NAME}`` takes; default the process's own.
        ends: the named connection of an end that the file leaves out.

    Raises:
        ConfigError: every problem found, each with file, line, key and what is allowed.
    """
    file = Path(path)
    place, document = read_document(file)
    return _build(document.data, file.resolve().parent, place, env, ends)


def spec_from_mapping(
    mapping: Mapping[str, object],
    base_dir: Path | str = ".",
    *,
    env: Mapping[str, str] | None = None,
    ends: Mapping[str, str] = MappingProxyType({}),
) -> LoadedSpec:
    """Read a pipeline that Python wrote, by the same rules as a file; see :func:`load_spec`.

    Raises:
        ConfigError: every problem found, each with its key.
    """
    place = Origin(PYTHON)
    return _build(plain(mapping, PYTHON), Path(base_dir).resolve(), place, env, ends)


def read_document(file: Path) -> tuple[Origin, Document]:
    """Read a file's text into plain data with lines.

    Raises:
        ConfigError: it is missing, unreadable, not text, or not what its suffix says.
    """
    file = _without_detours(file)
    command = f"conduit check {shlex.quote(str(file))}"
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        name = "" if str(file) == DEFAULT_FILE else f" {shlex.quote(str(file))}"
        raise ConfigError(f"{file}: there is no such file", command=f"conduit init{name}") from None
    except IsADirectoryError:
        raise ConfigError(f"{file}: is a folder; name the file in it", command=command) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8 text", command=command) from None
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}", command=command) from None
    parse = parse_toml if file.suffix.lower() == ".toml" else parse_yaml
    try:
        document = parse(text, file.name)
    except ConfigError as error:
        raise error.at(command=command) from None
    return Origin(file.name, file, document.lines), document


def _without_detours(file: Path) -> Path:
    """Return a path without ``a/..``, unless that is another place: ``a`` may be a link."""
    if ".." not in file.parts:
        return file
    plain = Path(os.path.normpath(file))
    try:
        return plain if plain.parent.samefile(file.parent) else file
    except OSError:
        return file


def _build(
    data: object,
    base_dir: Path,
    place: Origin,
    env: Mapping[str, str] | None,
    ends: Mapping[str, str],
) -> LoadedSpec:
    if data is None or data == {}:
        raise ConfigError(f"{place.name}: is empty", command=place.command)
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "one value"
        text = f"is {kind}; a pipeline is a mapping with name, source, destination and streams"
        raise place.error([((), text)])
    left_out = (end for end in _ENDS if end in ends and data.get(end) is None)
    data = {**data, **{end: {"connection": ends[end]} for end in left_out}}
    filled = interpolate(data, os.environ if env is None else env)
    found = list(filled.problems)
    document = {
        key: wrap_from_env(item, (key,), filled.from_env) if key in _ENDS else item
        for key, item in (filled.data if isinstance(filled.data, dict) else {}).items()
    }
    spec: PipelineSpec | None = None
    try:
        spec = PipelineSpec.model_validate(document)
    except ValidationError as error:
        values = _Values(document, filled.from_env)
        broken = {loc for loc, _ in filled.problems}
        told = explaining.problems(error, model=PipelineSpec, value_at=values.show)
        found.extend(item for item in told if not any(_is_within(item[0], at) for at in broken))
    if found or spec is None:
        raise place.error(found)
    return LoadedSpec(spec, base_dir, place)


def _is_within(loc: Loc, broken: Loc) -> bool:
    """Say whether a place is another one, or in it; one thing may stand for a list of one."""
    at = 0
    for part in loc:
        if at < len(broken) and part == broken[at]:
            at += 1
        elif at < len(broken) and not isinstance(part, int):
            return False
    return at == len(broken)


def wrap_from_env(value: object, at: Loc, from_env: Collection[Loc]) -> object:
    """Wrap each string that took an environment variable's value, so that nothing shows it."""
    if isinstance(value, dict):
        return {key: wrap_from_env(item, (*at, key), from_env) for key, item in value.items()}
    if isinstance(value, list):
        return [wrap_from_env(item, (*at, i), from_env) for i, item in enumerate(value)]
    return SecretStr(value) if isinstance(value, str) and at in from_env else value


@dataclass(frozen=True, slots=True)
class _Values:
    """Finds the value at a place for a message, unless it may be a secret."""

    document: dict[str, object]
    from_env: Collection[Loc]

    def show(self, loc: Loc) -> str | None:
        """Return the value for a message, or None where there is none to show."""
        if loc[:1] in _SECRETIVE or "salt" in loc:
            return None
        found = self._at(loc)
        if found is None and loc[:1] == ("streams",):
            found = self._at(("defaults", *loc[2:])) or self._at(loc[2:])
        return found

    def _at(self, loc: Loc) -> str | None:
        here: object = self.document
        at: Loc = ()
        for part in loc:
            if isinstance(here, dict) and part == 0:
                continue  # one mapping, without a list around it
            at = (*at, part)
            if isinstance(here, dict):
                here = here.get(str(part))
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):
                here = here[part]
            else:
                return None
            if at in self.from_env:
                return None
        if not isinstance(here, bool | int | float | str):
            return None
        text = repr(here)
        return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 4]}...'"
