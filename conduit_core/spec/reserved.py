"""Keys and modes that the design names and this release doesn't carry out.

Accepting one silently would promise what doesn't happen, so each is an error. The change that
builds a feature deletes its line here (and adds the key to its model).
"""

from __future__ import annotations

import copy
from typing import Any

PIPELINE_KEYS = frozenset({"after", "notify"})
STREAM_KEYS = frozenset(
    {
        "deletes",
        "dependents",
        "expected",
        "max_rejected",
        "on_schema_change",
        "quality",
        "transform",
    }
)
MODES = frozenset({"scd2"})


def _later(what: str) -> str:
    return f"{what} comes with a later release and does nothing yet"


def find(document: dict[str, object]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return each reserved key or mode of a pipeline's mapping: where it is, and a message."""
    found: list[tuple[tuple[str | int, ...], str]] = []

    def keys(at: tuple[str | int, ...], value: object, reserved: frozenset[str]) -> None:
        if isinstance(value, dict):
            found.extend(
                ((*at, key), f"{_later(f'`{key}`')}: remove it") for key in value if key in reserved
            )

    def stream(at: tuple[str | int, ...], value: object) -> None:
        keys(at, value, STREAM_KEYS)
        if isinstance(value, dict):
            mode = value.get("mode")
            if isinstance(mode, str) and mode in MODES:
                text = f"{_later(f'`mode: {mode}`')}: use upsert, or another mode"
                found.append(((*at, "mode"), text))

    keys((), document, PIPELINE_KEYS)
    stream(("defaults",), document.get("defaults"))
    streams = document.get("streams")
    if isinstance(streams, list):
        for position, item in enumerate(streams):
            stream(("streams", position), item)
    return found


def without(
    document: dict[str, object], found: list[tuple[tuple[str | int, ...], str]]
) -> dict[str, object]:
    """Return a copy without what :func:`find` reported, so that other problems still show."""
    out = copy.deepcopy(document)
    for loc, _ in found:
        inner: Any = out
        for part in loc[:-1]:
            inner = inner[part]
        if loc[-1] == "mode":
            inner["mode"] = "replace"
        else:
            del inner[loc[-1]]
    return out
