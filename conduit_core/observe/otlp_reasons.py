"""Why a collector took nothing, out of what the SDK logs: one clause for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_LONGEST = 160
_CAUSES = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        (r"(it answered \d{3}[^\"'()]*?)(?: \)| encountered|$)", r"\1"),
        (r"code: (\d{3}), reason: ([^\"'(]*)", r"it answered \1 \2"),
        (r"certificate verify failed: ([^(\"']*)", r"its certificate isn't trusted: \1"),
        (r"SSL: ([A-Z_]+)", r"no TLS with it: \1"),
        (r"failed to resolve '([^']+)'", r"there is no host \1"),
        (r"address lookup failed for (\S+?):\d*:", r"there is no host \1"),
        (r"connection refused", r"it can't be reached: connection refused"),
        (r"failed to establish a new connection: (?:\[Errno -?\d+\] )?([^\"')]+)",
         r"it can't be reached: \1"),
        (r"timed out|deadline[_ ]exceeded", r"it didn't answer in time"),
        (r"StatusCode\.([A-Z_]+), error details: ([^\"(;\[]*)", r"it answered \1: \2"),
        (r"StatusCode\.([A-Z_]+)", r"it answered \1"),
    )
)  # fmt: skip


def reason(said: Sequence[str]) -> str:
    """Return why nothing was taken.

    Args:
        said: what was logged, without secrets; the last of it is what became of it in the end, the
            first what began it.
    """
    for pattern, text in _CAUSES:
        for line in reversed(said):
            if found := pattern.search(line):
                return _cut(found.expand(text))
    return _cut(said[-1]) if said else "it wasn't taken"


def together(problems: Mapping[str, str]) -> str:
    """Return what went wrong with each signal; what is the same is told once."""
    signals: dict[str, list[str]] = {}
    for signal, text in problems.items():
        signals.setdefault(text, []).append(signal)
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in signals.items())


def _cut(text: str) -> str:
    text = " ".join(text.split()).rstrip(" .:,")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
