"""A pipeline file as plain data, with the line of each key: YAML, TOML, or a Python mapping.

YAML follows version 1.2 where 1.1 surprises: ``no``, ``on`` and dates stay text, ``010`` is ten.
A syntax error's own text never quotes the file: the line may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import PurePath

import yaml
from pydantic import BaseModel, SecretStr

from conduit_core.errors import ConfigError

Loc = tuple[str | int, ...]
MAX_NODES = 100_000  # aliases can make a small file huge


@dataclass(slots=True)
class Document:
    """Plain data (dict, list, text, numbers, booleans, None, SecretStr) and each key's line."""

    data: object
    lines: dict[Loc, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


def _resolver(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolver("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolver("null", r"^(?:~|null|Null|NULL|)$", "~nN\0")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_resolver("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789")
_resolver(
    "float",
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
    "-+0123456789.",
)


def parse_yaml(text: str, origin: str) -> Document:
    """Parse one YAML document.

    Raises:
        ConfigError: a syntax error, a duplicate or non-text key, an unknown tag; with the line.
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line, problem = _told(error)
        raise ConfigError(f"{origin}:{line}: not valid YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise ConfigError(f"{origin}:{line}: not valid YAML: a control character") from None
    except RecursionError:
        raise ConfigError(f"{origin}: nested too deep to be a pipeline") from None
    document = Document(data=None)
    if node is not None:
        document.data = _Builder(origin, document.lines).build(node, (), ())
    return document


def _told(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return the line to look at, and what is wrong there in a user's words."""
    problem, opening = error.problem or "syntax error", error.context_mark
    if problem.startswith("expected ',' or '") and opening:
        bracket = "[" if "']'" in problem else "{"
        text = f'a {bracket} isn\'t closed, or a value in it needs quotes, as in "${{NAME}}"'
        return opening.line + 1, text
    if "'\\t'" in problem:
        problem = "indented with a tab; use spaces"
    mark = error.problem_mark or opening
    return mark.line + 1 if mark else 1, _scrub(problem)


def _scrub(problem: str) -> str:
    """Drop what a parser quotes from the file, except single characters and its own <tokens>."""
    return re.sub(r"(['\"])((?:(?!\1).)+)\1", _kept, problem)


def _kept(quoted: re.Match[str]) -> str:
    return quoted[0] if len(quoted[2]) == 1 or quoted[2].startswith("<") else "..."


class _Builder:
    """Turns YAML nodes into plain data and notes lines."""

    def __init__(self, origin: str, lines: dict[Loc, int]) -> None:
        self._origin = origin
        self._lines = lines
        self._count = 0

    def build(self, node: yaml.Node, at: Loc, above: tuple[int, ...]) -> object:
        """Return the node's value; ``above`` are the nodes it lies in, to refuse a cycle."""
        self._lines.setdefault(at, node.start_mark.line + 1)
        self._count += 1
        if id(node) in above or self._count > MAX_NODES:
            raise self._error(node, "aliases (`*name`) that repeat themselves are refused")
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
            return self._mapping(node, at, inside)
        if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
            return [self.build(item, (*at, i), inside) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise self._error(node, "a tag (`!name`) that pipeline files don't have")

    def _mapping(self, node: yaml.MappingNode, at: Loc, inside: tuple[int, ...]) -> object:
        out: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "":
                raise self._error(key_node, "a key must be text")
            key = str(key_node.value)
            if key in out:
                raise self._error(key_node, f"duplicate key `{safe_key(key)}`")
            self._lines[(*at, key)] = key_node.start_mark.line + 1
            out[key] = self.build(value_node, (*at, key), inside)
        return out

    def _scalar(self, node: yaml.ScalarNode) -> object:
        text = str(node.value)
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        try:
            if kind == "str":
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int":
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if kind == "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:
            raise self._error(node, f"not {kind} as its tag says") from None
        raise self._error(node, "a tag (`!name`) that pipeline files don't have")

    def _error(self, node: yaml.Node, text: str) -> ConfigError:
        return ConfigError(f"{self._origin}:{node.start_mark.line + 1}: {text}")


def parse_toml(text: str, origin: str) -> Document:
    """Parse TOML; lines are found by the keys' text, as the parser keeps none.

    Raises:
        ConfigError: a syntax error, with the line where the parser tells it.
    """
    import tomllib  # most files are YAML, and each DAG that is parsed pays for what is imported

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found.group(1)) if found else text.count("\n") + 1
        problem = _scrub(re.sub(r"\s*\(at [^)]*\)", "", str(error)))
        raise ConfigError(f"{origin}:{line}: not valid TOML: {problem}") from None
    except RecursionError:
        raise ConfigError(f"{origin}: nested too deep to be a pipeline") from None
    return Document(data=plain(data, origin), lines=_toml_lines(text))


def _toml_lines(text: str) -> dict[Loc, int]:
    lines: dict[Loc, int] = {(): 1}
    table: Loc = ()
    counts: dict[Loc, int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*(\[\[?)\s*([\w.\- \"']+?)\s*\]", raw)
        if header:
            table = _dotted(header.group(2))
            if header.group(1) == "[[":
                counts[table] = counts.get(table, -1) + 1
                lines.setdefault(table, number)
            for end in range(len(table), 0, -1):
                if table[:end] in counts:
                    table = (*table[:end], counts[table[:end]], *table[end:])
                    break
            lines.setdefault(table, number)
            continue
        pair = re.match(r"\s*([\w.\-]+|\"[^\"]*\"|'[^']*')\s*=", raw)
        if pair:
            parts = _dotted(pair.group(1))
            for end in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:end]), number)
    return lines


def _dotted(text: str) -> Loc:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def plain(value: object, origin: str, at: Loc = ()) -> object:
    """Return a Python value as the plain data that a YAML file of the same meaning gives.

    Dates become ISO text, tuples lists, paths text, models their fields.

    Raises:
        ConfigError: a value of another type; its type is named, never the value.
    """
    match value:
        case None | bool() | int() | float() | str() | SecretStr() | timedelta():
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case PurePath():
            return str(value)
        case BaseModel():
            fields = {
                (info.alias or name): getattr(value, name)
                for name, info in type(value).model_fields.items()
                if name in value.model_fields_set
            }
            return plain(fields, origin, at)
        case Mapping():
            out: dict[str, object] = {}
            for key, item in value.items():
                if not isinstance(key, str):
                    raise ConfigError(f"{origin}: {show_loc(at) or 'pipeline'}: a key must be text")
                out[key] = plain(item, origin, (*at, key))
            return out
        case list() | tuple():
            return [plain(item, origin, (*at, index)) for index, item in enumerate(value)]
    kind = type(value).__name__
    raise ConfigError(f"{origin}: {show_loc(at)}: a {kind} can't stand in a pipeline")


def safe_key(key: str) -> str:
    """Return the key for a message, or a stand-in where it looks like a value gone astray."""
    return key if re.fullmatch(r"[\w.-]{1,64}", key) else "(not a name)"


def show_loc(loc: Loc) -> str:
    """Return ``streams[0].cursor`` for ``("streams", 0, "cursor")``; empty at the top."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{safe_key(part)}" if text else safe_key(part)
    return text
