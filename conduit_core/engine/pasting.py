"""Commands to paste under an error: with the pipeline's file, and the stream the error is about."""

from __future__ import annotations

import re
import shlex

_WORDS = re.compile(r"conduit ([a-z][a-z-]*(?: [a-z][a-z-]*)?)(?= --|  #|$)")
_WITHOUT_FILE = frozenset({"init", "connectors", "json-schema"})
_WITH_STREAM = frozenset(
    {
        "files",
        "plan",
        "run",
        "runs",
        "schema diff",
        "schema export",
        "schema infer",
        "state adopt",
        "state reset",
        "state set",
        "state show",
    }
)


def complete(command: str, file: str, stream: str | None) -> str:
    """Return the command for this pipeline; what it says itself stays, and so do other programs'.

    Examples:
        >>> complete("conduit run --full-refresh", "shop.yml", "my orders")
        "conduit run shop.yml --stream 'my orders' --full-refresh"
        >>> complete("conduit check other.yml", "shop.yml", None)
        'conduit check other.yml'
    """
    return " && ".join(_complete(part, file, stream) for part in command.split(" && "))


def _complete(command: str, file: str, stream: str | None) -> str:
    match = _WORDS.match(command)
    if match is None or match[1] in _WITHOUT_FILE or command.endswith("--help"):
        return command
    added = [shlex.quote(file)] if file else []
    if stream and match[1] in _WITH_STREAM and "--stream" not in command:
        added += ["--stream", shlex.quote(stream)]
    return " ".join([match[0], *added]) + command[match.end() :]
