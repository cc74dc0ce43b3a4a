"""Keys that the design names and this release doesn't carry out.

Accepting one silently would promise what doesn't happen, so each is an error. The change that
builds a feature deletes its line here (and adds the key to its model).
"""

from __future__ import annotations

PIPELINE_KEYS = frozenset({"notify"})


def find(document: dict[str, object]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return each reserved key of a pipeline's mapping: where it is, and a message."""
    return [
        ((key,), f"`{key}` comes with a later release and does nothing yet: remove it")
        for key in document
        if key in PIPELINE_KEYS
    ]


def without(
    document: dict[str, object], found: list[tuple[tuple[str | int, ...], str]]
) -> dict[str, object]:
    """Return a copy without what :func:`find` reported, so that other problems still show."""
    gone = {loc[0] for loc, _ in found}
    return {key: value for key, value in document.items() if key not in gone}
