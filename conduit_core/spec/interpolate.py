"""``${ENV}`` and ``${ENV:-default}`` inside strings, after parsing: a value can't add structure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Loc = tuple[str | int, ...]

# In this order: an escaped opening, a variable, an opening that is neither.
_TOKEN = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")


@dataclass(slots=True)
class Interpolated:
    """A document after interpolation.

    Args:
        data: the same structure, with variables filled in.
        from_env: where strings stand that took a variable's value; never to be shown.
        problems: missing variables and broken references, without any value.
    """

    data: object
    from_env: set[Loc] = field(default_factory=set)
    problems: list[tuple[Loc, str]] = field(default_factory=list)


def interpolate(data: object, env: Mapping[str, str]) -> Interpolated:
    """Fill in the variables of every string in ``data``; keys are left as they are.

    ``$${`` writes a literal ``${``. As in a shell, a default also stands in for an empty value.
    """
    result = Interpolated(data=None)
    result.data = _walk(data, (), env, result)
    return result


def _walk(value: object, at: Loc, env: Mapping[str, str], result: Interpolated) -> object:
    if isinstance(value, dict):
        return {key: _walk(item, (*at, key), env, result) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, (*at, index), env, result) for index, item in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _text(value, at, env, result)
    return value


def _text(value: str, at: Loc, env: Mapping[str, str], result: Interpolated) -> str:
    def fill(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            text = "`${` opens no variable; write ${NAME}, ${NAME:-default}, or $${ for a literal"
            result.problems.append((at, text))
            return ""
        result.from_env.add(at)
        found = env.get(name)
        if default is not None:
            return found or str(default)
        if found is None:
            text = f"environment variable {name} is not set; set it or write ${{{name}:-default}}"
            result.problems.append((at, text))
            return ""
        return found

    return _TOKEN.sub(fill, value)
