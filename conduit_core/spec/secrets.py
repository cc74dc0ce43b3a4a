"""Which texts of a connection must never be shown, in each spelling a URL or a log gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from conduit_core.spec.endpoints import ConnectionSpec

MASK = "***"
SHORTEST = 4
"""A shorter secret would take half of every message with it."""
_SECRET_KEY = re.compile(r"pass|pwd|secret|token|cred|private|key|auth|sas|sig", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"://[^/?#@:]*:[^@]+@|(^|[?&\s])\w*(pass|pwd|secret|token)\w*\s*=\s*[^\s&]", re.IGNORECASE
)
_VARIABLE = re.compile(r"\$\{[^}]*\}")


def secrets_of(connections: Iterable[ConnectionSpec]) -> frozenset[str]:
    """Return every secret of these connections, in each spelling a URL gives it."""
    return frozenset(
        form
        for connection in connections
        for text in _wrapped(connection.options, secret_key=False)
        for form in _forms(text)
        if len(form) >= SHORTEST
    )


def masking(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that puts ``***`` in place of each secret in a text."""
    longest_first = sorted({s for s in secrets if s}, key=len, reverse=True)
    if not longest_first:
        return str
    pattern = re.compile("|".join(re.escape(s) for s in longest_first))
    return lambda text: pattern.sub(MASK, text)


def is_secret_key(key: str) -> bool:
    """Tell whether a key's name says that its value is a secret."""
    return bool(_SECRET_KEY.search(key))


def shows_secret(value: object, key: str = "") -> bool:
    """Tell whether one end of a pipeline, as Python wrote it, has a secret written out in it.

    Args:
        value: a URL, or a mapping as in the file.
        key: the key that it stands under; names such as ``password`` are of secrets.
    """
    if isinstance(value, Mapping):
        return any(shows_secret(item, str(name)) for name, item in value.items())
    if not isinstance(value, str):
        return False
    written = _VARIABLE.sub("", value)
    return bool(written and (_SECRET_KEY.search(key) or _SECRET_TEXT.search(written)))


def _wrapped(value: object, *, secret_key: bool) -> Iterable[str]:
    """Yield the wrapped strings that are, or hold, a secret: not a path from the environment."""
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        if secret_key or "://" in text or "=" in text:
            yield text
    elif isinstance(value, Mapping):
        for key, item in value.items():
            found = bool(_SECRET_KEY.search(str(key)))
            yield from _wrapped(item, secret_key=secret_key or found)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _wrapped(item, secret_key=secret_key)


def _forms(text: str) -> Iterable[str]:
    yield text
    if "://" not in text:
        yield from (quote(text, safe=""), quote_plus(text))
        yield from re.findall(r"password\s*=\s*'?([^'\s]+)", text)
        return
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return
    held = [password] if password else []
    held += [v for k, v in parse_qsl(parts.query) if _SECRET_KEY.search(k)]
    for secret in held:
        plain = unquote(secret)
        yield from (secret, plain, quote(plain, safe=""), quote_plus(plain))
