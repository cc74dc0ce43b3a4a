"""Keys that the design names and this release doesn't carry out.

Accepting one silently would promise what doesn't happen, so each is an error. The change that
builds a feature deletes its line here (and adds the key to its model).
"""

from __future__ import annotations

import copy
from typing import Any

PIPELINE_KEYS = frozenset({"after", "notify"})
STREAM_KEYS = frozenset(
    {
        "dependents",
        "expected",
        "max_rejected",
        "on_schema_change",
        "quality",
        "transform",
    }
)


def find(document: dict[str, object]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return each reserved key of a pipeline's mapping: where it is, and a message."""
    found: list[tuple[tuple[str | int, ...], str]] = []

    def keys(at: tuple[str | int, ...], value: object, reserved: frozenset[str]) -> None:
        if isinstance(value, dict):
            found.extend(
                ((*at, key), f"`{key}` comes with a later release and does nothing yet: remove it")
                for key in value
                if key in reserved
            )

    keys((), document, PIPELINE_KEYS)
    keys(("defaults",), document.get("defaults"), STREAM_KEYS)
    streams = document.get("streams")
    if isinstance(streams, list):
        for position, item in enumerate(streams):
            keys(("streams", position), item, STREAM_KEYS)
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
        del inner[loc[-1]]
    return out
