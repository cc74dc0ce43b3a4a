"""What is wrong with a model's input, in words: where, which key, what is allowed, what is near."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from conduit_core.spec.document import Loc, safe_key, show_loc
from conduit_core.spec.later import Later
from conduit_core.spec.names import IMPORT_PATH
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
        within, tag, known = resolve(model, item["loc"])
        loc: Loc = (*prefix, *within)
        context = item.get("ctx", {})
        if item["type"] == KIND:
            found.extend(((*loc, *at), text) for at, text in context["problems"])
            continue
        if item["type"] in {"union_tag_invalid", "union_tag_not_found"}:
            key = str(context["discriminator"]).strip("'")
            found.append((loc, _say_tag(key, context, loc, value_at)))
            continue
        known += more_keys if len(within) == 1 else ()
        text = _say(item["type"], item["msg"], loc, context, known, value_at(loc))
        if item["type"] == "extra_forbidden" and tag and "did you mean" in text:
            text += f" `{tag}` takes {', '.join(sorted(known))}"
        found.append((loc, text))
    return list(dict.fromkeys(found))


def _say_tag(
    key: str, context: dict[str, Any], loc: Loc, value_at: Callable[[Loc], str | None]
) -> str:
    """Say that the key which tells what a mapping is has no such value, or isn't there."""
    tags = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
    if not tags:
        return f"`{show_loc(loc)}` needs `{key}:`, for example {{rule: not_null, column: id}}"
    shown = value_at((*loc, key))
    near = difflib.get_close_matches(str(context.get("tag", "")).lower(), tags, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"unknown {key}{'' if shown is None else f' {shown}'}{hint} known: {', '.join(tags)}"


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
    if context.get("pattern") == IMPORT_PATH:
        return f"`{key}` must be written package.module:name{_colon(value) or got}"
    if kind in _LIMITS:
        limit, said = _LIMITS[kind]
        return f"`{key}` {said.format(context[limit])}{got}"
    return f"`{key}` {_TEXTS.get(kind) or text[:1].lower() + text[1:]}{got}"


def _colon(value: str | None) -> str:
    """Return the import path that a dotted one means."""
    dotted = re.fullmatch(r"'(\w+(?:\.\w+)*)\.(\w+)'", value or "")
    return f", did you mean {dotted[1]}:{dotted[2]}?" if dotted else ""


def nearest(key: str, known: Collection[str]) -> str:
    """Return ``; did you mean `x`?``, or the known keys where none is near."""
    close = difflib.get_close_matches(key.lower(), list(known), n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; known keys: {', '.join(sorted(known))}" if known else ""


def resolve(
    model: type[BaseModel] | None, loc: tuple[str | int, ...]
) -> tuple[Loc, str, list[str]]:
    """Follow a place inside a model, through unions of models.

    Returns:
        The place as the file has it, without the tags that pydantic adds; the tag of the mapping
        that the last key stands in, empty without one; the keys that this mapping may have.
    """
    here, tag = ({"": model} if model else {}), ""
    kept: list[str | int] = []
    for position, part in enumerate(loc):
        if len(here) > 1 and part in here:
            here, tag = {"": here[str(part)]}, str(part)
            continue
        kept.append(part)
        if position < len(loc) - 1 and isinstance(part, str):
            one = next(iter(here.values()), None) if len(here) == 1 else None
            here, tag = _inner(one, part), ""
    if len(here) != 1:
        return tuple(kept), "", []
    (one,) = here.values()
    keys = [info.alias or name for name, info in one.model_fields.items()]
    return tuple(kept), tag, [*keys, *getattr(one, "also_keys", ())]


def _inner(model: type[BaseModel] | None, key: str) -> dict[str, type[BaseModel]]:
    for name, info in model.model_fields.items() if model else ():
        if key in (name, info.alias):
            return _models_in(info.annotation)
    return {}


def _models_in(annotation: object) -> dict[str, type[BaseModel]]:
    """Return the models that a field may hold, by the tags that pydantic puts into places."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {_literal_of(annotation): annotation}
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        later = [part for part in parts[1:] if isinstance(part, Later)]
        found = _models_in(later[0].annotation if later else parts[0])
        tags = [str(part.tag) for part in parts[1:] if isinstance(part, Tag)]
        return dict(zip(tags, found.values(), strict=False)) if tags else found
    return {tag: model for part in parts for tag, model in _models_in(part).items()}


def _literal_of(model: type[BaseModel]) -> str:
    """Return the one value that a required key of a model has; else the model's name."""
    for info in model.model_fields.values():
        if get_origin(info.annotation) is Literal and info.is_required():
            allowed = get_args(info.annotation)
            if len(allowed) == 1:
                return str(allowed[0])
    return model.__name__
