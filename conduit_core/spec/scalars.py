"""What several keys of a pipeline file allow: a scalar for a list of one, a time zone's name."""

from __future__ import annotations

from zoneinfo import ZoneInfo


def many(value: object) -> object:
    """Return a list of one for a text, and an empty one for null."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def zone(value: object) -> object:
    """Return the value if it is a time zone's name, or nothing that looks like one.

    Raises:
        ValueError: no zone is called so.
    """
    if isinstance(value, str):
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("is not a time zone; write one such as UTC or Europe/Oslo") from None
    return value
