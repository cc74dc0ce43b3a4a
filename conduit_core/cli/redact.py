"""Takes secrets out of text before it is shown: the last line of defence, not the first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from conduit_core.spec import ConnectionSpec

MASK = "***"
_SHORTEST = 4
"""A shorter secret would take half of every message with it."""
_SECRET_KEY = re.compile(r"pass|pwd|secret|token|cred|private|key|auth|sas|sig", re.IGNORECASE)


class Redactor:
    """Knows the secrets that were read, and masks them in any text."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, connections: Iterable[ConnectionSpec]) -> None:
        """Remember every secret of these connections, in each spelling a URL gives it."""
        for connection in connections:
            for text in _wrapped(connection.options, secret_key=False):
                self._secrets |= {form for form in _forms(text) if len(form) >= _SHORTEST}
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._pattern = (
            re.compile("|".join(re.escape(s) for s in longest_first)) if longest_first else None
        )

    def __call__(self, text: str) -> str:
        """Return the text with each known secret masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text


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
