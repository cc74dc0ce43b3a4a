"""``notify:`` of a pipeline file: who is told of what. URLs are secrets from the first line on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)

from conduit_core.spec.endpoints import MODEL_CONFIG, ConnectionSpec, Duration, reveal
from conduit_core.spec.problems import Loc, refusal
from conduit_core.spec.scalars import many
from conduit_core.spec.secrets import SHORTEST

Word = Literal["failure", "success", "recovered", "rejected", "schema_change", "stale"]
WORDS: tuple[str, ...] = get_args(Word)
CONNECTION_TYPE = "notify"
"""The type of a named connection that is a receiver."""
OPEN_HOSTS = frozenset({"http", "https", "mailto", "mailtos"})
"""Schemes whose host is a host, and no token."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_OURS = re.compile(r"https?://", re.IGNORECASE)


def _words(value: object) -> object:
    """Refuse a word that there isn't, and name the nearest."""
    value = many(value)
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be one or a list of {', '.join(WORDS)}")  # noqa: TRY004 - pydantic
    if not value:
        raise ValueError(f"must not be empty: {', '.join(WORDS)}")
    for word in value:
        if word in WORDS:
            continue
        close = difflib.get_close_matches(str(word).lower(), WORDS, n=1)
        hint = f", did you mean {close[0]}?" if close else ";"
        raise ValueError(f"has an unknown word{hint} known: {', '.join(WORDS)}")
    return tuple(dict.fromkeys(value))


def _receivers(value: object) -> object:
    """Read one receiver without a list around it."""
    value = (value,) if isinstance(value, str | Mapping | SecretStr) else value
    if isinstance(value, list | tuple) and not value:
        raise ValueError("must not be empty: a URL such as slack://..., mailto://..., https://...")
    return value


class ReceiverSpec(BaseModel):
    """Who is told: a URL, or a named connection whose ``url`` it is."""

    model_config = MODEL_CONFIG

    url: SecretStr | None = Field(
        default=None,
        description="slack://..., mailto://... and the like (apprise), or https://... for a "
        "webhook with a JSON body.",
    )
    secret: SecretStr | None = Field(
        default=None, description="What a webhook's body is signed with."
    )
    connection: str | None = Field(
        default=None,
        min_length=1,
        description="A named connection of type notify, which the runner resolves.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: object) -> object:
        text = reveal(data)
        if isinstance(text, str):
            return {"url": SecretStr(text)}
        if isinstance(text, Mapping):  # the name may come from the environment, and is no secret
            return {key: _wrapped(str(key), item) for key, item in text.items()}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := list(self._problems()):
            raise refusal(problems)
        return self

    def _problems(self) -> Iterator[tuple[Loc, str]]:
        if (self.url is None) == (self.connection is None):
            yield (), "`to` needs a URL, or a `connection`: one of the two"
        if self.url is not None:
            url = self.url.get_secret_value().strip()
            if not _URL.fullmatch(url):
                yield (
                    ("url",),
                    "`to` must be a URL such as slack://..., mailto://..., https://...",
                )
            elif _OURS.match(url) and not _has_port(url):
                yield (
                    ("url",),
                    (
                        "`to`: its host or port can't be read; in a user or password, write %2F"
                        " for /, %3F for ?, %23 for # and %40 for @"
                    ),
                )
            elif self.secret is not None and not _OURS.match(url):
                yield ("secret",), "`secret` signs the body of a webhook: https://... or http://..."
        if self.secret is not None and not self.secret.get_secret_value():
            yield ("secret",), "`secret` must not be empty"

    def over(self, named: ConnectionSpec, name: str) -> ReceiverSpec:
        """Return what a named connection says of itself; a ``secret`` here wins.

        Raises:
            ValueError: it is no receiver; the message has no value of it.
        """
        if named.type != CONNECTION_TYPE:
            raise ValueError(
                f"connection `{name}` is of type {named.type or 'none'}, not {CONNECTION_TYPE}"
            )
        options = named.options
        if unknown := sorted(set(options) - {"url", "secret"}):
            raise ValueError(f"connection `{name}`: unknown key `{unknown[0]}`; url, secret")
        said = {"secret": self.secret} if self.secret is not None else {}
        try:
            return ReceiverSpec.model_validate({**options, **said})
        except ValueError:
            raise ValueError(
                f"connection `{name}` needs a `url` such as slack://..., mailto://..., https://..."
            ) from None


class NotifyRule(BaseModel):
    """Who is told of what, and when not."""

    model_config = MODEL_CONFIG

    on: Annotated[tuple[Word, ...], BeforeValidator(_words)] = Field(
        description="What is told: failure, success, recovered, rejected, schema_change, stale."
    )
    to: Annotated[tuple[ReceiverSpec, ...], BeforeValidator(_receivers)] = Field(
        description="Who is told: URLs, or named connections."
    )
    if_: str | None = Field(
        default=None,
        alias="if",
        min_length=1,
        description="Told only where this Jinja expression is true: rejected > 100.",
    )
    template: str | None = Field(
        default=None, min_length=1, description="What is said of a stream, as a Jinja template."
    )
    quiet: Duration | None = Field(
        default=None,
        description="How long nothing more is said of what goes on, or of a stream's next loads.",
    )


def _wrapped(key: str, item: object) -> object:
    return SecretStr(item) if key in {"url", "secret"} and isinstance(item, str) else item


def notify_secrets(receivers: tuple[ReceiverSpec, ...]) -> frozenset[str]:
    """Return every text of receivers that must not be shown: URLs, their parts, secrets."""
    found: set[str] = set()
    for receiver in receivers:
        if receiver.secret is not None:
            found.add(receiver.secret.get_secret_value())
        if receiver.url is not None:
            found |= _parts(receiver.url.get_secret_value())
    return frozenset(text for text in found if len(text) >= SHORTEST)


def _has_port(url: str) -> bool:
    """Tell whether a host and a port can be read of a URL; the error's text may show a password."""
    from urllib.parse import urlsplit

    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


def _parts(url: str) -> set[str]:
    """Return a URL, and what of it may be a token: no scheme, and no name of a host."""
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    login, at, where = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    is_bare = not (at or parts.path.strip("/") or parts.query)
    if parts.scheme.lower() in OPEN_HOSTS:
        found = set() if is_bare else {url}
        texts = []
    else:  # a token may stand where other URLs have their user, host and port
        found = {url}
        texts = [user, where, *where.split(":")]
    texts += parts.path.split("/")
    texts += [pair.partition("=")[2] for pair in parts.query.split("&")]
    # plain words of a path say nothing: a mask of `in` or `services` would take half of a message
    tokens = {form for text in texts for form in (text, unquote(text)) if _is_token(form)}
    return found | tokens | {form for form in (password, unquote(password)) if form}


def _is_token(text: str) -> bool:
    if "." in text or "@" in text:  # a host, an address
        return False
    plain = text.isalpha() and (text.islower() or text.istitle())
    return len(text) >= (16 if plain else 8)
