"""What is wrong with a model's input, in words: where, which key, what is allowed, what is near."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from conduit_core.spec.document import Loc, safe_key, show_loc
from conduit_core.spec.problems import KIND

_TEXTS = {
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must not begin or end with a space, or hold a line break",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "too_short": "must not be empty",
    "byte_size": "must be a size such as 64MiB, or a number of bytes",
    "byte_size_unit": "must be a size such as 64MiB, or a number of bytes",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_long": ("max_length", "must have at most {} characters"),
}


def problems(
    error: ValidationError,
    *,
    prefix: Loc = (),
    model: type[BaseModel] | None = None,
    more_keys: Collection[str] = (),
    value_at: Callable[[Loc], str | None] = lambda _: None,
) -> list[tuple[Loc, str]]:
    """Return each problem of a validation error: where (below ``prefix``) and a message.

    Args:
        error: as pydantic raised it.
        prefix: where in the file the model's mapping stands.
        model: the model, to name the nearest key and the known ones.
        more_keys: keys that may stand beside the model's own.
        value_at: the value at a place for the message, or None where it must not be shown.
    """
    found: list[tuple[Loc, str]] = []
    for item in error.errors(include_url=False, include_input=False):
        loc: Loc = (*prefix, *item["loc"])
        context = item.get("ctx", {})
        if item["type"] == KIND:
            found.extend(((*loc, *at), text) for at, text in context["problems"])
            continue
        known = [*keys_at(model, item["loc"][:-1]), *(more_keys if len(item["loc"]) == 1 else ())]
        found.append((loc, _say(item["type"], item["msg"], loc, context, known, value_at(loc))))
    return list(dict.fromkeys(found))


def _say(
    kind: str, text: str, loc: Loc, context: dict[str, Any], known: list[str], value: str | None
) -> str:
    key = safe_key(str(loc[-1])) if loc else "the file"
    if isinstance(loc[-1] if loc else None, int):
        key = show_loc(loc)
    got = f"; it is {value}" if value is not None else ""
    if kind == "missing":
        return f"`{key}` is missing"
    if kind == "extra_forbidden":
        return f"unknown key `{key}`{nearest(key, known)}"
    if kind in {"literal_error", "enum"}:
        allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"`{key}` must be {' or '.join(allowed)}{got}"
    if kind == "conduit":
        return f"`{key}` {context['text']}"
    if kind == "value_error":
        return f"`{key}` {context.get('error', text)}{got}"
    if kind in _LIMITS:
        limit, said = _LIMITS[kind]
        return f"`{key}` {said.format(context[limit])}{got}"
    return f"`{key}` {_TEXTS.get(kind) or text[:1].lower() + text[1:]}{got}"


def nearest(key: str, known: Collection[str]) -> str:
    """Return ``; did you mean `x`?``, or the known keys where none is near."""
    close = difflib.get_close_matches(key.lower(), list(known), n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; known keys: {', '.join(sorted(known))}" if known else ""


def keys_at(model: type[BaseModel] | None, loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a mapping at ``loc`` inside ``model`` may have."""
    here = model
    for part in loc:
        if here is None:
            return []
        if isinstance(part, str):
            here = _inner(here, part)
    return [info.alias or name for name, info in here.model_fields.items()] if here else []


def _inner(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    for name, info in model.model_fields.items():
        if key in (name, info.alias):
            return _model_in(info.annotation)
    return None


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found:
            return found
    return None
